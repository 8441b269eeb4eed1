"""Views of sequences and structures for self-supervision.

Everything random comes from the generator that is passed in. Each view of a structure lies in a
random frame of its own about its own middle: nothing about a pair of views can be told from how
they lie in space.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field

from setclip.proteins.chains import UNKNOWN
from setclip.proteins.residues import StructureItem

Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class SequenceViews(BaseModel):
    """How far a view of a sequence may be from the sequence; all zero is the sequence itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    crop: BelowOne = 0.5
    """Largest share of the residues cut away at the ends."""
    mask: Share = 0.15
    """Probability of each residue to become X."""


class StructureViews(BaseModel):
    """How far a view of a structure may be from it; all zero is the structure in another frame."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    crop: BelowOne = 0.5
    """Largest share of the residues cut away at the ends of the chain."""
    noise: Annotated[float, Field(ge=0)] = 0.05
    """Standard deviation of what is added to each coordinate, in A."""
    hole: BelowOne = 0.15
    """Largest share of the residues left out around a random one: a sub-graph is masked."""
    mask: Share = 0.15
    """Probability of each residue to hide its type."""


def sequence_view(
    sequence: str, rng: np.random.Generator, options: SequenceViews | None = None
) -> str:
    """One view of a sequence: a stretch of it, some residues hidden as X.

    Args:
        sequence: At least one letter.
        rng: Decides everything.
        options: How far the view may go; None for the default of :class:`SequenceViews`.
    """
    options = options or SequenceViews()
    start, end = _stretch(len(sequence), rng, options.crop)
    hidden = rng.random(end - start) < options.mask
    return "".join("X" if h else c for h, c in zip(hidden, sequence[start:end], strict=True))


def structure_view(
    item: StructureItem, rng: np.random.Generator, options: StructureViews | None = None
) -> StructureItem:
    """One view of a structure: a stretch with a hole in it, shaken, in a frame of its own.

    Frames of residues stay those of the clean positions, turned with the view.

    Args:
        item: Not changed.
        rng: Decides everything.
        options: How far the view may go; None for the default of :class:`StructureViews`.
    """
    options = options or StructureViews()
    start, end = _stretch(len(item["codes"]), rng, options.crop)
    positions = item["positions"][start:end]
    rows = start + torch.from_numpy(_around_a_hole(positions.numpy(), rng, options.hole))
    codes = item["codes"][rows].clone()
    codes[torch.from_numpy(rng.random(len(rows)) < options.mask)] = UNKNOWN
    noise = rng.normal(0, options.noise, size=(len(rows), 3)).astype(np.float32)
    positions = item["positions"][rows] + torch.from_numpy(noise)
    turn = torch.from_numpy(random_rotation(rng).astype(np.float32))
    return {
        "codes": codes,
        "positions": (positions - positions.mean(dim=0)) @ turn.T,
        "frames": item["frames"][rows] @ turn.T,
        "index": item["index"][rows] - item["index"][rows[0]],
    }


def random_rotation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A rotation uniform over all of them, from a uniform unit quaternion. Shape [3, 3]."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: npt.NDArray[np.float64] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    return rotation


def _stretch(n: int, rng: np.random.Generator, crop: float) -> tuple[int, int]:
    """Start and end of what stays of n residues; at least one does."""
    kept = max(1, round(n * (1 - rng.uniform(0, crop))))
    start = int(rng.integers(n - kept + 1))
    return start, start + kept


def _around_a_hole(
    positions: npt.NDArray[np.float32], rng: np.random.Generator, share: float
) -> npt.NDArray[np.int64]:
    """Rows that stay when those nearest to a random one go; at least one stays."""
    n = len(positions)
    gone = min(n - 1, int(n * rng.uniform(0, share)))
    distances = np.linalg.norm(positions - positions[rng.integers(n)], axis=1)
    return np.sort(np.argsort(distances, kind="stable")[gone:])
