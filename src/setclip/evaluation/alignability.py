"""How much geometry two frozen spaces share, measured on the known pairs before any training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from setclip.evaluation.intervals import Interval, bootstrap
from setclip.evaluation.neighbours import neighbour_weights
from setclip.evaluation.rows import (
    DoubleArray,
    check_lengths,
    finite_rows,
    rows_per_block,
    sample_rows,
    unit_rows,
)

AnyRows = npt.NDArray[Any]
Level = Literal["much", "some", "little", "none", "unknown"]

# Fewer pairs leave the overlap open to ±0.3: no statement is better than a random one.
FEWEST_PAIRS = 10

# On the scale of `Alignability.shared`. Measured: 0.43 to 0.47 for two text encoders on WordNet
# glosses, which align without any pair; 0.18 to 0.26 for images and captions of emoji, where pools
# add a little; both hardly depend on the number of pairs.
MUCH, SOME = 0.35, 0.10
ROUNDING = 1e-6
# Of the squared norm of a Gram matrix: a debiased HSIC below this is nothing but rounding.
ROUNDED = 1e-9

_ADVICE: dict[Level, str] = {
    "much": "unpaired data should help a lot, perhaps even without pairs",
    "some": "unpaired data may add a little to the pairs",
    "little": "expect the pairs or matched sets to carry the alignment",
    "none": "unpaired data is unlikely to help; more pairs or matched sets will",
}


@dataclass(frozen=True)
class MutualKnn:
    """Overlap of the neighbours that the two spaces give to the same item.

    Attributes:
        overlap: Share of common neighbours, 0 to 1, with a 95 % bootstrap interval over the items.
        chance: Expected share if the two spaces had nothing in common.
        k: Neighbours looked at.
    """

    overlap: Interval
    chance: float
    k: int

    def above_chance(self, share: float) -> float:
        """Put a share of common neighbours on a scale from 0 at chance to 1 for all of them."""
        return (share - self.chance) / (1 - self.chance)


@dataclass(frozen=True)
class Alignability:
    """Shared geometry of two frozen spaces, as far as the known pairs can show it.

    Attributes:
        pairs: Number of known pairs that were given.
        mutual_knn: Overlap of neighbours; None below 10 pairs, as is the next.
        cka: Linear CKA, debiased; None also where all items of a side are equally far apart.
    """

    pairs: int
    mutual_knn: MutualKnn | None
    cka: float | None

    @property
    def shared(self) -> float | None:
        """Neighbour overlap from 0 at chance to 1 for the same neighbours everywhere."""
        if self.mutual_knn is None:
            return None
        return self.mutual_knn.above_chance(self.mutual_knn.overlap.mean)

    @property
    def level(self) -> Level:
        """How much is shared: by `shared`, once its interval excludes chance.

        Much from 0.35, some from 0.10, little below; none if the interval holds chance and nothing
        above 0.10; unknown with fewer than 10 pairs, or if the interval holds both.
        """
        if self.mutual_knn is None:
            return "unknown"
        overlap = self.mutual_knn.overlap
        if overlap.low <= self.mutual_knn.chance + ROUNDING:
            return "unknown" if self.mutual_knn.above_chance(overlap.high) >= SOME else "none"
        shared = self.mutual_knn.above_chance(overlap.mean)
        return "much" if shared >= MUCH else "some" if shared >= SOME else "little"

    @property
    def may_be_much(self) -> bool:
        """Whether the interval leaves room for much shared geometry."""
        if self.mutual_knn is None:
            return True
        return self.mutual_knn.above_chance(self.mutual_knn.overlap.high) >= MUCH

    @property
    def verdict(self) -> str:
        """One sentence for people: what was measured, and what to expect of unpaired data."""
        if self.mutual_knn is None:
            return (
                f"Whether the two spaces share geometry cannot be told from {self.pairs} pairs; "
                f"{FEWEST_PAIRS} or more would show it."
            )
        found = (
            f"neighbour overlap {self.mutual_knn.overlap:.2f} against "
            f"{self.mutual_knn.chance:.2f} by chance, CKA "
            f"{'not defined' if self.cka is None else format(self.cka, '.2f')}"
        )
        if self.level == "unknown":
            return (
                f"Whether the two spaces share geometry cannot be told from these {self.pairs} "
                f"pairs ({found})."
            )
        amount = "No" if self.level == "none" else self.level.capitalize()
        return f"{amount} shared geometry over {self.pairs} pairs ({found}): {_ADVICE[self.level]}."


def alignability(
    x: npt.ArrayLike, y: npt.ArrayLike, *, k: int = 10, cap: int = 5000, seed: int = 0
) -> Alignability:
    """Measure on the known pairs how much geometry the two frozen spaces share.

    Args:
        x: Frozen features of the pairs' first modality, any width. Shape [p, d_x].
        y: Those of the second, row-aligned. Shape [p, d_y].
        k: Neighbours of the mutual k-NN; at most a fifth of the pairs are used.
        cap: Pairs to look at; more are sampled.
        seed: Seed of sample and bootstrap.

    Raises:
        ValueError: NaN or zero rows, differing row counts, or a side without variance.

    Source:
        Mutual k-NN predicted the success of alignment with r = 0.83 in SOTAlign, arXiv 2602.23353.
    """
    left, right = np.asarray(x), np.asarray(y)
    check_lengths(x=left, y=right)
    if len(left) < FEWEST_PAIRS:
        return Alignability(len(left), None, None)
    rows = sample_rows(len(left), cap, seed)
    # Checked before sampling, so that a message names the caller's row.
    units = unit_rows("x", left)[rows], unit_rows("y", right)[rows]
    cka = linear_cka(left[rows], right[rows])
    return Alignability(
        len(left),
        mutual_knn(*units, k=min(k, len(rows) // 5), seed=seed),
        None if np.isnan(cka) else cka,
    )


def with_directions(x: AnyRows, y: AnyRows) -> tuple[AnyRows, AnyRows]:
    """The pairs without those of which either side is a row of zeros: it has no direction.

    Args:
        x: Shape [p, d_x].
        y: Row-aligned. Shape [p, d_y].
    """
    sound = x.any(axis=1) & y.any(axis=1)
    return x[sound], y[sound]


def mutual_knn(
    x: npt.ArrayLike, y: npt.ArrayLike, *, k: int = 10, block: int | None = None, seed: int = 0
) -> MutualKnn:
    """Share of an item's `k` nearest neighbours that both spaces agree on, averaged over items.

    Neighbours by cosine, the item itself left out; ties at the k-th place count by expectation.

    Args:
        x: Features of the first modality, any width. Shape [n, d_x].
        y: Features of the second, row-aligned. Shape [n, d_y].
        k: 1 to n - 1. Chance is k / (n - 1): keep k well below n.
        block: Rows to compare at once; by default as many as keep the scores at 32 MB.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: NaN or zero rows, differing row counts, k out of range.

    Source:
        Huh et al., "The platonic representation hypothesis", arXiv 2405.07987.
    """
    left, right = unit_rows("x", x), unit_rows("y", y)
    check_lengths(x=left, y=right)
    n = len(left)
    if not 1 <= k < n:
        raise ValueError(f"k is {k} for {n} items, each with {n - 1} others: give 1 to that many.")
    overlaps = np.empty(n)
    step = rows_per_block(n, block)
    for first in range(0, n, step):
        part = slice(first, min(first + step, n))
        own = np.arange(part.stop - first)
        weights = []
        for side in (left, right):
            scores = side[part] @ side.T
            scores[own, first + own] = -np.inf
            weights.append(neighbour_weights(scores, k))
        overlaps[part] = np.einsum("ij,ij->i", *weights) / k
    return MutualKnn(bootstrap([overlaps], seed=seed), k / (n - 1), k)


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike, *, debiased: bool = True) -> float:
    """Centred kernel alignment with linear kernels: 1 for equal geometry up to rotation and scale.

    The plain estimate nears 1 for unrelated features once the widths exceed the number of pairs;
    the debiased one has expectation near 0 there, and may come out negative.

    Args:
        x: Features of the first modality, any width. Shape [n, d_x].
        y: Features of the second, row-aligned. Shape [n, d_y].
        debiased: Use the unbiased estimator of HSIC, which needs four pairs.

    Raises:
        ValueError: NaN, differing row counts, too few pairs, or a side without variance.

    Returns:
        NaN where no pair of rows of a side is nearer than another, as of one-hot rows: the
        debiased estimate has nothing to compare there.

    Source:
        Kornblith et al., arXiv 1905.00414; unbiased HSIC of Song et al., JMLR 2012, equation 5.
    """
    left, right = (_centred(name, values) for name, values in (("x", x), ("y", y)))
    check_lengths(x=left, y=right)
    fewest = 4 if debiased else 2
    if len(left) < fewest:
        raise ValueError(f"{len(left)} pairs: this estimate of CKA needs {fewest} or more.")
    hsic = _unbiased_hsic if debiased else _cross
    own = hsic(left, left), hsic(right, right)
    for side, rows in zip("xy", (left, right), strict=True):
        if (rows == rows[0]).all():
            raise ValueError(
                f"the features of {side} do not vary over the {len(left)} pairs: CKA is not "
                f"defined. Give pairs that differ in {side}, or look whether its encoder returns "
                "one vector for everything."
            )
    squares = _cross(left, left), _cross(right, right)
    if any(one <= ROUNDED * all_of_it for one, all_of_it in zip(own, squares, strict=True)):
        return float("nan")
    return hsic(left, right) / float(np.sqrt(own[0] * own[1]))


def _centred(name: str, values: npt.ArrayLike) -> DoubleArray:
    rows = finite_rows(name, values).astype(np.float64)
    rows -= rows.mean(axis=0)
    # CKA ignores scale; without this, squares of squares of large features would overflow.
    scale = np.abs(rows).max()
    return rows / scale if scale else rows


def _cross(left: DoubleArray, right: DoubleArray) -> float:
    """Sum of the elementwise product of the two Gram matrices, by the cheaper of two ways."""
    if len(left) ** 2 < left.shape[1] * right.shape[1]:
        return float(np.vdot(left @ left.T, right @ right.T))
    return float(np.square(left.T @ right).sum())


def _unbiased_hsic(left: DoubleArray, right: DoubleArray) -> float:
    """Unbiased HSIC, times n(n-3), of Gram matrices with their diagonals set to zero."""
    n = len(left)
    diagonals = [np.einsum("id,id->i", side, side) for side in (left, right)]
    sums = [
        side @ side.sum(axis=0) - diagonal
        for side, diagonal in zip((left, right), diagonals, strict=True)
    ]
    trace = _cross(left, right) - diagonals[0] @ diagonals[1]
    means = sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
    return float(trace + means - 2.0 / (n - 2) * (sums[0] @ sums[1]))
