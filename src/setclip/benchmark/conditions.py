"""Drawing what a cell's method sees, and the items it is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from setclip.benchmark.cells import ALL, Cell, View
from setclip.benchmark.data import BenchmarkData
from setclip.data.datasets import load_dataset
from setclip.data.pools import IntArray, Item, Pools, RawItems, make_pools
from setclip.data.splits import (
    NEAR_DUPLICATE,
    PoolRows,
    draw_pools,
    draw_rows_of_pools,
    near_duplicates_of,
    one_per_group,
    split_by_group,
)
from setclip.data.splits import Condition as Drawn

GALLERY = 1000
"""Test items at most, drawn at random: galleries of one size compare, and stay affordable."""

SHIFTED_SHARE = 0.8
"""Share of a shifted pool that comes from its own half of the classes."""

STRAYS = 0.2
"""Share of the items of damaged sets whose partner is missing."""

WRONG_IDS = 0.1
"""Share of the rows of damaged sets that are filed under another set."""


@dataclass(frozen=True, eq=False)
class Draw:
    """What a method learns from, and rows of the test items, one a group.

    Attributes:
        pools: With raw items for methods that train encoders.
        test: Rows of the test items.
        x_items: Raw test items, for models that take nothing else; empty otherwise.
        y_items: Their partners.
    """

    pools: Pools
    test: IntArray
    x_items: Sequence[Item] = ()
    y_items: Sequence[Item] = ()


def draw(cell: Cell, data: BenchmarkData) -> Draw:
    """Split by group and hide the pairing of the training items as the cell says.

    The conditions are those of :func:`setclip.data.splits.draw_pools`, and *damaged sets*: sets
    with strays and wrong ids; *shifted*: disjoint pools of which x draws most of its items from
    one half of the classes and y from the other; *own*: disjoint pools joined by the unpaired
    items and sets that came with the data. Split and pairs depend on the seed alone.

    Raises:
        ValueError: More pairs than training items, shifted pools of data without labels, or own
            pools of data that have none, or concept-sets of data without concepts.
    """
    train, held = split_by_group(data.groups, test_fraction=cell.test_fraction, seed=cell.seed)
    # Distinct items of one concept each stand for themselves.
    test = held if data.concepts is not None else one_per_group(held, data.groups, seed=cell.seed)
    test = np.sort(np.random.default_rng(cell.seed).permutation(test)[:GALLERY])
    if not trains_encoders(cell):
        return Draw(_draw_pools(cell, data, train, held), test)
    try:
        dataset = load_dataset(cell.dataset)
    except ValueError:
        raise ValueError(
            f"{cell.label} trains encoders on raw items, and {cell.dataset} gives features alone: "
            "measure it on a data set of items, or name it in `compare:` of a config and fit that."
        ) from None
    pools = _draw_pools(cell, data, train, held)
    x_items, y_items = (
        [items[row] for row in test] for items in (dataset.x_items, dataset.y_items)
    )
    return Draw(pools, test, x_items, y_items)


def trains_encoders(cell: Cell) -> bool:
    """Whether the method of a cell takes raw items."""
    return cell.method.trains_encoders


def _draw_pools(cell: Cell, data: BenchmarkData, train: IntArray, held: IntArray) -> Pools:
    pairs = len(train) if cell.shown_pairs == ALL else int(cell.shown_pairs)
    if cell.view == "shifted":
        return _draw_shifted(cell, data, train, pairs)
    if cell.view == "own":
        return _draw_own(cell, data, train, held, pairs)
    if cell.view == "concept-sets" and data.concepts is None:
        raise ValueError(
            f"{cell.dataset} has no concepts of several items: use the condition sets."
        )
    damaged = cell.view in ("damaged-sets", "strays")
    rows = draw_rows_of_pools(
        train,
        pairs=pairs,
        condition=_DRAWN[cell.view],
        set_size=cell.set_size,
        strays=STRAYS if damaged else 0.0,
        wrong_ids=WRONG_IDS if cell.view == "damaged-sets" else 0.0,
        concepts=data.concepts,
        seed=cell.seed,
    )
    pools = rows.pools(data.x, data.y)
    if trains_encoders(cell):
        pools = replace(pools, items=_raw(cell.dataset, rows))
    return pools.without_pools() if cell.view == "pairs" else pools


def _raw(name: str, rows: PoolRows) -> RawItems:
    dataset = load_dataset(name)
    x, y = dataset.x_items, dataset.y_items
    return RawItems(
        [x[row] for row in rows.pairs],
        [y[row] for row in rows.pairs],
        [x[row] for row in rows.x_pool],
        [y[row] for row in rows.y_pool],
        dataset.x_encoder,
        dataset.y_encoder,
    )


_DRAWN: dict[View, Drawn] = {
    "pairs": "disjoint",
    "disjoint": "disjoint",
    "overlapping": "overlapping",
    "strays": "overlapping",
    "sets": "sets",
    "damaged-sets": "sets",
    "concept-sets": "concept-sets",
}


def _draw_own(
    cell: Cell, data: BenchmarkData, train: IntArray, held: IntArray, pairs: int
) -> Pools:
    """The pools that came with the data and, in halves, the items whose pairing is hidden."""
    own = data.own
    if own is None:
        raise ValueError(
            f"{cell.dataset} brings no unpaired items of its own: use the condition disjoint."
        )
    hidden = draw_pools(data.x, data.y, train, pairs=pairs, seed=cell.seed)
    near = NEAR_DUPLICATE if data.near is None else float(data.near)
    x_kept = ~near_duplicates_of(own.x_pool, data.x[held], threshold=near)
    y_kept = ~near_duplicates_of(own.y_pool, data.y[held], threshold=near)
    if data.x_pool_groups is not None:
        x_kept &= ~np.isin(data.x_pool_groups, data.groups[held])
    if data.y_pool_groups is not None:
        y_kept &= ~np.isin(data.y_pool_groups, data.groups[held])
    return make_pools(
        hidden.x_pairs,
        hidden.y_pairs,
        x_pool=np.concatenate([hidden.x_pool, own.x_pool[x_kept]]),
        y_pool=np.concatenate([hidden.y_pool, own.y_pool[y_kept]]),
        x_sets=np.concatenate([hidden.x_sets, own.x_sets[x_kept]]),
        y_sets=np.concatenate([hidden.y_sets, own.y_sets[y_kept]]),
    )


def _draw_shifted(cell: Cell, data: BenchmarkData, train: IntArray, pairs: int) -> Pools:
    if data.labels is None:
        raise ValueError(f"{cell.dataset} has no labels, which shifted pools are made from.")
    # The same draw as in the other conditions, so that the pairs are the same.
    unshifted = draw_pools(data.x, data.y, train, pairs=pairs, seed=cell.seed)
    rest = np.random.default_rng(cell.seed).permutation(train)[pairs:]
    rng = np.random.default_rng([cell.seed, 1])
    classes = rng.permutation(np.unique(data.labels))
    first = np.isin(data.labels[rest], classes[: len(classes) // 2])
    to_x = rng.random(len(rest)) < np.where(first, SHIFTED_SHARE, 1 - SHIFTED_SHARE)
    return make_pools(
        unshifted.x_pairs,
        unshifted.y_pairs,
        x_pool=data.x[rest[to_x]],
        y_pool=data.y[rest[~to_x]],
    )
