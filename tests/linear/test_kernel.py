"""Pins kernel features: exact where every row is a landmark, lawful, small, and worth having."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive

from setclip.linear import kernel as module
from setclip.linear import maps
from setclip.linear.cca import cca
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.kernel import kernel_principal
from setclip.linear.maps import Kernel, Principal, principal


def cloud(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) + 3


def naive_kernel(x: np.ndarray, sharpness: float) -> np.ndarray:
    """Entry by entry, between centred rows."""
    centred = x - x.mean(axis=0)
    return np.array(
        [
            [
                np.exp(sharpness * (a @ b / np.linalg.norm(a) / np.linalg.norm(b) - 1))
                for b in centred
            ]
            for a in centred
        ]
    )


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(3, 25),
    d=st.integers(2, 6),
    sharpness=st.floats(0.3, 6.0),
    seed=st.integers(0, 99),
)
def test_with_every_row_a_landmark_it_is_kernel_pca(
    n: int, d: int, sharpness: float, seed: int
) -> None:
    """Inner products of coordinates are those of the centred kernel, on rows of length one."""
    x = cloud(n, d, seed)
    k = naive_kernel(x, sharpness)
    centring = np.eye(n) - 1 / n
    gram = centring @ k @ centring
    length = np.sqrt(np.diag(gram))
    found = kernel_principal(x, sharpness=sharpness)
    z = found(x)
    np.testing.assert_allclose(z @ z.T, gram / np.outer(length, length), atol=2e-3)
    np.testing.assert_allclose(naive.unit(z), z, atol=1e-12)
    assert (np.diff(found.variance) <= 0).all()


def test_maps_and_coordinates_agree() -> None:
    """`then` maps rows as their coordinates are, but for the length that directions ignore."""
    x = cloud(60, 5)
    found = kernel_principal(x, sharpness=2.0, rank=7, landmarks=20)
    weight = np.random.default_rng(1).standard_normal((7, 3))
    new = cloud(10, 5, seed=1)
    np.testing.assert_allclose(
        naive.unit(found.then(weight)(new)), naive.unit(found(new) @ weight), atol=1e-10
    )
    assert found(new).shape == (10, 7)
    assert found.features == 20
    assert found.kernel is not None
    assert found.kernel.landmarks.shape == (20, 5)


@pytest.mark.parametrize("change", ["rotate", "scale", "shift", "repeat"])
def test_rotation_scale_origin_and_repetition_change_no_inner_product(change: str) -> None:
    x = cloud(40, 4)
    changed = {
        "rotate": x @ naive.random_rotation(4, np.random.default_rng(1)),
        "scale": 7 * x,
        "shift": x - 11,
        "repeat": np.repeat(x, 2, axis=0),
    }[change]
    plain, other = (kernel_principal(z, sharpness=1.0, landmarks=1000) for z in (x, changed))
    expected = plain(x) @ plain(x).T
    z = other(changed[::2] if change == "repeat" else changed)
    np.testing.assert_allclose(z @ z.T, expected, atol=2e-3)


def test_a_blunt_kernel_is_linear() -> None:
    """As the sharpness falls to zero, what is left of the kernel is the cosine."""
    x = cloud(50, 4)
    blunt = kernel_principal(x, sharpness=1e-3)(x)
    linear = principal(naive.unit(x - x.mean(axis=0)), unit=True)(naive.unit(x - x.mean(axis=0)))
    np.testing.assert_allclose(blunt @ blunt.T, linear @ linear.T, atol=5e-3)


def test_recovers_a_bent_map_that_no_linear_one_does() -> None:
    x, y = naive.bent_cloud(600, noise=0.0)
    new = slice(500, 600)

    def found(axes: object) -> float:
        px, py = (axes(z[:500]) for z in (x, y))  # type: ignore[operator]
        a, b = px(x[:500]), py(y[:500])
        fitted = cca(px, py, from_pairs(a - a.mean(axis=0), b - b.mean(axis=0)), penalty=0.1)
        return naive.recall_at_1(fitted.x(x[new]), fitted.y(y[new]))

    assert found(partial(kernel_principal, sharpness=2.0)) > 0.7
    assert found(partial(principal, unit=True)) < 0.4


def test_the_same_seed_draws_the_same_landmarks() -> None:
    x = cloud(80, 3)
    first, again, other = (
        kernel_principal(x, sharpness=2.0, landmarks=10, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.axes, again.axes)
    assert first.kernel is not None
    assert other.kernel is not None
    assert not np.array_equal(first.kernel.landmarks, other.kernel.landmarks)


def test_equal_rows_have_no_axes() -> None:
    with pytest.raises(ValueError, match="all 9 rows are the same"):
        kernel_principal(np.full((9, 3), 0.1), sharpness=2.0)


def test_a_row_at_the_centre_is_no_obstacle() -> None:
    x = np.concatenate([cloud(30, 3), np.zeros((1, 3))])
    x -= x[:-1].mean(axis=0)
    x[-1] = 0
    assert np.isfinite(kernel_principal(x, sharpness=2.0)(x)).all()


def test_many_rows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 500)
    x = np.random.default_rng(0).standard_normal((200_000, 8)).astype(np.float32)
    tracemalloc.start()
    kernel_principal(x, sharpness=2.0, landmarks=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_rows_are_mapped_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel features of all rows at once would be 480 MB."""
    x = np.random.default_rng(0).standard_normal((60_000, 4))
    found = kernel_principal(x[:2000], sharpness=2.0, rank=5, landmarks=1000)
    affine = found.then(np.eye(5))
    tracemalloc.start()
    coordinates, mapped = found(x), affine(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 240 << 20
    monkeypatch.setattr(maps, "ROWS_AT_A_TIME", 7)
    np.testing.assert_allclose(found(x[:30]), coordinates[:30], atol=1e-9)
    np.testing.assert_allclose(affine(x[:30]), mapped[:30], atol=1e-9)


def test_kernel_features_of_any_array() -> None:
    kernel = Kernel(np.zeros(2), np.array([[1.0, 0.0], [0.0, 1.0]]), 3.0)
    np.testing.assert_allclose(
        kernel([[5, 0], [0, 0]]), [[1, np.exp(-3)], [np.exp(-3), np.exp(-3)]], rtol=1e-12
    )
    inner = Principal(np.zeros(2), np.eye(2), np.ones(2), 2, kernel=kernel)
    np.testing.assert_array_equal(inner([[5, 0]]), kernel([[5, 0]]))
    assert inner.inner().kernel is None
