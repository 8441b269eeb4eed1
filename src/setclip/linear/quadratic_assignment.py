"""Quadratic assignment: the relabelling under which two similarity matrices agree best.

The geometric starts match cluster centres of one modality with those of the other by their
similarities *within* each modality alone. The problem is NP-hard; at the 20 to 50 centres used
here many cheap starts, run side by side, find the optimum nearly always, and the quality of this
solution is what the starts depend on most (arXiv 2610.09411, section A.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Frank-Wolfe on the relaxation is flat after about this many steps (Vogelstein et al. 2015).
RELAXED_STEPS = 30


@dataclass(frozen=True)
class QuadraticAssignment:
    """A relabelling of the second matrix and how good it is.

    Attributes:
        columns: Row i of the first matrix goes with row `columns[i]` of the second. Shape [n].
        value: ``tr(A P B P^T) + tr(L P^T)`` at this relabelling.
        hits: How many of the starts ended at this value; 1 says that more starts might do better.
    """

    columns: IntArray
    value: float
    hits: int


def quadratic_assignment(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    linear: npt.ArrayLike | None = None,
    starts: int = 20,
    steps: int = 1000,
    seed: int = 0,
) -> QuadraticAssignment:
    """Maximise ``tr(A P B P^T) + tr(L P^T)`` over permutations P.

    Every start is a random point near the middle of the doubly stochastic matrices, moved by
    Frank-Wolfe steps on the relaxed problem (FAQ), rounded, then improved by tabu search: always
    the best exchange of two labels, even when it loses, but not one that restores labels given up
    lately. All starts advance together as one batch of small matrices.

    Args:
        a: Symmetric. Shape [n, n].
        b: Symmetric. Shape [n, n].
        linear: Reward of giving row i the label j, such as known pairs provide. Shape [n, n].
        starts: Number of starts.
        steps: Exchanges per start. 20 starts of 1,000 exchanges take about a second at n = 30.
        seed: Of the starts and of the tabu durations.

    Raises:
        ValueError: Matrices not symmetric or of differing shape, or no start.

    Source:
        FAQ: Vogelstein et al. 2015. Robust tabu search: Taillard 1991.
    """
    a = np.asarray(a, dtype=np.float64)
    b = np.asarray(b, dtype=np.float64)
    n = len(a)
    reward = np.zeros((n, n)) if linear is None else np.asarray(linear, dtype=np.float64)
    _check(a, b, reward, starts)
    rng = np.random.default_rng(seed)
    plans = _relaxed_ascent(a, b, reward, _random_plans(n, starts, rng))
    columns = _tabu_search(a, b, reward, _round(plans), steps=steps, rng=rng)
    values = _values(a, b, reward, columns)
    best = int(values.argmax())
    scale = max(abs(float(values[best])), np.finfo(np.float64).tiny)
    hits = int((values >= values[best] - 1e-9 * scale).sum())
    return QuadraticAssignment(columns[best], float(values[best]), hits)


def _check(a: Array, b: Array, reward: Array, starts: int) -> None:
    n = len(a)
    for name, matrix in (("a", a), ("b", b), ("linear", reward)):
        if matrix.shape != (n, n):
            raise ValueError(f"{name} has shape {matrix.shape}, expected ({n}, {n}) as a has.")
    for name, matrix in (("a", a), ("b", b)):
        if not np.allclose(matrix, matrix.T):
            raise ValueError(f"{name} is not symmetric: pass a similarity or distance matrix.")
    if starts < 1:
        raise ValueError(f"starts is {starts}, must be at least 1.")


def _random_plans(n: int, starts: int, rng: np.random.Generator) -> Array:
    """Random permutations averaged with the uniform plan: inside the polytope, spread out."""
    order = rng.random((starts, n)).argsort(axis=1)
    return 0.5 * np.eye(n)[order] + 0.5 / n


def _relaxed_ascent(a: Array, b: Array, reward: Array, plans: Array) -> Array:
    for _ in range(RELAXED_STEPS):
        gradient = 2 * a @ plans @ b + reward
        step = np.eye(len(a))[_round(gradient)] - plans
        # Along the step the objective is a parabola: its top, or the better end of [0, 1].
        curvature = (a @ step @ b * step).sum(axis=(1, 2))
        slope = (gradient * step).sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            top = np.clip(-slope / (2 * curvature), 0, 1)
        size = np.where(curvature < 0, top, (curvature + slope > 0).astype(np.float64))
        if not size.any():
            break
        plans = plans + size[:, None, None] * step
    return plans


def _round(plans: Array) -> IntArray:
    return np.stack([linear_sum_assignment(plan, maximize=True)[1] for plan in plans])


def _tabu_search(
    a: Array,
    b: Array,
    reward: Array,
    columns: IntArray,
    *,
    steps: int,
    rng: np.random.Generator,
) -> IntArray:
    n, starts = len(a), len(columns)
    current, every = columns.copy(), np.arange(starts)
    best, value = columns.copy(), _values(a, b, reward, columns)
    best_value = value.copy()
    r, s = np.triu_indices(n, 1)
    # until[k, i, j]: the step before which start k may not give row i the label j back.
    until = np.zeros((starts, n, n), dtype=np.int64)
    for step in range(steps if n > 1 else 0):
        gain = _exchange_gain(a, b, reward, current)[:, r, s]
        tabu = until[every[:, None], r, current[:, s]] > step
        tabu &= until[every[:, None], s, current[:, r]] > step
        better = value[:, None] + gain > best_value[:, None]
        pick = np.where(tabu & ~better, -np.inf, gain).argmax(axis=1)
        value = value + gain[every, pick]
        i, j = r[pick], s[pick]
        # Taillard draws the duration within 10 % of n.
        duration = rng.integers(int(0.9 * n), int(1.1 * n) + 2, size=(2, starts))
        until[every, i, current[every, i]] = step + duration[0]
        until[every, j, current[every, j]] = step + duration[1]
        current[every, i], current[every, j] = current[every, j], current[every, i]
        found = value > best_value
        best[found], best_value[found] = current[found], value[found]
    return best


def _exchange_gain(a: Array, b: Array, reward: Array, columns: IntArray) -> Array:
    """Gain of exchanging the labels of r and s, for all r, s. Shape [starts, n, n].

    With B' the relabelled B, the products ``A B'`` give all sums over third rows at once; the
    terms where the third row is r or s itself are put right afterwards.
    """
    relabelled = b[columns[:, :, None], columns[:, None, :]]
    product = a @ relabelled
    product = product + product.transpose(0, 2, 1)
    own = 0.5 * np.einsum("sii->si", product)
    a_own, b_own = np.diag(a), np.einsum("sii->si", relabelled)
    a_gap = a_own[:, None] + a_own[None, :] - 2 * a
    b_gap = b_own[:, :, None] + b_own[:, None, :] - 2 * relabelled
    quadratic = 2 * (product - own[:, :, None] - own[:, None, :]) + a_gap * b_gap
    paid = np.take_along_axis(reward[None], columns[:, None, :], axis=2)
    kept = np.einsum("sii->si", paid)
    linear = paid + paid.transpose(0, 2, 1) - kept[:, :, None] - kept[:, None, :]
    gain: Array = quadratic + linear
    return gain


def _values(a: Array, b: Array, reward: Array, columns: IntArray) -> Array:
    relabelled = b[columns[:, :, None], columns[:, None, :]]
    rows = np.arange(len(a))
    values: Array = (a * relabelled).sum(axis=(1, 2)) + reward[rows, columns].sum(axis=1)
    return values
