"""CCA that goes on learning from the pools: soft transport between them, at a discount."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.cca import averaged_cca
from setclip.linear.maps import Alignment
from setclip.methods.closed_form import Candidate, PoolTransport, choose, solve
from setclip.methods.protocol import Options, Supervision, card, linear_model
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class TransportCCA(Options):
    """CCA from the pairs, then rounds of soft matching between the pools and CCA on both.

    Two penalties are averaged, which costs little and spares choosing between them. A lead of our
    own; :mod:`setclip.linear.pools` says why it does not confirm itself.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})

    kind: Literal["transport-cca"] = "transport-cca"
    penalties: tuple[tuple[PositiveFloat, ...], ...] = Field(
        default=((3.0, 10.0), (1.0, 3.0)), min_length=1
    )
    """Groups of ridge penalties to choose from, the safest first; a group is averaged."""
    power: NonNegativeFloat = 0.5
    """Canonical directions are scaled by their correlation to this power."""
    sharpness: NonNegativeFloat = 0.0
    """Of the kernel whose features are aligned, see :mod:`setclip.linear.kernel`; 0 takes the
    features as they are."""
    weight: PositiveFloat = 0.25
    """How many known pairs a matched row of the pools is worth."""
    rounds: PositiveInt = 6
    """Rounds of matching, each of two halves of the pools."""
    temperature: PositiveFloat = 0.04
    """Of the matching."""
    batch: PositiveInt = 2000
    """Rows a side matched at once; time and memory grow with its square."""
    rank: PositiveInt = 256
    """Principal axes kept of either side."""
    folds: PositiveInt = 4
    """Folds of the cross-validation."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on pairs and pools; without pools it is CCA."""
        journal = journal or Journal()
        if pools.n_pairs < 2:
            raise ValueError(
                f"transport-cca starts from pairs and was given {pools.describe()}: give at least "
                "2 pairs, or use `auto`, which also takes sets, or pools alone."
            )
        tuned = self.tuned(pools.without_sets(), seed=seed, journal=journal)
        alignment = tuned.solve(pools.without_sets(), seed=seed)
        return linear_model(alignment, card(self, pools, seed, journal))

    def tuned(self, pools: Pools, *, seed: int, journal: Journal) -> TransportCCA:
        """The same method with one group of penalties, chosen by cross-validation on the pairs."""
        chosen = choose(
            pools,
            self.candidates(pools, seed),
            name=self.kind,
            rank=self.rank,
            folds=self.folds,
            seed=seed,
            journal=journal,
        )
        return self.model_copy(update={"penalties": (chosen.settings["penalties"],)})

    def solve(self, pools: Pools, *, seed: int) -> Alignment:
        """The maps themselves, with the first group of penalties."""
        return solve(
            pools,
            self.candidates(pools, seed)[0],
            name=self.kind,
            rank=self.rank,
        )

    def candidates(self, pools: Pools, seed: int) -> list[Candidate]:
        """One candidate a group of penalties."""
        transport = PoolTransport(self.weight, self.rounds, self.temperature, self.batch, seed)
        enough = min(len(pools.x_pool), len(pools.y_pool)) >= 2
        return [
            Candidate(
                partial(averaged_cca, penalties=group, power=self.power),
                "all",
                {"penalties": group},
                transport if enough else None,
                self.sharpness,
            )
            for group in self.penalties
        ]
