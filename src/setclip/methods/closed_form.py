"""What ridge, Procrustes and CCA share: axes, supervision, and the choice among candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from setclip.data.pools import FloatArray, Pools
from setclip.data.samplers import rows_of_shared_sets
from setclip.linear.cross_covariance import CrossSum
from setclip.linear.kernel import kernel_principal
from setclip.linear.maps import AffineMap, Alignment, Array, Principal, principal
from setclip.linear.pools import cross_from_pools
from setclip.linear.sets import cross_from_sets
from setclip.methods.tuning import (
    Fold,
    clearly_better,
    log_ranks,
    make_folds,
    pairs_differ,
    unit_means,
)
from setclip.training.journal import Journal

# Sets that a fold must hold out to be the only one.
ENOUGH_SETS = 4

Covariances = Literal["pairs", "all"]
Form = Callable[[Principal, Principal, Array], Alignment]


@dataclass(frozen=True)
class PoolTransport:
    """How pools are matched with each other, see :func:`setclip.linear.pools.cross_from_pools`.

    Attributes:
        weight: How many known pairs a matched row is worth.
        rounds: Rounds of matching and solving.
        temperature: Of the soft matching.
        batch: Rows a side matched at once, at most.
        seed: Of the batches.
    """

    weight: float
    rounds: int
    temperature: float
    batch: int
    seed: int


@dataclass(frozen=True)
class SetMatching:
    """How items inside sets are matched.

    Attributes:
        rounds: Rounds of matching and solving.
        temperature: Of the soft matching.
        neighbours: Rows like it that the matching of a row hears; 0 hears none.
        folds: Parts of the sets, each matched by a map fitted to the others.
    """

    rounds: int
    temperature: float
    neighbours: float
    folds: int


NO_MATCHING = SetMatching(0, 1.0, 0.0, 1)
"""Of methods that see no sets."""


@dataclass(frozen=True)
class Candidate:
    """One setting of a closed form.

    Attributes:
        form: Turns principal axes and a cross-covariance into maps.
        covariances: Whether the axes come from the pairs alone or from all there is.
        settings: The method's fields that this candidate fixes.
        transport: How the pools are matched, if they are; needs covariances of all data.
        sharpness: Of the kernel whose features it works on; 0 is the features as they are.
        matching: How items inside sets are matched; needs covariances of all data.
    """

    form: Form
    covariances: Covariances
    settings: Mapping[str, Any]
    transport: PoolTransport | None = None
    sharpness: float = 0.0
    matching: SetMatching = NO_MATCHING

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.settings.items()) or "its form"


class _Side:
    """Principal axes of a side. Folds and candidates share pools, whose coordinates are kept."""

    def __init__(self, axes: Principal) -> None:
        self.axes = axes
        self._last: tuple[object, Array] | None = None

    def of_pool(self, rows: FloatArray) -> Array:
        if self._last is None or self._last[0] is not rows:
            self._last = rows, self.axes(rows)
        return self._last[1]


Axes = dict[tuple[Covariances, float], tuple[_Side, _Side]]


@dataclass(frozen=True)
class Choice:
    """What cross-validation chose, and why.

    Attributes:
        candidate: The chosen one.
        ranks: Mean log2 rank of each held-out pair or set under it; empty where nothing could be
            held out.
        sentence: The choice in words.
        axes: Principal axes of all data, for :func:`solve`.
    """

    candidate: Candidate
    ranks: Array
    sentence: str
    axes: Axes


def choose(
    pools: Pools,
    candidates: list[Candidate],
    *,
    name: str,
    rank: int,
    folds: int,
    seed: int,
    journal: Journal,
) -> Candidate:
    """The candidate of :func:`compare`, noted in the journal unless there was no choice.

    Args:
        pools: As of :func:`compare`, like the others.
        candidates: Settings to choose from, the safest first.
        name: Of the method.
        rank: Principal axes kept of either side, but of linear maps of the pairs alone.
        folds: Folds of the cross-validation.
        seed: Of the folds.
        journal: Receives the choice.
    """
    if len(candidates) == 1:
        return candidates[0]
    choice = compare(pools, candidates, name=name, rank=rank, folds=folds, seed=seed)
    journal.note(choice.sentence)
    return choice.candidate


def compare(
    pools: Pools,
    candidates: list[Candidate],
    *,
    name: str,
    rank: int,
    folds: int,
    seed: int,
    otherwise: Sequence[Candidate] = (),
    lead: float = 0.0,
) -> Choice:
    """The candidate that ranks held-out pairs and sets best.

    Args:
        pools: What to learn from.
        candidates: Settings to choose from, the safest first: it is taken unless another is
            better by more than the standard error of the difference.
        name: Of the method, for messages.
        rank: Principal axes kept of either side, but of linear maps of the pairs alone.
        folds: Folds of the cross-validation; where each holds out sets enough, one of them is made.
        seed: Of the folds.
        otherwise: Settings of another kind, chosen among likewise. Theirs is taken if it is better
            than that of `candidates` by more than `lead` standard errors.
        lead: Of `candidates` over those.
    """
    chosen = candidates[0]
    limit = 1 if len(pools.shared_sets) >= folds * ENOUGH_SETS else None
    held = make_folds(pools, folds, seed=seed, limit=limit)
    if not all(pairs_differ(fold.train) for fold in held):
        # Sets are enough for a fold, and the few pairs that it leaves may be of one item.
        otherwise = [one for one in otherwise if one.covariances == "all"]
    every = [*candidates, *otherwise]
    axes = _axes_of_all(pools, every, rank)
    if not held:
        sentence = f"{name} took {chosen}: there is too little to cross-validate."
        return Choice(chosen, np.zeros(0), sentence, axes)
    by_fold = [_ranks_of_fold(fold, every, axes, rank) for fold in held]
    ranks = [np.concatenate(of_candidate) for of_candidate in zip(*by_fold, strict=True)]
    best = _safest_of_best(ranks[: len(candidates)])
    if otherwise:
        other = len(candidates) + _safest_of_best(ranks[len(candidates) :])
        if clearly_better(ranks[other], ranks[best], errors=lead):
            best = other
    scores = [float(values.mean()) for values in ranks]
    sentence = (
        f"{name} took {every[best]}: mean log2 rank {scores[best]:.2f} of held-out "
        f"items in {len(held)} fold{'s' if len(held) > 1 else ''}, of {len(every)} "
        f"settings with {min(scores):.2f} to {max(scores):.2f}."
    )
    return Choice(every[best], ranks[best], sentence, axes)


def judge(
    pools: Pools,
    fold: Fold,
    candidates: list[Candidate],
    start: Alignment,
    *,
    name: str,
    rank: int,
) -> Choice:
    """The candidate that, begun from maps that saw no pair and shown none, ranks the pairs best.

    Args:
        pools: What principal axes come from.
        fold: Of them, with the pairs held out.
        candidates: Settings with a transport between the pools and no kernel, the safest first.
        start: Maps of the features.
        name: Of the method, for messages.
        rank: Principal axes kept of either side.
    """
    axes = _axes_of_all(pools, candidates, rank)
    ranks = [_unit_ranks(fold, candidate, axes, start) for candidate in candidates]
    best = _safest_of_best(ranks)
    sentence = f"{name} goes on from it with {candidates[best]}, of {len(candidates)} settings."
    return Choice(candidates[best], ranks[best], sentence, axes)


def ranks_going_on(
    pools: Pools, candidate: Candidate, start: Alignment, axes: Axes, *, folds: int, seed: int
) -> Array:
    """Ranks of a candidate begun from maps that saw no pair, in the folds of :func:`compare`.

    Args:
        pools: What to learn from; without sets.
        candidate: Of :func:`judge`.
        start: Maps of the features.
        axes: Of all data, as :func:`judge` found them.
        folds: As of :func:`compare`.
        seed: As of :func:`compare`.

    Returns:
        Mean log2 rank of each held-out pair, in the order of the ranks of :func:`compare`.
    """
    held = make_folds(pools, folds, seed=seed)
    return np.concatenate([_unit_ranks(fold, candidate, axes, start) for fold in held])


def _safest_of_best(ranks: Sequence[Array]) -> int:
    best = int(np.argmin([values.mean() for values in ranks]))
    return best if clearly_better(ranks[best], ranks[0]) else 0


def solve(
    pools: Pools,
    candidate: Candidate,
    *,
    name: str,
    rank: int,
    axes: Axes | None = None,
    start: Alignment | None = None,
) -> Alignment:
    """Fit one candidate on all there is.

    Args:
        pools: What to learn from.
        candidate: The setting.
        name: Of the method, for messages.
        rank: Principal axes kept of either side, but of linear maps of the pairs alone.
        axes: Of all data, where :func:`compare` has found them already.
        start: Maps of the features from which a transport between the pools begins, in place of
            those of the pairs; of candidates without a kernel.

    Raises:
        ValueError: Neither pairs, nor sets, nor a start.
    """
    if start is None and pools.n_pairs < 2 and len(pools.shared_sets) < 2:
        raise ValueError(
            f"{name} learns from pairs or sets, and was given {pools.describe()}. Give at least 2 "
            "pairs or 2 sets that stand on both sides; from pools alone `auto` takes what their "
            "geometry gives."
        )
    if axes is None:
        axes = _axes_of_all(pools, [candidate], rank)
    return _fit(pools, candidate, axes | _axes_of_pairs(pools, [candidate], rank), start)


def _axes_of_all(pools: Pools, candidates: list[Candidate], rank: int) -> Axes:
    # Axes need no pairing, so those of all data are computed once and serve every fold.
    kinds = {one.sharpness for one in candidates if one.covariances == "all"}
    both = (pools.all_x(), pools.all_y()) if kinds else ()
    linear = partial(principal, rank=rank, unit=True)
    return {("all", kind): _both_sides(both, kind, rank, linear) for kind in kinds}


def _axes_of_pairs(pools: Pools, candidates: list[Candidate], rank: int) -> Axes:
    kinds = {one.sharpness for one in candidates if one.covariances == "pairs"}
    both = pools.x_pairs, pools.y_pairs
    return {("pairs", kind): _both_sides(both, kind, rank, principal) for kind in kinds}


def _both_sides(
    both: Sequence[FloatArray],
    sharpness: float,
    rank: int,
    linear: Callable[..., Principal],
) -> tuple[_Side, _Side]:
    bent = partial(kernel_principal, rank=rank, sharpness=sharpness)
    axes = bent if sharpness else linear
    x, y = (_Side(axes(rows, side=side)) for rows, side in zip(both, "xy", strict=True))
    return x, y


def _fit(
    pools: Pools, candidate: Candidate, axes: Axes, start: Alignment | None = None
) -> Alignment:
    x_side, y_side = axes[candidate.covariances, candidate.sharpness]
    x, y = x_side.axes, y_side.axes
    pairs = x(pools.x_pairs), y(pools.y_pairs)
    sets = rows_of_shared_sets(pools)
    if sets and candidate.covariances == "all":
        cross = cross_from_sets(
            partial(candidate.form, x.inner(), y.inner()),
            pairs,
            (x_side.of_pool(pools.x_pool), y_side.of_pool(pools.y_pool)),
            sets,
            rounds=candidate.matching.rounds,
            temperature=candidate.matching.temperature,
            neighbours=candidate.matching.neighbours,
            folds=candidate.matching.folds,
        )
    else:
        # Pairs may be a biased sample of the pools: their own means are the right centre.
        known = CrossSum.of_pairs(*(z - z.mean(axis=0) if len(z) else z for z in pairs))
        cross = known.mean
        if candidate.transport:
            inner = partial(candidate.form, x.inner(), y.inner())
            cross = cross_from_pools(
                inner,
                known,
                (x_side.of_pool(pools.x_pool), y_side.of_pool(pools.y_pool)),
                start=_inside(x, y, start) if start else inner(cross),
                weight=candidate.transport.weight,
                rounds=candidate.transport.rounds,
                temperature=candidate.transport.temperature,
                batch=candidate.transport.batch,
                seed=candidate.transport.seed,
            )
    return candidate.form(x, y, cross)


def _inside(x: Principal, y: Principal, maps: Alignment) -> Alignment:
    """Maps of features as maps of coordinates, of whose images the directions alone count."""
    inner = [axes.axes.T @ side.weight for axes, side in ((x, maps.x), (y, maps.y))]
    return Alignment(*(AffineMap(weight, np.zeros(weight.shape[1])) for weight in inner))


def _ranks_of_fold(fold: Fold, candidates: list[Candidate], axes: Axes, rank: int) -> list[Array]:
    axes = axes | _axes_of_pairs(fold.train, candidates, rank)
    return [_unit_ranks(fold, candidate, axes) for candidate in candidates]


def _unit_ranks(
    fold: Fold, candidate: Candidate, axes: Axes, start: Alignment | None = None
) -> Array:
    # Settings are told apart before the rounds have settled, and without the neighbours.
    rounds = -(-candidate.matching.rounds // 2)
    quick = replace(candidate.matching, rounds=rounds, neighbours=0.0)
    candidate = replace(candidate, matching=quick)
    if candidate.transport:
        rounds = -(-candidate.transport.rounds // 3)
        candidate = replace(candidate, transport=replace(candidate.transport, rounds=rounds))
    alignment = _fit(fold.train, candidate, axes, start)
    return unit_means(fold, log_ranks(fold, alignment.x, alignment.y))
