"""Regularised CCA, from pairs, sets and pools."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.cca import cca
from setclip.linear.maps import Alignment
from setclip.methods.closed_form import Candidate, Covariances, SetMatching, choose, solve
from setclip.methods.protocol import Options, Supervision, any_of, card, linear_model
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class CCA(Options):
    """Canonical correlation analysis: cross-covariance from pairs and sets, the rest from all data.

    With sets, no pair is needed: the cross-covariance starts from the sums of the sets, and rounds
    of soft matching inside the sets refine it.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "sets", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pairs", "sets")

    kind: Literal["cca"] = "cca"
    penalty: PositiveFloat | None = None
    """Ridge in units of the mean variance of a feature; None chooses on held-out pairs or sets."""
    power: NonNegativeFloat | None = None
    """Canonical directions are scaled by their correlation to this power; None chooses."""
    covariances: Covariances | None = None
    """Auto-covariances from the pairs alone or from all data; None chooses. Sets imply all."""
    sharpness: NonNegativeFloat = 0.0
    """Of the kernel whose features are aligned, see :mod:`setclip.linear.kernel`; 0 takes the
    features as they are."""
    penalties: tuple[PositiveFloat, ...] = (10.0, 3.0, 30.0, 1.0, 100.0)
    """Penalties to choose from, the safest first."""
    powers: tuple[NonNegativeFloat, ...] = (0.5, 0.0, 1.0)
    """Powers to choose from, the safest first."""
    set_penalties: tuple[PositiveFloat, ...] = (3.0, 10.0, 1.0)
    """Penalties to choose from where there are sets, which stand for many pairs."""
    rank: PositiveInt = 256
    """Principal axes kept of either side where covariances come from all data."""
    rounds: NonNegativeInt = 12
    """Rounds of matching inside sets."""
    temperature: PositiveFloat = 0.05
    """Of the matching inside sets."""
    neighbours: NonNegativeFloat = 0.0
    """Rows like it, in other sets, that the matching of a row hears; 0 hears none."""
    parts: PositiveInt = 5
    """Parts that the sets are dealt into, each matched by a map fitted to the others."""
    folds: PositiveInt = 5
    """Folds of the cross-validation."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on all there is."""
        journal = journal or Journal()
        alignment = self.tuned(pools, seed=seed, journal=journal).solve(pools)
        return linear_model(alignment, card(self, pools, seed, journal))

    def tuned(self, pools: Pools, *, seed: int, journal: Journal) -> CCA:
        """The same method with every choice made, by cross-validation on the pools."""
        chosen = choose(
            pools,
            self._candidates(pools),
            name=self.kind,
            rank=self.rank,
            folds=self.folds,
            seed=seed,
            journal=journal,
        )
        return self.model_copy(update=dict(chosen.settings))

    def solve(self, pools: Pools) -> Alignment:
        """The maps themselves, with every choice made."""
        return solve(
            pools,
            self._candidates(pools)[0],
            name=self.kind,
            rank=self.rank,
        )

    @property
    def _matching(self) -> SetMatching:
        return SetMatching(self.rounds, self.temperature, self.neighbours, self.parts)

    def _candidates(self, pools: Pools) -> list[Candidate]:
        sources: tuple[Covariances, ...] = ("pairs", "all")
        penalties = self.penalties if self.penalty is None else (self.penalty,)
        powers = self.powers if self.power is None else (self.power,)
        if len(pools.shared_sets):
            # Inside sets penalty and power trade off, and every setting costs rounds of matching.
            sources, powers = ("all",), powers[:1]
            penalties = self.set_penalties if self.penalty is None else penalties
        elif self.covariances is not None:
            sources = (self.covariances,)
        elif not len(pools.x_pool) or not len(pools.y_pool):
            sources = ("pairs",)
        return [
            Candidate(
                partial(cca, penalty=penalty, power=power),
                source,
                {"penalty": penalty, "power": power, "covariances": source},
                sharpness=self.sharpness,
                matching=self._matching,
            )
            for source in sources
            for penalty in penalties
            for power in powers
        ]
