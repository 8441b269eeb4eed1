"""Orthogonal Procrustes, from pairs and sets."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.maps import Alignment
from setclip.linear.procrustes import procrustes
from setclip.methods.closed_form import Candidate, Covariances, SetMatching, solve
from setclip.methods.protocol import Options, Supervision, any_of, card, linear_model, visible
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class Procrustes(Options):
    """The rotation that brings one modality closest to the other."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "sets"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pairs", "sets")

    kind: Literal["procrustes"] = "procrustes"
    rank: PositiveInt = 256
    """Principal axes kept of either side where sets are used."""
    rounds: NonNegativeInt = 12
    """Rounds of matching inside sets."""
    temperature: PositiveFloat = 0.05
    """Of the matching inside sets."""
    neighbours: NonNegativeFloat = 0.0
    """Rows like it, in other sets, that the matching of a row hears; 0 hears none."""
    parts: PositiveInt = 5
    """Parts that the sets are dealt into, each matched by a map fitted to the others."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pairs and sets."""
        journal = journal or Journal()
        pools = visible(pools, self.uses)
        return linear_model(self.solve(pools), card(self, pools, seed, journal))

    def solve(self, pools: Pools) -> Alignment:
        """The maps themselves."""
        covariances: Covariances = "all" if len(pools.shared_sets) else "pairs"
        matching = SetMatching(self.rounds, self.temperature, self.neighbours, self.parts)
        candidate = Candidate(procrustes, covariances, {}, matching=matching)
        return solve(pools, candidate, name=self.kind, rank=self.rank)
