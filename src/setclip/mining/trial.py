"""Matches where their truth is known: held-out pairs, put back among the pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.data.pools import Examples, FloatArray, IntArray, Pools
from setclip.data.samplers import rows_of_shared_sets
from setclip.methods import Method
from setclip.methods.tuning import Fold, make_folds
from setclip.mining.calibration import Trial
from setclip.mining.candidates import (
    Candidates,
    Hubness,
    find_candidates,
    hubness,
    join,
    nearness,
)
from setclip.model import AlignedModel

SETS_PER_PAIR = 3
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows among which matches are sought: the whole pools, or one set."""

    x: IntArray
    y: IntArray


def blocks_of(pools: Pools) -> list[Block]:
    """The shared sets, or the whole pools where there are none."""
    inside = [Block(x, y) for x, y in rows_of_shared_sets(pools)]
    return inside or [Block(np.arange(len(pools.x_pool)), np.arange(len(pools.y_pool)))]


def propose(zx: FloatArray, zy: FloatArray, pools: Pools, *, per_item: int) -> Candidates:
    """Candidates among the pools; where there are sets, only inside them.

    Args:
        zx: The x pool in the shared space.
        zy: The y pool in the shared space.
        pools: With items on both sides.
        per_item: Candidates for each x.
    """
    hubs = hubness(zx, zy)
    blocks = blocks_of(pools)
    return join([_inside(block, zx, zy, hubs, per_item) for block in blocks])


def run_trial(
    method: Method,
    pools: Pools,
    groups: IntArray,
    *,
    per_item: int,
    folds: int,
    seed: int,
    say: Say,
) -> Trial | None:
    """Fit without some of the pairs, propose partners for these, and see which are right.

    Every pair is held out once, unless too little would be left to learn from; sets stay whole.
    Where matches are sought inside sets, a held-out pair joins some random sets, one after the
    other.

    Args:
        method: What the run was fitted with.
        pools: What it was fitted on, with ten pairs or more.
        groups: Of the pairs: those of one number are alike, and held out together. Shape [p].
        per_item: Candidates for each x.
        folds: Fits, at most.
        seed: Of the folds and the fits.
        say: Receives a sentence at each fit.

    Returns:
        The trial; None where no part of the pairs leaves enough to learn from.
    """
    present, absent, hits, held = [], [], [], 0
    rng = np.random.default_rng(seed)
    splits = make_folds(pools, folds, seed=seed, hold_sets=False, groups=groups)
    for number, fold in enumerate(splits, start=1):
        say(f"Fitting {method.kind} without a part of the pairs, {number} of {len(splits)}.")
        model = method.fit(fold.train, seed=seed)
        n = len(fold.pairs)
        zx = model.encode_x(np.concatenate([fold.x[:n], fold.train.x_pool]))
        zy = model.encode_y(np.concatenate([fold.y[:n], fold.train.y_pool]))
        for there, gone in _put_back(fold.train, n, zx, zy, per_item, rng):
            present.append(there)
            hits.append(_are_partners(fold, there.x, there.y))
            absent.append(gone)
        held += n
    if not splits:
        return None
    return Trial(join(present), np.concatenate(hits), join(absent), held, len(splits))


def _are_partners(fold: Fold, x: IntArray, y: IntArray) -> npt.NDArray[np.bool_]:
    """Whether rows of held-out pairs belong together: one pair's, or a copy's of either side.

    Any of five captions of a picture is right.
    """
    known = y < len(fold.pairs)
    right = np.zeros(len(x), dtype=bool)
    for rows in (fold.x, fold.y):
        right[known] |= (rows[x[known]] == rows[y[known]]).all(axis=1)
    return right


def trial_on_test(
    model: AlignedModel,
    test: tuple[Examples, Examples],
    pool: tuple[FloatArray, FloatArray],
    pools: Pools,
    *,
    per_item: int,
    seed: int,
) -> Trial:
    """Propose partners for pairs that a model was not trained on, and see which are right.

    Args:
        model: The fitted model.
        test: Both sides of these pairs.
        pool: The pools in the shared space.
        pools: What the model was fitted on.
        per_item: Candidates for each x.
        seed: Of the sets that a pair joins.
    """
    n = len(test[0])
    zx = np.concatenate([model.encode_x(test[0]), pool[0]])
    zy = np.concatenate([model.encode_y(test[1]), pool[1]])
    rng = np.random.default_rng(seed)
    present, absent = map(list, zip(*_put_back(pools, n, zx, zy, per_item, rng), strict=True))
    there = join(present)
    return Trial(there, there.x == there.y, join(absent), n)


def _put_back(
    pools: Pools, n: int, zx: FloatArray, zy: FloatArray, per_item: int, rng: np.random.Generator
) -> Iterator[tuple[Candidates, Candidates]]:
    """Candidates of the first `n` rows, whose partners are the first `n` rows, with and without."""
    hubs = hubness(zx, zy)
    # An x whose partner is not there does not hear of it.
    alone = Hubness(nearness(zx, zy[n:]), hubs.y) if len(zy) > n else hubs
    blocks, held = blocks_of(pools), np.arange(n)
    whole = not len(pools.shared_sets)
    groups = [held] if whole else [held[i : i + 1] for i in held]
    for own in groups:
        drawn = [0] if whole else rng.permutation(len(blocks))[:SETS_PER_PAIR]
        for number in drawn:
            x, y = blocks[number].x + n, blocks[number].y + n
            there, gone = (
                _inside(Block(np.concatenate([own, x]), with_y), zx, zy, heard, per_item)
                for with_y, heard in ((np.concatenate([own, y]), hubs), (y, alone))
            )
            yield there.at(there.x < n), gone.at(gone.x < n)


def _inside(
    block: Block, zx: FloatArray, zy: FloatArray, hubs: Hubness, per_item: int
) -> Candidates:
    found = find_candidates(
        zx[block.x], zy[block.y], Hubness(hubs.x[block.x], hubs.y[block.y]), per_item=per_item
    )
    return found.renumbered(block.x, block.y)
