"""Transport Procrustes: a rotation between two pools by soft matching on rows it has not seen."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from setclip.data.pools import Pools
from setclip.linear.transport_procrustes import CENTRES, UNRELATED, transport_procrustes
from setclip.methods.pool_matching import (
    PoolStart,
    check_pools,
    log_history,
    stages,
    start_from,
)
from setclip.methods.protocol import Options, Supervision, any_of, card, linear_model
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class TransportProcrustes(Options):
    """Match halves of the pools softly, fit a rotation, test it on the other halves, repeat.

    For encoders whose spaces are nearly rotations of each other; it needs no pair and says how far
    two independent starts agree.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pools")

    kind: Literal["transport-procrustes"] = "transport-procrustes"
    start: PoolStart = "geometric"
    """From the shape of the two pools, or from CCA on the pairs."""
    restarts: PositiveInt = 30
    """Clusterings of the geometric start, of each number of centres."""
    centres: tuple[PositiveInt, ...] = Field(default=CENTRES, min_length=1)
    """Numbers of clusters a side."""
    candidates: PositiveInt = 3
    """Averages of clusterings tried for a few steps, of each number of centres."""
    steps: PositiveInt = 60
    """Steps at most of the starts that are taken to the end."""
    batch: PositiveInt = 2000
    """Rows a side matched at once; time and memory grow with its square."""
    rank: PositiveInt = 384
    """Principal axes kept of either side."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pools and the pairs."""
        journal = journal or Journal()
        check_pools(self.kind, pools)
        start = start_from(self.start, pools, name=self.kind, seed=seed, journal=journal)
        with stages(journal) as tell:
            found = transport_procrustes(
                pools.x_pool,
                pools.y_pool,
                x_pairs=pools.x_pairs,
                y_pairs=pools.y_pairs,
                start=start,
                seed=seed,
                progress=tell,
                **self.model_dump(exclude={"kind", "start"}),
            )
        log_history(journal, "climb", "score", found.history)
        score = f"matched rows, most of them fitted to, have a mean cosine of {found.score:.3f}"
        if start is not None:
            journal.note(f"Started from the pairs; {score}.")
        elif math.isnan(found.agreement):
            journal.note(f"One start was tried: nothing shows whether geometry is shared; {score}.")
        else:
            journal.note(
                f"Two starts agree on the nearest item of {found.agreement:.0%} of the rows; "
                f"{score}."
            )
        if found.agreement < UNRELATED:
            journal.warn(
                "no shared geometry",
                f"two starts agree on {found.agreement:.1%} of the rows only, so do not count on "
                "more than chance. Give pairs or sets and use `cca` or `setclip`.",
            )
        return linear_model(found.alignment, card(self, pools, seed, journal))
