"""Pins: optimal at small n, candidates near optimal, blocks, unequal sizes, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from setclip.linear.assignment import (
    Matching,
    block_hungarian,
    candidate_matching,
    hungarian,
    neighbours,
)


def unit(seed: int, n: int, d: int = 6) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def noisy(seed: int, x: np.ndarray, noise: float = 0.3) -> np.ndarray:
    y = x + noise * unit(seed, *x.shape)
    return y / np.linalg.norm(y, axis=1, keepdims=True)


def check(matching: Matching, x: np.ndarray, y: np.ndarray) -> None:
    assert len(set(matching.rows.tolist())) == len(matching.rows)
    assert len(set(matching.columns.tolist())) == len(matching.columns)
    assert (np.diff(matching.rows) > 0).all()
    expected = (x[matching.rows] * y[matching.columns]).sum(axis=1)
    np.testing.assert_allclose(matching.scores, expected, rtol=1e-6)
    assert matching.seconds >= 0
    assert f"{len(matching.rows)} matches" in matching.describe()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_hungarian_and_candidates_are_the_best_of_all(n: int, m: int, seed: int) -> None:
    x, y = unit(seed, n), unit(seed + 1, m)
    scores = x @ y.T
    if n <= m:
        best = max(scores[range(n), p].sum() for p in itertools.permutations(range(m), n))
    else:
        best = max(scores[list(p), range(m)].sum() for p in itertools.permutations(range(n), m))
    exact = hungarian(scores)
    assert exact.scores.sum() == pytest.approx(best)
    check(exact, x, y)
    # With every column a candidate nothing is left out.
    check(candidate_matching(x, y, candidates=6), x, y)
    assert candidate_matching(x, y, candidates=6).scores.sum() == pytest.approx(best)


def test_candidates_come_close_to_the_optimum_with_few() -> None:
    x, y = unit(0, 300, 8), unit(1, 280, 8)
    exact, sparse = hungarian(x @ y.T), candidate_matching(x, y, candidates=20)
    check(sparse, x, y)
    assert len(sparse.rows) >= 0.97 * len(exact.rows)
    assert sparse.scores.sum() >= 0.97 * exact.scores.sum()


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_candidates_do_not_depend_on_the_sign_of_scores(shift: float) -> None:
    # A constant added to all scores: one more coordinate, the same for every row.
    x = np.hstack([unit(0, 40), np.full((40, 1), 1.0)])
    y = np.hstack([unit(1, 40), np.full((40, 1), shift)])
    plain = candidate_matching(x[:, :-1], y[:, :-1], candidates=40)
    shifted = candidate_matching(x, y, candidates=40)
    np.testing.assert_array_equal(plain.columns, shifted.columns)


def test_rows_without_a_free_candidate_stay_unmatched() -> None:
    # Both rows of x have one candidate, the same one; y's own candidates are shared too.
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    y = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = candidate_matching(x, y, candidates=1)
    assert found.rows.tolist() == [0, 2]
    assert found.columns.tolist() == [0, 1]


def test_pools_are_matched_whole_unless_told_otherwise() -> None:
    x, order = unit(0, 200, 16), np.random.default_rng(2).permutation(200)
    whole, blocks = (candidate_matching(x, x[order], block=block) for block in (None, 50))
    assert len(whole.rows) == 200
    assert (order[whole.columns] == whole.rows).all()
    assert (order[blocks.columns] == blocks.rows).mean() < 0.5


@pytest.mark.parametrize("match", [block_hungarian, candidate_matching])
@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 23), (17, 50), (1, 9)])
def test_blocks_cover_both_sides_once(match, n: int, m: int) -> None:
    x, y = unit(0, n), unit(1, m)
    found = match(x, y, block=10, seed=3)
    check(found, x, y)
    assert len(found.rows) >= 0.8 * min(n, m)
    again = match(x, y, block=10, seed=3)
    np.testing.assert_array_equal(found.columns, again.columns)


def test_one_block_is_the_whole_problem() -> None:
    x, y = unit(0, 30), unit(1, 25)
    np.testing.assert_array_equal(
        block_hungarian(x, y, block=30).columns, hungarian(x @ y.T).columns
    )


def test_neighbours_are_the_largest_products_in_order() -> None:
    x, y = unit(0, 9), unit(1, 12)
    found = neighbours(x, y, k=4, block=2)
    order = (x @ y.T).argsort(axis=1)[:, ::-1][:, :4]
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(x @ y.T, order, axis=1))
    assert neighbours(x, y, k=99).indices.shape == (9, 12)
    assert neighbours(x[:0], y, k=3).indices.shape == (0, 3)


def test_float32_integers_and_threads() -> None:
    x, y = unit(0, 150), unit(1, 150)
    half = candidate_matching(x.astype(np.float32), y.astype(np.float32))
    assert half.scores.dtype == np.float32
    np.testing.assert_array_equal(half.columns, candidate_matching(x, y).columns)
    whole = hungarian(np.array([[1, 5], [2, 3]]))
    assert whole.columns.tolist() == [1, 0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = candidate_matching(x, y)
        torch.set_num_threads(1)
        np.testing.assert_array_equal(two.columns, candidate_matching(x, y).columns)
    finally:
        torch.set_num_threads(threads)


def test_nothing_to_match() -> None:
    assert len(candidate_matching(unit(0, 0), unit(1, 4)).rows) == 0
    assert len(block_hungarian(unit(0, 4), unit(1, 0)).rows) == 0
    assert np.isnan(hungarian(np.zeros((0, 3))).mean_score)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"score at \[1, 0\] is nan"):
        hungarian([[0.0], [float("nan")]])
    with pytest.raises(ValueError, match=r"x has shape \(3, 6\), y \(3, 5\): both must be rows"):
        block_hungarian(unit(0, 3, 6), unit(0, 3, 5))
    with pytest.raises(ValueError, match="block is 0"):
        block_hungarian(unit(0, 3), unit(0, 3), block=0)
    with pytest.raises(ValueError, match="candidates is 0"):
        candidate_matching(unit(0, 3), unit(0, 3), candidates=0)
