"""Pins: eigenvectors of the walk, known spectra, new rows joining, components, invariance."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.linear.spectral import spectral_embedding


def circle(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Angles, and points on a circle bent into five dimensions."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    plane, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    return angle, np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane[:2]


def spread(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4)) * [2, 1.5, 1, 0.7]


def test_coordinates_are_eigenvectors_of_the_random_walk() -> None:
    x = spread(80)
    found = spectral_embedding(x, dim=3, k=10)
    unit = (x - x.mean(axis=0)) / np.linalg.norm(x - x.mean(axis=0), axis=1, keepdims=True)
    distance = np.sqrt(((unit[:, None] - unit[None]) ** 2).sum(axis=2))
    near = distance <= np.sort(distance, axis=1)[:, 10:11] + 1e-12
    width = np.sort(distance, axis=1)[:, 10]
    weight = np.exp(-(distance**2) / np.outer(width, width))
    weight *= near | near.T
    walk = weight / weight.sum(axis=1, keepdims=True)
    for coordinate, value in zip(found.coordinates.T, found.eigenvalues, strict=True):
        slope = np.polyfit(coordinate, walk @ coordinate, 1)[0]
        assert slope == pytest.approx(value, abs=1e-6)
        moved = walk @ coordinate - value * coordinate
        np.testing.assert_allclose(moved - moved.mean(), 0, atol=1e-5)
    assert (np.diff(found.eigenvalues) <= 1e-12).all()
    np.testing.assert_allclose(found.coordinates.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found.coordinates.std(axis=0), 1)


def test_a_circle_is_drawn_as_a_circle() -> None:
    angle, x = circle(400)
    z = spectral_embedding(x, dim=2, k=12).coordinates
    turned = np.unwrap(np.arctan2(z[:, 1], z[:, 0]))
    assert abs(turned[-1] - turned[0]) == pytest.approx(2 * np.pi, rel=0.05)
    assert abs(np.corrcoef(angle, turned)[0, 1]) > 0.98


def test_new_rows_land_where_their_neighbours_are() -> None:
    _, x = circle(500)
    found = spectral_embedding(x, dim=2, k=12)
    np.testing.assert_allclose(found(x), found.coordinates, atol=0.25)
    _, fresh = circle(500)
    between = (fresh[:-1:2] + fresh[1::2]) / 2
    expected = (found.coordinates[:-1:2] + found.coordinates[1::2]) / 2
    assert np.abs(found(between) - expected).mean() < 0.1


def test_rotation_scale_and_shift_of_features_change_nothing() -> None:
    x = spread(120)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    plain = spectral_embedding(x, dim=3, k=15)
    moved = spectral_embedding(3 * x @ rotation + 5, dim=3, k=15)
    np.testing.assert_allclose(moved.coordinates, plain.coordinates, atol=1e-5)


def test_components_are_counted() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(40, 3)) * 0.1 + 5 * side for side in np.eye(3)])
    found = spectral_embedding(x, dim=2, k=8)
    assert found.components == 3
    np.testing.assert_allclose(found.eigenvalues, 1, atol=0.02)
    spans = [found.coordinates[i : i + 40].std(axis=0).max() for i in (0, 40, 80)]
    assert max(spans) < 0.2
    assert spectral_embedding(spread(100), dim=2, k=15).components == 1


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="20 rows are too few for dim=3 and k=30"):
        spectral_embedding(spread(20), dim=3)
    with pytest.raises(ValueError, match="20 rows are too few for dim=19 and k=5"):
        spectral_embedding(spread(20), dim=19, k=5)
