"""Pins principal axes: orthonormal, decorrelating, of either Gram matrix, deaf to rounding."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive

from setclip.linear import maps
from setclip.linear.maps import AffineMap, Principal, directions, principal

sizes = st.integers(2, 12)


def cloud(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 5 * rng.standard_normal(d)


def test_an_affine_map_is_a_product_and_a_sum() -> None:
    weight, bias = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 20.0])
    found = AffineMap(weight, bias)(np.array([[1, 1], [0, 2]], dtype=np.float32))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[14, 26], [16, 28]])


@settings(deadline=None, max_examples=50)
@given(n=sizes, d=sizes, seed=st.integers(0, 99))
def test_axes_diagonalise_the_covariance(n: int, d: int, seed: int) -> None:
    """More rows than features and fewer go through different Gram matrices."""
    x = cloud(n, d, seed)
    found = principal(x)
    assert len(found.variance) == min(n - 1, d)
    assert (np.diff(found.variance) <= 0).all()
    np.testing.assert_allclose(
        found.axes.T @ found.axes, np.eye(len(found.variance)), rtol=0, atol=1e-6
    )
    rebuilt = found.axes * found.variance @ found.axes.T
    scale = found.variance[0]
    np.testing.assert_allclose(rebuilt, naive.covariance(x, x), rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(
        naive.covariance(found(x), found(x)), np.diag(found.variance), rtol=0, atol=1e-10 * scale
    )
    np.testing.assert_allclose(found(x).mean(axis=0), 0, atol=1e-10 * np.sqrt(scale))


def test_rank_keeps_the_largest() -> None:
    x = cloud(30, 8)
    everything, some = principal(x), principal(x, rank=3)
    np.testing.assert_array_equal(some.axes, everything.axes[:, :3])
    np.testing.assert_array_equal(some.variance, everything.variance[:3])
    assert principal(x, rank=100).axes.shape == (8, 8)


@pytest.mark.parametrize("shape", [(40, 10), (10, 40)])
def test_repeated_and_dependent_rows_add_no_axis(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    n, d = shape
    x = rng.standard_normal((n, 3)) @ rng.standard_normal((3, d))
    assert len(principal(x).variance) == 3
    twice = principal(np.concatenate([x, x]))
    np.testing.assert_allclose(twice.variance, principal(x).variance)


def test_then_maps_through_the_axes() -> None:
    x = cloud(20, 6)
    axes = principal(x, rank=4)
    weight = np.random.default_rng(1).standard_normal((4, 3))
    np.testing.assert_allclose(axes.then(weight)(x), axes(x) @ weight, atol=1e-12)


def test_one_row_has_no_axes() -> None:
    with pytest.raises(ValueError, match="at least 2 rows, got 1: add items"):
        principal(np.ones((1, 3)))


@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(2, 200),
    d=st.integers(1, 300),
    value=st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False),
)
def test_equal_rows_have_no_axes_whatever_their_mean_rounds_to(
    n: int, d: int, value: float
) -> None:
    row = np.full(d, value) * np.linspace(0.1, 1, d)
    with pytest.raises(ValueError, match=f"all {n} rows are the same"):
        principal(np.tile(row, (n, 1)))
    with pytest.raises(ValueError, match=f"all {n} rows of y are the same"):
        principal(np.tile(row, (n, 1)), side="y")


def test_a_small_spread_on_a_large_offset_is_kept() -> None:
    x = 1e4 + 1e-2 * np.random.default_rng(0).standard_normal((50, 4))
    assert len(principal(x.astype(np.float32)).variance) == 4


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cloud(23, 4)
    whole = principal(x)
    monkeypatch.setattr(maps, "ROWS_AT_A_TIME", 5)
    # The least variance is rounded as the largest is.
    np.testing.assert_allclose(
        principal(x).variance, whole.variance, rtol=1e-12, atol=1e-14 * whole.variance[0]
    )


def test_memory_does_not_grow_with_the_rows() -> None:
    x = cloud(200_000, 4).astype(np.float32)  # 6.4 MB in float64
    tracemalloc.start()
    principal(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


def test_directions_count_what_stands_above_rounding() -> None:
    assert directions(np.array([2.0, 1e-3, 1e-9, 1e-15]), scale=3.0) == 3
    for nothing in (0.0, 1e-14, np.nan):
        with pytest.raises(ValueError, match="no covariance between x and y: give more"):
            directions(np.array([nothing, 0.0]), scale=1.0)


def test_principal_of_lists_and_float32() -> None:
    rows = [[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]
    found = principal(rows)
    assert isinstance(found, Principal)
    np.testing.assert_allclose(found.variance, [8 / 3])
    np.testing.assert_allclose(np.abs(found.axes), [[1], [0]], atol=1e-12)
    np.testing.assert_allclose(found.mean, [2, 0])


@pytest.mark.parametrize("rows", [40, 4])
def test_unit_axes_are_those_of_centred_unit_rows(rows: int) -> None:
    """By either Gram matrix; and the length of a row does not matter."""
    x = np.random.default_rng(0).standard_normal((rows, 6)) * np.linspace(3, 1, 6)
    found = principal(x, unit=True)
    unit = naive.unit(x - x.mean(axis=0))
    second_moment = unit.T @ unit / rows
    np.testing.assert_allclose(
        found.axes * found.variance @ found.axes.T, second_moment, atol=1e-10
    )
    coordinates = found(x)
    np.testing.assert_allclose(np.linalg.norm(coordinates, axis=1), 1)
    longer = x.mean(axis=0) + 5 * (x - x.mean(axis=0))
    np.testing.assert_allclose(found(longer), coordinates, atol=1e-10)


def test_inner_axes_map_coordinates() -> None:
    x = np.random.default_rng(0).standard_normal((30, 5))
    found = principal(x, rank=3)
    inner = found.inner()
    weight = np.random.default_rng(1).standard_normal((3, 2))
    np.testing.assert_allclose(inner.then(weight)(found(x)), found.then(weight)(x), atol=1e-12)
    assert inner.features == found.features == 5
