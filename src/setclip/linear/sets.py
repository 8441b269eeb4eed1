"""Matching inside sets: which x of a set goes with which of its y, as far as the space can tell.

Alternating a matching inside each set with a closed form on the matched rows is an EM: the
matching is the posterior over hidden pairings. A pair is scored by three cosines in the shared
space: of its two items, and of each item with what the neighbours of the other are matched to.
Two things keep the alternation from believing itself:

- It is soft, an entropic transport plan: an early hard matching is mostly wrong and locks its
  errors in.
- It is cross-fitted: a map scores the matches that it was fitted to too high, right or wrong, so
  every set is matched by a map that was fitted without it, and hears neighbours in other sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.linear.cross_covariance import CrossSum, from_sets
from setclip.linear.maps import Alignment, Array, unit_rows
from setclip.linear.neighbours import partners_of_neighbours

IntArray = npt.NDArray[np.int64]
Solve = Callable[[Array], Alignment]

SINKHORN_ROUNDS = 20
# Numbers held at once while matching: 2^23 float64 are 64 MB.
BUDGET = 1 << 23
# Rows a side that are heard at most, drawn anew each time.
HEARD = 4096


@dataclass(frozen=True)
class PaddedSets:
    """Sets of unequal sizes as rectangles of row numbers, padded with -1.

    Attributes:
        x_rows: Shape [s, k_x].
        y_rows: Shape [s, k_y].
    """

    x_rows: IntArray
    y_rows: IntArray

    @classmethod
    def of(cls, rows: Sequence[tuple[IntArray, IntArray]]) -> PaddedSets:
        """Pad the rows of each set, given as (x rows, y rows)."""
        return cls(_pad([x for x, _ in rows]), _pad([y for _, y in rows]))

    @property
    def cells(self) -> npt.NDArray[np.bool_]:
        """Which cells of each rectangle stand for real items. Shape [s, k_x, k_y]."""
        return (self.x_rows >= 0)[:, :, None] & (self.y_rows >= 0)[:, None, :]


def _pad(rows: list[IntArray]) -> IntArray:
    padded = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for target, items in zip(padded, rows, strict=True):
        target[: len(items)] = items
    return padded


def padded_batches(
    sets: Sequence[tuple[IntArray, IntArray]], *, width: int, budget: int = BUDGET
) -> list[PaddedSets]:
    """Sets of like size together, few enough at a time: one large set does not pad the others.

    Args:
        sets: Rows of each set, as (x rows, y rows).
        width: Of the coordinates that are gathered for each row.
        budget: Numbers that a batch may need; a set that needs more comes alone.
    """
    batches: list[list[tuple[IntArray, IntArray]]] = []
    k_x = k_y = 0
    for rows in sorted(sets, key=lambda rows: len(rows[0]) * len(rows[1])):
        k_x, k_y = max(k_x, len(rows[0])), max(k_y, len(rows[1]))
        needed = k_x * k_y + (k_x + k_y) * width
        if not batches or (len(batches[-1]) + 1) * needed > budget:
            batches.append([])
            k_x, k_y = map(len, rows)
        batches[-1].append(rows)
    return [PaddedSets.of(batch) for batch in batches]


def soft_matching(zx: Array, zy: Array, sets: PaddedSets, *, temperature: float) -> Array:
    """Entropic transport plan between the two sides of every set, all sets at once.

    Each plan moves ``min(n_x, n_y)`` of mass, spread evenly over the items of either side: with
    equal counts it tends to a permutation as the temperature falls.

    Args:
        zx: Embeddings of the x pool whose inner products with `zy` are the scores, cosines or means
            of them. Shape [n, d].
        zy: Of the y pool. Shape [m, d].
        sets: Rows of each set.
        temperature: Of the scores; low is hard.

    Returns:
        Plans, zero on padding. Shape [s, k_x, k_y].
    """
    # In place from scores to plan: those of one large set are gigabytes.
    kernel = zx[sets.x_rows] @ zy[sets.y_rows].transpose(0, 2, 1)
    kernel /= temperature
    n_x = (sets.x_rows >= 0).sum(axis=1)
    n_y = (sets.y_rows >= 0).sum(axis=1)
    mass = np.minimum(n_x, n_y)
    np.putmask(kernel, ~sets.cells, -np.inf)
    # Cosines are bounded, so after subtracting each set's largest nothing overflows, and at
    # temperatures above 1/300 nothing that matters underflows in float64.
    kernel -= kernel.max(axis=(1, 2), keepdims=True)
    np.exp(kernel, out=kernel)
    row_mass, column_mass = (mass / n_x)[:, None], (mass / n_y)[:, None]
    v = np.where(sets.y_rows >= 0, 1.0, 0.0)
    for _ in range(SINKHORN_ROUNDS):
        u = _divide(row_mass, np.einsum("sij,sj->si", kernel, v), sets.x_rows)
        v = _divide(column_mass, np.einsum("sij,si->sj", kernel, u), sets.y_rows)
    kernel *= u[:, :, None]
    kernel *= v[:, None, :]
    plans: Array = kernel
    return plans


def _divide(mass: Array, sums: Array, rows: IntArray) -> Array:
    return np.where(rows >= 0, mass / np.maximum(sums, np.finfo(np.float64).tiny), 0.0)


def cross_from_sets(
    solve: Solve,
    pairs: tuple[Array, Array],
    pool: tuple[Array, Array],
    sets: Sequence[tuple[IntArray, IntArray]],
    *,
    rounds: int,
    temperature: float,
    neighbours: float = 0.0,
    folds: int = 5,
    seed: int = 0,
) -> Array:
    """Cross-covariance from matched sets, by alternating a closed form with soft matching.

    Starts from the cross-covariance of set sums (no pair needed) joined with that of the pairs;
    each round matches inside the sets in the current space.

    Args:
        solve: Closed form that turns a cross-covariance into maps of coordinates.
        pairs: Coordinates of the known pairs, row-aligned, which may be none. [p, r_x], [p, r_y].
        pool: Coordinates of the pools along principal axes, [n, r_x] and [m, r_y].
        sets: Pool rows of each set, as (x rows, y rows), none empty.
        rounds: Rounds of matching; 0 uses the set sums alone.
        temperature: Of the matching.
        neighbours: Rows of other parts, and pairs, that the matching of a row hears in the second
            half of the rounds, see :func:`setclip.linear.neighbours.partners_of_neighbours`; 0
            hears none.
        folds: The sets are dealt into so many parts, and each part is matched by a map fitted to
            the others. 1 matches all sets by the map fitted to them, as do fewer than two sets a
            part.
        seed: Of the dealing, and of the rows that are heard where there are many.

    Returns:
        Of pairs and matched sets together. Shape [r_x, r_y].
    """
    rng = np.random.default_rng(seed)
    parts = [_Part.of(*pool, part) for part in _deal(sets, folds, rng)]
    known = CrossSum.of_pairs(*pairs)
    found = [part.sums() for part in parts]
    beliefs: list[_Beliefs] = []
    for number in range(rounds):
        # What neighbours are matched to must first be better than chance.
        alone = number < rounds // 2 or not beliefs or not neighbours
        matched = [
            part.matched(
                solve(known.joined(_others(found, own)).mean),
                temperature,
                None if alone else _Beliefs.heard(pairs, beliefs, own, rng),
                neighbours,
            )
            for own, part in enumerate(parts)
        ]
        found = [cross for cross, _ in matched]
        beliefs = [believed for _, believed in matched]
    return known.joined(found).mean


@dataclass(frozen=True)
class _Beliefs:
    """Rows with what each is matched to, in the coordinates of the other side.

    Attributes:
        x: Shape [n, r_x].
        x_partners: Averages of y rows. Shape [n, r_y].
        y: Shape [m, r_y].
        y_partners: Averages of x rows. Shape [m, r_x].
    """

    x: Array
    x_partners: Array
    y: Array
    y_partners: Array

    @classmethod
    def heard(
        cls,
        pairs: tuple[Array, Array],
        parts: Sequence[_Beliefs],
        own: int,
        rng: np.random.Generator,
    ) -> _Beliefs:
        """Of the pairs and of all parts but one's own, about HEARD rows a side at most."""
        several = [cls(*pairs, *pairs[::-1]), *parts[:own], *parts[own + 1 :]]
        x, x_partners = _drawn([(one.x, one.x_partners) for one in several], rng)
        y, y_partners = _drawn([(one.y, one.y_partners) for one in several], rng)
        return cls(x, x_partners, y, y_partners)


def _drawn(several: list[tuple[Array, Array]], rng: np.random.Generator) -> tuple[Array, Array]:
    share = min(1.0, HEARD / max(1, sum(len(rows) for rows, _ in several)))
    drawn = [rng.permutation(len(rows))[: math.ceil(share * len(rows))] for rows, _ in several]
    rows, partners = (
        np.concatenate([both[side][chosen] for both, chosen in zip(several, drawn, strict=True)])
        for side in (0, 1)
    )
    return rows, partners


@dataclass(frozen=True)
class _Part:
    """Some of the sets, with coordinates of their own rows alone, which the sets point into."""

    x: Array
    y: Array
    sets: Sequence[tuple[IntArray, IntArray]]
    batches: list[PaddedSets]

    @classmethod
    def of(cls, x: Array, y: Array, sets: Sequence[tuple[IntArray, IntArray]]) -> _Part:
        own_x, own_y = (np.concatenate([rows[side] for rows in sets]) for side in (0, 1))
        inside = list(zip(_consecutive(sets, 0), _consecutive(sets, 1), strict=True))
        batches = padded_batches(inside, width=2 * max(x.shape[1], y.shape[1]))
        return cls(x[own_x], y[own_y], inside, batches)

    def sums(self) -> CrossSum:
        x_sets, y_sets = _ids(self.sets, 0, len(self.x)), _ids(self.sets, 1, len(self.y))
        estimate, worth = from_sets(self.x, self.y, x_sets, y_sets)
        return CrossSum(worth * estimate, worth)

    def matched(
        self, alignment: Alignment, temperature: float, heard: _Beliefs | None, neighbours: float
    ) -> tuple[CrossSum, _Beliefs]:
        left, right = _scored(alignment, self.x, self.y, heard, neighbours)
        x_partners = np.zeros((len(self.x), self.y.shape[1]))
        y_partners = np.zeros((len(self.y), self.x.shape[1]))
        count = 0.0
        for batch in self.batches:
            plans = soft_matching(left, right, batch, temperature=temperature)
            in_x, in_y = batch.x_rows >= 0, batch.y_rows >= 0
            x_partners[batch.x_rows[in_x]] = (plans @ self.y[batch.y_rows])[in_x]
            back = plans.transpose(0, 2, 1) @ self.x[batch.x_rows]
            y_partners[batch.y_rows[in_y]] = back[in_y]
            count += float(plans.sum())
        beliefs = _Beliefs(self.x, x_partners, self.y, y_partners)
        return CrossSum(self.x.T @ x_partners, count), beliefs


def _scored(
    alignment: Alignment, x: Array, y: Array, heard: _Beliefs | None, neighbours: float
) -> tuple[Array, Array]:
    """Embeddings of both sides whose inner products are the scores."""
    zx, zy = _embedded(alignment, x, y)
    if heard is None or not len(heard.x):
        return zx, zy
    near_x, near_y = _embedded(alignment, heard.x, heard.y)
    # Neighbours are near in the features and in the shared space: the mean of both cosines.
    y_guess = partners_of_neighbours(
        np.hstack([x, zx]) / 2, np.hstack([heard.x, near_x]), heard.x_partners, neighbours
    )
    x_guess = partners_of_neighbours(
        np.hstack([y, zy]) / 2, np.hstack([heard.y, near_y]), heard.y_partners, neighbours
    )
    from_y, from_x = _embedded(alignment, x_guess, y_guess)
    return np.hstack([zx + from_x, zx]) / 3, np.hstack([zy, from_y])


def _embedded(alignment: Alignment, x: Array, y: Array) -> tuple[Array, Array]:
    return unit_rows(alignment.x(x)), unit_rows(alignment.y(y))


def _consecutive(sets: Sequence[tuple[IntArray, IntArray]], side: int) -> list[IntArray]:
    ends = np.cumsum([len(rows[side]) for rows in sets])
    return np.split(np.arange(ends[-1]), ends[:-1])


def _deal(
    sets: Sequence[tuple[IntArray, IntArray]], folds: int, rng: np.random.Generator
) -> list[list[tuple[IntArray, IntArray]]]:
    folds = max(1, min(folds, len(sets) // 2))
    order = rng.permutation(len(sets))
    return [[sets[i] for i in order[part::folds]] for part in range(folds)]


def _others(found: list[CrossSum], number: int) -> list[CrossSum]:
    return found if len(found) == 1 else found[:number] + found[number + 1 :]


def _ids(sets: Sequence[tuple[IntArray, IntArray]], side: int, rows: int) -> IntArray:
    ids = np.full(rows, -1, dtype=np.int64)
    for number, members in enumerate(sets):
        ids[members[side]] = number
    return ids
