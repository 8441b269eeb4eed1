"""Candidate matches between two pools in the shared space, each with one score to trust it by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.data.pools import FloatArray, IntArray
from setclip.evaluation import top_k

HUB_NEIGHBOURS = 10
BLOCK_SCORES = 1 << 22


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best few y of each x, one row a candidate.

    Attributes:
        x: Row of x. Shape [c].
        y: Row of y. Shape [c].
        rank: Place of y among all y for this x, from 1. Shape [c].
        mutual: Whether x is also the best of all x for this y. Shape [c].
        similarity: Cosine. Shape [c].
        csls: Twice the cosine less the hubness of both items. Shape [c].
        margin: How far the candidate stands above its best competitors, both ways; see
            :func:`find_candidates`. Shape [c].
    """

    x: IntArray
    y: IntArray
    rank: IntArray
    mutual: npt.NDArray[np.bool_]
    similarity: FloatArray
    csls: FloatArray
    margin: FloatArray

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: npt.NDArray[np.generic]) -> Candidates:
        """Some of the candidates, by row numbers or a mask."""
        return Candidates(**{name: values[rows] for name, values in vars(self).items()})

    def renumbered(self, x_rows: IntArray, y_rows: IntArray) -> Candidates:
        """The same candidates where row i was row ``x_rows[i]`` or ``y_rows[i]`` of a whole."""
        return Candidates(**{**vars(self), "x": x_rows[self.x], "y": y_rows[self.y]})


def join(parts: list[Candidates]) -> Candidates:
    """All candidates of several parts, in order."""
    return Candidates(
        **{name: np.concatenate([vars(p)[name] for p in parts]) for name in vars(parts[0])}
    )


@dataclass(frozen=True, eq=False)
class Hubness:
    """How near an item's nearest neighbours of the other modality are, on average.

    Attributes:
        x: Shape [n].
        y: Shape [m].
    """

    x: FloatArray
    y: FloatArray


def hubness(zx: FloatArray, zy: FloatArray) -> Hubness:
    """Of both sides, unit rows given."""
    return Hubness(nearness(zx, zy), nearness(zy, zx))


def nearness(rows: FloatArray, others: FloatArray) -> FloatArray:
    """Mean cosine of each row with its ten nearest of the others. Shape [n]."""
    nearest = top_k(rows, others, min(HUB_NEIGHBOURS, len(others)))
    means: FloatArray = nearest.scores.mean(axis=1)
    return means


def find_candidates(
    zx: FloatArray, zy: FloatArray, hubs: Hubness, *, per_item: int = 3, block: int | None = None
) -> Candidates:
    """The best `per_item` y of each x by CSLS, and the margin by which they are.

    The margin of a candidate is twice its CSLS, less that of the best other y for this x, less that
    of the best other x for this y. A missing competitor counts 0, which is the CSLS of an average
    near neighbour. All else equal, a candidate with a larger cosine has a larger margin.

    Args:
        zx: Unit rows. Shape [n, d].
        zy: Unit rows. Shape [m, d].
        hubs: Of these rows.
        per_item: Candidates for each x, at most m.
        block: Rows of x to score at once; by default as many as keep the scores at 16 MB.

    Source:
        Conneau et al., "Word translation without parallel data", arXiv 1710.04087 (CSLS); margins
        to the second best as in Artetxe & Schwenk, arXiv 1811.01136.
    """
    n, m = len(zx), len(zy)
    kept = min(per_item + 1, m)
    if not m:
        return _none()
    row_best, row_of = np.empty((n, kept), np.float32), np.empty((n, kept), np.int64)
    columns = _ColumnBest(m)
    step = block or max(1, BLOCK_SCORES // max(m, 1))
    for first in range(0, n, step):
        part = slice(first, min(first + step, n))
        scores = 2 * (zx[part] @ zy.T) - hubs.x[part, None] - hubs.y
        row_best[part], row_of[part] = _best(scores, kept)
        columns.see(scores, first)
    ranks = min(per_item, m)
    x = np.repeat(np.arange(n), ranks)
    y = row_of[:, :ranks].ravel()
    score = row_best[:, :ranks]
    other_y = np.broadcast_to(row_best[:, :1], score.shape).copy()
    other_y[:, 0] = row_best[:, 1] if kept > 1 else 0.0
    mutual = columns.owner[y] == x
    other_x = np.where(mutual, columns.second[y], columns.first[y])
    other_x = np.where(np.isfinite(other_x), other_x, 0.0)
    return Candidates(
        x,
        y,
        np.tile(np.arange(1, ranks + 1), n),
        mutual,
        ((score.ravel() + hubs.x[x] + hubs.y[y]) / 2).astype(np.float32),
        score.ravel(),
        (2 * score.ravel() - other_y.ravel() - other_x).astype(np.float32),
    )


def _none() -> Candidates:
    rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Candidates(rows, rows, rows, np.zeros(0, dtype=bool), scores, scores, scores)


def _best(scores: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    # A stable order of equal scores: by column.
    chosen = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    found = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(chosen, order, axis=1)


class _ColumnBest:
    """The best and second best row of each column, of rows that come block by block."""

    def __init__(self, columns: int) -> None:
        self.first = np.full(columns, -np.inf, dtype=np.float32)
        self.second = np.full(columns, -np.inf, dtype=np.float32)
        self.owner = np.full(columns, -1, dtype=np.int64)

    def see(self, scores: FloatArray, offset: int) -> None:
        best = scores.argmax(axis=0)
        own = np.arange(scores.shape[1])
        top = scores[best, own]
        rest = scores.copy()
        rest[best, own] = -np.inf
        runner_up = np.maximum(np.minimum(self.first, top), np.maximum(self.second, rest.max(0)))
        better = top > self.first
        self.owner[better] = best[better] + offset
        self.first, self.second = np.maximum(self.first, top), runner_up
