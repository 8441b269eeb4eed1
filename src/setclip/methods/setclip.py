"""Set-CLIP: pairs keep the meaning, pools and sets shape the distributions.

``w_clip CLIP(pairs) + w_sdd SDD(all) + w_mmd MK-MMD(all) + w_ssl (SSL_x + SSL_y)``,
arXiv 2406.05766 (first version: Gentle-CLIP).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from setclip.data.pools import Pools
from setclip.linear.maps import AffineMap
from setclip.methods.early_stopping import Trainable, fit_stopped
from setclip.methods.heads import TwoTowers, random_towers, refined_towers, whitenings
from setclip.methods.protocol import Recipe, Supervision, any_of, card
from setclip.methods.set_losses import SetLosses
from setclip.methods.set_objective import SetObjective, without_small_sets
from setclip.methods.starts import Start, StartName, make_start
from setclip.model import AlignedModel, HeadKind
from setclip.training.journal import Journal
from setclip.training.loop import Schedule

# Constants of the paper's ViT run (authors' partial release). The release trains encoders at 1e-5
# and heads at 1e-3; on frozen features only heads are left.
PAPER: dict[str, Any] = {
    "start": "random",
    "head": "projection",
    "weight_clip": 1.0,
    "weight_sdd": 0.6,
    "weight_mmd": 0.1,
    "weight_ssl": 0.1,
    "balance": False,
    "bandwidth": 0.5,
    "within_sets": False,
    "lr": 1e-3,
    "weight_decay": 1e-3,
    "batch_pairs": 22,
    "batch": 64,
    "steps": 300,
    "folds": 1,
}


class SetCLIP(SetLosses):
    """Set-CLIP on frozen features, from pairs, sets and pools, with zero of any of them.

    `recipe: paper` is the published form: random projection heads, published weights, a fixed
    number of steps. The default recipe starts from the best closed form, or without pairs and sets
    from the shape of the pools, refines it, and stops where held-out pairs and sets say; it is
    never far below its start.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "sets", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pairs", "sets", "pools")
    paper: ClassVar[Mapping[str, Any]] = PAPER

    kind: Literal["setclip", "gentle-clip"] = "setclip"
    recipe: Recipe = "default"
    """Where the fields that are not given take their values from."""
    start: StartName = "cca"
    """Heads from CCA or Procrustes on pairs and sets, or where there are neither from transport
    between the pools; from CCA or ridge on the pairs alone; from transport in any case; or
    random."""
    head: HeadKind = "linear"
    """Form of a random head; a closed form is linear."""
    dim: PositiveInt = 256
    """Width of the shared space of random heads."""
    rank: PositiveInt = 256
    """Principal axes of either side that the refinement of a closed form reads."""
    penalty: PositiveFloat = 1.0
    """Ridge of the whitening that the refinement reads."""
    dropout: NonNegativeFloat = 0.1
    """Rate inside a projection head."""
    memory: NonNegativeInt = 0
    """Further rows of either pool that SDD's densities are made of; a pull goes to the batch."""
    matched_batches: bool = False
    """Draw batches of the pools that match under the present heads; sets are matched already."""
    within_sets: bool | None = None
    """Compare the distributions inside each set, not over the sets of a batch together; None does
    where a set has two items on both sides and there is no memory."""
    noise: NonNegativeFloat = 0.1
    """SSL: noise added to each view, in units of a feature's standard deviation."""
    mask: NonNegativeFloat = 0.2
    """SSL: share of features hidden from each view."""
    batch_pairs: PositiveInt = 128
    """Pairs a step."""
    batch: PositiveInt = 256
    """Rows of either side a step, pairs included; sets come whole and beside the pairs."""
    steps: NonNegativeInt = 200
    """Longest training."""
    lr: PositiveFloat = 1e-2
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled; pulls random heads to zero and a refinement back to its closed form."""
    folds: PositiveInt = 3
    """Folds that choose the step; 1 trains all steps."""

    @model_validator(mode="after")
    def _memory_has_no_sets(self) -> SetCLIP:
        if self.memory and self.within_sets:
            raise ValueError("memory belongs to no set: set memory to 0, or within_sets to false.")
        return self

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on all there is."""
        journal = journal or Journal()
        self._check(pools)
        held = pools.in_shared_sets
        if min(held) > 1 and (held[0] < len(pools.x_pool) or held[1] < len(pools.y_pool)):
            journal.note(
                f"Batches are drawn from sets: {len(pools.x_pool) - held[0]:,} x and "
                f"{len(pools.y_pool) - held[1]:,} y in none that stands on both sides were seen by "
                "the start alone."
            )
        start = make_start(self.start, pools, folds=self.folds, seed=seed, journal=journal)
        whiten = None
        if start is not None:
            # Whitening needs no pairing: that of all data serves every fold.
            whiten = whitenings(pools, rank=self.rank, penalty=self.penalty)
        trained = fit_stopped(
            partial(self._build, start=start, whiten=whiten, seed=seed),
            pools,
            [Schedule(self.steps, self.lr, self.weight_decay, warmup=20, patience=3)],
            folds=self.folds,
            seed=seed,
            journal=journal,
            fingerprint=self.model_dump_json(),
            cautious=start is not None,
        )
        towers = trained.module
        assert isinstance(towers, TwoTowers)
        return towers.model(card(self, pools, seed, journal))

    def _check(self, pools: Pools) -> None:
        sets = len(pools.shared_sets)
        if self.within_sets and sets and not len(without_small_sets(pools).shared_sets):
            raise ValueError(
                "within_sets compares the shapes of the two sides of a set, and none of the "
                f"{sets:,} sets has two items on both sides: give larger sets, give sets of one "
                "and one as pairs, or leave within_sets out."
            )

    def _build(
        self,
        pools: Pools,
        *,
        start: Start | None,
        whiten: tuple[AffineMap, AffineMap] | None,
        seed: int,
    ) -> Trainable:
        if start is None or whiten is None:
            towers = random_towers(
                pools, kind=self.head, dim=self.dim, dropout=self.dropout, seed=seed
            )
        else:
            towers = refined_towers(pools, start(pools), whiten)
        objective = SetObjective(self, pools, towers)
        return Trainable(towers, objective, towers.embed_x, towers.embed_y, rows=self.batch)
