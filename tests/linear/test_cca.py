"""Pins CCA: the generalised eigenproblem, planted truth, invariance, powers, degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive

from setclip.linear.cca import averaged_cca, cca
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.maps import Alignment, principal


def fit(x: np.ndarray, y: np.ndarray, **options: float) -> Alignment:
    axes = principal(x), principal(y)
    return cca(*axes, from_pairs(axes[0](x), axes[1](y)), **{"penalty": 0.3, **options})


def products(x: np.ndarray, y: np.ndarray, **options: float) -> np.ndarray:
    maps = fit(x, y, **options)
    return maps.x(x) @ maps.y(y).T


def views(n: int, d_x: int, d_y: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 4))
    return tuple(
        shared @ rng.standard_normal((4, d)) + rng.standard_normal((n, d)) + 2 for d in (d_x, d_y)
    )


@pytest.mark.parametrize("shape", [(40, 5, 3), (40, 3, 7), (40, 6, 6), (6, 20, 4), (6, 4, 20)])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_agrees_with_the_generalised_eigenproblem(
    shape: tuple[int, int, int], penalty: float, power: float
) -> None:
    """Also with more features than rows on either side."""
    x, y = views(*shape)
    rho, a, b = naive.cca(x, y, penalty)
    kept = min(shape[1], shape[2], shape[0] - 1)
    weight = (rho[:kept] / rho[0]) ** (2 * power)
    new_x, new_y = views(7, *shape[1:], seed=1)
    left = (new_x - x.mean(axis=0)) @ a[:, :kept]
    right = (new_y - y.mean(axis=0)) @ b[:, :kept]
    found = fit(x, y, penalty=penalty, power=power)
    np.testing.assert_allclose(
        found.x(new_x) @ found.y(new_y).T, left * weight @ right.T, rtol=0, atol=1e-7
    )
    for side in (found.x, found.y):
        assert side.weight.shape[1] == kept


def test_directions_come_by_correlation() -> None:
    x, y = views(60, 6, 5)
    maps = fit(x, y)
    zx, zy = maps.x(x), maps.y(y)
    together = np.diag(naive.covariance(zx, zy))
    assert (np.diff(together) < 0).all()
    np.testing.assert_allclose(together, naive.cca(x, y, 0.3)[0], rtol=0, atol=1e-9)


def test_recovers_a_planted_rotation() -> None:
    planted = naive.rotated_cloud(400, 8, noise=0.05)
    maps = fit(planted.x[:200], planted.y[:200], penalty=1e-3)
    assert naive.recall_at_1(maps.x(planted.x[200:]), maps.y(planted.y[200:])) == 1.0


@settings(deadline=None, max_examples=30)
@given(n=st.integers(3, 15), d_x=st.integers(1, 8), d_y=st.integers(1, 8), seed=st.integers(0, 999))
def test_order_origin_rotation_and_scale_change_nothing(
    n: int, d_x: int, d_y: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, d_x)), rng.standard_normal((n, d_y))
    before = products(x, y)
    order = rng.permutation(n)
    moved = 5 * x @ naive.random_rotation(d_x, rng) + rng.standard_normal(d_x)
    turned = 0.2 * y @ naive.random_rotation(d_y, rng) + rng.standard_normal(d_y)
    np.testing.assert_allclose(
        products(x[order], y[order]), before[np.ix_(order, order)], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(products(moved, y), before, rtol=0, atol=1e-6)
    np.testing.assert_allclose(products(x, turned), before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("d_x", [4, 30])
def test_dependent_features_and_repeated_pairs(d_x: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 2)), rng.standard_normal((10, 3))
    wide = x @ naive.random_rotation(d_x, rng)[:2]
    found = fit(wide, y)
    assert found.x.weight.shape == (d_x, 2)
    assert np.isfinite(found.x.weight).all()
    twice = products(np.tile(wide, (2, 1)), np.tile(y, (2, 1)))[:10, :10]
    np.testing.assert_allclose(twice, products(wide, y), rtol=0, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, -0.5])
def test_refuses_a_penalty_that_is_not_positive(penalty: float) -> None:
    with pytest.raises(ValueError, match=rf"penalty is {penalty}, must be positive: try 1"):
        fit(*views(9, 2, 2), penalty=penalty)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_refuses_sides_that_do_not_covary(power: float) -> None:
    """Zero over zero would be a space of NaN, which no comparison of ranks notices."""
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    with pytest.raises(ValueError, match="no covariance between x and y"):
        fit(x, y, power=power)


def test_averaged_ccas_have_the_same_say() -> None:
    """The inner product is the sum of the members', each scaled to rows of mean square one."""
    planted = naive.rotated_cloud(80, 5, noise=0.5)
    x, y = principal(planted.x), principal(planted.y)
    cross = from_pairs(x(planted.x), y(planted.y))
    found = averaged_cca(x, y, cross, penalties=(0.5, 20.0), power=0.5)
    expected = 0.0
    for penalty in (0.5, 20.0):
        one = cca(x, y, cross, penalty=penalty, power=0.5)
        zx, zy = one.x(planted.x), one.y(planted.y)
        expected = expected + (zx @ zy.T) / np.sqrt(
            np.square(zx).sum(axis=1).mean() * np.square(zy).sum(axis=1).mean()
        )
    np.testing.assert_allclose(found.x(planted.x) @ found.y(planted.y).T, expected, atol=1e-8)


def test_one_penalty_averaged_is_cca() -> None:
    planted = naive.rotated_cloud(80, 5, noise=0.5)
    x, y = principal(planted.x), principal(planted.y)
    cross = from_pairs(x(planted.x), y(planted.y))
    one = cca(x, y, cross, penalty=3.0)
    found = averaged_cca(x, y, cross, penalties=(3.0,))
    np.testing.assert_allclose(
        naive.unit(found.x(planted.x)), naive.unit(one.x(planted.x)), atol=1e-10
    )
    with pytest.raises(ValueError, match="penalties is empty"):
        averaged_cca(x, y, cross, penalties=())
