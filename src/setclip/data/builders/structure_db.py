"""ProMod3's structure_db.dat: gap-free stretches of PDB chains, read with numpy alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC, VERSION = 1234, 2
# Sizes and test values by which the file checks that its reader has the same types.
TYPE_CHECKS = 73
ALL_DATA = -1


@dataclass(frozen=True)
class Stretch:
    """A gap-free part of a chain.

    Attributes:
        pdb: PDB code in small letters.
        chain: Letter of the chain.
        start: Its first residue in the arrays of :class:`StructureDb`.
        length: Number of residues.
        first: Place of its first residue in the full sequence of the chain, from 1.
        shift: Deposited position = stored position - shift, in A.
    """

    pdb: str
    chain: str
    start: int
    length: int
    first: int
    shift: tuple[float, float, float]

    @property
    def end(self) -> int:
        """One past the last residue."""
        return self.start + self.length


@dataclass(frozen=True, eq=False)
class StructureDb:
    """The part of the file that says where atoms are.

    Attributes:
        stretches: In the file's order.
        sequence: One letter a residue, of all stretches. Shape [n], bytes.
        backbone: N, CA, C, O in hundredths of an A; memory-mapped. Shape [n, 4, 3].
    """

    stretches: tuple[Stretch, ...]
    sequence: npt.NDArray[np.uint8]
    backbone: npt.NDArray[np.uint16]


def read_structure_db(path: str | Path) -> StructureDb:
    """Open the file; coordinates stay on disk until they are used.

    Raises:
        ValueError: It is of another kind or version, incomplete, or holds only part of the data.
    """
    data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    try:
        magic, version = struct.unpack_from("<II", data.data)
        stored, count = struct.unpack_from("<iQ", data.data, TYPE_CHECKS)
        if (magic, version, stored) != (MAGIC, VERSION, ALL_DATA):
            raise ValueError(
                f"{path}: magic {magic}, version {version}, data {stored}; expected "
                f"{MAGIC}, {VERSION}, {ALL_DATA}, as in promod3-data 3.2"
            )
        at = TYPE_CHECKS + struct.calcsize("<iQ")
        stretches = []
        for _ in range(count):
            stretch, at = _stretch(data, at)
            stretches.append(stretch)
        sequence, at = _array(data, at, "u1", ())
        backbone, _ = _array(data, at, "<u2", (4, 3))
    except struct.error as error:
        raise ValueError(f"{path} is cut short ({error}); unpack promod3-data again") from error
    if max((s.end for s in stretches), default=0) > min(len(sequence), len(backbone)):
        raise ValueError(f"{path} is cut short: residues are missing; unpack promod3-data again")
    return StructureDb(tuple(stretches), sequence, backbone)


def _stretch(data: npt.NDArray[np.uint8], at: int) -> tuple[Stretch, int]:
    pdb, at = _text(data, at)
    chain, at = _text(data, at)
    start, length, first, *shift = struct.unpack_from("<IHH3f", data.data, at)
    at += struct.calcsize("<IHH3f")
    return Stretch(pdb.lower(), chain, start, length, first, tuple(shift)), at


def _text(data: npt.NDArray[np.uint8], at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data.data, at)
    at += 4
    return bytes(data[at : at + length]).decode("ascii"), at + length


def _array(
    data: npt.NDArray[np.uint8], at: int, dtype: str, shape: tuple[int, ...]
) -> tuple[npt.NDArray[Any], int]:
    (count,) = struct.unpack_from("<Q", data.data, at)
    at += 8
    size = count * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    if at + size > len(data):
        raise struct.error(f"an array of {size:,} bytes passes the end of the file")
    return data[at : at + size].view(dtype).reshape(count, *shape), at + size
