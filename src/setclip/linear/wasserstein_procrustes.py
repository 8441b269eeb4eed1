"""Wasserstein Procrustes with a geometric start: a rotation between two pools, zero pairs or more.

The published method. `transport_procrustes` is faster and more accurate on the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from setclip.linear.assignment import block_hungarian, hungarian
from setclip.linear.clouds import Clouds, Rows, clouds
from setclip.linear.geometric_start import match_centres
from setclip.linear.maps import Alignment
from setclip.linear.svd import polar

IntArray = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class WassersteinProcrustes:
    """The maps and the scores on the way.

    Attributes:
        alignment: Both maps, into ``min(d_x, d_y)`` dimensions or fewer.
        history: Mean cosine of the matched rows in every refinement.
    """

    alignment: Alignment
    history: tuple[float, ...]


def wasserstein_procrustes(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    x_pairs: npt.ArrayLike | None = None,
    y_pairs: npt.ArrayLike | None = None,
    start: Alignment | None = None,
    restarts: int = 30,
    centres: int = 30,
    refinements: int = 100,
    batch: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> WassersteinProcrustes:
    """Alternate a one-to-one matching of random batches with the rotation that fits it.

    The start matches cluster centres by geometry alone, averages their cross-covariances over
    `restarts` clusterings, and matches all rows once, block by block, under that average.

    Args:
        x: Pool of the first modality. Shape [n, d_x].
        y: Of the second; it need not hold the same items. Shape [m, d_y].
        x_pairs: Known pairs; together they weigh as much as a batch. Shape [p, d_x].
        y_pairs: Shape [p, d_y].
        start: Maps to begin from, for instance of the pairs, in place of the geometric start.
        restarts: Clusterings of the geometric start; 30 in the source.
        centres: Clusters a side; 30 in the source.
        refinements: Batches matched; 100 in the source.
        batch: Rows a side of a batch; 10,000 in the source. Time grows with its cube.
        seed: Of everything drawn.
        progress: Called with a stage, the steps done in it and its steps in all.

    Raises:
        ValueError: Fewer than four rows in a pool.

    Source:
        arXiv 2610.09411, algorithms 1 and 2; theirs solves the quadratic assignment with MPOpt,
        ours with tabu search.
    """
    both = clouds(x, y, x_pairs=x_pairs, y_pairs=y_pairs)
    rng = np.random.default_rng(seed)
    if start is None:
        cross = _geometric_cross(both, restarts, centres, batch, rng, progress)
    else:
        cross = both.inner(start)
    history = []
    for done in range(refinements):
        x_rows = rng.choice(len(both.x), min(batch, len(both.x)), replace=False)
        y_rows = rng.choice(len(both.y), min(batch, len(both.y)), replace=False)
        rotated = both.x[x_rows] @ polar(cross)
        matching = hungarian(rotated @ both.y[y_rows].T)
        cross = _matched_cross(both, x_rows[matching.rows], y_rows[matching.columns])
        history.append(matching.mean_score)
        if progress:
            progress("refinements", done + 1, refinements)
    return WassersteinProcrustes(both.rotation(cross), tuple(history))


def _geometric_cross(
    both: Clouds,
    restarts: int,
    centres: int,
    batch: int,
    rng: np.random.Generator,
    progress: Progress | None,
) -> Rows:
    found = match_centres(
        both,
        restarts=restarts,
        centres=centres,
        seed=int(rng.integers(2**31)),
        progress=partial(progress, "starts") if progress else None,
    )
    scored = both.x @ found.cross().astype(np.float32)
    matching = block_hungarian(scored, both.y, block=batch, seed=int(rng.integers(2**31)))
    return _matched_cross(both, matching.rows, matching.columns)


def _matched_cross(both: Clouds, x_rows: IntArray, y_rows: IntArray) -> Rows:
    """Cross-covariance of matched rows and of the known pairs, each of total weight one."""
    return both.x[x_rows].T @ both.y[y_rows] / np.float32(len(x_rows)) + both.pair_cross
