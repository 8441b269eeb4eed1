"""Streams of numbers that stand for items: quick to read, some of them broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from setclip.data.pools import Pools, make_pools
from setclip.modalities import BadItemError
from setclip.training.batches import Sources


@dataclass(frozen=True)
class Numbers:
    """Rows of an array as items; a view adds noise; rows in `broken` cannot be read."""

    array: np.ndarray
    broken: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.array)

    def read(
        self,
        row: int,
        rng: np.random.Generator,
        *,
        view: bool,
        unlike: np.random.Generator | None = None,
    ) -> np.ndarray:
        if row in self.broken:
            raise BadItemError(f"item {row}", "it is broken")
        found = self.array[row]
        return found + 0.1 * rng.standard_normal(found.shape) if view else found


def collate(rows: Any) -> dict[str, torch.Tensor]:
    return {"v": torch.from_numpy(np.stack(rows).astype(np.float32))}


def planted(pairs: int = 20, pool: int = 40, sets: int = 0, seed: int = 0) -> Pools:
    """Two linear views of common points; with `sets`, the pool in sets of four."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((pairs + 2 * pool, 4))
    x, y = hidden @ rng.standard_normal((4, 6)), hidden @ rng.standard_normal((4, 5))
    ids = np.arange(pool) // 4 if sets else None
    y_pool = y[pairs : pairs + pool] if sets else y[pairs + pool :]
    return make_pools(
        x[:pairs],
        y[:pairs],
        x_pool=x[pairs : pairs + pool],
        y_pool=y_pool,
        x_sets=ids,
        y_sets=ids,
    )


def sources(pools: Pools, broken: frozenset[int] = frozenset()) -> Sources:
    return Sources(
        Numbers(pools.x_pairs, broken),
        Numbers(pools.y_pairs),
        Numbers(pools.x_pool, broken),
        Numbers(pools.y_pool),
        collate,
        collate,
    )
