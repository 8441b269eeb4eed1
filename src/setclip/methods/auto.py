"""The recipe: from whatever there is to learn from, the map that held-out supervision trusts most.

Three sources say which x goes with which y: matched sets, pairs, and shared geometry. Each has a
best way of using it, measured in the benchmark; `auto` takes those that the data allow, holds out
pairs and sets, and lets them decide between using the unpaired data and ignoring them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from setclip.data.pools import Pools
from setclip.data.splits import single_pairs
from setclip.evaluation.alignability import Alignability, alignability, with_directions
from setclip.evaluation.shift import energy_test
from setclip.linear.cca import cca
from setclip.linear.clouds import LEAST_ROWS
from setclip.linear.kernel import SHARPNESS
from setclip.linear.maps import Alignment
from setclip.linear.procrustes import procrustes
from setclip.linear.ridge import ridge
from setclip.linear.transport_procrustes import AGREED, expected_seconds, transport_procrustes
from setclip.methods.blind import PENALTIES, blind_map
from setclip.methods.closed_form import (
    Candidate,
    Choice,
    Covariances,
    SetMatching,
    compare,
    judge,
    ranks_going_on,
    solve,
)
from setclip.methods.pool_matching import stages
from setclip.methods.protocol import Options, Supervision, any_of, card, linear_model
from setclip.methods.transport_cca import TransportCCA
from setclip.methods.tuning import all_pairs_held_out, chance_log_rank, clearly_better
from setclip.model import AlignedModel
from setclip.training.journal import Journal

# With fewer pairs the first bits of a transport's rank are as easily luck.
FEWEST_TO_JUDGE = 2
FEWEST_TO_FIT = 3
# Standard errors by which a map that ignores the unpaired items must rank held-out items better
# than those that use them, and a map from geometry better than those of the pairs. The former need
# none where the pairs are no sample of the pools, at this p-value of either side: docs/trials.md.
LEAD, SHIFTED = 1.5, 0.025
# Up to here maps of the features as they are stand before those of kernel features: so few pairs
# show no bend in what encoders tell of real items, and may hide that a linear map is the truth.
FEW = 49
# Share of distinct items among the pairs from which these are taken as they are.
DISTINCT = 0.9
# Share of the smaller pool's rows in shared sets under which the others are said to be left out.
FEW_IN_SETS = 0.1
# Mean log2 rank of held-out pairs under which nothing is left to win.
SETTLED = 0.25


class Auto(Options):
    """Chooses the method, its settings and whether to use the unpaired data at all.

    - Matched sets: CCA on their soft matching, cross-fitted.
    - Pairs: CCA, Procrustes and ridge on the pairs, and CCA that goes on with soft transport
      between the pools. The pools are ignored where the best map of the pairs alone ranks held-out
      pairs better by more than one and a half standard errors, or at all where the pairs are
      visibly no random sample of the pools.
    - Every CCA both of the features and of their kernel features.
    - Pools alone, or spaces that may share much geometry: a rotation found from the shape of the
      two clouds, and CCA that goes on from it. It never sees a pair, so all pairs judge it, and few
      of them judge well; where it ranks them at once nothing else is fitted. Otherwise it goes on
      with the pairs of the folds, and has to rank the held-out ones clearly better than the best
      map of the pairs does.

    What was measured and decided is one paragraph in the journal, the model card and the report.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "sets", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pairs", "sets", "pools")

    kind: Literal["auto"] = "auto"
    budget: PositiveFloat = 180.0
    """Seconds of one core that a map from geometry, the dearest candidate, may take to be tried.
    Planned from the sizes of the data and not from a clock: same data, same model."""
    penalties: tuple[PositiveFloat, ...] = (10.0, 3.0, 30.0, 1.0)
    """Ridge penalties of the maps of the pairs alone."""
    set_penalties: tuple[PositiveFloat, ...] = (3.0, 10.0)
    """Ridge penalties of the maps of matched sets."""
    sharpness: NonNegativeFloat = SHARPNESS
    """Of the kernel, see :mod:`setclip.linear.kernel`; 0 keeps to maps of the features as they
    are."""
    kernel_penalties: tuple[PositiveFloat, ...] = (10.0, 3.0, 30.0)
    """Ridge penalties of maps of kernel features and the pairs alone."""
    kernel_set_penalties: tuple[PositiveFloat, ...] = (5.0, 10.0, 3.0, 20.0)
    """Ridge penalties of maps of kernel features and matched sets, the safest first."""
    lighter: PositiveFloat = 0.6
    """Share of the penalty that ranks held-out sets best, at which their map is fitted to all."""
    set_rank: PositiveInt = 512
    """Principal axes kept of either side in that fit, of kernel features."""
    kernel_transport_penalties: tuple[tuple[PositiveFloat, ...], ...] = ((10.0, 30.0), (3.0, 10.0))
    """Groups of ridge penalties of maps of kernel features, pairs and pools, the safest first."""
    geometry_penalties: tuple[tuple[PositiveFloat, ...], ...] = PENALTIES
    """Groups of ridge penalties of CCA that goes on from a map from geometry; the first is taken
    where no pair can judge."""
    power: NonNegativeFloat = 0.5
    """Canonical directions are scaled by their correlation to this power."""
    rounds: PositiveInt = 12
    """Rounds of matching inside sets."""
    temperature: PositiveFloat = 0.05
    """Of the matching inside sets."""
    neighbours: NonNegativeFloat = 30.0
    """Rows like it, in other sets, that the matching of a row of kernel features hears; 0 hears
    none."""
    parts: PositiveInt = 5
    """Parts that the sets are dealt into, each matched by a map fitted to the others."""
    rank: PositiveInt = 384
    """Principal axes kept of either side."""
    folds: PositiveInt = 4
    """Folds of the cross-validation."""
    agreement: NonNegativeFloat = AGREED
    """Without pairs: share of nearest neighbours that two independent transports must agree on
    before their map is believed."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on all there is."""
        journal = journal or Journal()
        found = self._fit(pools, seed, journal)
        journal.note(found.reasons)
        return linear_model(found.alignment, card(self, pools, seed, journal))

    def _fit(self, pools: Pools, seed: int, journal: Journal) -> _Found:
        if len(pools.shared_sets) >= 2:
            inside = [
                held / max(len(pool), 1)
                for held, pool in zip(
                    pools.in_shared_sets, (pools.x_pool, pools.y_pool), strict=True
                )
            ]
            if min(inside) < FEW_IN_SETS:
                journal.warn(
                    "few rows in sets",
                    f"{len(pools.shared_sets)} sets hold {min(inside):.1%} of the items of a side, "
                    "and where there are sets matches are sought inside them alone. Leave the sets "
                    "out to learn from the pools instead.",
                )
            return self._with_sets(pools, seed)
        pools = pools.without_sets()
        reason = self._against_geometry(pools, _shared_geometry(pools))
        if not reason:
            return self._with_geometry(pools, seed, journal)
        if pools.n_pairs >= 2:
            return self._from_pairs(pools, seed).because(reason)
        dear = min(len(pools.x_pool), len(pools.y_pool)) >= 2 * LEAST_ROWS
        raise ValueError(
            f"auto was given {pools.describe()}, too little to align anything: {reason} Give "
            "at least 2 pairs, or 2 sets that stand on both sides, or "
            f"{'a larger `budget`' if dear else 'larger pools'}."
        )

    def _with_sets(self, pools: Pools, seed: int) -> _Found:
        what = "sets and pairs by"
        candidates = [
            *self._ccas(what, "all", self.kernel_set_penalties, kernel=True),
            *self._ccas(what, "all", self.set_penalties, kernel=False),
        ]
        ignoring = self._ignoring_pools() if pools.n_pairs >= FEWEST_TO_FIT else []
        choice = self._compare(pools, candidates, ignoring, seed, LEAD)
        reasons = f"{len(pools.shared_sets):,} matched sets were given. {choice.sentence}"
        if choice.candidate not in candidates or not len(choice.ranks):
            return _Found(self._solved(pools, choice), reasons, choice.ranks)
        # Held-out sets choose heavier ridges than find most partners (docs/trials.md): a fold has
        # three quarters of the sets and half the rounds, and any item of a set counts as found.
        penalty = self.lighter * choice.candidate.settings["penalty"]
        bent = choice.candidate.sharpness > 0
        (last,) = self._ccas(what, "all", [penalty], kernel=bent)
        rank, axes = (self.set_rank, None) if bent else (self.rank, choice.axes)
        alignment = solve(pools, last, name=self.kind, rank=rank, axes=axes)
        told = f"{reasons} Fitted to everything at penalty {penalty:g}."
        return _Found(alignment, told, choice.ranks)

    def _from_pairs(self, pools: Pools, seed: int) -> _Found:
        using = self._with_pools(pools, seed)
        shift = _shift(pools, seed) if using else ""
        lead = 0.0 if shift else LEAD
        choice = self._compare(pools, using, self._ignoring_pools(), seed, lead)
        used = "The pools were ignored, they did not help."
        if choice.candidate.transport:
            used = "The pools were used."
        elif not using:
            used = f"There were no pools of {LEAST_ROWS} items to learn from."
        reasons = f"{shift}{choice.sentence} {used}"
        return _Found(self._solved(pools, choice), reasons, choice.ranks)

    def _with_pools(self, pools: Pools, seed: int) -> list[Candidate]:
        if min(len(pools.x_pool), len(pools.y_pool)) < LEAST_ROWS:
            return []
        kernel = TransportCCA(
            rank=self.rank, sharpness=self.sharpness, penalties=self.kernel_transport_penalties
        )
        kinds = [("transport kernel CCA", kernel)] if self.sharpness else []
        kinds.append(("transport CCA", TransportCCA(rank=self.rank)))
        if pools.n_pairs <= FEW:
            kinds.reverse()
        return [
            replace(one, settings={"pairs and pools by": name, **one.settings})
            for name, method in kinds
            for one in method.candidates(pools, seed)
        ]

    def _ccas(
        self, what: str, covariances: Covariances, penalties: Sequence[float], *, kernel: bool
    ) -> list[Candidate]:
        if kernel and not self.sharpness:
            return []
        return [
            Candidate(
                partial(cca, penalty=penalty, power=self.power),
                covariances,
                {what: "kernel CCA" if kernel else "CCA", "penalty": penalty},
                sharpness=self.sharpness if kernel else 0.0,
                matching=self._matching(kernel),
            )
            for penalty in penalties
        ]

    def _ignoring_pools(self) -> list[Candidate]:
        what = "pairs alone by"
        ridges = [
            Candidate(partial(ridge, penalty=penalty), "pairs", {what: "ridge", "penalty": penalty})
            for penalty in self.penalties
        ]
        rotation = Candidate(procrustes, "pairs", {what: "Procrustes"})
        return [
            *self._ccas(what, "pairs", self.penalties, kernel=False),
            *self._ccas(what, "pairs", self.kernel_penalties, kernel=True),
            rotation,
            *ridges,
        ]

    def _compare(
        self,
        pools: Pools,
        using: list[Candidate],
        ignoring: list[Candidate],
        seed: int,
        lead: float,
    ) -> Choice:
        return compare(
            pools,
            using or ignoring,
            otherwise=ignoring if using else (),
            lead=lead,
            name=self.kind,
            rank=self.rank,
            folds=self.folds,
            seed=seed,
        )

    def _solved(self, pools: Pools, choice: Choice) -> Alignment:
        return solve(pools, choice.candidate, name=self.kind, rank=self.rank, axes=choice.axes)

    def _matching(self, kernel: bool) -> SetMatching:
        # Neighbours say what a linear map cannot; where it is the truth they blur it.
        neighbours = self.neighbours if kernel else 0.0
        return SetMatching(self.rounds, self.temperature, neighbours, self.parts)

    def _against_geometry(self, pools: Pools, shared: Alignability | None) -> str:
        """Why not to look for shared geometry; empty if it is worth looking."""
        smaller = min(len(pools.x_pool), len(pools.y_pool))
        if smaller < 2 * LEAST_ROWS:
            return f"Pools of {smaller} items a side have no shape to compare."
        if shared is not None and not shared.may_be_much:
            return f"{shared.verdict} A map from geometry alone was not tried."
        seconds = expected_seconds(len(pools.x_pool), len(pools.y_pool))
        if self.budget < seconds:
            return (
                f"A map from geometry alone takes about {seconds:.0f} seconds, the budget is "
                f"{self.budget:.0f}: it was not tried."
            )
        return ""

    def _with_geometry(self, pools: Pools, seed: int, journal: Journal) -> _Found:
        """A map from the shape of the pools, judged by all pairs, or by itself without any."""
        if pools.n_pairs < FEWEST_TO_JUDGE:
            return self._without_pairs(pools, seed, journal)
        with stages(journal) as tell:
            found = transport_procrustes(pools.x_pool, pools.y_pool, seed=seed, progress=tell)
        going_on = TransportCCA(penalties=self.geometry_penalties)
        candidates = going_on.candidates(pools, seed)
        fit = partial(solve, pools, name=self.kind, rank=going_on.rank, start=found.alignment)
        fold = all_pairs_held_out(pools, seed=seed)
        choice = judge(pools, fold, candidates, found.alignment, name=self.kind, rank=going_on.rank)
        said = (
            f"A map from the shape of the pools alone, which saw no pair, ranks the "
            f"{pools.n_pairs} pairs at a mean log2 rank of {choice.ranks.mean():.2f}"
        )
        if choice.ranks.mean() < SETTLED:
            said += ", which leaves others nothing to win: "
        else:
            fitted = self._from_pairs(pools, seed)
            if len(fitted.ranks):
                ranks = ranks_going_on(
                    pools,
                    choice.candidate,
                    found.alignment,
                    choice.axes,
                    folds=self.folds,
                    seed=seed,
                )
                said += (
                    f". Going on from it with the pairs of the folds it is {ranks.mean():.2f}, "
                    f"against {fitted.ranks.mean():.2f} for the best map of the pairs: "
                )
                won = clearly_better(ranks, fitted.ranks, errors=LEAD)
            else:
                chance = chance_log_rank(fold)
                said += f", against {chance:.2f} by chance: "
                won = clearly_better(choice.ranks, np.full(len(choice.ranks), chance), errors=LEAD)
            if not won:
                return fitted.because(said + "it was not used.")
        refined = fit(choice.candidate, axes=choice.axes)
        return _Found(refined, f"{said}it was taken. {choice.sentence}", choice.ranks)

    def _without_pairs(self, pools: Pools, seed: int, journal: Journal) -> _Found:
        with stages(journal) as tell:
            found = blind_map(pools, penalties=self.geometry_penalties[0], seed=seed, progress=tell)
        said = (
            "Neither two pairs nor two sets were given. Two searches of the pools for a common "
            f"shape agree on {found.agreement:.0%} of the nearest neighbours"
        )
        if found.agreement < self.agreement:
            journal.warn(
                "no shared geometry",
                f"{said}: as far as can be told without a pair, these two spaces share too little "
                "geometry, zero pairs cannot work here, and the model is no better than chance. "
                "Give 20 pairs or more, or sets; ten pairs would tell whether one of them was "
                "right.",
            )
        return _Found(found.alignment, f"{said}, {self.agreement:.0%} are needed.", np.zeros(0))


@dataclass(frozen=True)
class _Found:
    """Maps, why they were taken, and how they rank held-out pairs."""

    alignment: Alignment
    reasons: str
    ranks: np.ndarray[tuple[int, ...], np.dtype[np.float64]]

    def because(self, reason: str) -> _Found:
        return _Found(self.alignment, f"{self.reasons} {reason}", self.ranks)


def _shared_geometry(pools: Pools) -> Alignability | None:
    """Of the pairs, without those that hold a row of zeros; None where it cannot be measured."""
    x, y = with_directions(pools.x_pairs, pools.y_pairs)
    if not len(x) or (x == x[0]).all() or (y == y[0]).all():
        return None
    return alignability(x, y)


def _shift(pools: Pools, seed: int) -> str:
    """In words, that the pairs are no sample of the pools; empty if nothing shows it."""
    single = single_pairs(pools.x_pairs, pools.y_pairs)
    if len(single) >= DISTINCT * pools.n_pairs:
        single = np.arange(pools.n_pairs)
    sides = (("x", pools.x_pairs, pools.x_pool), ("y", pools.y_pairs, pools.y_pool))
    values = {side: energy_test(pairs[single], pool, seed=seed) for side, pairs, pool in sides}
    shifted = [f"{side} (p = {p:.3f})" for side, p in values.items() if p <= SHIFTED]
    if not shifted:
        return ""
    return f"The pairs are not a random sample of the pool in {' and '.join(shifted)}. "
