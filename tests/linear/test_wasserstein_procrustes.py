"""Pins: a planted rotation is found from zero pairs, and no pair, few pairs, or a start."""

from __future__ import annotations

import numpy as np
import pytest
from reference.planted import Planted, rotated_clouds

from setclip.linear.clouds import clouds
from setclip.linear.maps import Alignment
from setclip.linear.wasserstein_procrustes import wasserstein_procrustes

SMALL = {"restarts": 8, "centres": 15, "refinements": 15, "batch": 400}


def recall(made: Planted, alignment: Alignment) -> float:
    return made.recall(alignment.x(made.x_test), alignment.y(made.y_test))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("widths", [{}, {"x_dim": 15}, {"y_dim": 14}], ids=str)
def test_planted_rotation_from_zero_pairs(seed: int, widths: dict[str, int]) -> None:
    made = rotated_clouds(seed, d=12, **widths)
    found = wasserstein_procrustes(made.x, made.y, **SMALL)
    assert recall(made, found.alignment) > 0.7
    assert found.alignment.x.weight.shape[1] == 12
    np.testing.assert_allclose(
        found.alignment.x.weight.T @ found.alignment.x.weight, np.eye(12), atol=1e-6
    )
    assert len(found.history) == 15
    assert found.history[-1] > found.history[0] - 0.02


def test_pools_of_unequal_size() -> None:
    made = rotated_clouds(4, n=200, m=260)
    found = wasserstein_procrustes(made.x, made.y, **SMALL, seed=1)
    assert found.alignment.y.weight.shape == (6, 6)
    assert all(0 < score <= 1 for score in found.history)


@pytest.mark.parametrize("seed", range(3))
def test_refinement_from_given_maps_of_few_pairs(seed: int) -> None:
    made = rotated_clouds(seed, n=1000, m=1000, d=12)
    pairs = {"x_pairs": made.x_test[:8], "y_pairs": made.y_test[:8]}
    both = clouds(made.x, made.y, **pairs)
    start = both.rotation(both.pair_cross)
    found = wasserstein_procrustes(made.x, made.y, start=start, **pairs, refinements=15, batch=150)
    assert recall(made, start) < 0.7
    assert recall(made, found.alignment) > 0.9


def test_pairs_outvote_wrong_geometry() -> None:
    # y is the mirror image of x along its main axis, on which x is symmetric in distribution.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) * [3, 1, 0.5]
    y = rng.normal(size=(200, 3)) * [3, 1, 0.5]
    known = rng.normal(size=(12, 3)) * [3, 1, 0.5]
    mirrored = known * [-1, 1, -1]
    found = wasserstein_procrustes(x, y, x_pairs=known, y_pairs=mirrored, **SMALL)
    turn = found.alignment.x.weight @ found.alignment.y.weight.T
    np.testing.assert_allclose(np.diag(turn), [-1, 1, -1], atol=0.2)


def test_seeds_and_progress() -> None:
    made = rotated_clouds(6, n=60, m=60)
    told = []
    runs = [
        wasserstein_procrustes(
            made.x,
            made.y,
            restarts=2,
            centres=8,
            refinements=3,
            seed=seed,
            progress=lambda *stage: told.append(stage),
        ).history
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert told[:5] == [
        ("starts", 1, 2),
        ("starts", 2, 2),
        ("refinements", 1, 3),
        ("refinements", 2, 3),
        ("refinements", 3, 3),
    ]


def test_too_few_rows() -> None:
    with pytest.raises(ValueError, match="the x pool has 2 rows"):
        wasserstein_procrustes(np.eye(2), np.eye(5))
