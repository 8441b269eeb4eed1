"""Estimates of the cross-covariance: from pairs, from sets without any pair, from matchings.

Every closed form needs the auto-covariances, which unpaired data give, and the cross-covariance,
which says what goes with what. Pairs give it directly. Matched sets give it too: with the k items
of a set in unknown order, ``E[(sum of x - k mean)(sum of y - k mean)^T] = k * cross-covariance``,
since items of a set are independent and only partners covary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CrossSum:
    """A cross-covariance times the number of pairs it stands for: such sums add up.

    Attributes:
        total: Shape [r_x, r_y].
        pairs: How many pairs it is worth.
    """

    total: Array
    pairs: float

    @classmethod
    def of_pairs(cls, x: Array, y: Array) -> CrossSum:
        """Of known pairs, given by centred, row-aligned coordinates [p, r_x] and [p, r_y]."""
        return cls(x.T @ y, float(len(x)))

    @property
    def mean(self) -> Array:
        """The cross-covariance."""
        return self.total / max(self.pairs, np.finfo(np.float64).tiny)

    def joined(self, others: Sequence[CrossSum]) -> CrossSum:
        """Together with others."""
        total, pairs = self.total, self.pairs
        for other in others:
            total, pairs = total + other.total, pairs + other.pairs
        return CrossSum(total, pairs)


def from_pairs(x: Array, y: Array) -> Array:
    """Cross-covariance of centred, row-aligned coordinates.

    Args:
        x: Shape [p, r_x].
        y: Shape [p, r_y].

    Returns:
        Shape [r_x, r_y].
    """
    return x.T @ y / max(len(x), 1)


def from_sets(x: Array, y: Array, x_sets: IntArray, y_sets: IntArray) -> tuple[Array, float]:
    """Cross-covariance from set sums, with no pair known.

    A set with n_x and n_y items has at most ``min(n_x, n_y)`` partners; its term is weighted by
    the inverse of its noise, which grows with ``n_x * n_y``.

    Args:
        x: Centred coordinates of the pool. Shape [n, r_x].
        y: Shape [m, r_y].
        x_sets: Set of each row of `x`, negative for none; sets missing on the other side are
            ignored. Shape [n].
        y_sets: Shape [m].

    Returns:
        The estimate, shape [r_x, r_y], and how many pairs it is worth: the number of pairs whose
        estimate would have the same noise.
    """
    shared = np.intersect1d(x_sets[x_sets >= 0], y_sets[y_sets >= 0])
    if len(shared) == 0:
        raise ValueError(
            "no set id stands on both sides: check that x_sets and y_sets use the same numbering."
        )
    x_sums, n_x = _sums(x, x_sets, shared)
    y_sums, n_y = _sums(y, y_sets, shared)
    partners = np.minimum(n_x, n_y)
    weight = partners / (n_x * n_y)
    total = float((weight * partners).sum())
    return (weight[:, None] * x_sums).T @ y_sums / total, total


def _sums(z: Array, sets: IntArray, shared: IntArray) -> tuple[Array, Array]:
    inside = np.isin(sets, shared)
    index = np.searchsorted(shared, sets[inside])
    sums = np.zeros((len(shared), z.shape[1]))
    np.add.at(sums, index, z[inside])
    return sums, np.bincount(index, minlength=len(shared)).astype(np.float64)
