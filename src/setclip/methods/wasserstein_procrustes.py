"""Wasserstein Procrustes with a geometric start, from pools and any number of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.wasserstein_procrustes import wasserstein_procrustes
from setclip.methods.pool_matching import (
    PoolStart,
    check_pools,
    log_history,
    stages,
    start_from,
)
from setclip.methods.protocol import Options, Recipe, Supervision, any_of, card, linear_model
from setclip.model import AlignedModel
from setclip.training.journal import Journal

PAPER = {"refinements": 100, "batch": 10_000}


class WassersteinProcrustes(Options):
    """Match random batches of the pools one to one, fit the rotation to the matching, repeat.

    For encoders whose spaces are nearly rotations of each other; it needs no pair.
    `recipe: paper` takes the published batch and number of refinements, which takes far longer.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pools")
    paper: ClassVar[Mapping[str, Any]] = PAPER

    kind: Literal["wasserstein-procrustes"] = "wasserstein-procrustes"
    recipe: Recipe = "default"
    """Where the fields that are not given take their values from."""
    start: PoolStart = "geometric"
    """From the shape of the two pools, or from CCA on the pairs."""
    restarts: PositiveInt = 30
    """Clusterings of the geometric start."""
    centres: PositiveInt = 30
    """Clusters a side."""
    refinements: NonNegativeInt = 40
    """Batches matched one after another."""
    batch: PositiveInt = 2000
    """Rows a side of a batch; time grows with its cube."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pools and the pairs."""
        journal = journal or Journal()
        check_pools(self.kind, pools)
        start = start_from(self.start, pools, name=self.kind, seed=seed, journal=journal)
        with stages(journal) as tell:
            found = wasserstein_procrustes(
                pools.x_pool,
                pools.y_pool,
                x_pairs=pools.x_pairs,
                y_pairs=pools.y_pairs,
                start=start,
                restarts=self.restarts,
                centres=self.centres,
                refinements=self.refinements,
                batch=self.batch,
                seed=seed,
                progress=tell,
            )
        log_history(journal, "refinement", "matched cosine", found.history)
        if found.history:
            journal.note(
                f"Matched rows have a mean cosine of {found.history[-1]:.3f} after "
                f"{len(found.history)} refinements ({found.history[0]:.3f} in the first)."
            )
        return linear_model(found.alignment, card(self, pools, seed, journal))
