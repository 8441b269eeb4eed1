"""Choosing by held-out pairs and sets: the only tuning a method may do.

A fold holds out some pairs and some sets. A pair is a set of one item a side, so one criterion
serves both: how far down the list an item finds the first item of its own set. Items of the pools
stand in the gallery as distractors; no test item is ever seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from setclip.data.pools import NO_SET, FloatArray, IntArray, Pools, unit_rows

Embed = Callable[[FloatArray], npt.NDArray[np.floating]]

DISTRACTORS = 1000
BLOCK_SCORES = 1 << 26
"""Scores held at once, some 1 GB with what is made of them."""


@dataclass(frozen=True)
class Fold:
    """One split of the supervision.

    Attributes:
        train: Pools without the held-out pairs and sets.
        x: Held-out items, then distractors. Shape [n, d_x].
        y: Shape [m, d_y].
        x_units: Held-out pair or set of each row of `x`, -1 for a distractor. Shape [n].
        y_units: Shape [m].
        pairs: Which of the pairs are held out, in the order of `x`. Shape [p].
    """

    train: Pools
    x: FloatArray
    y: FloatArray
    x_units: IntArray
    y_units: IntArray
    pairs: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def make_folds(
    pools: Pools,
    folds: int,
    *,
    seed: int = 0,
    limit: int | None = None,
    hold_sets: bool = True,
    groups: IntArray | None = None,
) -> list[Fold]:
    """Split pairs and sets into folds.

    A fold whose training part would be too little for any method is left out, so there may be
    fewer than asked, or none.

    Args:
        pools: What to split.
        folds: Parts to split into.
        seed: Of the split and of the distractors.
        limit: Make only the first so many of the folds; where sets are held out each has its own
            copy of the pools.
        hold_sets: Split the sets too; otherwise every fold trains on all of them.
        groups: Pairs of one number are held out together; each by itself where none are given.
            Shape [p].
    """
    rng = np.random.default_rng(seed)
    sets = pools.shared_sets if hold_sets else pools.shared_sets[:0]
    if groups is None:
        groups = np.arange(pools.n_pairs)
    units = np.unique(groups, return_inverse=True)[1]
    n_units = int(units.max(initial=-1)) + 1
    pair_fold = rng.permutation(np.arange(n_units) % folds)[units]
    set_fold = rng.permutation(np.arange(len(sets)) % folds)
    # Folds beyond the count of units would hold nothing out.
    usable = min(folds, max(n_units, len(sets)))
    if usable < 2:
        return []
    split = (
        _fold(pools, pair_fold == number, sets[set_fold == number], rng) for number in range(usable)
    )
    return list(islice((fold for fold in split if _can_learn(fold.train)), limit))


def _can_learn(pools: Pools) -> bool:
    # Two pairs show one direction, in which every embedding is +1 or -1: nothing to rank by.
    return len(pools.shared_sets) >= 2 or (pools.n_pairs >= 3 and pairs_differ(pools))


def pairs_differ(pools: Pools) -> bool:
    """Whether the pairs are of more than one item on either side."""
    return pools.n_pairs >= 2 and all(
        bool((pairs != pairs[0]).any()) for pairs in (pools.x_pairs, pools.y_pairs)
    )


def _fold(
    pools: Pools, held_pairs: npt.NDArray[np.bool_], held_sets: IntArray, rng: np.random.Generator
) -> Fold:
    x_held, y_held = np.isin(pools.x_sets, held_sets), np.isin(pools.y_sets, held_sets)
    train = Pools(
        pools.x_pairs[~held_pairs],
        pools.y_pairs[~held_pairs],
        _without(pools.x_pool, x_held),
        _without(pools.y_pool, y_held),
        _without(pools.x_sets, x_held),
        _without(pools.y_sets, y_held),
    )
    n_pairs = int(held_pairs.sum())
    x, x_units = _side(
        pools.x_pairs[held_pairs], pools.x_pool, pools.x_sets, x_held, n_pairs, train.x_pairs, rng
    )
    y, y_units = _side(
        pools.y_pairs[held_pairs], pools.y_pool, pools.y_sets, y_held, n_pairs, train.y_pairs, rng
    )
    return Fold(train, x, y, x_units, y_units, np.flatnonzero(held_pairs))


def _without(rows: npt.NDArray[Any], held: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    # Pools may be large; where no set is held out all folds share them.
    return rows[~held] if held.any() else rows


def _side(
    pairs: FloatArray,
    pool: FloatArray,
    ids: IntArray,
    held: npt.NDArray[np.bool_],
    n_pairs: int,
    train_pairs: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, IntArray]:
    free = np.flatnonzero(~held)
    drawn = rng.permutation(len(train_pairs) + len(free))[:DISTRACTORS] - len(train_pairs)
    others = np.concatenate([train_pairs[drawn[drawn < 0]], pool[free[drawn[drawn >= 0]]]])
    units = np.concatenate([np.arange(n_pairs), n_pairs + ids[held], np.full(len(others), NO_SET)])
    return np.concatenate([pairs, pool[held], others]), units.astype(np.int64)


def all_pairs_held_out(pools: Pools, *, seed: int = 0) -> Fold:
    """A fold that holds out every pair, to judge a map that saw none of them."""
    rng = np.random.default_rng(seed)
    return _fold(
        pools.without_sets(), np.ones(pools.n_pairs, dtype=bool), pools.shared_sets[:0], rng
    )


def log_rank(fold: Fold, embed_x: Embed, embed_y: Embed) -> float:
    """Mean log2 rank of the first item of the own set or pair, both ways; 0 is perfect.

    The logarithm keeps a few lost items from deciding, and unlike a recall it still moves when
    few items are held out.
    """
    return float(log_ranks(fold, embed_x, embed_y).mean())


def log_ranks(fold: Fold, embed_x: Embed, embed_y: Embed) -> npt.NDArray[np.float64]:
    """The single values behind :func:`log_rank`: x items first, then y items."""
    zx, zy = unit_rows(embed_x(fold.x)), unit_rows(embed_y(fold.y))
    return np.concatenate(
        [
            _one_way(zx, zy, fold.x_units, fold.y_units),
            _one_way(zy, zx, fold.y_units, fold.x_units),
        ]
    )


def unit_means(fold: Fold, ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What :func:`log_ranks` gave, averaged over the items of each held-out pair or set.

    The x and the y of a pair see the same space fail: their ranks are no two observations.
    """
    units = np.concatenate([_asked(fold.x_units, fold.y_units), _asked(fold.y_units, fold.x_units)])
    _, position = np.unique(units, return_inverse=True)
    means: npt.NDArray[np.float64] = np.bincount(position, ranks) / np.bincount(position)
    return means


def _asked(units: IntArray, others: IntArray) -> IntArray:
    found: IntArray = units[np.isin(units, others[others != NO_SET])]
    return found


def chance_log_rank(fold: Fold) -> float:
    """Mean log2 rank of guessing among the items of a fold."""
    guessed = [np.log2(np.arange(1, len(items) + 1)).mean() for items in (fold.x, fold.y)]
    return float(np.mean(guessed))


def clearly_better(
    ranks: npt.NDArray[np.float64], than: npt.NDArray[np.float64], *, errors: float = 1.0
) -> bool:
    """Whether log ranks are lower by more than so many standard errors of the difference.

    Args:
        ranks: Of held-out pairs and sets. Shape [n].
        than: Of the same pairs and sets in the same order. Shape [n].
        errors: How many standard errors.
    """
    gains = than - ranks
    # One pair or set says nothing of how far others would differ.
    return len(gains) > 1 and bool(gains.mean() > errors * gains.std() / np.sqrt(len(gains) - 1))


def _one_way(
    queries: npt.NDArray[np.floating],
    gallery: npt.NDArray[np.floating],
    query_units: IntArray,
    gallery_units: IntArray,
) -> npt.NDArray[np.float64]:
    asked = np.flatnonzero(np.isin(query_units, gallery_units[gallery_units != NO_SET]))
    block = max(1, BLOCK_SCORES // max(len(gallery), 1))
    parts = [np.zeros(0)]
    for rows in (asked[i : i + block] for i in range(0, len(asked), block)):
        scores = queries[rows] @ gallery.T
        own = query_units[rows][:, None] == gallery_units
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        # Ties count against the model, so that a collapsed space scores worst; and so does NaN.
        parts.append(np.log2(1.0 + (~(scores < best) & ~own).sum(axis=1)))
    return np.concatenate(parts)
