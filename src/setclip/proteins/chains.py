"""One protein chain: a sequence, where its atoms are, and what had to be repaired to say so."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int32]

LETTERS = "ACDEFGHIKLMNPQRSTVWYX"
"""The 20 amino acids in the order of their letters, and X for any other."""

UNKNOWN = LETTERS.index("X")
# Joined alpha carbons are 3.8 A apart (2.9 A across a cis peptide); strained models stretch this.
JOINED = 4.5
# No two residues of a chain of atoms come this close; coordinates that do are placeholders.
COINCIDENT = 0.5

_CODES = np.full(256, UNKNOWN, dtype=np.int64)
_CODES[np.frombuffer(LETTERS.encode(), dtype=np.uint8)] = np.arange(len(LETTERS))


@dataclass(frozen=True)
class Repairs:
    """What a reader met and dealt with, as counts.

    Attributes:
        without_ca: Residues left out because their alpha carbon is missing.
        incomplete: Residues kept with N, C or O missing (NaN in the backbone).
        modified: Non-standard residues read as their parent (MSE as M).
        unknown: Residues and letters read as X.
        alternates: Atoms of alternate locations that were not taken.
        ligands: Free amino acids left out that are bound to no residue of the chain.
        breaks: Places where the chain is interrupted.
    """

    without_ca: int = 0
    incomplete: int = 0
    modified: int = 0
    unknown: int = 0
    alternates: int = 0
    ligands: int = 0
    breaks: int = 0

    def __add__(self, other: Repairs) -> Repairs:
        sums = (getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        return Repairs(*sums)

    def __str__(self) -> str:
        counts = {f.name.replace("_", " "): getattr(self, f.name) for f in fields(self)}
        return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing"


@dataclass(frozen=True, eq=False)
class Chain:
    """A stretch of residues in order of the sequence.

    Attributes:
        name: Unique within what it was read with, such as "1abc_A".
        sequence: Letters of `LETTERS`, length n.
        ca: Alpha carbons in A. Shape [n, 3].
        backbone: N, CA, C, O in A, NaN where an atom is missing; None if only alpha carbons are
            known. Shape [n, 4, 3].
        index: Place of each residue in the sequence, from 0 and increasing; it skips what the file
            leaves out, so that neighbours across a break do not look joined. Shape [n].
        repairs: What was dealt with while reading.
    """

    name: str
    sequence: str
    ca: FloatArray
    index: IndexArray
    backbone: FloatArray | None = None
    repairs: Repairs = field(default_factory=Repairs)

    def __len__(self) -> int:
        return len(self.sequence)


def letter_codes(sequence: str) -> npt.NDArray[np.int64]:
    """Positions in `LETTERS`, that of X for any other letter. Shape [n]."""
    return _CODES[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]


def joined(ca: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each residue's alpha carbon is in bonding distance of the next one's. Shape [n-1]."""
    near: npt.NDArray[np.bool_] = np.linalg.norm(np.diff(ca, axis=0), axis=1) <= JOINED
    return near


def sequence_index(ca: FloatArray, numbers: npt.NDArray[np.int64]) -> IndexArray:
    """Places in the sequence from the numbers in a file, which repeat, jump and run backwards.

    Joined residues follow each other whatever their numbers say; at a break at least one residue is
    missing, and as many as the numbers say if that is more.

    Args:
        ca: Shape [n, 3].
        numbers: Residue numbers of the file. Shape [n].
    """
    steps = np.where(joined(ca), 1, np.maximum(np.diff(numbers), 2))
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.int32)


def flaw(ca: FloatArray) -> str | None:
    """What makes the coordinates of a chain unusable, None if nothing does."""
    if not np.isfinite(ca).all():
        return f"residue {int((~np.isfinite(ca).all(axis=1)).argmax()) + 1} has no finite position"
    close = np.linalg.norm(np.diff(ca, axis=0), axis=1) < COINCIDENT
    # Single overlaps occur in deposited files; a chain of them is a file without coordinates.
    if len(ca) > 1 and close.mean() > 0.1:
        return f"{int(close.sum()):,} of {len(ca) - 1:,} neighbouring alpha carbons coincide"
    return None
