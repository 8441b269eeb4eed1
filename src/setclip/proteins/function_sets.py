"""The labelled sets of function and fold prediction: nrPDB (EC, GO) and IEConv (fold, reaction).

All of them hold alpha carbons only: a FASTA file a split and one array of positions a chain.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from setclip.modalities import BadItemError
from setclip.proteins.chains import Chain, Repairs, flaw, joined
from setclip.proteins.fasta import read_fasta

IDENTITIES = (30, 40, 50, 70, 95)
"""Test chains are also given with at most this identity (%) to any training chain."""

GoBranch = Literal["mf", "bp", "cc"]
_BRANCHES: tuple[GoBranch, ...] = ("mf", "bp", "cc")


@dataclass(frozen=True, eq=False)
class LabelledChains:
    """One split of a labelled set.

    Attributes:
        chains: Those that can be used.
        labels: Which classes each chain has; exactly one in fold and reaction. Shape [n, classes].
        classes: Names of the classes.
        bad: Chains that cannot be used.
        below: For each of `IDENTITIES` which chains are below it; empty but for the test split of
            EC and GO. Shape [n] each.
    """

    chains: tuple[Chain, ...]
    labels: npt.NDArray[np.bool_]
    classes: tuple[str, ...]
    bad: tuple[BadItemError, ...]
    below: dict[int, npt.NDArray[np.bool_]] = field(default_factory=dict)


def read_fold(
    folder: str | Path,
    split: Literal["training", "validation", "test_fold", "test_superfamily", "test_family"],
) -> LabelledChains:
    """One split of fold recognition on SCOP 1.75 (IEConv's release).

    Raises:
        BadItemError: A file of the layout is missing or cannot be read.
    """
    folder = Path(folder)
    numbers = {fold: int(number) for fold, number in filter(None, _rows(folder / "class_map.txt"))}
    classes = tuple(sorted(numbers, key=numbers.__getitem__))
    labels = {row[0]: [row[-1]] for row in _rows(folder / f"{split}.txt") if row}
    coordinates = folder / "coordinates" / split
    return _labelled(folder / f"{split}.fasta", coordinates, labels, classes)


def read_reaction(
    folder: str | Path, split: Literal["training", "validation", "testing"]
) -> LabelledChains:
    """One split of the 384 enzyme reactions (IEConv's release).

    Raises:
        BadItemError: A file of the layout is missing or cannot be read.
    """
    folder = Path(folder)
    rows = _rows(folder / "chain_functions.txt", delimiter=",")
    labels = {name: [number.strip()] for name, number in filter(None, rows)}
    classes = tuple(sorted({names[0] for names in labels.values()}, key=int))
    return _labelled(folder / f"chain_{split}.fasta", folder / "coordinates", labels, classes)


def read_ec(folder: str | Path, split: Literal["train", "valid", "test"]) -> LabelledChains:
    """One split of nrPDB's enzyme numbers (DeepFRI's release).

    Raises:
        BadItemError: A file of the layout is missing or cannot be read.
    """
    rows = _rows(Path(folder) / "nrPDB-EC_annot.tsv")
    labels = {row[0]: _listed(row[1:]) for row in rows[3:] if row}
    return _nrpdb(Path(folder), "nrPDB-EC", split, labels, tuple(rows[1]))


def read_go(
    folder: str | Path, split: Literal["train", "valid", "test"], *, branch: GoBranch
) -> LabelledChains:
    """One split of nrPDB's Gene Ontology terms (DeepFRI's release).

    Args:
        folder: Where the files lie.
        split: Which split.
        branch: Molecular function ("mf"), biological process ("bp") or cellular component ("cc").

    Raises:
        BadItemError: A file of the layout is missing or cannot be read.
    """
    rows = _rows(Path(folder) / "nrPDB-GO_2019.06.18_annot.tsv")
    column = _BRANCHES.index(branch)
    labels = {row[0]: _listed(row[column + 1 : column + 2]) for row in rows[13:] if row}
    classes = tuple(rows[1 + 4 * column])
    return _nrpdb(Path(folder), "nrPDB-GO_2019.06.18", split, labels, classes)


def _nrpdb(
    folder: Path, stem: str, split: str, labels: dict[str, list[str]], classes: tuple[str, ...]
) -> LabelledChains:
    read = _labelled(folder / f"{split}.fasta", folder / "coordinates", labels, classes)
    if split != "test":
        return read
    header, *rows = _rows(folder / f"{stem}_test.csv", delimiter=",")
    flags = {row[0]: row[1:] for row in rows if row}
    missing = next((chain.name for chain in read.chains if chain.name not in flags), None)
    if missing is not None or len(header) != 1 + len(IDENTITIES):
        reason = f"no line for {missing}" if missing else f"{len(header)} columns, expected 6"
        raise BadItemError(str(folder / f"{stem}_test.csv"), reason)
    below = {
        identity: np.array([flags[chain.name][i].strip() == "1" for chain in read.chains])
        for i, identity in enumerate(IDENTITIES)
    }
    return LabelledChains(read.chains, read.labels, read.classes, read.bad, below)


def _labelled(
    fasta: Path, coordinates: Path, labels: dict[str, list[str]], classes: Sequence[str]
) -> LabelledChains:
    sequences, bad = read_fasta(fasta)
    column = {name: i for i, name in enumerate(classes)}
    chains, rows = [], []
    for name, sequence in sequences.items():
        try:
            row = _columns(name, labels, column)
            chains.append(_alpha_carbons(name, sequence, coordinates / f"{name}.npy"))
            rows.append(row)
        except BadItemError as error:
            bad.append(error)
    table = np.zeros((len(chains), len(classes)), dtype=bool)
    for i, row in enumerate(rows):
        table[i, row] = True
    return LabelledChains(tuple(chains), table, tuple(classes), tuple(bad))


def _columns(name: str, labels: dict[str, list[str]], column: dict[str, int]) -> list[int]:
    if name not in labels:
        raise BadItemError(name, "no label is given for it")
    unknown = next((label for label in labels[name] if label not in column), None)
    if unknown is not None:
        raise BadItemError(name, f"its label {unknown!r} is none of the {len(column):,} classes")
    return [column[label] for label in labels[name]]


def _alpha_carbons(name: str, sequence: str, file: Path) -> Chain:
    try:
        ca = np.load(file, allow_pickle=False).astype(np.float32)
    except (OSError, EOFError, ValueError) as error:
        raise BadItemError(str(file), f"cannot be read ({error})") from error
    if ca.shape != (len(sequence), 3):
        raise BadItemError(str(file), f"shape {list(ca.shape)} for {len(sequence)} residues")
    if reason := flaw(ca):
        raise BadItemError(str(file), reason)
    repairs = Repairs(unknown=sequence.count("X"), breaks=int((~joined(ca)).sum()))
    # The release counts residues without gaps, and so did whoever trained on it.
    return Chain(name, sequence, ca, np.arange(len(ca), dtype=np.int32), repairs=repairs)


def _rows(path: Path, *, delimiter: str = "\t") -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadItemError(str(path), f"cannot be read ({error})") from error
    rows = csv.reader(text.splitlines(), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return list(rows)


def _listed(cells: Iterable[str]) -> list[str]:
    return [label for cell in cells for label in cell.split(",") if label]
