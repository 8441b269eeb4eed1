"""Pins: planted rotations from zero pairs, robustly; the label-free score and agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference.planted import Planted, rotated_clouds

from setclip.linear import transport_procrustes as module
from setclip.linear.clouds import clouds
from setclip.linear.maps import AffineMap, Alignment
from setclip.linear.pools import entropic_plan
from setclip.linear.transport_procrustes import (
    _agreement,
    _Chain,
    _Job,
    transport_procrustes,
)
from setclip.losses.transport import sinkhorn

SMALL = {"restarts": 6, "centres": (15,), "candidates": 4, "steps": 20}


def recall(made: Planted, alignment: Alignment) -> float:
    return made.recall(alignment.x(made.x_test), alignment.y(made.y_test))


def truth(made: Planted) -> Alignment:
    """The rotation fitted to the test rows themselves."""
    both = clouds(made.x, made.y, x_pairs=made.x_test, y_pairs=made.y_test)
    return both.rotation(both.pair_cross)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", [{}, {"n": 200, "m": 330}, {"x_dim": 15}], ids=str)
def test_planted_rotation_from_zero_pairs(seed: int, shape: dict[str, int]) -> None:
    made = rotated_clouds(seed, **{"d": 12, **shape})
    found = transport_procrustes(made.x, made.y, **SMALL)
    assert recall(made, found.alignment) > 0.9
    # Disjoint samples leave the rotation a little open: no search ends better than the truth does.
    best = transport_procrustes(made.x, made.y, **SMALL, start=truth(made))
    assert recall(made, found.alignment) > recall(made, best.alignment) - 0.05
    assert 0 < found.score < 1
    assert 2 <= len(found.history) <= 20


def test_several_numbers_of_centres_stand_for_election() -> None:
    """More centres than classes cut round classes anywhere, and nothing matches."""
    made = rotated_clouds(1, n=500, m=500, d=12, noise=0.1, clusters=8)
    few = {**SMALL, "candidates": 3}
    many, both = (
        transport_procrustes(made.x, made.y, **{**few, "centres": centres})
        for centres in ((30,), (30, 8))
    )
    assert recall(made, many.alignment) < 0.1
    assert recall(made, both.alignment) > 0.4
    assert both.score > many.score + 0.05


def test_a_third_start_bears_out_the_better_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rotated_clouds(2, n=500, m=500, d=12, noise=0.1, clusters=10)
    options = {**SMALL, "candidates": 3, "centres": (30, 10)}
    found = transport_procrustes(made.x, made.y, **options)
    monkeypatch.setattr(module, "AGREED", 0.0)
    unasked = transport_procrustes(made.x, made.y, **options)
    assert unasked.agreement < 0.35 < 0.5 < found.agreement
    np.testing.assert_array_equal(unasked.alignment.x.weight, found.alignment.x.weight)


@pytest.mark.parametrize("seed", range(3))
def test_a_start_and_pairs_take_the_place_of_geometry(seed: int) -> None:
    made = rotated_clouds(seed, n=1000, m=1000, d=12)
    pairs = {"x_pairs": made.x_test[:8], "y_pairs": made.y_test[:8]}
    both = clouds(made.x, made.y, **pairs)
    start = both.rotation(both.pair_cross)
    found = transport_procrustes(made.x, made.y, **pairs, start=start, steps=30)
    assert recall(made, start) < 0.7
    assert recall(made, found.alignment) > 0.95
    assert np.isnan(found.agreement)


def test_score_is_low_where_there_is_no_rotation_to_find() -> None:
    made = rotated_clouds(0, d=12)
    shapeless = np.random.default_rng(0).normal(size=(400, 12))
    shared = transport_procrustes(made.x, made.y, **SMALL)
    unrelated = transport_procrustes(made.x, shapeless, **SMALL)
    assert shared.agreement > 0.4
    assert unrelated.score < shared.score - 0.2


def test_agreement_is_the_share_of_rows_with_the_same_neighbour() -> None:
    made = rotated_clouds(0, d=12)
    job = _Job(clouds(made.x, made.y), None, 300, np.random.default_rng(0), lambda *stage: None)
    first, second = (
        _Chain(np.random.default_rng(seed).normal(size=(12, 12)).astype(np.float32))
        for seed in range(2)
    )
    assert _agreement(job, [first, first]) == 1
    assert _agreement(job, [first, second]) < 0.1


def test_agreement_looks_at_all_kinds_of_sorted_pools() -> None:
    # Two maps that agree on the first kind, two thirds of the rows, and are opposite on the other.
    common = np.zeros((3 * module.LOOKED_AT // 2, 4))
    common[:, :2] = np.random.default_rng(0).normal(size=(len(common), 2))
    first = len(common) * 2 // 3
    common[first:] = np.roll(common[first:], 2, axis=1)
    identity = AffineMap(np.eye(4), np.zeros(4))
    turned = AffineMap(np.diag([1.0, 1.0, -1.0, -1.0]), np.zeros(4))
    one, two = Alignment(identity, identity), Alignment(identity, turned)
    assert module.agreement(one, two, common, common) == pytest.approx(2 / 3, abs=0.01)


def test_rank_cuts_wide_features() -> None:
    made = rotated_clouds(2, x_dim=40, y_dim=30)
    found = transport_procrustes(made.x, made.y, **SMALL, rank=6)
    assert found.alignment.x.weight.shape == (40, 6)
    assert recall(made, found.alignment) > 0.7


def test_seeds_and_progress() -> None:
    made = rotated_clouds(6, n=60, m=60)
    told = []
    runs = [
        transport_procrustes(
            made.x,
            made.y,
            restarts=3,
            centres=(8, 5),
            candidates=3,
            steps=4,
            seed=seed,
            progress=lambda *stage: told.append(stage),
        )
        for seed in (1, 1, 2)
    ]
    assert runs[0].history == runs[1].history != runs[2].history
    assert {stage for stage, _, _ in told} == {"starts", "trials", "climb", "finish"}
    assert all(done <= total for _, done, total in told)


def test_rough_plan_is_the_entropic_plan() -> None:
    z = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    scores = z[:50] @ z[50:].T
    plan = entropic_plan(scores, 0.1, rounds=50, tolerance=0.05)
    exact = sinkhorn(torch.from_numpy(scores), epsilon=0.1).plan().numpy()
    assert np.abs(plan - exact).sum() < 0.1
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 40, rtol=1e-4)
    sharp = entropic_plan(scores, 0.003, rounds=50, tolerance=0.05)
    assert np.isfinite(sharp).all()
    np.testing.assert_allclose(sharp.sum(axis=0), 1 / 40, rtol=1e-3)


def test_four_rows_a_side_run_through() -> None:
    made = rotated_clouds(0, n=4, m=5)
    found = transport_procrustes(made.x, made.y, **SMALL)
    assert np.isfinite(found.alignment.x.weight).all()


@pytest.mark.filterwarnings("error")
def test_pools_of_two_points_show_no_covariance_and_are_still_laid_onto_each_other() -> None:
    x = np.eye(2)[np.arange(8) % 2]
    maps = transport_procrustes(x, x).alignment
    assert abs(maps.x(x) @ maps.y(x).T) == pytest.approx(np.full((8, 8), 0.5))
