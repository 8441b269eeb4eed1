"""Batches of pairs, pools and whole sets.

Each draw depends on the generator alone, so the generator's state is all that a resumed run needs.
"""

from __future__ import annotations

import numpy as np

from setclip.data.pools import NO_SET, IntArray, Pools

MANY = 1_000_000


def draw_rows(n: int, batch: int, rng: np.random.Generator) -> IntArray:
    """Up to `batch` different rows of `n`, in random order."""
    if n > MANY:  # time and memory of the batch, not of the pool
        return rng.choice(n, min(batch, n), replace=False)
    return rng.permutation(n)[:batch]


class SetSampler:
    """Draws whole sets, so that both sides of a batch hold the same items in unknown order.

    Args:
        pools: Pools with set ids; only sets with items on both sides are drawn.
        batch: Rows wanted on the larger side. A set larger than the batch comes alone and whole. A
            set that no longer fits ends the batch, so that sets far larger than the others are
            drawn a little less often.
    """

    def __init__(self, pools: Pools, batch: int) -> None:
        self.batch = batch
        self._rows = rows_of_shared_sets(pools)

    def __call__(self, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Rows of `x_pool` and of `y_pool` of as many sets as fit the batch."""
        x_rows: list[IntArray] = []
        y_rows: list[IntArray] = []
        filled, least = 0, 0
        for s in rng.permutation(len(self._rows)):
            x_set, y_set = self._rows[s]
            size = max(len(x_set), len(y_set))
            # A single row on a side is nothing to compare.
            if least > 1 and filled + size > self.batch:
                break
            x_rows.append(x_set)
            y_rows.append(y_set)
            filled += size
            least = min(sum(map(len, x_rows)), sum(map(len, y_rows)))
        return np.concatenate(x_rows), np.concatenate(y_rows)


def _rows_of_sets(ids: IntArray, sets: IntArray) -> list[IntArray]:
    order = np.argsort(ids, kind="stable")
    order = order[ids[order] != NO_SET]
    starts = np.searchsorted(ids[order], sets, side="left")
    ends = np.searchsorted(ids[order], sets, side="right")
    return [order[a:b] for a, b in zip(starts, ends, strict=True)]


def rows_of_shared_sets(pools: Pools) -> list[tuple[IntArray, IntArray]]:
    """For each set with items on both sides, its rows of `x_pool` and of `y_pool`."""
    sets = pools.shared_sets
    return list(
        zip(_rows_of_sets(pools.x_sets, sets), _rows_of_sets(pools.y_sets, sets), strict=True)
    )
