"""mini-vec2vec: a linear map between two embedding models' spaces, from pools alone."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.mini_vec2vec import mini_vec2vec
from setclip.methods.pool_matching import check_pools, log_history, stages
from setclip.methods.protocol import Options, Supervision, any_of, card, linear_model
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class MiniVec2Vec(Options):
    """Anchors matched by geometry, then averages of nearest neighbours and Procrustes, repeated.

    For encoders whose spaces are nearly rotations of each other, such as two text encoders. Pairs
    are not used. The defaults are the published settings.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pools")

    kind: Literal["mini-vec2vec"] = "mini-vec2vec"
    restarts: PositiveInt = 30
    """Sets of anchors."""
    centres: PositiveInt = 20
    """Anchors a set."""
    k: PositiveInt = 50
    """Neighbours averaged."""
    refinements: NonNegativeInt = 100
    """Rounds of neighbours and Procrustes."""
    sample: PositiveInt = 1000
    """Rows of x a refinement."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Weight of the old map in the average with a new rotation."""
    last_clusters: PositiveInt = 500
    """Clusters of the last step, at most a quarter of the rows of either side."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pools."""
        journal = journal or Journal()
        check_pools(self.kind, pools)
        if pools.n_pairs:
            journal.note(
                f"{self.kind} uses pools alone: the {pools.n_pairs:,} pairs were ignored. "
                "`transport-procrustes` uses both."
            )
        with stages(journal) as tell:
            found = mini_vec2vec(
                pools.x_pool,
                pools.y_pool,
                seed=seed,
                progress=tell,
                **self.model_dump(exclude={"kind"}),
            )
        log_history(journal, "refinement", "cosine to neighbours", found.history)
        return linear_model(found.alignment, card(self, pools, seed, journal))
