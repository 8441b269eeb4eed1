"""Pins the regression on neighbours: a softmax average, its bandwidth, its limits, its memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive

from setclip.linear import neighbours as module
from setclip.linear.neighbours import bandwidth, partners_of_neighbours


def unit(n: int, d: int, seed: int) -> np.ndarray:
    return naive.unit(np.random.default_rng(seed).standard_normal((n, d)))


def weights(rows: np.ndarray, references: np.ndarray, width: float) -> np.ndarray:
    """Softmax of inner products, one number at a time."""
    inner = [[a @ b for b in references] for a in rows]
    found = np.array([[np.exp((value - max(row)) / width) for value in row] for row in inner])
    return found / found.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 15),
    neighbours=st.floats(1.0, 12.0),
    budget=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_agrees_with_a_loop_in_blocks_of_any_size(
    n: int, m: int, neighbours: float, budget: int, seed: int
) -> None:
    rows, references, partners = unit(n, 3, seed), unit(m, 3, seed + 1), unit(m, 4, seed + 2)
    width = bandwidth(rows.astype(np.float32), references.astype(np.float32), neighbours)
    expected = weights(rows, references, width) @ partners
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BUDGET", budget)
        found = partners_of_neighbours(rows, references, partners, neighbours)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("neighbours", [2.0, 10.0, 60.0])
def test_the_median_row_listens_to_so_many(neighbours: float) -> None:
    rows, references = unit(100, 6, 0), unit(400, 6, 1)
    width = bandwidth(rows.astype(np.float32), references.astype(np.float32), neighbours)
    effective = 1 / (weights(rows, references, width) ** 2).sum(axis=1)
    assert np.median(effective) == pytest.approx(neighbours, rel=0.1)


def test_one_neighbour_is_the_nearest_and_all_are_the_mean() -> None:
    rows, references, partners = unit(20, 3, 0), unit(50, 3, 1), unit(50, 2, 2)
    nearest = partners_of_neighbours(rows, references, partners, 1.0)
    best = partners[(rows @ references.T).argmax(axis=1)]
    assert np.median(np.abs(nearest - best)) < 0.05
    everyone = partners_of_neighbours(rows, references, partners, 1e9)
    spread = np.abs(nearest - partners.mean(axis=0)).max()
    assert np.abs(everyone - partners.mean(axis=0)).max() < 0.3 * spread


def test_alike_references_share_the_say() -> None:
    same = np.ones((5, 2))
    found = partners_of_neighbours(same[:2], same, np.arange(10.0).reshape(5, 2), 3.0)
    np.testing.assert_allclose(found, [[4, 5], [4, 5]], rtol=1e-6)


def test_order_of_references_does_not_matter() -> None:
    rows, references, partners = unit(9, 3, 0), unit(30, 3, 1), unit(30, 2, 2)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(
        partners_of_neighbours(rows, references[order], partners[order], 5.0),
        partners_of_neighbours(rows, references, partners, 5.0),
        atol=1e-5,
    )


def test_memory_is_bounded() -> None:
    rows, references, partners = unit(20_000, 4, 0), unit(4000, 4, 1), unit(4000, 4, 2)
    tracemalloc.start()
    partners_of_neighbours(rows, references, partners, 10.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # all similarities at once are 320 MB
