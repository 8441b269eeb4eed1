"""mini-vec2vec: a linear map between two embedding models' spaces, from no pair at all.

For spaces that are nearly rotations of each other, such as two text encoders. The map is only
nearly orthogonal: every refinement averages it with a new rotation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from setclip.linear.assignment import neighbours
from setclip.linear.clouds import Clouds, Rows, clouds, unit_rows
from setclip.linear.geometric_start import MatchedCentres, kmeans, match_centres
from setclip.linear.maps import Alignment
from setclip.linear.svd import polar

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MiniVec2Vec:
    """The maps: x into the principal axes of y, y onto them.

    Attributes:
        alignment: Both maps, into the dimensions of y.
        history: Mean cosine of mapped rows with the mean of their neighbours, per refinement.
    """

    alignment: Alignment
    history: tuple[float, ...]


def mini_vec2vec(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    restarts: int = 30,
    centres: int = 20,
    k: int = 50,
    refinements: int = 100,
    sample: int = 1000,
    momentum: float = 0.5,
    last_clusters: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> MiniVec2Vec:
    """Match by relative representations, then refine by averaged nearest neighbours.

    1. Anchors: cluster centres of both sides, matched by geometry, `restarts` times over.
    2. Every row is described by its cosines to all anchors; the partner of x is the mean of the
       k rows of y with the most similar description; Procrustes on these.
    3. `refinements` times: a sample of x, mapped, against the mean of its k nearest y.
    4. Once: cluster x finely, start the clustering of y from the mapped centres, and fit the
       centres to each other.

    Args:
        x: Pool of the first model. Shape [n, d_x].
        y: Of the second; it need not hold the same items. Shape [m, d_y].
        restarts: Sets of anchors.
        centres: Anchors a set.
        k: Neighbours averaged.
        refinements: Of step 3.
        sample: Rows of x per refinement.
        momentum: Weight of the old map in every average.
        last_clusters: Of step 4, at most a quarter of the rows of either side.
        seed: Of everything drawn.
        progress: Called with a stage, the steps done in it and its steps in all.

    Raises:
        ValueError: Fewer than four rows in a pool.

    Source:
        arXiv 2510.02348 and its notebook, whose settings are the defaults; theirs solves the
        quadratic assignment by 2-opt, ours by tabu search.
    """
    both = clouds(x, y)
    rng = np.random.default_rng(seed)
    anchors = match_centres(
        both,
        restarts=restarts,
        centres=centres,
        seed=int(rng.integers(2**31)),
        progress=partial(progress, "starts") if progress else None,
    )
    weight = polar(both.x.T @ _partners_by_anchors(both, anchors, k))
    history = []
    for done in range(refinements):
        rows = both.x[rng.choice(len(both.x), min(sample, len(both.x)), replace=False)]
        mapped = unit_rows(rows @ weight)
        partners = both.y[neighbours(mapped, both.y, k=k).indices].mean(axis=1)
        history.append(float(np.einsum("ij,ij->i", mapped, unit_rows(partners)).mean()))
        rotation: Rows = polar(rows.T @ partners)
        weight = momentum * weight + (1 - momentum) * rotation
        if progress:
            progress("refinements", done + 1, refinements)
    x_centres, y_centres = _shared_clusters(both, weight, last_clusters, rng)
    weight = momentum * weight + (1 - momentum) * polar(x_centres.T @ y_centres)
    into_y = both.x_axes.then(weight.astype(np.float64))
    maps = Alignment(into_y, both.y_axes.then(np.eye(both.y.shape[1])))
    return MiniVec2Vec(maps, tuple(history))


def _partners_by_anchors(both: Clouds, anchors: MatchedCentres, k: int) -> Rows:
    x_anchors = unit_rows(anchors.x.reshape(-1, both.x.shape[1]))
    y_anchors = unit_rows(anchors.y.reshape(-1, both.y.shape[1]))
    x_described, y_described = unit_rows(both.x @ x_anchors.T), unit_rows(both.y @ y_anchors.T)
    partners: Rows = both.y[neighbours(x_described, y_described, k=k).indices].mean(axis=1)
    return partners


def _shared_clusters(
    both: Clouds, weight: Rows, clusters: int, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    clusters = max(1, min(clusters, len(both.x) // 4, len(both.y) // 4))
    x = kmeans(both.x, clusters, seed=int(rng.integers(2**31)))
    return x, kmeans(both.y, clusters, init=x @ weight)
