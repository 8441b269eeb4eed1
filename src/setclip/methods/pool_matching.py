"""What methods that lay two pools onto each other share: their door, start, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

from setclip.data.pools import Pools
from setclip.linear.clouds import LEAST_ROWS
from setclip.linear.maps import Alignment
from setclip.methods.cca import CCA
from setclip.training.journal import Journal, Steps

PoolStart = Literal["geometric", "pairs"]


def check_pools(name: str, pools: Pools) -> None:
    """Raise ValueError unless both pools have rows enough to be matched."""
    if min(len(pools.x_pool), len(pools.y_pool)) < LEAST_ROWS:
        raise ValueError(
            f"{name} lays two pools onto each other, of {LEAST_ROWS} items or more each, and was "
            f"given {pools.describe()}. Without such pools give at least 2 pairs to `cca`."
        )


def start_from(
    start: PoolStart, pools: Pools, *, name: str, seed: int, journal: Journal
) -> Alignment | None:
    """Maps to begin from: CCA tuned on the pairs, or None for the geometry of the pools.

    Raises:
        ValueError: Fewer than two pairs to start from.
    """
    if start == "geometric":
        return None
    if pools.n_pairs < 2:
        raise ValueError(
            f"{name} with `start: pairs` was given {pools.n_pairs} pairs: give at least 2 pairs, "
            "or choose `start: geometric`, which needs none."
        )
    visible = pools.without_sets()
    return CCA().tuned(visible, seed=seed, journal=journal).solve(visible)


@contextmanager
def stages(journal: Journal) -> Iterator[Callable[[str, int, int], None]]:
    """Progress of a computation in named stages, one bar after the other."""
    with ExitStack() as bars:
        now: dict[str, Steps] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in now:
                bars.close()
                now.clear()
                now[stage] = bars.enter_context(journal.bar(stage, total))
            now[stage](done, "")

        yield tell


def log_history(journal: Journal, phase: str, term: str, values: Sequence[float]) -> None:
    """Put one value per step into the journal, in place of those of a run before."""
    journal.rewind(phase, -1)
    for step, value in enumerate(values, start=1):
        journal.log(phase, step, {term: value})
