"""Batches side by side, each on some of the cores.

All cores at every operation wait for each other at its end, some hundred times a batch: a machine
that does something else as well mostly waits. Batches wait for nobody, and one is read while
another is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

AT_ONCE = 4
"""Batches in memory at once, at most."""


def side_by_side(
    run: Callable[[A], B], batches: Sequence[A], *, concurrent: bool = True
) -> Iterator[B]:
    """Results of `run` in the order of the batches.

    The first batch runs alone, so that what is loaded once is loaded by one thread. If `run`
    raises, the batches that have not begun do not.

    Args:
        run: Makes a result of a batch.
        batches: What it is given.
        concurrent: Whether it may run several times at once; else one batch follows the other, on
            all cores, as does a single one.
    """
    if not concurrent or len(batches) < 2:
        yield from map(run, batches)
        return
    import torch

    cores = torch.get_num_threads()
    threads = min(cores, AT_ONCE)
    pool = ThreadPoolExecutor(
        threads, initializer=torch.set_num_threads, initargs=(cores // threads,)
    )
    try:
        for some in (batches[:1], batches[1:]):
            yield from pool.map(run, some)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
