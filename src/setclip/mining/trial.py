"""Matches where their truth is known: held-out pairs, put back among the pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.data.pools import NO_SET, Examples, FloatArray, IntArray, Pools
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
    """Fit without knowing some of the pairs, propose partners for these, and see which are right.

    Every pair is held out once, unless too little would be left to learn from. What is held out
    joins the pools before the fit, as items whose partner is not known: a map that was fitted to a
    matching of its pools scores their rows too high, right or wrong, and so it must those whose
    partners are known here. One half of it has its partners there, the other has not, and then
    the reverse. Where there are sets, each joins a random one.

    Args:
        method: What the run was fitted with.
        pools: What it was fitted on, with ten pairs or more.
        groups: Of the pairs: those of one number are alike, and held out together. Shape [p].
        per_item: Candidates for each x.
        folds: Parts of the pairs, at most; each takes two fits.
        seed: Of the folds and the fits.
        say: Receives a sentence at each fit.

    Returns:
        The trial; None where no part of the pairs leaves enough to learn from.
    """
    present, absent, hits = [], [], []
    rng = np.random.default_rng(seed)
    splits = make_folds(pools, folds, seed=seed, hold_sets=False, groups=groups)
    for number, fold in enumerate(splits, start=1):
        n = len(fold.pairs)
        first = _one_half(groups[fold.pairs], rng)
        for turn, there in enumerate((first, ~first)):
            done = f"{2 * number - 1 + turn} of {2 * len(splits)}"
            say(f"Fitting {method.kind} without a part of the pairs, {done}.")
            filed = _filed(fold, there, rng)
            model = method.fit(filed, seed=seed)
            zx, zy = model.encode_x(filed.x_pool), model.encode_y(filed.y_pool)
            found = propose(zx, zy, filed, per_item=per_item)
            known = found.at(found.x < n)
            present.append(known.at(there[known.x]))
            absent.append(known.at(~there[known.x]))
            hits.append(_are_partners(fold, np.flatnonzero(there), present[-1]))
    if not splits:
        return None
    held = sum(len(fold.pairs) for fold in splits)
    return Trial(join(present), np.concatenate(hits), join(absent), held, len(splits))


def _one_half(groups: IntArray, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which rows are of the first half of the groups."""
    units = np.unique(groups, return_inverse=True)[1]
    order: IntArray = rng.permutation(int(units.max(initial=-1)) + 1)
    return np.asarray(2 * order[units] < len(order))


def _filed(fold: Fold, there: npt.NDArray[np.bool_], rng: np.random.Generator) -> Pools:
    """The pools of a fold with its held-out x before their own rows, and those y that are there."""
    train, n = fold.train, len(fold.pairs)
    shared = train.shared_sets
    sets = rng.choice(shared, n) if len(shared) else np.full(n, NO_SET)
    return Pools(
        train.x_pairs,
        train.y_pairs,
        np.concatenate([fold.x[:n], train.x_pool]),
        np.concatenate([fold.y[:n][there], train.y_pool]),
        np.concatenate([sets, train.x_sets]),
        np.concatenate([sets[there], train.y_sets]),
    )


def _are_partners(fold: Fold, there: IntArray, found: Candidates) -> npt.NDArray[np.bool_]:
    """Whether held-out x were proposed a partner: their pair's, or a copy's of either side.

    Any of five captions of a picture is right.

    Args:
        fold: With the held-out pairs.
        there: Those whose y are the first of the pool.
        found: Candidates of the held-out x.
    """
    known = found.y < len(there)
    x, y = found.x[known], there[found.y[known]]
    right = np.zeros(len(found.x), dtype=bool)
    right[known] = _alike((fold.x, fold.y), x, y)
    return right


def _alike(sides: tuple[FloatArray, FloatArray], x: IntArray, y: IntArray) -> npt.NDArray[np.bool_]:
    """Whether pairs of these numbers have the same row on either side."""
    equal = [(rows[x] == rows[y]).all(axis=1) for rows in sides]
    return np.asarray(equal[0] | equal[1])


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
    known = there.y < n
    hits = np.zeros(len(there), dtype=bool)
    hits[known] = _alike((test[0].features, test[1].features), there.x[known], there.y[known])
    return Trial(there, hits, join(absent), n)


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
