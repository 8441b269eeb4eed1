"""Matching between the pools: unpaired rows made to speak for the map that the pairs began.

Soft matching of pool batches in the current space gives a second estimate of the cross-covariance,
weaker than that of the pairs item for item, but of many items; the closed form is solved again on
both, and so on. In pools that hold no item in common a match is never *the* partner, only a row
with a like meaning: hence a soft matching, at a discount.

A map scores the matches that it was fitted to too high, right or wrong. The pools are therefore
split anew into halves in every round: the second is matched by a map fitted to the first, and the
first, of which about half of the rows are new to it, by the map of the round before. Splits kept
for all rounds, where no map ever meets its own rows, found no more in side runs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from setclip.linear.clouds import Rows, unit_rows
from setclip.linear.cross_covariance import CrossSum
from setclip.linear.maps import AffineMap, Alignment, Array
from setclip.linear.sets import Solve

IntArray = npt.NDArray[np.int64]
Half = tuple[IntArray, IntArray]

SINKHORN_ROUNDS = 20
LAST_SPLITS = 2


def cross_from_pools(
    solve: Solve,
    known: CrossSum,
    pool: tuple[Array, Array],
    *,
    start: Alignment,
    weight: float,
    rounds: int,
    temperature: float,
    batch: int = 2000,
    seed: int = 0,
) -> Array:
    """Cross-covariance of pairs and pools, by alternating a closed form with soft matching.

    Args:
        solve: Closed form that turns a cross-covariance into maps of coordinates.
        known: Cross-covariance of the known pairs.
        pool: Coordinates of the pools along principal axes, [n, r_x] and [m, r_y].
        start: Maps of coordinates for the first round.
        weight: How many known pairs a row of the smaller pool is worth, once matched.
        rounds: Rounds, 1 or more; in each, both halves are matched once.
        temperature: Of the matching, in units of cosine.
        batch: Rows a side of a half at most; time and memory grow with its square.
        seed: Of the splits.

    Returns:
        Of pairs and matched pools together. Shape [r_x, r_y].

    Raises:
        ValueError: A pool of fewer than two rows.
    """
    if min(map(len, pool)) < 2:
        raise ValueError(
            f"the pools hold {len(pool[0])} and {len(pool[1])} rows: matching needs 2 on each side."
        )
    rng = np.random.default_rng(seed)
    worth = weight * min(map(len, pool))
    # Matching in float32: half the time, and a cosine needs no more digits.
    x, y = (coordinates.astype(np.float32) for coordinates in pool)
    alignment = start
    last: list[Array] = []
    for _ in range(rounds):
        for rows, columns in halves(len(x), len(y), batch, rng):
            found = _matched(x[rows], y[columns], alignment, temperature)
            alignment = solve(known.joined([CrossSum(worth * found, worth)]).mean)
            last = [*last, found][-2 * LAST_SPLITS :]
    return known.joined([CrossSum(worth * np.mean(last, axis=0), worth)]).mean


def halves(n: int, m: int, batch: int, rng: np.random.Generator) -> list[Half]:
    """Rows of two random parts of each pool, disjoint, of at most `batch` each, side by side."""
    x, y = rng.permutation(n), rng.permutation(m)
    a, b = min(batch, n // 2), min(batch, m // 2)
    return [(x[:a], y[:b]), (x[a : 2 * a], y[b : 2 * b])]


def _matched(x: Rows, y: Rows, alignment: Alignment, temperature: float) -> Array:
    zx, zy = _embedded(x, alignment.x), _embedded(y, alignment.y)
    plan = entropic_plan(zx @ zy.T, temperature)
    matched: Array = (x.T @ (plan @ y)).astype(np.float64)
    return matched


def _embedded(rows: Rows, into: AffineMap) -> Rows:
    z = rows @ into.weight.astype(np.float32) + into.bias.astype(np.float32)
    return unit_rows(z)


def entropic_plan(
    scores: npt.NDArray[np.float32],
    temperature: float,
    *,
    rounds: int = SINKHORN_ROUNDS,
    tolerance: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Entropic transport plan of cosines, uniform on both sides, of mass one, to a few percent.

    It weighs an average: a rough one does. Cosines span 2 at most, so with each row's best taken
    off, what underflows in float32 is more than 87 temperatures below it and of no weight.

    Args:
        scores: Cosines. Shape [n, m].
        temperature: Low is hard.
        rounds: Sinkhorn rounds at most.
        tolerance: Stop when row sums are off by less than this share on average.

    Returns:
        Shape [n, m].
    """
    kernel = np.exp((scores - scores.max(axis=1, keepdims=True)) / np.float32(temperature))
    n, m = kernel.shape
    tiny = np.finfo(np.float32).tiny
    u, v = np.zeros(n, np.float32), np.ones(m, np.float32)
    for _ in range(rounds):
        row_sums = kernel @ v
        if np.abs(n * u * row_sums - 1).mean() < tolerance:
            break
        u = 1 / np.maximum(n * row_sums, tiny)
        v = 1 / np.maximum(m * (u @ kernel), tiny)
    plan: npt.NDArray[np.float32] = u[:, None] * kernel * v
    return plan
