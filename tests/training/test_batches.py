"""A batch is a function of seed and step: epochs, sets, views, broken items, workers, ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training.streams import planted, sources

from setclip.training.batches import Batch, Composition, Epochs, Plan, Steps, load_steps

EVERYTHING = Composition(pairs=6, pool=10, augment=True, second_views=5)


def steps(pairs: int = 20, sets: int = 0, **options: object) -> Steps:
    pools = planted(pairs, sets=sets)
    broken = options.pop("broken", frozenset())
    composition = options.pop("composition", EVERYTHING)
    seed = options.pop("seed", 3)
    return Steps(sources(pools, broken), pools, composition, seed=seed, **options)


def same(a: Batch, b: Batch) -> bool:
    """Whether two batches hold the same numbers."""
    tensors = [("x", "v"), ("y", "v"), ("x_again", "v"), ("y_again", "v")]
    return all(torch.equal(getattr(a, n)[k], getattr(b, n)[k]) for n, k in tensors) and all(
        torch.equal(getattr(a, n), getattr(b, n)) for n in ("x_sets", "y_sets", "x_seen", "y_seen")
    )


def test_an_epoch_visits_every_row_once_and_the_next_in_another_order() -> None:
    order = Epochs(7, 1)
    first, second = order[0:7], order[7:14]
    assert sorted(first) == sorted(second) == list(range(7))
    assert first.tolist() != second.tolist()
    # Any stretch is what reading from the beginning gives, also back into an epoch gone by.
    assert order[5:9].tolist() == [*first[5:], *second[:2]]
    assert Epochs(0, 1)[0:3].size == 0


def test_steps_of_an_epoch_share_no_row() -> None:
    pools = planted(pairs=24, pool=40)
    plan = Plan(pools, Composition(pairs=6, pool=10), seed=0)
    rows = [plan(step) for step in range(4)]
    for stream, n in (("pairs", 24), ("x", 40), ("y", 40)):
        seen = np.concatenate([getattr(row, stream) for row in rows])
        assert sorted(seen) == list(range(n))


def test_no_row_is_twice_in_a_batch_where_an_epoch_ends_inside_it() -> None:
    plan = Plan(planted(pairs=7, pool=9), Composition(pairs=5, pool=8), seed=0)
    for step in range(20):
        for rows in vars(plan(step)).values():
            assert len(rows) == len(set(rows.tolist()))


def test_sets_come_whole_and_fill_the_room_of_the_pools() -> None:
    pools = planted(sets=1)
    plan = Plan(pools, Composition(pairs=2, pool=8), seed=0)
    for step in range(6):
        rows = plan(step)
        x_ids, y_ids = pools.x_sets[rows.x], pools.y_sets[rows.y]
        assert sorted(x_ids) == sorted(y_ids)
        assert np.unique(x_ids, return_counts=True)[1].tolist() == [4, 4]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    first = [steps()[step] for step in (0, 5, 2)]
    again = steps()
    assert all(same(a, again[step]) for a, step in zip(first, (0, 5, 2), strict=True))
    assert not same(first[0], first[1])
    assert not same(first[0], steps(seed=4)[0])


def test_without_views_items_come_as_they_are() -> None:
    pools = planted()
    plain = steps(composition=Composition(pairs=6, pool=10))
    rows, batch = plain.plan(1), plain[1]
    expected = np.concatenate([pools.x_pairs[rows.pairs], pools.x_pool[rows.x]])
    np.testing.assert_array_equal(batch.x["v"].numpy(), expected)
    assert batch.x_again is None
    assert len(batch.x_seen) == 0


@pytest.mark.parametrize("together", [False, True])
def test_one_draw_decides_both_views_of_a_pair_where_that_is_asked_for(together: bool) -> None:
    composition = replace(EVERYTHING, pairs_together=together)
    batch, plain = (steps(composition=c)[1] for c in (composition, Composition(pairs=6, pool=10)))
    # The noise of a view is one draw a number; x has six numbers an item, y five.
    x, y = (getattr(batch, side)["v"] - getattr(plain, side)["v"] for side in "xy")
    same = torch.isclose(x[:, :5], y, atol=1e-5).all(dim=1)
    assert same.tolist() == [together] * 6 + [False] * 10


def test_second_views_differ_from_the_first_and_name_their_rows() -> None:
    batch = steps()[0]
    assert batch.x_again is not None
    assert len(batch.x_again["v"]) == len(batch.x_seen) == 5
    difference = batch.x_again["v"] - batch.x["v"][batch.x_seen]
    assert 0 < difference.abs().max() < 1


def test_a_broken_item_is_left_out_with_its_partner_and_reported() -> None:
    whole, damaged = steps(), steps(broken=frozenset({3, 4}))
    reported = set()
    for step in range(8):
        rows, batch = damaged.plan(step), damaged[step]
        lost = int(np.isin(rows.pairs, [3, 4]).sum())
        assert batch.pairs == whole[step].pairs - lost
        assert len(batch.x["v"]) == batch.pairs + len(batch.x_sets)
        reported |= {(item.field, item.row) for item in batch.bad}
        assert all("it is broken" in str(item) for item in batch.bad)
    assert {("x pairs", 3), ("x pairs", 4)} <= reported
    assert {field for field, _ in reported} == {"x pairs", "x pool"}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    alone = list(load_steps(steps(sets=1), 2, 6))
    shared = list(load_steps(steps(sets=1), 2, 6, workers=workers))
    assert len(shared) == 4
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_ranks_share_a_step_out_between_them() -> None:
    composition = Composition(pairs=6, pool=9, augment=True, second_views=7)
    whole = steps(composition=composition)[1]
    parts = [steps(composition=composition, rank=r, world=4)[1] for r in range(4)]
    assert sum(part.pairs for part in parts) == whole.pairs
    paired = torch.cat([part.x["v"][: part.pairs] for part in parts])
    loose = torch.cat([part.x["v"][part.pairs :] for part in parts])
    torch.testing.assert_close(torch.cat([paired, loose]), whole.x["v"], rtol=0, atol=0)
    again = torch.cat([part.y_again["v"] for part in parts])  # type: ignore[index]
    assert len(again) == 7
    assert sorted(again[:, 0].tolist()) == sorted(whole.y_again["v"][:, 0].tolist())  # type: ignore[index]


def test_a_rank_without_rows_has_empty_tensors_of_the_right_width() -> None:
    part = steps(composition=Composition(pairs=2, pool=0, second_views=1), rank=3, world=4)[0]
    assert part.pairs == 0
    assert part.x["v"].shape == (0, 6)
    assert part.y_again is not None
    assert part.y_again["v"].shape == (0, 5)


def test_a_side_without_any_readable_item_says_so() -> None:
    everything = frozenset(range(100))
    with pytest.raises(ValueError, match="no item of one side can be read"):
        steps(broken=everything)[0]
