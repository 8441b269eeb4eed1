"""Coordinates: planted structure survives, broken and collapsed spaces still give a map."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.report import project, projection

RNG = np.random.default_rng(0)


def clusters(count: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three well-separated clusters; the labels follow the rows in turn."""
    labels = np.arange(count) % 3
    rng = np.random.default_rng(seed)
    return 10 * np.eye(3, width)[labels] + rng.normal(size=(count, width)) * 0.3, labels


def purity(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of points whose nearest neighbour carries their label."""
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    return float((labels[gaps.argmin(axis=1)] == labels).mean())


@pytest.mark.parametrize("how", ["pca", "tsne"])
def test_clusters_stay_apart(how: projection.How) -> None:
    x, x_labels = clusters(45, 40, 1)
    y, y_labels = clusters(36, 40, 2)
    views = project(x, y, x, y, before_shared=True, how=how)
    labels = np.concatenate([x_labels, y_labels])
    assert views.after.x.shape == (45, 2)
    assert views.after.y.shape == (36, 2)
    assert purity(np.concatenate([views.after.x, views.after.y]), labels) == 1.0
    assert {"pca": "PCA", "tsne": "t-SNE"}[how] in views.after.how


def test_pca_is_the_leading_singular_directions() -> None:
    x, y = RNG.normal(size=(20, 6)), RNG.normal(size=(15, 6))
    views = project(x, y, x, y, before_shared=True, how="pca")
    both = np.concatenate([x, y])
    u, s, _ = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
    found = np.concatenate([views.before.x, views.before.y])
    np.testing.assert_allclose(np.abs(found), np.abs(u[:, :2] * s[:2]), atol=1e-10)


def test_the_same_seed_gives_the_same_map() -> None:
    x, _ = clusters(30, 8, 3)
    first, second = (project(x, x + 1, x, x + 1, 7).after.x for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_spaces_of_different_width_lie_side_by_side() -> None:
    (x, _), (y, _) = clusters(20, 5, 1), clusters(12, 9, 2)
    z = RNG.normal(size=(32, 4))
    before = project(x, y, z[:20], z[20:]).before
    assert before.x[:, 0].max() < before.y[:, 0].min()
    assert "side by side" in before.how


def test_widths_that_differ_share_no_space() -> None:
    x, y = np.zeros((3, 4)), np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"x is 4 wide and y 5.*before_shared=False"):
        project(x, y, x, x, before_shared=True)


def test_many_points_fall_back_to_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "TSNE_LIMIT", 39)
    x, _ = clusters(20, 5, 1)
    views = project(x, x, x, x)
    assert views.after.how.startswith("PCA")
    assert views.before.how.startswith("PCA")


def test_rows_that_are_not_finite_become_nan() -> None:
    x, _ = clusters(20, 5, 1)
    broken = x.copy()
    broken[3, 0], broken[7, 2] = np.nan, np.inf
    after = project(x, x, broken, x).after
    assert np.flatnonzero(np.isnan(after.x).any(axis=1)).tolist() == [3, 7]
    assert np.isfinite(after.y).all()


def test_a_wholly_diverged_space_gives_nan_points() -> None:
    x = np.full((5, 4), np.nan)
    views = project(x, x, x, x)
    assert np.isnan(views.after.x).all()
    assert np.isnan(views.before.y).all()


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_a_collapsed_space_becomes_one_point(rows: int) -> None:
    # A value without an exact float, so that the mean rounds and the variance is not quite zero.
    x = np.full((rows, 6), 0.1, dtype=np.float32)
    after = project(x, x, x, x).after
    np.testing.assert_array_equal(after.x, np.zeros((rows, 2)))


def test_few_points_and_one_column() -> None:
    x = np.array([[1.0], [2.0]])
    after = project(x, x[:1], x, x[:1]).after
    assert after.x.shape == (2, 2)
    np.testing.assert_allclose(after.x[:, 1], 0)


def test_an_empty_side_is_allowed() -> None:
    x, _ = clusters(10, 5, 1)
    views = project(x, x[:0], x, x[:0])
    assert views.after.y.shape == (0, 2)
    assert views.before.y.shape == (0, 2)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_large_features_have_a_map(scale: float) -> None:
    values, labels = clusters(30, 4, seed=1)
    points = project(scale * values, scale * values, values, values).before.x
    assert purity(points, labels) > 0.9
