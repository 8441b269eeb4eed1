"""Pins batches: whole sets, both sides of the same items, and nothing but the generator decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from setclip.data.pools import Pools, make_pools
from setclip.data.samplers import SetSampler, draw_rows, rows_of_shared_sets

ids = st.lists(st.integers(-1, 6), min_size=1, max_size=40)


def pools(x_sets: list[int], y_sets: list[int]) -> Pools:
    return make_pools(
        x_pool=np.ones((len(x_sets), 2)),
        y_pool=np.ones((len(y_sets), 3)),
        x_sets=x_sets,
        y_sets=y_sets,
    )


def test_rows_are_different_and_in_random_order() -> None:
    rng = np.random.default_rng(0)
    rows = draw_rows(100, 20, rng)
    assert len(set(rows)) == 20
    assert list(rows) != sorted(rows)
    assert sorted(draw_rows(5, 20, rng)) == [0, 1, 2, 3, 4]
    assert len(draw_rows(0, 20, rng)) == 0
    counts = np.bincount(np.concatenate([draw_rows(10, 3, rng) for _ in range(2000)]), minlength=10)
    assert np.abs(counts - 600).max() < 100  # each row is as likely as another


@settings(deadline=None, max_examples=80)
@given(x_sets=ids, y_sets=ids)
def test_rows_of_shared_sets_agree_with_a_loop(x_sets: list[int], y_sets: list[int]) -> None:
    found = rows_of_shared_sets(pools(x_sets, y_sets))
    expected = [
        tuple([row for row, name in enumerate(side) if name == s] for side in (x_sets, y_sets))
        for s in sorted(set(x_sets) & set(y_sets) - {-1})
    ]
    assert [(x.tolist(), y.tolist()) for x, y in found] == expected


@settings(deadline=None, max_examples=80)
@given(x_sets=ids, y_sets=ids, batch=st.integers(1, 30), seed=st.integers(0, 9))
def test_batches_hold_whole_sets(
    x_sets: list[int], y_sets: list[int], batch: int, seed: int
) -> None:
    data = pools(x_sets, y_sets)
    assume(len(data.shared_sets))
    x_rows, y_rows = SetSampler(data, batch)(np.random.default_rng(seed))
    names = set(data.x_sets[x_rows])
    assert names == set(data.y_sets[y_rows])
    assert len(set(x_rows)) == len(x_rows)
    for side, rows in ((data.x_sets, x_rows), (data.y_sets, y_rows)):
        for s in names:
            assert set(rows[side[rows] == s]) == set(np.flatnonzero(side == s))
    sizes = [max(x_sets.count(s), y_sets.count(s)) for s in names]
    # Beyond the batch only where it needs a second row on a side.
    assert sum(sizes) <= batch or any(
        min(len(x_rows) - x_sets.count(s), len(y_rows) - y_sets.count(s)) < 2 for s in names
    )
    if len(names) < len(data.shared_sets):  # no room was left for the smallest of the others
        others = set(data.shared_sets.tolist()) - names
        assert sum(sizes) + max(max(x_sets.count(s), y_sets.count(s)) for s in others) > batch


@pytest.mark.parametrize("size", [3, 50])
def test_every_set_comes_up(size: int) -> None:
    names = np.repeat(np.arange(8), size).tolist()
    sampler, rng = SetSampler(pools(names, names), batch=9), np.random.default_rng(0)
    seen = np.concatenate([np.unique(sampler(rng)[0] // size) for _ in range(300)])
    counts = np.bincount(seen, minlength=8)
    assert counts.min() > 0.6 * counts.max()
    assert len(sampler(rng)[0]) == max(9, size)


def test_the_generator_alone_decides() -> None:
    names = np.repeat(np.arange(8), 3).tolist()
    data = pools(names, names)
    sampler, rng = SetSampler(data, batch=9), np.random.default_rng(5)
    sampler(rng)
    state = rng.bit_generator.state
    first = sampler(rng)
    rng.bit_generator.state = state
    for drawn, again in zip(first, SetSampler(data, batch=9)(rng), strict=True):
        np.testing.assert_array_equal(drawn, again)


def test_a_batch_has_two_rows_on_each_side_where_there_are() -> None:
    x_sets = np.arange(6)
    y_sets = np.repeat(np.arange(6), 40)
    rows = np.zeros((240, 1), dtype=np.float32)
    pools = make_pools(x_pool=rows[:6], y_pool=rows, x_sets=x_sets, y_sets=y_sets)
    sampler = SetSampler(pools, 64)
    for seed in range(5):
        x, y = sampler(np.random.default_rng(seed))
        assert (len(x), len(y)) == (2, 80)
