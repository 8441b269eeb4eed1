"""The energy test: its statistic, its level under no shift, its power, and degenerate samples."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.evaluation.shift import energy_test


def naive_energy(u: np.ndarray, v: np.ndarray) -> float:
    def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.sqrt(((p - q) ** 2).sum()) for q in b] for p in a]))

    return 2 * mean_distance(u, v) - mean_distance(u, u) - mean_distance(v, v)


def test_it_is_the_rank_of_the_energy_distance_among_permutations() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(5, 3)), rng.normal(0.4, 1.0, size=(7, 3))
    both = np.concatenate([u, v])
    both -= both.mean(axis=0)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    observed = naive_energy(both[:5], both[5:])
    draws = np.random.default_rng(3)
    at_least = 0
    for _ in range(49):
        labels = draws.permutation(np.repeat([1 / 5, -1 / 7], [5, 7])) > 0
        at_least += naive_energy(both[labels], both[~labels]) >= observed - 1e-12
    assert energy_test(u, v, permutations=49, seed=3) == pytest.approx((1 + at_least) / 50)


def test_one_distribution_is_refused_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    values = [
        energy_test(rng.normal(size=(15, 8)), rng.normal(size=(60, 8)), permutations=99, seed=trial)
        for trial in range(200)
    ]
    assert 0.01 <= np.mean(np.array(values) <= 0.05) <= 0.10
    assert 0.4 <= np.mean(values) <= 0.6


def test_other_classes_are_seen_with_fifty_rows() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(6, 16)) * 2
    every, some = (
        centres[rng.choice(classes, n)] + rng.normal(size=(n, 16))
        for classes, n in ((6, 50), (3, 400))
    )
    assert energy_test(every, some) == pytest.approx(1 / 200)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scale_and_rotation_of_both_do_not_matter(scale: float) -> None:
    rng = np.random.default_rng(4)
    u, v = rng.normal(size=(20, 5)), rng.normal(0.3, 1.0, size=(30, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0] * scale
    assert energy_test(u @ turn, v @ turn) == pytest.approx(energy_test(u, v))


def test_equal_rows_and_single_rows_are_no_shift() -> None:
    assert energy_test(np.ones((4, 3)), np.ones((6, 3))) == 1.0
    assert energy_test(np.ones((1, 3)), np.eye(3)) > 0.05


def test_widths_must_agree() -> None:
    with pytest.raises(ValueError, match="first"):
        energy_test(np.ones((4, 3)), np.ones((4, 2)))
