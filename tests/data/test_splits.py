"""Pins splits: no near-duplicate across them, seeds, and what each condition lets a method know."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setclip.data.pools import NO_SET, Pools
from setclip.data.splits import (
    Condition,
    draw_pools,
    draw_rows_of_pools,
    near_duplicate_groups,
    near_duplicates_of,
    one_per_group,
    single_pairs,
    split_by_group,
)


def clumps(n: int, seed: int, d: int = 3) -> np.ndarray:
    """Rows around a few directions, many of them near-duplicates."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(n // 3, 1), d))
    rows = centres[rng.integers(0, len(centres), n)] + 0.2 * rng.standard_normal((n, d))
    return rows.astype(np.float32)


def linked(rows: np.ndarray, i: int, j: int, threshold: float) -> bool:
    a, b = rows[i].astype(np.float64), rows[j].astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) > threshold


def components(n: int, links: set[tuple[int, int]]) -> set[frozenset[int]]:
    """Groups by relabelling until nothing changes."""
    label = list(range(n))
    changed = True
    while changed:
        changed = False
        for i, j in links:
            low = min(label[i], label[j])
            changed |= label[i] != low or label[j] != low
            label[i] = label[j] = low
    return {frozenset(i for i in range(n) if label[i] == name) for name in set(label)}


def as_sets(groups: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == g).tolist()) for g in set(groups.tolist())}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1, 7, 2048])
def test_groups_are_the_components_of_all_links(seed: int, block: int) -> None:
    n = 40
    x, y = clumps(n, seed), clumps(n, seed + 100, d=4)
    key = np.random.default_rng(seed).integers(0, 30, n)
    links = {
        (i, j)
        for i, j in itertools.combinations(range(n), 2)
        if linked(x, i, j, 0.98) or linked(y, i, j, 0.98) or key[i] == key[j]
    }
    found = near_duplicate_groups(x, y, threshold=0.98, keys=[key], block=block)
    assert as_sets(found) == components(n, links)
    assert 1 < len(as_sets(found)) < n


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 1000), st.sampled_from([1, 3, 100]))
@settings(max_examples=40, deadline=None)
def test_near_duplicates_are_found_in_any_block(n: int, m: int, seed: int, block: int) -> None:
    rows = clumps(n + m, seed)
    found = near_duplicates_of(rows[:n], rows[n:], threshold=0.8, block=block)
    expected = [any(linked(rows, i, n + j, 0.8) for j in range(m)) for i in range(n)]
    assert found.tolist() == expected


@pytest.mark.parametrize("threshold", [1.0, np.inf])
def test_from_a_cosine_of_1_on_nothing_is_near(threshold: float) -> None:
    # In float32 the cosine of a row with itself may come out above 1.
    rows = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
    twice = np.concatenate([rows, rows])
    assert len(set(near_duplicate_groups(twice, threshold=threshold))) == 80
    assert not near_duplicates_of(rows, rows, threshold=threshold).any()


def test_pairs_with_a_side_in_common_are_one() -> None:
    x, y = (np.array(rows, dtype=np.float32)[:, None] for rows in ([0, 0, 1, 2], [5, 6, 6, 7]))
    assert single_pairs(x, y).tolist() == [0, 3]
    assert single_pairs(x[:0], y[:0]).tolist() == []


def test_groups_know_length_from_direction_and_names_from_numbers() -> None:
    x = np.array([[1, 0], [5, 0.1], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
    assert as_sets(near_duplicate_groups(x)) == {
        frozenset({0, 1}),
        *map(frozenset, ([2], [3], [4])),
    }
    named = near_duplicate_groups(keys=[["cat", "dog", "cat", "emu", "dog"]])
    assert as_sets(named) == {frozenset({0, 2}), frozenset({1, 4}), frozenset({3})}


@pytest.mark.parametrize(("arrays", "sizes"), [((2, 3), r"\[2, 3\]"), ((), r"\[\]")])
def test_groups_need_one_count_of_rows(arrays: tuple[int, ...], sizes: str) -> None:
    with pytest.raises(ValueError, match=f"describe {sizes} rows: give at least one"):
        near_duplicate_groups(*(np.ones((n, 2), dtype=np.float32) for n in arrays))


@pytest.mark.parametrize("seed", range(5))
def test_no_near_duplicate_crosses_the_split(seed: int) -> None:
    x, y = clumps(60, seed), clumps(60, seed + 100)
    groups = near_duplicate_groups(x, y, threshold=0.98)
    train, test = split_by_group(groups, test_fraction=0.3, seed=seed)
    crossing = [
        (i, j) for i in train for j in test if linked(x, i, j, 0.98) or linked(y, i, j, 0.98)
    ]
    assert crossing == []
    inside = itertools.combinations(range(60), 2)
    assert any(linked(x, i, j, 0.98) for i, j in inside)  # there was something to keep together


@settings(deadline=None, max_examples=80)
@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_split_deals_whole_groups(groups: list[int], fraction: float, seed: int) -> None:
    train, test = split_by_group(groups, test_fraction=fraction, seed=seed)
    ids = np.array(groups)
    assert sorted([*train, *test]) == list(range(len(groups)))
    assert not set(ids[train]) & set(ids[test])
    assert len(train)
    assert len(test)
    counts = np.unique(ids, return_counts=True)[1]
    # Groups are dealt while they fit; what would still fit is never left out.
    room = max(fraction * len(ids), counts.min()) - len(test)
    assert room >= -1e-9
    left = np.unique(ids[train], return_counts=True)[1]
    assert (left > room - 1e-9).all()


def test_split_follows_its_seed() -> None:
    groups = np.arange(50) // 2
    first, again, other = (split_by_group(groups, seed=s)[1] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == 10


def test_a_giant_group_stays_in_training() -> None:
    groups = np.array([0] * 90 + list(range(1, 11)))
    for seed in range(10):
        train, test = split_by_group(groups, test_fraction=0.2, seed=seed)
        assert set(range(90)) <= set(train)
        assert len(test) == 10


def test_split_refuses_one_group_and_odd_shares() -> None:
    with pytest.raises(ValueError, match="all 4 rows are one group, nothing can be held out"):
        split_by_group([3, 3, 3, 3])
    for fraction in (0, 1, -0.2, 1.5):
        with pytest.raises(ValueError, match=f"test_fraction is {fraction}, must lie between"):
            split_by_group([1, 2], test_fraction=fraction)


@settings(deadline=None, max_examples=50)
@given(groups=st.lists(st.integers(0, 9), min_size=1, max_size=40), seed=st.integers(0, 3))
def test_gallery_has_one_of_each_group(groups: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).permutation(len(groups))[: len(groups) // 2 + 1]
    kept = one_per_group(rows, groups, seed=seed)
    assert set(kept) <= set(rows)
    assert (np.diff(kept) > 0).all()
    assert sorted(groups[i] for i in kept) == sorted({groups[i] for i in rows})


def test_gallery_follows_its_seed() -> None:
    groups, rows = np.zeros(100, dtype=np.int64), np.arange(100)
    kept = [int(one_per_group(rows, groups, seed=s)[0]) for s in (0, 0, 1, 2, 3)]
    assert kept[0] == kept[1]
    assert len(set(kept)) > 2


N = 60
# One feature a side that names the item: x counts up, y down, so that items can be told apart.
X = np.stack([np.arange(N), np.ones(N)], axis=1).astype(np.float32)
Y = -X
TRAIN = np.arange(0, N, 2)
CONCEPTS = np.arange(N) // 8


def items(side: np.ndarray) -> list[int]:
    return np.abs(side[:, 0]).astype(int).tolist()


def drawn(condition: Condition, *, pairs: int = 6, seed: int = 0, set_size: int = 5) -> Pools:
    return draw_pools(
        X,
        Y,
        TRAIN,
        pairs=pairs,
        condition=condition,
        seed=seed,
        set_size=set_size,
        concepts=CONCEPTS,
    )


@pytest.mark.parametrize("condition", get_args(Condition))
def test_pairs_match_and_everything_is_of_the_training_part(condition: Condition) -> None:
    pools = drawn(condition)
    assert items(pools.x_pairs) == items(pools.y_pairs)
    assert pools.n_pairs == 6
    pooled = set(items(pools.x_pool)) | set(items(pools.y_pool))
    assert set(items(pools.x_pairs)) | pooled == set(TRAIN.tolist())
    assert not set(items(pools.x_pairs)) & pooled


def test_disjoint_pools_share_no_item() -> None:
    pools = drawn("disjoint")
    x, y = items(pools.x_pool), items(pools.y_pool)
    assert not set(x) & set(y)
    assert len(x) == len(y) == 12
    assert len(pools.shared_sets) == 0


def test_overlapping_pools_hold_the_same_items_in_unrelated_orders() -> None:
    pools = drawn("overlapping")
    x, y = items(pools.x_pool), items(pools.y_pool)
    assert sorted(x) == sorted(y)
    assert len(set(x)) == 24
    assert sum(a == b for a, b in zip(x, y, strict=True)) < 6
    assert len(pools.shared_sets) == 0


@pytest.mark.parametrize("set_size", [1, 5, 100])
def test_sets_hold_the_same_items_on_both_sides(set_size: int) -> None:
    pools = drawn("sets", set_size=set_size)
    x, y = np.array(items(pools.x_pool)), np.array(items(pools.y_pool))
    sizes = []
    for s in pools.shared_sets:
        of_x, of_y = x[pools.x_sets == s], y[pools.y_sets == s]
        assert set(of_x) == set(of_y)
        sizes.append(len(of_x))
    assert sorted(sizes, reverse=True)[:-1] == [set_size] * (len(sizes) - 1)
    assert sum(sizes) == 24
    assert NO_SET not in pools.x_sets
    # Neither order nor position in the set gives the partner away.
    assert (x == y).mean() < 0.3


@pytest.mark.parametrize("condition", get_args(Condition))
def test_pools_follow_their_seed_and_fewer_pairs_are_among_more(condition: Condition) -> None:
    first, again, other = (drawn(condition, seed=s) for s in (3, 3, 4))
    for name, array in vars(first).items():
        np.testing.assert_array_equal(array, vars(again)[name])
    assert items(first.x_pairs) != items(other.x_pairs)
    assert items(drawn(condition, pairs=20, seed=3).x_pairs)[:6] == items(first.x_pairs)


@pytest.mark.parametrize("condition", get_args(Condition))
def test_rows_name_the_items_of_the_pools(condition: Condition) -> None:
    rows = draw_rows_of_pools(
        TRAIN, pairs=6, condition=condition, set_size=5, concepts=CONCEPTS, seed=1
    )
    pools, other = drawn(condition, seed=1), rows.pools(X, Y)
    for array, expected in zip(pools.arrays, other.arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert items(pools.x_pairs) == rows.pairs.tolist()
    assert items(pools.x_pool) == rows.x_pool.tolist()
    assert items(pools.y_pool) == rows.y_pool.tolist()


def test_concept_sets_are_overlapping_pools_whose_sets_are_the_concepts() -> None:
    pools, plain = drawn("concept-sets"), drawn("overlapping")
    assert items(pools.x_pool) == items(plain.x_pool)
    assert items(pools.y_pool) == items(plain.y_pool)
    for rows, sets in ((pools.x_pool, pools.x_sets), (pools.y_pool, pools.y_sets)):
        concepts = CONCEPTS[items(rows)]
        np.testing.assert_array_equal(
            sets[:, None] == sets, concepts[:, None] == concepts, strict=True
        )
    assert len(pools.shared_sets) == len(set(CONCEPTS[items(pools.x_pool)].tolist()))


def test_a_concept_of_one_item_is_no_set_and_never_becomes_one() -> None:
    concepts = np.r_[np.arange(40), np.full(8, 40), np.full(12, 41)]
    rows = draw_rows_of_pools(
        np.arange(60), pairs=0, condition="concept-sets", concepts=concepts, wrong_ids=1.0
    )
    for pool, sets in ((rows.x_pool, rows.x_sets), (rows.y_pool, rows.y_sets)):
        np.testing.assert_array_equal(sets == NO_SET, concepts[pool] < 40)
        # Two sets and every id wrong: each row is filed under the other one.
        assert set(zip(concepts[pool], sets, strict=True)) - {(c, NO_SET) for c in range(40)} == {
            (40, 1),
            (41, 0),
        }


MANY = np.arange(3000)


def faulty(*, strays: float = 0.0, wrong_ids: float = 0.0, set_size: int = 16, seed: int = 0):
    return draw_rows_of_pools(
        MANY,
        pairs=40,
        condition="sets",
        set_size=set_size,
        strays=strays,
        wrong_ids=wrong_ids,
        seed=seed,
    )


def true_sets(set_size: int, seed: int = 0) -> dict[int, int]:
    clean = faulty(set_size=set_size, seed=seed)
    return dict(zip(clean.x_pool.tolist(), clean.x_sets.tolist(), strict=True))


@pytest.mark.parametrize("set_size", [4, 16, 512])
def test_strays_lose_one_side_and_nothing_else_changes(set_size: int) -> None:
    clean, drawn = faulty(set_size=set_size), faulty(set_size=set_size, strays=0.2)
    np.testing.assert_array_equal(drawn.pairs, clean.pairs)
    no_x = np.setdiff1d(clean.x_pool, drawn.x_pool)
    no_y = np.setdiff1d(clean.y_pool, drawn.y_pool)
    assert len(no_x) + len(no_y) == round(0.2 * 2960)
    assert not set(no_x) & set(no_y)
    # Either side as likely: four standard deviations of a binomial of 592.
    assert abs(len(no_x) - 296) < 4 * np.sqrt(592) / 2
    for before, after in ((clean.x_pool, drawn.x_pool), (clean.y_pool, drawn.y_pool)):
        np.testing.assert_array_equal(before[np.isin(before, after)], after)
    true = true_sets(set_size)
    assert drawn.x_sets.tolist() == [true[row] for row in drawn.x_pool.tolist()]
    assert drawn.y_sets.tolist() == [true[row] for row in drawn.y_pool.tolist()]


@pytest.mark.parametrize("set_size", [4, 16, 512])
def test_wrong_ids_are_those_of_other_sets_in_equal_shares(set_size: int) -> None:
    clean, drawn = faulty(set_size=set_size), faulty(set_size=set_size, wrong_ids=0.1)
    true = true_sets(set_size)
    for rows, before, ids in (
        (drawn.x_pool, clean.x_pool, drawn.x_sets),
        (drawn.y_pool, clean.y_pool, drawn.y_sets),
    ):
        np.testing.assert_array_equal(rows, before)
        assert sum(true[r] != s for r, s in zip(rows.tolist(), ids.tolist(), strict=True)) == 296
    assert set(drawn.x_sets) <= set(clean.x_sets)
    wrong = clean.x_sets != drawn.x_sets
    steps = (drawn.x_sets - clean.x_sets)[wrong] % len(set(clean.x_sets))
    assert 0 not in steps
    if set_size == 512:  # six sets: each of the five others about 59 times
        counts = np.bincount(steps, minlength=6)
        assert counts[0] == 0
        assert abs(counts[1:] - 296 / 5).max() < 4 * np.sqrt(296 / 5)


def test_both_faults_count_from_what_is_left() -> None:
    drawn = faulty(strays=0.2, wrong_ids=0.1, seed=3)
    again = faulty(strays=0.2, wrong_ids=0.1, seed=3)
    for name, array in vars(drawn).items():
        np.testing.assert_array_equal(array, vars(again)[name])
    true = true_sets(16, seed=3)
    wrong = sum(true[r] != s for r, s in zip(drawn.x_pool, drawn.x_sets, strict=True))
    assert wrong == round(0.1 * len(drawn.x_pool))
    other = faulty(strays=0.2, wrong_ids=0.1, seed=4)
    assert set(other.x_pool.tolist()) != set(drawn.x_pool.tolist())


def test_faults_at_their_ends() -> None:
    none_matched = faulty(strays=1.0)
    assert not set(none_matched.x_pool) & set(none_matched.y_pool)
    assert len(none_matched.x_pool) + len(none_matched.y_pool) == 2960
    true = true_sets(16)
    all_wrong = faulty(wrong_ids=1.0)
    assert all(true[r] != s for r, s in zip(all_wrong.x_pool, all_wrong.x_sets, strict=True))
    one_set = faulty(wrong_ids=0.5, set_size=5000)
    assert set(one_set.x_sets) == {0}


def test_overlapping_pools_may_have_strays_and_are_those_of_the_sets() -> None:
    sets = faulty(strays=0.2)
    pools = draw_rows_of_pools(MANY, pairs=40, condition="overlapping", strays=0.2)
    np.testing.assert_array_equal(pools.x_pool, sets.x_pool)
    np.testing.assert_array_equal(pools.y_pool, sets.y_pool)
    assert set(pools.x_sets) == {NO_SET}


@pytest.mark.parametrize(
    ("condition", "fault", "message"),
    [
        ("disjoint", {"strays": 0.1}, "disjoint pools, whose items are all strays"),
        ("overlapping", {"wrong_ids": 0.1}, "overlapping pools, which have no set"),
        ("sets", {"strays": 1.2}, "strays is 1.2, must lie between 0 and 1"),
        ("sets", {"wrong_ids": -0.1}, "wrong_ids is -0.1, must lie between 0 and 1"),
    ],
)
def test_faults_that_cannot_be_are_refused(
    condition: Condition, fault: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw_rows_of_pools(MANY, pairs=40, condition=condition, **fault)
    if message.startswith(condition):
        with pytest.raises(ValueError, match=message):
            draw_pools(X, Y, TRAIN, pairs=2, condition=condition, **fault)


@pytest.mark.parametrize("condition", get_args(Condition))
@pytest.mark.parametrize("pairs", [0, len(TRAIN)])
def test_no_pairs_and_nothing_but_pairs(condition: Condition, pairs: int) -> None:
    pools = drawn(condition, pairs=pairs)
    assert pools.n_pairs == pairs
    if pairs:
        assert len(pools.x_pool) == len(pools.y_pool) == 0


def test_draws_refuse_what_there_is_not() -> None:
    for pairs in (-1, 31):
        with pytest.raises(ValueError, match=f"{pairs} pairs asked of 30 training rows: ask for 0"):
            drawn("disjoint", pairs=pairs)
    with pytest.raises(ValueError, match="no condition is called 'matched'; there are disjoint"):
        drawn("matched")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="set_size is 0, must be 1 or more"):
        drawn("sets", set_size=0)
    with pytest.raises(ValueError, match="need to know the concept of each row: give concepts"):
        draw_rows_of_pools(TRAIN, pairs=2, condition="concept-sets")
