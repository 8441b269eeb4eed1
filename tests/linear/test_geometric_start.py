"""Pins: matched centres are row-aligned and better than chance, known pairs join, averages."""

from __future__ import annotations

import numpy as np
import pytest
from reference.planted import rotated_clouds

from setclip.linear.clouds import clouds
from setclip.linear.geometric_start import match_centres


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def test_matched_centres_of_rotated_clouds_are_rotated_centres() -> None:
    made = rotated_clouds(0)
    both = clouds(made.x, made.y)
    found = match_centres(both, restarts=6, centres=12, steps=150)
    assert found.x.shape == (6, 12, 6)
    assert found.alignment.shape == (6,)
    assert (found.alignment > 0.8).all()
    assert (found.alignment <= 1 + 1e-9).all()
    truth = both.x_axes(made.x_test).T @ both.y_axes(made.y_test)
    assert cosine(found.cross(), truth) > 0.8
    shuffled = np.einsum("scd,sce->de", found.x, found.y[:, ::-1])
    assert cosine(shuffled, truth) < 0.5


def test_cross_is_the_mean_of_outer_products() -> None:
    made = rotated_clouds(0)
    found = match_centres(clouds(made.x, made.y), restarts=3, centres=5, steps=20)
    expected = sum(np.outer(found.x[s, c], found.y[s, c]) for s in (0, 2) for c in range(5)) / 10
    np.testing.assert_allclose(found.cross([0, 2]), expected, atol=1e-12)


def test_known_pairs_help_where_geometry_cannot_tell() -> None:
    # Two equal clouds of opposite sign: without a pair nothing says which is which.
    rng = np.random.default_rng(0)
    x = np.concatenate([-2 + rng.normal(size=(60, 1)), 2 + rng.normal(size=(60, 1))])
    x = np.hstack([x, 0.1 * rng.normal(size=(120, 2))])
    known = np.array([[-2.0, 0.1, 0], [2.0, 0, 0.1], [-1.5, 0, 0], [1.5, -0.1, 0]])
    for sign in (1, -1):
        both = clouds(x, sign * x[::-1], x_pairs=known, y_pairs=sign * known)
        found = match_centres(both, restarts=2, centres=4, steps=40)
        inner = both.x_axes.axes @ found.cross() @ both.y_axes.axes.T
        assert sign * inner[0, 0] > 0


def test_few_rows_give_fewer_centres_and_progress_is_told() -> None:
    made = rotated_clouds(0, n=7, m=40)
    told = []
    found = match_centres(
        clouds(made.x, made.y),
        restarts=2,
        steps=10,
        progress=lambda done, total: told.append((done, total)),
    )
    assert found.x.shape[1] == found.y.shape[1] == 7
    assert told == [(1, 2), (2, 2)]


def test_clouds_are_centred_unit_rows_that_remember_the_way_back() -> None:
    made = rotated_clouds(1)
    both = clouds(made.x, made.y, x_pairs=made.x_test, y_pairs=made.y_test)
    np.testing.assert_allclose(np.linalg.norm(both.x, axis=1), 1, rtol=1e-6)
    mean = np.concatenate([made.x_test, made.x]).mean(axis=0)
    centred = made.x - mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(both.x @ both.x.T, centred @ centred.T, atol=1e-5)
    maps = both.rotation(both.pair_cross)
    rows = maps.x(made.x)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, centred @ centred.T, atol=1e-5)
    inner = maps.x.weight @ maps.y.weight.T
    np.testing.assert_allclose(
        both.x_axes.axes @ both.inner(maps) @ both.y_axes.axes.T, inner, atol=1e-5
    )


def test_clouds_refuse_what_cannot_be_matched() -> None:
    made = rotated_clouds(0, n=10, m=10)
    with pytest.raises(ValueError, match="the y pool has 3 rows, matching needs at least 4"):
        clouds(made.x, made.y[:3])
    with pytest.raises(ValueError, match="x_pairs has 2 rows, y_pairs 0"):
        clouds(made.x, made.y, x_pairs=made.x_test[:2])
