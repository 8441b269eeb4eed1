"""Ridge regression: predict y features from x features."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.maps import Alignment
from setclip.linear.ridge import ridge
from setclip.methods.closed_form import Candidate, choose, solve
from setclip.methods.protocol import Options, Supervision, card, linear_model, pairs_needed, visible
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class Ridge(Options):
    """Ridge regression on the pairs; it ignores sets and pools."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs"})

    kind: Literal["ridge"] = "ridge"
    penalty: PositiveFloat | None = None
    """Ridge in units of the mean variance of a feature; None chooses by cross-validation."""
    grid: tuple[PositiveFloat, ...] = (10.0, 1.0, 3.0, 30.0, 100.0, 0.1)
    """Penalties to choose from, the safest first."""
    folds: PositiveInt = 5
    """Folds of the cross-validation."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pairs."""
        journal = journal or Journal()
        pools = visible(pools, self.uses)
        if pools.n_pairs < 2:
            raise ValueError(pairs_needed(self.kind, pools.n_pairs))
        alignment = self.tuned(pools, seed=seed, journal=journal).solve(pools)
        return linear_model(alignment, card(self, pools, seed, journal))

    def tuned(self, pools: Pools, *, seed: int, journal: Journal) -> Ridge:
        """The same method with its penalty chosen, by cross-validation on the pairs."""
        penalties = self.grid if self.penalty is None else (self.penalty,)
        chosen = choose(
            pools,
            [_candidate(penalty) for penalty in penalties],
            name=self.kind,
            rank=pools.x_dim,
            folds=self.folds,
            seed=seed,
            journal=journal,
        )
        return self.model_copy(update=dict(chosen.settings))

    def solve(self, pools: Pools) -> Alignment:
        """The maps themselves, with the penalty chosen."""
        return solve(
            pools,
            _candidate(self.grid[0] if self.penalty is None else self.penalty),
            name=self.kind,
            rank=pools.x_dim,
        )


def _candidate(penalty: float) -> Candidate:
    return Candidate(partial(ridge, penalty=penalty), "pairs", {"penalty": penalty})
