"""Splits that do not leak, and the conditions under which methods are compared.

Random splits flatter: near-duplicates of test items stay in training. Here the unit is the group,
a connected component of near-duplicates, and a group lies whole in train or whole in test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from setclip.data.pools import NO_SET, FloatArray, IntArray, Pools, make_pools, unit_rows

NEAR_DUPLICATE = 0.9
"""Cosine above which two items count as near-duplicates, unless said otherwise."""

Condition = Literal["disjoint", "overlapping", "sets", "concept-sets"]


def near_duplicate_groups(
    *features: FloatArray,
    threshold: float = NEAR_DUPLICATE,
    keys: Sequence[npt.ArrayLike] = (),
    block: int = 512,
) -> IntArray:
    """Number the groups of items that must not be separated by a split.

    Two rows are linked when their cosine exceeds `threshold` in any of the `features`, or when
    they share a value in any of the `keys`; a group is a connected component of these links.

    Args:
        features: Arrays of the same items, for instance both modalities. Each shape [n, d].
        threshold: Cosine above which two rows are near-duplicates; from 1 on none are.
        keys: Further labels that tie rows together (a source concept). Each shape [n].
        block: Rows compared at a time; memory is O(n * block).

    Returns:
        Group number of each row. Shape [n].
    """
    sizes = {len(f) for f in features} | {len(np.asarray(k)) for k in keys}
    if len(sizes) != 1:
        raise ValueError(
            f"features and keys describe {sorted(sizes)} rows: give at least one, all of the same "
            "items."
        )
    n = sizes.pop()
    links = [_to_first(key) for key in keys]
    for matrix in features:
        links += _cosine_links(matrix, threshold, block)
    return _components(links, n)


def _to_first(key: npt.ArrayLike) -> IntArray:
    """Links of each row to the first one of the same value."""
    _, first, inverse = np.unique(np.asarray(key), return_index=True, return_inverse=True)
    return np.stack([np.arange(len(inverse)), first[inverse]])


def _cosine_links(matrix: FloatArray, threshold: float, block: int) -> Iterator[IntArray]:
    """Links that join what is near: a few a row, however many rows are near each other."""
    unit = unit_rows(matrix)
    for start in range(0, len(unit) if threshold < 1 else 0, block):
        near = unit[start : start + block] @ unit[start:].T > threshold
        links = np.stack(np.nonzero(near))
        yield start + _to_first(_components([links], len(unit) - start))


def _components(links: Sequence[IntArray], n: int) -> IntArray:
    """Number of the connected component of each row."""
    rows, columns = np.concatenate([*links, np.zeros((2, 0), dtype=np.int64)], axis=1)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def near_duplicates_of(
    rows: FloatArray, others: FloatArray, *, threshold: float = NEAR_DUPLICATE, block: int = 4096
) -> npt.NDArray[np.bool_]:
    """Which rows are near-duplicates of any of the others.

    Args:
        rows: Shape [n, d].
        others: Shape [m, d].
        threshold: Cosine above which two rows are near-duplicates; from 1 on none are.
        block: Rows of either compared at a time; memory is O(block * block).

    Returns:
        Shape [n].
    """
    near = np.zeros(len(rows), dtype=bool)
    if threshold >= 1:  # only rounding could tell
        return near
    unit = unit_rows(rows)
    for start in range(0, len(others) if len(rows) else 0, block):
        some = unit_rows(others[start : start + block])
        for first in range(0, len(rows), block):
            part = slice(first, first + block)
            near[part] |= (unit[part] @ some.T > threshold).any(axis=1)
    return near


def split_by_group(
    groups: npt.ArrayLike, *, test_fraction: float = 0.2, seed: int = 0
) -> tuple[IntArray, IntArray]:
    """Deal whole groups to train and test until test holds its share of the rows.

    Returns:
        Row numbers of train and of test, each ascending.

    Raises:
        ValueError: A share that is not between 0 and 1, or all rows in one group.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}, must lie between 0 and 1: try 0.2.")
    ids = np.asarray(groups)
    names, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(
            f"all {len(ids)} rows are one group, nothing can be held out. Raise the near-duplicate "
            "threshold or give a group column that separates items."
        )
    room = max(test_fraction * len(ids), counts.min())
    taken = []
    # A giant component of near-duplicates stays in train: as test it would be one gallery item.
    for group in np.random.default_rng(seed).permutation(len(names)):
        if counts[group] <= room:
            taken.append(group)
            room -= counts[group]
    in_test = np.isin(inverse, taken)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def one_per_group(rows: IntArray, groups: npt.ArrayLike, *, seed: int = 0) -> IntArray:
    """Keep one random row of each group, so that no near-duplicate competes in the gallery."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    _, first = np.unique(np.asarray(groups)[shuffled], return_index=True)
    return np.sort(shuffled[first])


def distinct_rows(*features: FloatArray, threshold: float = NEAR_DUPLICATE) -> IntArray:
    """One row of each group of near-duplicates, the first: what repeats shows nothing anew.

    Args:
        features: Arrays of the same items. Each shape [n, d].
        threshold: Cosine above which two rows are near-duplicates.
    """
    return _first_of_each(near_duplicate_groups(*features, threshold=threshold))


def single_pairs(x: FloatArray, y: FloatArray) -> IntArray:
    """One row, the first, of pairs that have the x or the y in common: they are one draw.

    Five captions of a picture are five pairs and one picture.

    Args:
        x: Shape [p, d_x].
        y: Row-aligned. Shape [p, d_y].
    """
    keys = [np.unique(side, axis=0, return_inverse=True)[1].reshape(-1) for side in (x, y)]
    return _first_of_each(near_duplicate_groups(keys=keys))


def _first_of_each(groups: IntArray) -> IntArray:
    first: IntArray = np.sort(np.unique(groups, return_index=True)[1])
    return first


@dataclass(frozen=True)
class PoolRows:
    """Which rows of a data set are shown as what.

    Attributes:
        pairs: Rows whose pairing is known. Shape [p].
        x_pool: Rows that give their x. Shape [n].
        y_pool: Rows that give their y. Shape [m].
        x_sets: Set of each row of `x_pool`, `NO_SET` for none. Shape [n].
        y_sets: Set of each row of `y_pool`. Shape [m].
    """

    pairs: IntArray
    x_pool: IntArray
    y_pool: IntArray
    x_sets: IntArray
    y_sets: IntArray

    def pools(self, x: FloatArray, y: FloatArray) -> Pools:
        """Features of these rows."""
        return make_pools(
            x[self.pairs],
            y[self.pairs],
            x_pool=x[self.x_pool],
            y_pool=y[self.y_pool],
            x_sets=self.x_sets,
            y_sets=self.y_sets,
        )


def draw_rows_of_pools(
    train: IntArray,
    *,
    pairs: int,
    condition: Condition = "disjoint",
    set_size: int = 16,
    strays: float = 0.0,
    wrong_ids: float = 0.0,
    concepts: IntArray | None = None,
    seed: int = 0,
) -> PoolRows:
    """Hide the pairing of training rows as one of the named conditions does.

    `pairs` random rows stay pairs. Of the rest: *disjoint*, one half gives only its x and the
    other only its y, so no item has its partner in the other pool; *overlapping*, every item
    gives both, in unrelated orders; *sets*, as overlapping, and it is known which `set_size`
    items belong together; *concept-sets*, as overlapping, and it is known which items are of one
    concept, unless it has one item alone: a set of one would be a pair.

    Real sets have faults. `strays` takes items away from one side, so that their partners are in
    the set alone; `wrong_ids` files rows under another set. What remains is what the same seed
    draws without faults, in the same order.

    Args:
        train: Rows that may be used.
        pairs: How many pairs stay known.
        condition: What is known about the others.
        set_size: Items of a set, on each side; the last set may be smaller.
        strays: Share of the items that lose their x or their y, either as likely; not of
            disjoint pools, where all have.
        wrong_ids: Share of the rows of either side whose set is replaced by another, any as
            likely; of sets alone. Where there is one set only, no id can be wrong.
        concepts: Concept of each row of the data, for concept-sets.
        seed: Same seed, same pools; fewer pairs of one seed are a subset of more pairs.

    Raises:
        ValueError: More pairs than rows, an unknown condition, sets of no item, or faults that the
            condition cannot have.
    """
    if not 0 <= pairs <= len(train):
        raise ValueError(
            f"{pairs} pairs asked of {len(train)} training rows: ask for 0 to {len(train)}."
        )
    if condition not in get_args(Condition):
        raise ValueError(
            f"no condition is called {condition!r}; there are {', '.join(get_args(Condition))}."
        )
    if set_size < 1:
        raise ValueError(f"set_size is {set_size}, must be 1 or more: try 16.")
    if condition == "concept-sets" and concepts is None:
        raise ValueError("concept-sets need to know the concept of each row: give concepts.")
    _check_faults(condition, strays, wrong_ids)
    rng = np.random.default_rng(seed)
    order = rng.permutation(train)
    known, rest = order[:pairs], order[pairs:]
    if condition == "disjoint":
        half = len(rest) // 2
        x_rows, y_rows = rest[:half], rest[half:]
        none = np.full(len(rest), NO_SET)
        return PoolRows(known, x_rows, y_rows, none[: len(x_rows)], none[: len(y_rows)])
    x_order, y_order = rng.permutation(len(rest)), rng.permutation(len(rest))
    sets = np.full(len(rest), NO_SET)
    if condition == "sets":
        sets = np.arange(len(rest)) // set_size
    elif condition == "concept-sets" and concepts is not None:
        sets = _of_several(concepts[rest])
    # A generator of their own: faults change nothing else.
    rng = np.random.default_rng([seed, 2])
    no_x, no_y = _strays(len(rest), strays, rng)
    x_order, y_order = x_order[~no_x[x_order]], y_order[~no_y[y_order]]
    x_sets, y_sets = (_misfiled(sets[o], sets, wrong_ids, rng) for o in (x_order, y_order))
    return PoolRows(known, rest[x_order], rest[y_order], x_sets, y_sets)


def _check_faults(condition: Condition, strays: float, wrong_ids: float) -> None:
    for name, share in (("strays", strays), ("wrong_ids", wrong_ids)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}, must lie between 0 and 1: try 0.1.")
    if strays and condition == "disjoint":
        raise ValueError("strays are given for disjoint pools, whose items are all strays: use 0.")
    if wrong_ids and condition not in ("sets", "concept-sets"):
        raise ValueError(f"wrong_ids are given for {condition} pools, which have no set: use 0.")


def _of_several(concepts: IntArray) -> IntArray:
    """Number the concepts that have two rows or more from 0; `NO_SET` for a row of another."""
    _, number, count = np.unique(concepts, return_inverse=True, return_counts=True)
    numbers = np.where(count > 1, np.cumsum(count > 1) - 1, NO_SET)
    return numbers[number].astype(np.int64)


def _strays(
    items: int, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which items lose their x and which their y."""
    chosen = rng.permutation(items)[: round(share * items)]
    loses_x = rng.random(len(chosen)) < 0.5
    no_x, no_y = np.zeros((2, items), dtype=bool)
    no_x[chosen[loses_x]] = True
    no_y[chosen[~loses_x]] = True
    return no_x, no_y


def _misfiled(ids: IntArray, sets: IntArray, share: float, rng: np.random.Generator) -> IntArray:
    """Replace a share of set ids by those of other sets; a row without one has none after."""
    count = int(sets.max(initial=NO_SET)) + 1
    filed = np.flatnonzero(ids != NO_SET)
    chosen = rng.permutation(filed)[: round(share * len(filed))]
    if count < 2 or not len(chosen):
        return ids
    wrong = ids.copy()
    # Sets are numbered from 0 without gaps: any step short of a whole round ends in another set.
    wrong[chosen] = (ids[chosen] + rng.integers(1, count, len(chosen))) % count
    return wrong


def draw_pools(
    x: FloatArray,
    y: FloatArray,
    train: IntArray,
    *,
    pairs: int,
    condition: Condition = "disjoint",
    set_size: int = 16,
    strays: float = 0.0,
    wrong_ids: float = 0.0,
    concepts: IntArray | None = None,
    seed: int = 0,
) -> Pools:
    """Features of :func:`draw_rows_of_pools`, whose arguments these are.

    Args:
        x: Features of all items, row-aligned with `y`. Shape [n, d_x].
        y: Shape [n, d_y].
        train: Rows that may be used.
        pairs: How many pairs stay known.
        condition: What is known about the others.
        set_size: Items of a set.
        strays: Share of the items that lose their x or their y.
        wrong_ids: Share of the rows of either side that are filed under another set.
        concepts: Concept of each row, for concept-sets.
        seed: Same seed, same pools.
    """
    rows = draw_rows_of_pools(
        train,
        pairs=pairs,
        condition=condition,
        set_size=set_size,
        strays=strays,
        wrong_ids=wrong_ids,
        concepts=concepts,
        seed=seed,
    )
    return rows.pools(x, y)
