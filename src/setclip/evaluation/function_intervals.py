"""95 % intervals of Fmax, which is no mean over proteins: they are drawn again and counted anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from setclip.evaluation.intervals import Interval, nested_interval
from setclip.evaluation.protein_function import TermCounts
from setclip.evaluation.rows import DoubleArray

# Numbers of one block of draws; 32 MB.
_BLOCK = 1 << 22


def bootstrap_fmax(
    counts: Sequence[TermCounts], *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """Mean over seeds of Fmax in percent, with a hierarchical bootstrap interval.

    Each draw resamples the seeds, then the proteins within each chosen seed, and looks for the best
    threshold anew. As of :func:`setclip.evaluation.bootstrap`, few seeds show little of how much
    seeds vary.

    Args:
        counts: Of each seed.
        level: Share of the draws inside the interval.
        draws: Bootstrap draws.
        seed: Seed of the resampling.

    Raises:
        ValueError: No seed, or level outside (0, 1).
    """
    return _interval([(own, None) for own in counts], level=level, draws=draws, seed=seed)


def paired_bootstrap_fmax(
    first: Sequence[TermCounts],
    second: Sequence[TermCounts],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean difference in Fmax `first - second`, in percent, on the same seeds and proteins.

    Args:
        first: Of each seed.
        second: The other method's, the same proteins in the same order.
        level: Share of the draws inside the interval.
        draws: Bootstrap draws.
        seed: Seed of the resampling.

    Raises:
        ValueError: Seeds or proteins that do not correspond, or as :func:`bootstrap_fmax`.
    """
    if [own.terms.tolist() for own in first] != [own.terms.tolist() for own in second]:
        raise ValueError(
            f"proteins per seed are {[len(c) for c in first]} and {[len(c) for c in second]}: "
            "paired differences need the same seeds and the same proteins of both methods."
        )
    return _interval(list(zip(first, second, strict=True)), level=level, draws=draws, seed=seed)


def _interval(
    pairs: Sequence[tuple[TermCounts, TermCounts | None]], *, level: float, draws: int, seed: int
) -> Interval:
    if not pairs:
        raise ValueError("no seed was given: pass a list with the counts of each seed.")
    return nested_interval(
        [100 * (own.fmax.value - (other.fmax.value if other else 0.0)) for own, other in pairs],
        lambda i, n, rng: 100 * _resampled(*pairs[i], n, rng),
        level=level,
        draws=draws,
        seed=seed,
    )


def _resampled(
    own: TermCounts, other: TermCounts | None, draws: int, rng: np.random.Generator
) -> DoubleArray:
    """Fmax, or its difference, of resamples of the proteins with replacement. Shape [draws]."""
    n = len(own)
    found = np.empty(draws)
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start))
        values = own.curves(weights)[2].max(axis=-1)
        if other is not None:
            values = values - other.curves(weights)[2].max(axis=-1)
        found[start : start + step] = values
    return found
