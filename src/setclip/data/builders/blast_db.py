"""Protein sequences in a BLAST database of version 4 (.pin and .psq), read with numpy alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

VERSION, PROTEIN = 4, 1
# NCBIstdaa: the letter of each code, code 0 being the gap that also ends each sequence.
ALPHABET = b"-ABCDEFGHIKLMNPQRSTVWXYZU*OJ"
_LETTERS = np.frombuffer(ALPHABET.ljust(256, b"X"), dtype=np.uint8)


def read_sequences(stem: Path) -> Iterator[str]:
    """The sequences of a database in its order.

    Args:
        stem: Path of the files without .pin and .psq.

    Raises:
        ValueError: They are of another kind or version, or incomplete.
    """
    index = stem.with_name(f"{stem.name}.pin").read_bytes()
    try:
        version, kind = struct.unpack_from(">II", index)
        if (version, kind) != (VERSION, PROTEIN):
            raise ValueError(f"{stem}.pin: version {version}, kind {kind}; expected 4 and 1")
        at = 8
        for _ in range(2):  # title, date
            (length,) = struct.unpack_from(">I", index, at)
            at += 4 + length
        (count,) = struct.unpack_from(">I", index, at)
        at += struct.calcsize(">IQI")  # with the numbers of residues, in all and at most
        starts = np.frombuffer(index, ">u4", count + 1, at + 4 * (count + 1)).tolist()
    except struct.error as error:
        raise ValueError(f"{stem}.pin is cut short ({error})") from error
    codes = np.memmap(stem.with_name(f"{stem.name}.psq"), np.uint8, "r")
    if starts[-1] > len(codes):
        raise ValueError(f"{stem}.psq is cut short: {len(codes):,} of {starts[-1]:,} bytes")
    for start, end in pairwise(starts):
        yield _LETTERS[codes[start : end - 1]].tobytes().decode("ascii")
