"""STRUCTURE: CLIP on the pairs, while each modality keeps its own neighbourhoods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from setclip.data.pools import FloatArray, Pools
from setclip.data.samplers import draw_rows
from setclip.losses import structure_loss
from setclip.methods.clip import InfoNCE
from setclip.methods.heads import TwoTowers
from setclip.methods.pair_heads import PairHeads, PoolTerms
from setclip.methods.protocol import Recipe, Supervision

# The loss is as published in both recipes; they differ in what the heads read and how they stop.
PAPER: dict[str, Any] = {"rank": None, "lr": (1e-3,), "folds": 1}


class Structure(PairHeads):
    """Two heads trained with CLIP, and with what keeps who is near whom inside each modality.

    The regulariser needs no pair: it sees pairs and pools of either side.

    Source:
        arXiv 2506.16895; weight 10 warmed up linearly, temperature 0.05, one level.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})
    paper: ClassVar[Mapping[str, Any]] = PAPER

    kind: Literal["structure"] = "structure"
    recipe: Recipe = "default"
    """Where the fields that are not given take their values from."""
    weight: NonNegativeFloat = 10.0
    """Of the regulariser of each modality."""
    weight_warmup: NonNegativeInt = 50
    """Steps in which the weight rises from zero."""
    levels: PositiveInt = 1
    """Walks of one to so many steps are compared."""
    structure_temperature: PositiveFloat = 0.05
    """Of the neighbourhoods."""
    swapped_kl: bool = False
    """The divergence of the authors' code instead of the Jensen-Shannon divergence of the paper."""
    temperature: PositiveFloat = 0.05
    """Of CLIP."""
    batch_pool: PositiveInt = 256
    """Pool items of either side a step, besides the pairs."""

    def pair_loss(self, n: int) -> nn.Module:
        """Symmetric InfoNCE at the fixed temperature."""
        return InfoNCE(self.temperature)

    def pool_terms(self, pools: Pools, towers: TwoTowers, *, seed: int) -> PoolTerms | None:
        """The regulariser of either modality."""
        return Neighbourhoods(self, pools, towers)


class Neighbourhoods(PoolTerms):
    """The regulariser on a batch of pairs and pool items.

    Args:
        options: The method.
        pools: What it learns from.
        towers: Whose embeddings must keep their neighbourhoods.
    """

    taken: Tensor

    def __init__(self, options: Structure, pools: Pools, towers: TwoTowers) -> None:
        super().__init__(options.batch_pool)
        self.options = options
        # In a tuple, since the towers hold this module: modules must not contain each other.
        self.towers = (towers,)
        inputs = towers.inputs(pools)
        self.pools = inputs.x_pool, inputs.y_pool
        self.pair_features = _tensor(pools.x_pairs), _tensor(pools.y_pairs)
        self.pool_features = _tensor(pools.x_pool), _tensor(pools.y_pool)
        # A buffer, since a resumed run must know how far the warm-up has come.
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def forward(
        self, rows: Tensor, zx: Tensor, zy: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of the pairs and a draw of the pools."""
        o, (towers,) = self.options, self.towers
        self.taken += 1
        weight = o.weight * min(1.0, int(self.taken) / max(o.weight_warmup, 1))
        terms: dict[str, Tensor] = {}
        for side, (name, tower, z) in enumerate((("x", towers.x, zx), ("y", towers.y, zy))):
            pool = self.pools[side]
            drawn = torch.from_numpy(draw_rows(len(pool), o.batch_pool, rng))
            terms[f"structure {name}"] = weight * structure_loss(
                torch.cat([self.pair_features[side][rows], self.pool_features[side][drawn]]),
                torch.cat([z, tower(pool[drawn])]),
                levels=o.levels,
                temperature=o.structure_temperature,
                swapped_kl=o.swapped_kl,
            )
        return terms


def _tensor(features: FloatArray) -> Tensor:
    return torch.from_numpy(np.array(features, dtype=np.float32))
