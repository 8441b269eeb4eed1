"""What heads trained on pairs share: their fields, the fit, and its tuning on folds."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from setclip.data.pools import Pools
from setclip.data.samplers import draw_rows
from setclip.methods.early_stopping import Trainable, fit_stopped
from setclip.methods.heads import TwoTowers, random_towers
from setclip.methods.protocol import Options, Supervision, card, pairs_needed, visible
from setclip.model import AlignedModel, HeadKind
from setclip.training.journal import Journal
from setclip.training.loop import Schedule


class PoolTerms(nn.Module):
    """Loss terms on the pools; a module because it may count or learn something.

    ``forward(rows, zx, zy, rng)`` takes the batch's rows of the pairs [n], their embeddings [n, d]
    and the generator that rows of the pools are drawn from, and returns weighted terms by name.

    Args:
        rows: Drawn from either pool a step.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows


class PairHeads(Options):
    """Fields of heads that learn from pairs, by themselves or with a term on the pools."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs"})
    pair_term: ClassVar[str] = "clip"
    """Name of the loss on the pairs in the journal."""

    kind: str
    head: HeadKind = "linear"
    """One affine map, or the residual two-layer head of Set-CLIP."""
    dim: PositiveInt = 256
    """Width of the shared space."""
    rank: PositiveInt | None = 256
    """Principal axes of the pairs that the heads read, centred and scaled; None: raw features."""
    dropout: NonNegativeFloat = 0.1
    """Rate inside a projection head."""
    lr: tuple[PositiveFloat, ...] = (3e-3, 1e-2, 3e-2)
    """Peak learning rates to choose from."""
    steps: PositiveInt = 80
    """Longest training; the best step is chosen on folds of the pairs."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay."""
    batch: PositiveInt = 256
    """Pairs a step."""
    folds: PositiveInt = 3
    """Folds of the cross-validation; 1 trains all steps at the first rate."""

    def pair_loss(self, n: int) -> nn.Module:
        """Module ``(zx [n, d], zy [n, d]) -> loss``, with what it learns."""
        raise TypeError(f"{type(self).__name__} has no loss of its own")

    def pool_terms(self, pools: Pools, towers: TwoTowers, *, seed: int) -> PoolTerms | None:
        """What is added to the loss on the pairs; None in methods that see nothing else."""
        return None

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pairs, and on the pools where the method uses them."""
        journal = journal or Journal()
        pools = visible(pools, self.uses).without_sets()
        if pools.n_pairs < 2:
            raise ValueError(pairs_needed(self.kind, pools.n_pairs, alone="pools" not in self.uses))
        schedules = [
            Schedule(self.steps, rate, self.weight_decay, warmup=10, check_every=10, patience=3)
            for rate in self.lr
        ]
        trained = fit_stopped(
            partial(self._build, seed=seed),
            pools,
            schedules,
            folds=self.folds,
            seed=seed,
            journal=journal,
            fingerprint=self.model_dump_json(),
        )
        towers = trained.module
        assert isinstance(towers, TwoTowers)
        return towers.model(card(self, pools, seed, journal))

    def _build(self, pools: Pools, *, seed: int) -> Trainable:
        towers = random_towers(
            pools, kind=self.head, dim=self.dim, dropout=self.dropout, seed=seed, rank=self.rank
        )
        loss = self.pair_loss(min(self.batch, pools.n_pairs))
        towers.add_module("loss", loss)
        added = self.pool_terms(pools, towers, seed=seed)
        towers.add_module("pool_terms", added)
        inputs = towers.inputs(pools)

        def objective(rng: np.random.Generator) -> dict[str, Tensor]:
            rows = torch.from_numpy(draw_rows(pools.n_pairs, self.batch, rng))
            zx, zy = towers.x(inputs.x_pairs[rows]), towers.y(inputs.y_pairs[rows])
            terms = {self.pair_term: loss(zx, zy)}
            return terms if added is None else terms | added(rows, zx, zy, rng)

        rows = min(self.batch, pools.n_pairs) + (added.rows if added else 0)
        return Trainable(towers, objective, towers.embed_x, towers.embed_y, rows=rows)
