"""A first guess of what goes with what from the shape of two clouds alone, with no pair.

Cluster both sides, match the cluster centres so that their similarities within each side agree
best, and do so many times: each clustering gives a cross-covariance, most of them partly right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from setclip.linear.clouds import Clouds, Rows
from setclip.linear.quadratic_assignment import quadratic_assignment

Array = npt.NDArray[np.float64]

# Rows that the first centres of a clustering are drawn from, at most: from all rows it takes as
# long as the clustering itself.
SEEDING = 1000


@dataclass(frozen=True)
class MatchedCentres:
    """Cluster centres of both sides, row-aligned by the matching, for several clusterings.

    Attributes:
        x: Shape [restarts, centres, d_x].
        y: Shape [restarts, centres, d_y].
        alignment: Centred kernel alignment of each matching, 1 at best. Shape [restarts].
    """

    x: Array
    y: Array
    alignment: Array

    def cross(self, restarts: npt.ArrayLike | None = None) -> Array:
        """Cross-covariance averaged over all, or the given, restarts. Shape [d_x, d_y]."""
        chosen = np.arange(len(self.x)) if restarts is None else np.asarray(restarts)
        x, y = self.x[chosen], self.y[chosen]
        total = np.einsum("scd,sce->de", x, y, optimize=True)
        mean: Array = total / (x.shape[0] * x.shape[1])
        return mean


def match_centres(
    both: Clouds,
    *,
    restarts: int = 30,
    centres: int = 30,
    batch: int = 10_000,
    starts: int = 20,
    steps: int = 300,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> MatchedCentres:
    """Cluster and match both sides `restarts` times.

    Args:
        both: The pools, nothing being assumed about which rows belong together, and the known
            pairs, which join the centres already matched.
        restarts: Number of independent clusterings; 30 in the source.
        centres: Clusters a side, at most the rows of the smaller side; 30 in the source.
        batch: Rows clustered, drawn anew each time.
        starts: Starts of the quadratic assignment.
        steps: Exchanges of each of them.
        seed: Of everything drawn.
        progress: Called with the clusterings done and their number.

    Source:
        arXiv 2610.09411, algorithm 2; after mini-vec2vec, arXiv 2510.02348.
    """
    rng = np.random.default_rng(seed)
    centres = min(centres, len(both.x), len(both.y))
    found = []
    for done in range(restarts):
        x_centres = _cluster(both.x, centres, batch, rng)
        y_centres = _cluster(both.y, centres, batch, rng)
        k = _centred_kernel(np.concatenate([x_centres, both.x_pairs]))
        m = _centred_kernel(np.concatenate([y_centres, both.y_pairs]))
        best = quadratic_assignment(
            k[:centres, :centres],
            m[:centres, :centres],
            linear=2 * k[:centres, centres:] @ m[:centres, centres:].T,
            starts=starts,
            steps=steps,
            seed=int(rng.integers(2**31)),
        )
        known = float((k[centres:, centres:] * m[centres:, centres:]).sum())
        most = float(np.linalg.norm(k) * np.linalg.norm(m))
        alignment = (best.value + known) / max(most, np.finfo(np.float64).tiny)
        found.append((x_centres, y_centres[best.columns], alignment))
        if progress:
            progress(done + 1, restarts)
    xs, ys, alignments = zip(*found, strict=True)
    return MatchedCentres(np.stack(xs), np.stack(ys), np.array(alignments))


def kmeans(rows: Rows, centres: int, *, seed: int = 0, init: Rows | None = None) -> Rows:
    """Cluster centres, the same for the same seed whatever the number of threads.

    Args:
        rows: Shape [n, d].
        centres: Number of clusters; where there are fewer different rows some coincide.
        seed: Of the first centres.
        init: First centres, in place of drawn ones. Shape [centres, d].
    """
    if init is None and len(rows) > SEEDING > centres:
        drawn = np.random.default_rng(seed).permutation(len(rows))[:SEEDING]
        init, _ = kmeans_plusplus(rows[drawn].astype(np.float64), centres, random_state=seed)
    clusters = KMeans(
        centres, init="k-means++" if init is None else init, n_init=1, random_state=seed
    )
    # Threads add up in the order in which they finish, and repeated rows are no problem here.
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: Rows = clusters.fit(rows).cluster_centers_
    return found


def _cluster(rows: Rows, centres: int, batch: int, rng: np.random.Generator) -> Array:
    drawn = rows[rng.choice(len(rows), min(batch, len(rows)), replace=False)]
    clusters = kmeans(drawn, centres, seed=int(rng.integers(2**31)))
    return clusters.astype(np.float64)


def _centred_kernel(rows: Array) -> Array:
    centred = rows - rows.mean(axis=0)
    kernel: Array = centred @ centred.T
    return kernel
