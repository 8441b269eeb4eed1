"""Pins matching inside sets: plans, their limits, planted truth without a pair, bounded memory."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive
from scipy.optimize import linear_sum_assignment

from setclip.linear import sets as module
from setclip.linear.cca import cca
from setclip.linear.cross_covariance import from_pairs, from_sets
from setclip.linear.maps import Alignment, Principal, principal
from setclip.linear.procrustes import procrustes
from setclip.linear.sets import (
    PaddedSets,
    cross_from_sets,
    padded_batches,
    soft_matching,
)

Rows = list[tuple[np.ndarray, np.ndarray]]
counts = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=12)


def deal(sizes: list[tuple[int, int]], seed: int = 0) -> Rows:
    """Random rows for sets of these sizes, no row twice."""
    rng = np.random.default_rng(seed)
    x = rng.permutation(sum(a for a, _ in sizes))
    y = rng.permutation(sum(b for _, b in sizes))
    x_ends, y_ends = (np.cumsum([s[side] for s in sizes])[:-1] for side in (0, 1))
    return list(zip(np.split(x, x_ends), np.split(y, y_ends), strict=True))


def unit_cloud(n: int, d: int, seed: int) -> np.ndarray:
    return naive.unit(np.random.default_rng(seed).standard_normal((n, d)))


def test_padding_marks_what_is_real() -> None:
    padded = PaddedSets.of([(np.array([3]), np.array([0, 1])), (np.array([2, 0]), np.array([5]))])
    np.testing.assert_array_equal(padded.x_rows, [[3, -1], [2, 0]])
    np.testing.assert_array_equal(padded.y_rows, [[0, 1], [5, -1]])
    np.testing.assert_array_equal(
        padded.cells, [[[True, True], [False, False]], [[True, False], [True, False]]]
    )


@settings(deadline=None, max_examples=60)
@given(sizes=counts, budget=st.integers(1, 400), width=st.integers(1, 5))
def test_batches_hold_each_set_once_within_the_budget(
    sizes: list[tuple[int, int]], budget: int, width: int
) -> None:
    rows = deal(sizes)
    found = []
    for batch in padded_batches(rows, width=width, budget=budget):
        s, k_x, k_y = batch.cells.shape
        assert s == 1 or s * (k_x * k_y + width * (k_x + k_y)) <= budget
        for x, y in zip(batch.x_rows, batch.y_rows, strict=True):
            found.append((x[x >= 0].tolist(), y[y >= 0].tolist()))
    assert sorted(found) == sorted((x.tolist(), y.tolist()) for x, y in rows)


@settings(deadline=None, max_examples=40)
@given(sizes=counts, temperature=st.floats(0.01, 2.0), seed=st.integers(0, 99))
def test_plans_of_unequal_padded_sets_agree_with_a_loop(
    sizes: list[tuple[int, int]], temperature: float, seed: int
) -> None:
    rows = deal(sizes, seed)
    zx = unit_cloud(sum(a for a, _ in sizes), 3, seed)
    zy = unit_cloud(sum(b for _, b in sizes), 3, seed + 1)
    plans = soft_matching(zx, zy, PaddedSets.of(rows), temperature=temperature)
    for plan, (x, y) in zip(plans, rows, strict=True):
        expected = naive.transport_plan(zx[x] @ zy[y].T, temperature, module.SINKHORN_ROUNDS)
        np.testing.assert_allclose(plan[: len(x), : len(y)], expected, rtol=0, atol=1e-9)
        assert plan[len(x) :].sum() == plan[:, len(y) :].sum() == 0


def test_plans_spread_the_mass_evenly() -> None:
    """Each of the smaller side's items goes out whole; the larger side's all get the same."""
    zx, zy = unit_cloud(30, 4, 0), unit_cloud(20, 4, 1)
    rows = [(np.arange(6 * s, 6 * s + 6), np.arange(4 * s, 4 * s + 4)) for s in range(5)]
    plans = soft_matching(zx, zy, PaddedSets.of(rows), temperature=0.3)
    np.testing.assert_allclose(plans.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(plans.sum(axis=2), 4 / 6, rtol=1e-3)
    np.testing.assert_allclose(plans.sum(axis=(1, 2)), 4, rtol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_as_the_temperature_falls_the_plan_becomes_the_best_assignment(
    k: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SINKHORN_ROUNDS", 2000)  # cold plans converge slowly
    cosines = unit_cloud(k, 4, seed) @ unit_cloud(k, 4, seed + 1).T
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    best = cosines[rows, columns].sum()
    zx, zy = unit_cloud(k, 4, seed), unit_cloud(k, 4, seed + 1)
    padded = PaddedSets.of([(np.arange(k), np.arange(k))])
    values = []
    for temperature in (0.5, 0.05, 0.005):
        plan = soft_matching(zx, zy, padded, temperature=temperature)[0]
        values.append((plan * cosines).sum())
        # The entropy of a plan with k rows of mass 1 is at most k log k.
        assert best - temperature * k * np.log(k) - 1e-3 <= values[-1] <= best + 1e-3
    assert values[0] < values[-1]
    np.testing.assert_array_equal(plan.argmax(axis=1), columns)


def test_a_cold_plan_of_clear_partners_is_a_permutation() -> None:
    order = np.random.default_rng(0).permutation(8)
    z = unit_cloud(8, 16, 0)
    plan = soft_matching(
        z, z[order], PaddedSets.of([(np.arange(8), np.arange(8))]), temperature=1 / 300
    )[0]
    np.testing.assert_allclose(plan, np.eye(8)[order].T[np.argsort(order)][order], atol=1e-6)


def planted_sets(
    *, sets: int = 60, size: int = 6, strays: int = 0, noise: float = 0.05
) -> tuple[naive.Planted, Rows, Principal, Principal]:
    """Sets of consecutive rows; `strays` items of each are missing on the y side."""
    planted = naive.rotated_cloud(sets * size, 6, noise=noise)
    rng = np.random.default_rng(1)
    rows = [
        (rng.permutation(size) + size * s, rng.permutation(size)[: size - strays] + size * s)
        for s in range(sets)
    ]
    return planted, rows, principal(planted.x), principal(planted.y)


def fit(
    planted: naive.Planted,
    rows: Rows,
    x: Principal,
    y: Principal,
    *,
    pairs: int = 0,
    rounds: int,
    folds: int = 5,
) -> Alignment:
    coordinates = x(planted.x), y(planted.y)
    cross = cross_from_sets(
        partial(procrustes, x.inner(), y.inner()),
        (coordinates[0][:pairs], coordinates[1][:pairs]),
        coordinates,
        rows,
        rounds=rounds,
        temperature=0.1,
        folds=folds,
    )
    return procrustes(x, y, cross)


@pytest.mark.parametrize("strays", [0, 4])
def test_recovers_a_planted_rotation_without_a_pair(strays: int) -> None:
    planted, rows, x, y = planted_sets(sets=30, size=12, strays=strays, noise=0.2)
    start, end = (fit(planted, rows, x, y, rounds=r) for r in (0, 15))
    errors = [
        np.linalg.norm(found.x.weight @ found.y.weight.T - planted.rotation)
        for found in (start, end)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.2
    best = naive.recall_at_1((planted.x - 1) @ planted.rotation, planted.y + 2)
    assert naive.recall_at_1(end.x(planted.x), end.y(planted.y)) > best - 0.05


def test_without_rounds_it_is_the_set_sums_alone() -> None:
    planted, rows, x, y = planted_sets(sets=20)
    x_sets, y_sets = (np.empty(120, dtype=np.int64) for _ in range(2))
    for s, (xs, ys) in enumerate(rows):
        x_sets[xs], y_sets[ys] = s, s
    estimate, _ = from_sets(x(planted.x), y(planted.y), x_sets, y_sets)
    expected = procrustes(x, y, estimate)
    found = fit(planted, rows, x, y, rounds=0)
    np.testing.assert_allclose(found.x.weight, expected.x.weight, atol=1e-12)
    np.testing.assert_allclose(found.y.bias, expected.y.bias, atol=1e-12)


def test_pairs_and_sets_join_by_their_worth() -> None:
    """A closed form is given the cross-covariance itself, in every round, not a multiple of it."""
    planted, rows, x, y = planted_sets(sets=20)
    z = x(planted.x), y(planted.y)
    given: list[np.ndarray] = []

    def solve(cross: np.ndarray) -> Alignment:
        given.append(cross)
        return procrustes(x.inner(), y.inner(), cross)

    pairs = z[0][:30], z[1][:30]
    last = cross_from_sets(solve, pairs, z, rows, rounds=8, temperature=0.05, folds=1)
    ids = [np.argsort(np.concatenate([r[side] for r in rows])) // 6 for side in (0, 1)]
    estimate, worth = naive.set_cross_covariance(*z, *(i.tolist() for i in ids))
    expected = (pairs[0].T @ pairs[1] + worth * estimate) / (30 + worth)
    np.testing.assert_allclose(given[0], expected, atol=1e-12)
    known = (pairs[0].T @ pairs[1] + z[0].T @ z[1]) / (30 + 120)
    assert np.abs(last - known).max() < 0.05 * np.abs(known).max()
    assert len(given) == 8


@pytest.mark.parametrize("rounds", [0, 4])
def test_sets_of_one_are_pairs(rounds: int) -> None:
    planted, _, x, y = planted_sets(sets=20)
    ones = [(np.array([i]), np.array([i])) for i in np.random.default_rng(0).permutation(120)]
    found = fit(planted, ones, x, y, rounds=rounds)
    expected = procrustes(x, y, from_pairs(x(planted.x), y(planted.y)))
    np.testing.assert_allclose(
        found.x.weight @ found.y.weight.T, expected.x.weight @ expected.y.weight.T, atol=1e-9
    )


def test_no_set_is_matched_by_a_map_that_was_fitted_to_it() -> None:
    """Spoil one set: of the five maps of a round, the one that matches it is the same."""
    planted, rows, x, y = planted_sets(sets=30)
    z = x(planted.x), y(planted.y)
    none = z[0][:0], z[1][:0]

    def maps_of_the_first_round(spoilt: np.ndarray) -> list[np.ndarray]:
        given: list[np.ndarray] = []

        def solve(cross: np.ndarray) -> Alignment:
            given.append(cross)
            return procrustes(x.inner(), y.inner(), cross)

        cross_from_sets(solve, none, (spoilt, z[1]), rows, rounds=1, temperature=0.05, folds=5)
        return given[:5]

    spoilt = z[0].copy()
    spoilt[rows[7][0]] += 3
    pairs = zip(maps_of_the_first_round(z[0]), maps_of_the_first_round(spoilt), strict=True)
    assert sum(bool(np.array_equal(a, b)) for a, b in pairs) == 1


def naive_scores(
    alignment: Alignment,
    own: tuple[np.ndarray, np.ndarray],
    heard: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    neighbours: float,
) -> np.ndarray:
    """The mean of the three cosines of every pair, one pair at a time."""
    x, y = own
    x_near, x_partners, y_near, y_partners = heard
    ax, ay = (lambda z: naive.unit(alignment.x(z))), (lambda z: naive.unit(alignment.y(z)))
    x_like = (x @ x_near.T + ax(x) @ ax(x_near).T) / 2
    y_like = (y @ y_near.T + ay(y) @ ay(y_near).T) / 2

    def guesses(like: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """By the bandwidth at which the median row listens to so many, searched finely."""
        best, found = np.inf, like
        for width in np.geomspace(0.002, 2, 400):
            weights = np.exp((like - like.max(axis=1, keepdims=True)) / width)
            weights /= weights.sum(axis=1, keepdims=True)
            off = abs(np.median(1 / (weights**2).sum(axis=1)) - neighbours)
            if off < best:
                best, found = off, weights @ partners
        return found

    from_x, from_y = ay(guesses(x_like, x_partners)), ax(guesses(y_like, y_partners))
    return np.array(
        [
            [
                (ax(x)[i] @ ay(y)[j] + from_x[i] @ ay(y)[j] + ax(x)[i] @ from_y[j]) / 3
                for j in range(len(y))
            ]
            for i in range(len(x))
        ]
    )


def test_scores_are_the_mean_of_three_cosines() -> None:
    planted, _, x, y = planted_sets(sets=20, noise=0.5)
    zx, zy = (naive.unit(z) for z in (x(planted.x), y(planted.y)))
    alignment = procrustes(x.inner(), y.inner(), from_pairs(zx, zy))
    heard = (zx[30:], zy[30:] + 0.1, zy[20:], zx[20:] - 0.1)
    left, right = module._scored(
        alignment, zx[:10], zy[:12], module._Beliefs(*heard), neighbours=8.0
    )
    expected = naive_scores(alignment, (zx[:10], zy[:12]), heard, 8.0)
    np.testing.assert_allclose(left @ right.T, expected, atol=0.01)


def test_neighbours_of_the_same_kind_tell_apart_what_the_map_cannot() -> None:
    """Clusters whose partners follow no linear rule: only neighbours know what goes with what."""
    rng = np.random.default_rng(0)
    kinds, x_kinds, y_kinds = (
        rng.integers(0, 12, 600),
        rng.standard_normal((12, 8)),
        rng.standard_normal((12, 8)),
    )
    x = x_kinds[kinds] + 0.2 * rng.standard_normal((600, 8))
    y = y_kinds[kinds] + 0.2 * rng.standard_normal((600, 8))
    rows = [(rng.permutation(6) + 6 * s, rng.permutation(6) + 6 * s) for s in range(100)]
    px, py = principal(x, unit=True), principal(y, unit=True)
    none = px(x)[:0], py(y)[:0]
    right = []
    for neighbours in (0.0, 30.0):
        given: list[np.ndarray] = []

        def solve(cross: np.ndarray) -> Alignment:
            given.append(cross)  # noqa: B023
            return cca(px.inner(), py.inner(), cross, penalty=30.0)

        cross = cross_from_sets(
            solve, none, (px(x), py(y)), rows, rounds=8, temperature=0.05, neighbours=neighbours
        )
        truth = px(x).T @ py(y) / 600
        right.append(np.linalg.norm(cross - truth) / np.linalg.norm(truth))
    assert right[1] < 0.8 * right[0]


def test_a_set_never_hears_itself_and_hears_the_pairs() -> None:
    beliefs = [module._Beliefs(*(np.full((4, 2), float(part)),) * 4) for part in range(3)]
    pairs = np.full((2, 2), 7.0), np.full((2, 2), 8.0)
    heard = module._Beliefs.heard(pairs, beliefs, 1, np.random.default_rng(0))
    assert set(heard.x.ravel()) == {0.0, 2.0, 7.0}
    assert set(heard.x_partners.ravel()) == {0.0, 2.0, 8.0}
    assert set(heard.y.ravel()) == {0.0, 2.0, 8.0}
    assert set(heard.y_partners.ravel()) == {0.0, 2.0, 7.0}


def test_rows_that_are_heard_are_drawn_with_their_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARD", 10)
    numbers = np.arange(60.0).reshape(30, 2)
    belief = module._Beliefs(numbers, -numbers, numbers, -numbers)
    none = numbers[:0], numbers[:0]
    heard = module._Beliefs.heard(none, [belief, belief], 0, np.random.default_rng(0))
    assert len(heard.x) == len(heard.y) == 10
    np.testing.assert_array_equal(heard.x, -heard.x_partners)
    np.testing.assert_array_equal(heard.y, -heard.y_partners)
    assert not np.array_equal(heard.x, heard.y)


def test_one_part_hears_the_pairs_alone() -> None:
    """With two sets there is one part, which must not hear its own matches."""
    planted, rows, x, y = planted_sets(sets=3, size=8, noise=0.1)
    z = x(planted.x), y(planted.y)
    solve = partial(procrustes, x.inner(), y.inner())
    pairs = z[0][:6], z[1][:6]
    plain, hearing = (
        cross_from_sets(solve, given, z, rows, rounds=4, temperature=0.1, neighbours=5.0, folds=1)
        for given in ((z[0][:0], z[1][:0]), pairs)
    )
    alone = cross_from_sets(
        solve, (z[0][:0], z[1][:0]), z, rows, rounds=4, temperature=0.1, folds=1
    )
    np.testing.assert_array_equal(plain, alone)
    assert not np.allclose(hearing, alone)


def test_order_inside_and_among_sets_does_not_matter() -> None:
    planted, rows, x, y = planted_sets(sets=20)
    shuffled = [(xs[::-1], np.sort(ys)) for xs, ys in reversed(rows)]
    first, second = (fit(planted, r, x, y, rounds=5, folds=1) for r in (rows, shuffled))
    np.testing.assert_allclose(
        first.x.weight @ first.y.weight.T, second.x.weight @ second.y.weight.T, atol=1e-8
    )


def test_pairs_help_where_sets_are_few_and_large() -> None:
    planted, rows, x, y = planted_sets(sets=4, size=60, noise=0.3)
    alone, helped = (fit(planted, rows, x, y, pairs=pairs, rounds=10, folds=1) for pairs in (0, 40))
    new = naive.rotated_cloud(400, 6, noise=0.3)  # the same rotation, other noise
    recalls = [naive.recall_at_1(f.x(new.x[-100:]), f.y(new.y[-100:])) for f in (alone, helped)]
    assert recalls[1] > recalls[0] + 0.2


def test_wrong_sets_spoil_less_than_they_are() -> None:
    """One set in five holds the y items of another; the rotation is found all the same."""
    planted, rows, x, y = planted_sets()
    wrong = [(xs, rows[(s + 1) % 12][1] if s < 12 else ys) for s, (xs, ys) in enumerate(rows)]
    found = fit(planted, wrong, x, y, rounds=15)
    assert np.abs(found.x.weight @ found.y.weight.T - planted.rotation).max() < 0.1


def test_one_large_set_does_not_pad_the_small_ones() -> None:
    """500 sets of 4 padded to a set of 500 would need 1 GB a round."""
    planted = naive.rotated_cloud(2500, 4, noise=0.1)
    rows = [(np.arange(4 * s, 4 * s + 4),) * 2 for s in range(500)]
    rows.append((np.arange(2000, 2500),) * 2)
    x, y = principal(planted.x), principal(planted.y)
    coordinates = x(planted.x), y(planted.y)
    nothing = coordinates[0][:0], coordinates[1][:0]
    solve = partial(cca, x.inner(), y.inner(), penalty=1.0)
    tracemalloc.start()
    cross = cross_from_sets(solve, nothing, coordinates, rows, rounds=2, temperature=0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = cca(x, y, cross, penalty=1.0)
    assert peak < 100 << 20
    assert naive.recall_at_1(found.x(planted.x[:200]), found.y(planted.y[:200])) > 0.5
