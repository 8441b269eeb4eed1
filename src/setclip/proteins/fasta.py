"""Sequences in FASTA files, plain or gzipped, read through biotite."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from setclip.modalities import BadItemError
from setclip.proteins.chains import LETTERS


def read_fasta(path: str | Path) -> tuple[dict[str, str], list[BadItemError]]:
    """Read the sequences of a file.

    Letters are made capital; U, O, B, Z and J become X; gaps (-) and a final * are left out.

    Args:
        path: A FASTA file; gzipped if its name ends in .gz.

    Returns:
        Sequences by name, which is the header's first word; and the entries that cannot be used:
        empty, named twice, or with something else than letters.

    Raises:
        BadItemError: The file cannot be read, or holds no entry.
        ImportError: biotite is not installed.
    """
    try:
        from biotite.sequence.io.fasta import FastaFile
    except ImportError as error:
        raise ImportError('reading FASTA needs biotite: pip install "setclip[proteins]"') from error
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            text = file.read().decode("utf-8")
        entries = list(FastaFile.read_iter(io.StringIO(text)))
    except FileNotFoundError as error:
        raise BadItemError(str(path), "there is no such file") from error
    # biotite raises ValueError and others of its own on what is not FASTA.
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise BadItemError(str(path), f"cannot be read as FASTA ({error})") from error
    if not entries:
        raise BadItemError(str(path), "holds no FASTA entry (a line that starts with >)")
    sequences: dict[str, str] = {}
    bad = []
    for i, (header, raw) in enumerate(entries, start=1):
        name = header.split()[0] if header.split() else f"entry {i}"
        try:
            if name in sequences:
                raise BadItemError(f"{path}: {name}", "the name stands there twice")
            sequences[name] = clean_sequence(raw, name=f"{path}: {name}")
        except BadItemError as error:
            bad.append(error)
    return sequences, bad


def clean_sequence(raw: str, *, name: str) -> str:
    """Letters of `LETTERS` from a sequence as people write it.

    Args:
        raw: May hold blanks, small letters, gaps, ambiguous letters, and a stop at its end.
        name: What to call it in the message.

    Raises:
        BadItemError: Nothing is left, or something is no letter.
    """
    letters = "".join(raw.split()).upper().removesuffix("*").replace("-", "").replace(".", "")
    if not letters:
        raise BadItemError(name, "the sequence is empty")
    odd = next((c for c in letters if not "A" <= c <= "Z"), None)
    if odd is not None:
        raise BadItemError(name, f"{odd!r} is no letter of a protein sequence")
    return "".join(c if c in LETTERS else "X" for c in letters)
