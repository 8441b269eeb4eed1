"""Pins mutual k-NN and CKA against loops, their laws, and what the verdict says when."""

from __future__ import annotations

import numpy as np
import pytest
from reference import evaluation as naive

from setclip.evaluation import alignability, linear_cka, mutual_knn
from setclip.evaluation.alignability import Alignability, MutualKnn
from setclip.evaluation.intervals import Interval


def views(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two wider linear views of one latent cloud."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 10))
    x = latent @ rng.standard_normal((10, 40)) / 3
    y = latent @ rng.standard_normal((10, 60)) / 3
    return x + noise * rng.standard_normal(x.shape), y + noise * rng.standard_normal(y.shape)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_mutual_knn_agrees_with_a_loop(k: int) -> None:
    x, y = views(40, 0.5)
    found = mutual_knn(x, y, k=k, block=9)
    assert found.overlap.mean == pytest.approx(naive.mutual_knn(x, y, k))
    assert found.overlap.low < found.overlap.mean < found.overlap.high
    assert found.chance == k / 39


def test_mutual_knn_is_chance_for_unrelated_and_for_collapsed_spaces() -> None:
    unrelated = [
        mutual_knn(*np.random.default_rng(seed).standard_normal((2, 80, 20))) for seed in range(60)
    ]
    above_chance = [found.overlap.mean - found.chance for found in unrelated]
    assert np.mean(above_chance) == pytest.approx(0, abs=0.005)
    false_alarms = sum(found.overlap.low > found.chance for found in unrelated)
    assert false_alarms <= 6
    collapsed = mutual_knn(np.ones((30, 4)), np.ones((30, 7)))
    assert collapsed.overlap.mean == pytest.approx(collapsed.chance)


def test_mutual_knn_is_one_for_a_rotated_copy() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 8))
    turned = 5 * x @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert mutual_knn(x, turned).overlap.mean == pytest.approx(1)


@pytest.mark.parametrize("n", [12, 20, 30, 60])
def test_rows_that_are_all_equally_far_apart_have_no_cka(n: int) -> None:
    one_hot, y = np.eye(n), np.random.default_rng(0).standard_normal((n, 5))
    assert np.isnan(linear_cka(one_hot, y))
    assert np.isnan(linear_cka(y, one_hot))
    found = alignability(one_hot, y)
    assert found.cka is None
    assert "CKA not defined" in found.verdict


@pytest.mark.parametrize("widths", [(3, 4), (30, 50)])
def test_cka_agrees_with_its_definitions(widths: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, widths[0])) + 1
    y = np.tanh(x[:, :1] + rng.standard_normal((9, widths[1])))
    by_quadruples = naive.unbiased_hsic(x, y) / np.sqrt(
        naive.unbiased_hsic(x, x) * naive.unbiased_hsic(y, y)
    )
    assert linear_cka(x, y) == pytest.approx(by_quadruples, rel=1e-8)
    assert linear_cka(x, y, debiased=False) == pytest.approx(naive.cka(x, y), rel=1e-8)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_ignores_rotation_scale_shift_and_order(debiased: bool) -> None:
    x, y = views(50, 1.0)
    rng = np.random.default_rng(1)
    turn, order = np.linalg.qr(rng.standard_normal((40, 40)))[0], rng.permutation(50)
    plain = linear_cka(x, y, debiased=debiased)
    moved = linear_cka(1e12 * x[order] @ turn, 1e-12 * y[order] + 1e-9, debiased=debiased)
    assert moved == pytest.approx(plain, rel=1e-6)
    assert linear_cka(x, 3 * x @ turn - 2, debiased=debiased) == pytest.approx(1)
    assert linear_cka(y, x, debiased=debiased) == pytest.approx(plain)


def test_only_the_debiased_cka_is_near_zero_for_unrelated_wide_features() -> None:
    rng = np.random.default_rng(0)
    found = [
        (linear_cka(x, y), linear_cka(x, y, debiased=False))
        for x, y in (rng.standard_normal((2, 30, 500)) for _ in range(20))
    ]
    debiased, plain = np.mean(found, axis=0)
    assert abs(debiased) < 0.05
    assert plain > 0.8


@pytest.mark.parametrize("n", [10, 40, 300])
def test_verdicts_follow_the_planted_geometry(n: int) -> None:
    much = alignability(*views(n, 0.05))
    assert much.level == "much"
    assert much.pairs == n
    assert much.mutual_knn is not None
    assert much.mutual_knn.k == min(10, n // 5)
    assert much.verdict.startswith(f"Much shared geometry over {n} pairs (neighbour overlap ")
    unrelated = alignability(*np.random.default_rng(0).standard_normal((2, n, 25)))
    assert unrelated.level in ("none", "unknown")
    assert unrelated.shared == pytest.approx(0, abs=0.2)


def test_level_falls_as_noise_grows() -> None:
    levels = [alignability(*views(400, noise)).level for noise in (0.05, 0.8, 2.0, 50.0)]
    assert levels == ["much", "some", "little", "none"]


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_pairs_give_no_verdict(n: int) -> None:
    found = alignability(np.ones((n, 4)), np.ones((n, 3)))
    assert found.level == "unknown"
    assert found.shared is None
    assert found.verdict == (
        f"Whether the two spaces share geometry cannot be told from {n} pairs; "
        "10 or more would show it."
    )


@pytest.mark.parametrize(
    ("interval", "level", "opening"),
    [
        (Interval(0.50, 0.45, 0.55), "much", "Much shared geometry"),
        (Interval(0.25, 0.21, 0.29), "some", "Some shared geometry"),
        (Interval(0.15, 0.13, 0.17), "little", "Little shared geometry"),
        (Interval(0.11, 0.09, 0.13), "none", "No shared geometry"),
        (Interval(0.20, 0.09, 0.31), "unknown", "Whether the two spaces share geometry"),
    ],
)
def test_thresholds_and_sentences(interval: Interval, level: str, opening: str) -> None:
    found = Alignability(90, MutualKnn(interval, chance=0.1, k=9), cka=0.3)
    assert found.level == level
    assert found.verdict.startswith(opening)
    assert f"{interval:.2f} against 0.10 by chance, CKA 0.30" in found.verdict
    assert found.verdict.count(".") - found.verdict.count("0.") == 1


@pytest.mark.parametrize(("high", "expected"), [(0.40, False), (0.42, True)])
def test_what_an_interval_leaves_room_for(high: float, expected: bool) -> None:
    """Much is 0.35 above chance: an overlap of 0.415 where chance is 0.1."""
    measured = MutualKnn(Interval(0.25, 0.05, high), chance=0.1, k=9)
    assert Alignability(90, measured, cka=0.3).may_be_much == expected
    assert Alignability(5, None, None).may_be_much


def test_many_pairs_are_sampled() -> None:
    x, y = views(300, 0.5)
    found = alignability(x, y, cap=100)
    assert found.pairs == 300
    assert found.mutual_knn is not None
    assert found.mutual_knn.chance == 10 / 99


def test_a_bad_row_is_named_as_the_caller_counts() -> None:
    x, y = views(60, 0.5)
    x[57] = 0
    with pytest.raises(ValueError, match="x has 1 rows of norm zero, the first is row 57"):
        alignability(x, y, cap=30)


def test_what_cannot_be_measured_is_refused() -> None:
    z = np.random.default_rng(0).standard_normal((12, 3))
    with pytest.raises(ValueError, match="x has 12 rows, y has 11 rows"):
        alignability(z, z[:11])
    with pytest.raises(ValueError, match="do not vary"):
        linear_cka(z, np.ones((12, 2)))
    with pytest.raises(ValueError, match="3 pairs: this estimate of CKA needs 4"):
        linear_cka(z[:3], z[:3])
    with pytest.raises(ValueError, match="k is 12 for 12 items"):
        mutual_knn(z, z, k=12)
