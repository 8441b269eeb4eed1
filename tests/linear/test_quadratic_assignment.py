"""Pins: the best of all permutations at small n, a planted one at thirty, the linear term."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setclip.linear.quadratic_assignment import quadratic_assignment


def symmetric(seed: int, n: int) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(n, n))
    return a + a.T


def value(a: np.ndarray, b: np.ndarray, linear: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of each relabelling, by the sums of the definition. Shape [k, n] to [k]."""
    quadratic = (a * b[columns[:, :, None], columns[:, None, :]]).sum(axis=(1, 2))
    return quadratic + linear[np.arange(len(a)), columns].sum(axis=1)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 10_000), with_linear=st.booleans())
def test_best_of_all_permutations(n: int, seed: int, with_linear: bool) -> None:
    a, b = symmetric(seed, n), symmetric(seed + 1, n)
    linear = np.random.default_rng(seed).normal(size=(n, n)) * with_linear
    found = quadratic_assignment(
        a, b, linear=linear if with_linear else None, starts=5, steps=60, seed=seed
    )
    best = value(a, b, linear, np.array(list(itertools.permutations(range(n))))).max()
    assert found.value == pytest.approx(best)
    assert value(a, b, linear, found.columns[None])[0] == pytest.approx(best)
    assert 1 <= found.hits <= 5


def test_planted_permutation_of_thirty() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 12))
    order = rng.permutation(30)
    noisy = points[order] + 0.1 * rng.normal(size=(30, 12))
    found = quadratic_assignment(points @ points.T, noisy @ noisy.T, starts=10, steps=200)
    np.testing.assert_array_equal(order[found.columns], np.arange(30))
    assert found.hits > 1


def test_linear_term_decides_between_equals() -> None:
    # All permutations of the identity matrix are equal but for the reward.
    reward = np.random.default_rng(0).normal(size=(8, 8))
    found = quadratic_assignment(np.eye(8), np.eye(8), linear=reward, starts=5, steps=100)
    best = max(reward[range(8), p].sum() for p in itertools.permutations(range(8)))
    assert found.value == pytest.approx(8 + best)


def test_same_seed_same_answer() -> None:
    a, b = symmetric(0, 15), symmetric(1, 15)
    first, second = (quadratic_assignment(a, b, starts=4, steps=50, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.columns, second.columns)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"b has shape \(2, 2\), expected \(3, 3\)"):
        quadratic_assignment(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match="a is not symmetric"):
        quadratic_assignment(np.triu(np.ones((3, 3))), np.eye(3))
    with pytest.raises(ValueError, match="starts is 0"):
        quadratic_assignment(np.eye(3), np.eye(3), starts=0)
