"""From embeddings to the plane: the coordinates of the joint-space maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from setclip.report.content import FloatArray, MapView

# t-SNE of 1,000 points takes about 2.5 s on one core; a report draws two maps and should not be
# what the user waits for.
TSNE_LIMIT = 1_000
# Half of sklearn's default: the layout settles shortly after the 250 steps of early exaggeration.
SMALLEST = 1e-9
TSNE_STEPS = 500
PCA_WIDTH = 30

Points = npt.NDArray[np.float64]
How = Literal["auto", "pca", "tsne"]


@dataclass(frozen=True, eq=False)
class Projection:
    """The two views of a joint map, ready for `JointMap`."""

    before: MapView
    after: MapView


def project(
    before_x: FloatArray,
    before_y: FloatArray,
    after_x: FloatArray,
    after_y: FloatArray,
    seed: int = 0,
    *,
    before_shared: bool = False,
    how: How = "auto",
) -> Projection:
    """Coordinates in the plane, before and after alignment.

    t-SNE up to `TSNE_LIMIT` points, since two principal components of a good joint space show
    little; PCA above. Rows that are not finite become NaN coordinates, so a diverged run still
    gets its map; a collapsed space becomes a single point.

    Args:
        before_x: x before alignment: frozen features, or embeddings at the start. Shape [n, a].
        before_y: y before alignment. Shape [m, b].
        after_x: x in the joint space. Shape [n, d].
        after_y: y in the joint space. Shape [m, d].
        seed: Seed of the t-SNE.
        before_shared: Whether `before_x` and `before_y` lie in one space (then a = b). If not, each
            is laid out by itself and the two are set side by side.
        how: "auto", "pca" or "tsne".

    Raises:
        ValueError: Widths that differ in a space said to be shared.
    """
    after = _together(after_x, after_y, seed, how)
    if before_shared:
        before = _together(before_x, before_y, seed, how)
    else:
        before = _side_by_side(before_x, before_y, seed, how)
    return Projection(before=before, after=after)


def _together(x: FloatArray, y: FloatArray, seed: int, how: How) -> MapView:
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x is {x.shape[1]} wide and y {y.shape[1]}: they share no space. Pass "
            "before_shared=False to lay each out by itself."
        )
    points, name = _flatten(np.concatenate([x, y]), seed, how)
    return MapView(x=points[: len(x)], y=points[len(x) :], how=f"{name} of both together")


def _side_by_side(x: FloatArray, y: FloatArray, seed: int, how: How) -> MapView:
    # One method for both islands, as the larger one demands.
    if how == "auto":
        how = "tsne" if len(x) + len(y) <= TSNE_LIMIT else "pca"
    (left, name), (right, _) = _flatten(x, seed, how), _flatten(y, seed, how)
    shift = np.array([1.3, 0.0])
    return MapView(
        x=_unit_square(left) - shift,
        y=_unit_square(right) + shift,
        how=f"{name} of each alone, set side by side: the two spaces share no axis",
    )


def _flatten(rows: FloatArray, seed: int, how: How) -> tuple[Points, str]:
    """Two coordinates a row and the name of the method that made them."""
    values = np.asarray(rows, dtype=np.float64)
    points = np.full((len(values), 2), np.nan)
    finite = np.isfinite(values).all(axis=1)
    if how == "auto":
        how = "tsne" if len(values) <= TSNE_LIMIT else "pca"
    kept = values[finite]
    if len(kept) and _spread(kept) == 0:
        points[finite] = 0.0
        return points, "PCA"
    if how == "pca" or len(kept) < 4:
        points[finite] = _pca(kept, 2)
        return points, "PCA"
    points[finite] = _tsne(kept, seed)
    return points, "t-SNE"


def _spread(values: Points) -> float:
    """Total variance, zero when it is no more than rounding."""
    variance = float(values.var(axis=0).sum())
    scale = float(np.square(values).mean(axis=0).sum())
    return variance if variance > 1e-12 * scale else 0.0


def _pca(values: Points, width: int) -> Points:
    from sklearn.decomposition import PCA

    found = min(width, *values.shape)
    points = np.zeros((len(values), width))
    if found:
        points[:, :found] = PCA(found, random_state=0).fit_transform(values)
    return points


def _tsne(values: Points, seed: int) -> Points:
    from sklearn.manifold import TSNE

    # Of tiny features the start of the t-SNE divides by a spread of 0, and never ends.
    peak = float(np.abs(values).max(initial=0.0))
    if peak and not SMALLEST < peak < 1 / SMALLEST:
        values = values / peak
    narrow = _pca(values, PCA_WIDTH) if values.shape[1] > PCA_WIDTH else values
    if narrow.shape[1] < 2:
        narrow = np.column_stack([narrow, np.zeros(len(narrow))])
    perplexity = min(30.0, (len(narrow) - 1) / 3)
    # One job: a report must not come out differently on a machine with more cores.
    model = TSNE(
        init="pca", perplexity=perplexity, max_iter=TSNE_STEPS, random_state=seed, n_jobs=1
    )
    return np.asarray(model.fit_transform(narrow), dtype=np.float64)


def _unit_square(points: Points) -> Points:
    """Centred, the longer side from -1 to 1."""
    if not np.isfinite(points).any():
        return points
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    half = float((high - low).max()) / 2
    centred: Points = points - (low + high) / 2
    return centred / (half or 1.0)
