"""Pins tuning: folds that hold out what they say, and a rank that nothing degenerate can win."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive

from setclip.data.pools import NO_SET, Pools, make_pools
from setclip.methods import tuning
from setclip.methods.tuning import (
    Fold,
    chance_log_rank,
    clearly_better,
    log_rank,
    log_ranks,
    make_folds,
    unit_means,
)


def numbered(pairs: int, sets: list[int], strays: int = 0) -> Pools:
    """Items are told apart by their first feature: x from 1 up, y from -1 down.

    Set s holds ``sets[s]`` items on either side; `strays` items a side stand in no set.
    """
    ids = np.concatenate([np.repeat(np.arange(len(sets)), sets), np.full(strays, NO_SET)])
    x = np.arange(1.0, pairs + len(ids) + 1)[:, None] * [1.0, 0.5]
    return make_pools(
        x[:pairs],
        -x[:pairs],
        x_pool=x[pairs:],
        y_pool=-x[pairs:],
        x_sets=ids,
        y_sets=ids,
    )


def names(side: np.ndarray) -> list[int]:
    return np.abs(side[:, 0]).astype(int).tolist()


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.integers(0, 12),
    sets=st.lists(st.integers(1, 4), max_size=8),
    strays=st.integers(0, 5),
    folds=st.integers(2, 6),
    seed=st.integers(0, 9),
)
def test_folds_hold_out_pairs_and_whole_sets(
    pairs: int, sets: list[int], strays: int, folds: int, seed: int
) -> None:
    pools = numbered(pairs, sets, strays)
    found = make_folds(pools, folds, seed=seed)
    held = []
    for fold in found:
        kept = {*names(fold.train.x_pairs), *names(fold.train.x_pool)}
        for side, units, everything in (
            (fold.x, fold.x_units, pools.all_x()),
            (fold.y, fold.y_units, pools.all_y()),
        ):
            asked = {n for n, u in zip(names(side), units, strict=True) if u != NO_SET}
            distractors = {n for n, u in zip(names(side), units, strict=True) if u == NO_SET}
            # What is asked for is in no way seen; what is seen are the distractors.
            assert asked.isdisjoint(kept)
            assert asked | kept == set(names(everything))
            assert distractors == kept
        held.append(asked)
        assert names(fold.train.x_pairs) == names(fold.train.y_pairs)
        assert set(fold.train.shared_sets) <= set(pools.shared_sets)
        assert fold.train.n_pairs >= 3 or len(fold.train.shared_sets) >= 2
        for unit in set(fold.x_units) - {NO_SET}:
            members = [
                names(s[u == unit]) for s, u in ((fold.x, fold.x_units), (fold.y, fold.y_units))
            ]
            assert sorted(members[0]) == sorted(members[1])
            assert len(members[0]) == (
                1
                if unit < pairs and members[0][0] <= pairs
                else sets[pools.x_sets[names(pools.x_pool).index(members[0][0])]]
            )
    assert sum(map(len, held)) == len(set().union(*held))  # nothing is held out twice
    if pairs >= folds and pairs - -(-pairs // folds) >= 3:
        assert len(found) == folds
        assert set(range(1, pairs + 1)) <= set().union(*held)


@pytest.mark.parametrize(
    ("pairs", "sets", "expected"),
    [(0, [], 0), (1, [3], 0), (3, [], 0), (3, [3], 0), (4, [], 4), (0, [2, 2], 0), (0, [2] * 3, 3)],
)
def test_a_fold_leaves_enough_to_learn_from(pairs: int, sets: list[int], expected: int) -> None:
    assert len(make_folds(numbered(pairs, sets), 5)) == expected


def test_a_fold_that_leaves_equal_captions_is_left_out() -> None:
    x = np.random.default_rng(0).standard_normal((4, 2))
    same = make_pools(x, [[1.0], [1.0], [1.0], [2.0]])  # without the last, all y are one
    assert len(make_folds(same, 4)) == 3
    assert make_folds(make_pools(x, [[1.0]] * 4), 4) == []


def test_folds_follow_their_seed() -> None:
    pools = numbered(10, [2] * 5)
    first, again, other = (make_folds(pools, 3, seed=s) for s in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y_units, b.y_units)
    assert any(not np.array_equal(a.x, c.x) for a, c in zip(first, other, strict=True))


def test_sets_may_be_kept_whole() -> None:
    pools = numbered(10, [2] * 5)
    found = make_folds(pools, 3, hold_sets=False)
    assert len(found) == 3
    for fold in found:
        assert fold.train.x_pool is pools.x_pool
        assert len(fold.train.shared_sets) == 5
        assert 3 <= 10 - fold.train.n_pairs <= 4


def test_one_pair_or_set_shows_nothing() -> None:
    assert not clearly_better(np.array([1.0]), np.array([5.0]), errors=0.0)
    assert clearly_better(np.array([1.0, 1.0]), np.array([5.0, 5.0]))


def test_chance_is_the_mean_of_the_log_ranks_of_guessing() -> None:
    pools = numbered(6, [], strays=30)
    (fold, *_) = make_folds(pools, 3)
    rng = np.random.default_rng(0)
    guessed = [
        log_rank(
            fold,
            lambda x: rng.standard_normal((len(x), 4)),
            lambda y: rng.standard_normal((len(y), 4)),
        )
        for _ in range(1000)
    ]
    assert chance_log_rank(fold) == pytest.approx(np.mean(guessed), abs=0.08)


def test_folds_share_the_pools_that_they_hold_nothing_of() -> None:
    pools = numbered(10, [], strays=30)
    assert all(fold.train.x_pool is pools.x_pool for fold in make_folds(pools, 3))


def test_distractors_are_few_and_drawn_from_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "DISTRACTORS", 7)
    drawn: set[int] = set()
    for fold in make_folds(numbered(40, [], strays=40), 5):
        others = names(fold.x[fold.x_units == NO_SET])
        assert len(others) == 7
        drawn.update(others)
    assert min(drawn) <= 40 < max(drawn)


def small_fold() -> Fold:
    """Two pairs, a set of two x and one y, a distractor a side."""
    return Fold(
        numbered(2, []),
        x=np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0], [0.75, 0.6]], dtype=np.float32),
        y=np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [1, 0.05]], dtype=np.float32),
        x_units=np.array([0, 1, 5, 5, -1]),
        y_units=np.array([0, 1, 5, -1]),
    )


def test_ranks_by_hand() -> None:
    fold = small_fold()
    ranks = log_ranks(fold, lambda z: 3 * z, lambda z: 0.5 * z)
    zx, zy = naive.unit(fold.x), naive.unit(fold.y)
    cosines = zx @ zy.T
    ahead = [
        (cosines[0] > cosines[0, 0]).sum(),
        (cosines[1] > cosines[1, 1]).sum(),
        (cosines[2] > cosines[2, 2]).sum(),
        (cosines[3] > cosines[3, 2]).sum(),
        (cosines[:, 0] > cosines[0, 0]).sum(),
        (cosines[:, 1] > cosines[1, 1]).sum(),
        (cosines[:, 2] > cosines[2, 2]).sum(),  # the nearer of its set's two x counts
    ]
    np.testing.assert_allclose(ranks, np.log2(1 + np.array(ahead)))
    assert ahead == [1, 0, 0, 1, 0, 0, 1]
    assert log_rank(fold, lambda z: z, lambda z: z) == pytest.approx(np.mean(ranks))


def test_the_items_of_a_pair_or_set_are_one_observation() -> None:
    fold = small_fold()
    a, b, s0, s1, ya, yb, ys = log_ranks(fold, lambda z: z, lambda z: z)
    np.testing.assert_allclose(
        unit_means(fold, np.array([a, b, s0, s1, ya, yb, ys])),
        [(a + ya) / 2, (b + yb) / 2, (s0 + s1 + ys) / 3],
    )


def test_a_limit_makes_the_first_folds_alone() -> None:
    pools = numbered(9, [2] * 4)
    whole = make_folds(pools, 3, seed=2)
    (first,) = make_folds(pools, 3, seed=2, limit=1)
    np.testing.assert_array_equal(first.x, whole[0].x)
    np.testing.assert_array_equal(first.y_units, whole[0].y_units)


def test_a_perfect_space_is_zero() -> None:
    x = np.eye(6, dtype=np.float32)
    fold = Fold(numbered(2, []), x, x, np.arange(6), np.arange(6))
    assert log_rank(fold, lambda z: z, lambda z: z) == 0


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_degenerate_space_beats_an_honest_one(value: float) -> None:
    """Constant, zero and NaN embeddings rank last, or picking by rank would pick them."""
    fold = small_fold()
    found = log_ranks(fold, lambda z: np.full((len(z), 3), value), lambda z: z[:, [0, 1, 1]])
    # From y all x are alike: last but for those of the own set. From one x, the y still differ.
    np.testing.assert_allclose(found[4:], np.log2([5, 5, 4]))
    if value != 1.0:
        np.testing.assert_allclose(found[:4], np.log2([4, 4, 4, 4]))
    assert log_rank(fold, lambda z: z, lambda z: z) < found.mean()


def test_ranks_do_not_depend_on_how_many_queries_are_scored_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 40, 6))
    data = make_pools(x, y, x_pool=rng.standard_normal((30, 6)))
    fold = make_folds(data, 4, seed=0)[0]
    whole = log_ranks(fold, lambda z: z, lambda z: z)
    monkeypatch.setattr(tuning, "BLOCK_SCORES", 100)
    np.testing.assert_array_equal(log_ranks(fold, lambda z: z, lambda z: z), whole)
