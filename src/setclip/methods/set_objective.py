"""The loss terms of Set-CLIP on one batch of pairs, pools and sets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from setclip.data.pools import NO_SET, IntArray, Pools
from setclip.data.samplers import SetSampler, draw_rows
from setclip.losses import nt_xent
from setclip.methods.heads import TwoTowers
from setclip.methods.set_losses import balanced, loss_terms

if TYPE_CHECKING:
    from setclip.methods.setclip import SetCLIP

CANDIDATES = 1024
"""Rows of the other pool among which the matches of a matched batch are sought."""


class SetObjective:
    """Draws a batch and returns its named, weighted loss terms."""

    def __init__(self, options: SetCLIP, pools: Pools, towers: TwoTowers) -> None:
        self.options, self.towers = options, towers
        self.inputs = towers.inputs(pools)
        comparable = without_small_sets(pools)
        self.within = len(comparable.shared_sets) > 0 and (
            not options.memory if options.within_sets is None else options.within_sets
        )
        if self.within:
            pools = comparable
        self.x_ids, self.y_ids = (torch.tensor(ids) for ids in (pools.x_sets, pools.y_sets))
        # Sets with a single row on a side are no batch.
        self.sets = SetSampler(pools, options.batch) if min(pools.in_shared_sets) > 1 else None
        self.x_spread, self.y_spread = (
            torch.cat([paired, pool]).std(dim=0)
            for paired, pool in (
                (self.inputs.x_pairs, self.inputs.x_pool),
                (self.inputs.y_pairs, self.inputs.y_pool),
            )
        )

    def __call__(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Loss terms of the next batch, by name."""
        o, inputs = self.options, self.inputs
        pairs = torch.from_numpy(draw_rows(len(inputs.x_pairs), o.batch_pairs, rng))
        x_drawn, y_drawn = self._draw(len(pairs), rng)
        x_rows, y_rows = torch.from_numpy(x_drawn), torch.from_numpy(y_drawn)
        x = torch.cat([inputs.x_pairs[pairs], inputs.x_pool[x_rows]])
        y = torch.cat([inputs.y_pairs[pairs], inputs.y_pool[y_rows]])
        zx, zy = self.towers.x(x), self.towers.y(y)
        more = self._ids(x_rows, y_rows)
        if o.weight_sdd and not self.within:
            more |= self._memory(x_drawn, y_drawn, rng)
        terms = loss_terms(o, zx, zy, pairs=len(pairs), more=more)
        if o.balance:
            balanced(terms, o, zx, zy)
        if o.weight_ssl:
            terms["ssl x"] = o.weight_ssl * self._ssl(self.towers.x, x, self.x_spread, rng)
            terms["ssl y"] = o.weight_ssl * self._ssl(self.towers.y, y, self.y_spread, rng)
        return terms

    def _draw(self, pairs: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        if self.sets is not None:
            return self.sets(rng)
        room = max(self.options.batch - pairs, 2)
        if self.options.matched_batches:
            return self._draw_matched(room, rng)
        return (
            draw_rows(len(self.inputs.x_pool), room, rng),
            draw_rows(len(self.inputs.y_pool), room, rng),
        )

    def _draw_matched(self, room: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Random rows of one side, and those of the other that match them best just now.

        The sides take turns at random: the chosen rows crowd around the random ones, and were it
        always the same side, its rows would always have the wider spread.
        """
        x_first = bool(rng.integers(2))
        sizes = (room, CANDIDATES) if x_first else (CANDIDATES, room)
        x_rows = draw_rows(len(self.inputs.x_pool), sizes[0], rng)
        y_rows = draw_rows(len(self.inputs.y_pool), sizes[1], rng)
        x = _evaluated(self.towers.x, self.inputs.x_pool[torch.from_numpy(x_rows)])
        y = _evaluated(self.towers.y, self.inputs.y_pool[torch.from_numpy(y_rows)])
        i, j = linear_sum_assignment((x @ y.T).numpy(), maximize=True)
        return x_rows[i], y_rows[j]

    def _memory(
        self, x_rows: IntArray, y_rows: IntArray, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Embeddings of as many rows of each pool, none of them in the batch.

        They are computed anew at every step: on frozen features that costs less than the loss, is
        never out of date, and leaves no state for a checkpoint.
        """
        if not self.options.memory:
            return {}
        left = [
            rng.permutation(np.setdiff1d(np.arange(n), rows))[: self.options.memory]
            for n, rows in ((len(self.inputs.x_pool), x_rows), (len(self.inputs.y_pool), y_rows))
        ]
        fewer = min(map(len, left))
        x, y = (torch.from_numpy(rows[:fewer]) for rows in left)
        return {
            "memory_x": _evaluated(self.towers.x, self.inputs.x_pool[x]),
            "memory_y": _evaluated(self.towers.y, self.inputs.y_pool[y]),
        }

    def _ids(self, x_rows: Tensor, y_rows: Tensor) -> dict[str, Tensor]:
        if not self.within:
            return {}
        return {"x_sets": self.x_ids[x_rows], "y_sets": self.y_ids[y_rows]}

    def _ssl(
        self, tower: nn.Module, rows: Tensor, spread: Tensor, rng: np.random.Generator
    ) -> Tensor:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        views = [tower(self._view(rows, spread, generator)) for _ in range(2)]
        return nt_xent(*views, temperature=self.options.temperature)

    def _view(self, rows: Tensor, spread: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(rows.shape, generator=generator) * spread * self.options.noise
        kept = torch.rand(rows.shape, generator=generator) >= self.options.mask
        return (rows + noise) * kept


def without_small_sets(pools: Pools) -> Pools:
    """The pools with those sets forgotten that have fewer than two items on a side."""
    x_ids, y_ids = (
        ids[counts > 1]
        for ids, counts in (np.unique(s, return_counts=True) for s in (pools.x_sets, pools.y_sets))
    )
    large = np.intersect1d(x_ids, y_ids)
    return replace(
        pools,
        x_sets=np.where(np.isin(pools.x_sets, large), pools.x_sets, NO_SET),
        y_sets=np.where(np.isin(pools.y_sets, large), pools.y_sets, NO_SET),
    )


def _evaluated(tower: nn.Module, rows: Tensor) -> Tensor:
    """Embeddings without gradient and without dropout."""
    training = tower.training
    tower.eval()
    with torch.no_grad():
        z: Tensor = tower(rows)
    tower.train(training)
    return z
