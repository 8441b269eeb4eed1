"""Pins: a planted rotation is found from zero pairs; the map stays near a rotation."""

from __future__ import annotations

import numpy as np
import pytest
from reference.planted import rotated_clouds

from setclip.linear.mini_vec2vec import mini_vec2vec

SMALL = {"restarts": 6, "centres": 15, "k": 10, "refinements": 25, "sample": 100}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [{}, {"x_dim": 15}, {"y_dim": 14}], ids=str)
def test_planted_rotation_from_zero_pairs(seed: int, shape: dict[str, int]) -> None:
    made = rotated_clouds(seed, d=12, **shape)
    found = mini_vec2vec(made.x, made.y, **SMALL)
    maps = found.alignment
    assert made.recall(maps.x(made.x_test), maps.y(made.y_test)) > 0.9
    assert maps.x.weight.shape == (made.x.shape[1], made.y.shape[1])
    assert len(found.history) == 25
    assert found.history[-1] > 0.8


def test_map_of_near_isometric_spaces_is_nearly_orthogonal() -> None:
    made = rotated_clouds(3, noise=0.01)
    weight = mini_vec2vec(made.x, made.y, **SMALL).alignment.x.weight
    assert np.abs(np.linalg.svd(weight)[1] - 1).max() < 0.1


def test_without_momentum_every_step_is_a_rotation() -> None:
    made = rotated_clouds(0)
    weight = mini_vec2vec(made.x, made.y, **SMALL, momentum=0.0).alignment.x.weight
    np.testing.assert_allclose(weight.T @ weight, np.eye(6), atol=1e-5)


def test_seeds() -> None:
    made = rotated_clouds(0, n=80, m=80)
    runs = [
        mini_vec2vec(made.x, made.y, restarts=2, centres=8, refinements=3, seed=seed).history
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_too_few_rows() -> None:
    with pytest.raises(ValueError, match="the y pool has 3 rows"):
        mini_vec2vec(np.eye(6), np.eye(3))
