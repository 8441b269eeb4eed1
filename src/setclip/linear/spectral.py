"""Spectral embedding of one modality: coordinates by its own neighbourhood graph alone.

Two encoders that see the same world may differ in every distance and still agree on who is near
whom. The leading eigenvectors of a random walk on the neighbour graph keep only that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from setclip.linear.assignment import neighbours
from setclip.linear.maps import Array, unit_rows


@dataclass(frozen=True)
class SpectralEmbedding:
    """Coordinates of the training rows, and what new rows need to join them.

    Attributes:
        mean: Of the training rows. Shape [d].
        points: Centred unit rows. Shape [n, d].
        width: Distance of each row to its k-th neighbour. Shape [n].
        coordinates: Zero mean, unit variance columns. Shape [n, dim].
        eigenvalues: Of the random walk, largest first, without the trivial one. Shape [dim].
        k: Neighbours a row.
        components: Parts of the neighbour graph, before bridges joined them; 1 is best.
    """

    mean: Array
    points: Array
    width: Array
    coordinates: Array
    eigenvalues: Array
    k: int
    components: int

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Coordinates of new rows (Nystrom): one step of the walk from each onto the graph.

        Args:
            x: Shape [n, d].

        Returns:
            Shape [n, dim].
        """
        rows = unit_rows(np.asarray(x, dtype=np.float64) - self.mean)
        found = neighbours(rows, self.points, k=self.k)
        squared = np.maximum(2 - 2 * found.scores, 0)
        own = np.sqrt(squared[:, -1:])
        weight = np.exp(-squared / np.maximum(own * self.width[found.indices], 1e-12))
        weight /= weight.sum(axis=1, keepdims=True)
        steps = np.einsum("nk,nkd->nd", weight, self.coordinates[found.indices])
        embedded: Array = steps / self.eigenvalues
        return embedded


def spectral_embedding(
    x: npt.ArrayLike, *, dim: int, k: int = 30, seed: int = 0
) -> SpectralEmbedding:
    """Leading eigenvectors of the random walk on the k-nearest-neighbour graph.

    Edges weigh ``exp(-|u - v|^2 / (w_u w_v))``, w the distance to the k-th neighbour, so that
    dense and sparse regions count alike.

    Args:
        x: Shape [n, d].
        dim: Coordinates wanted.
        k: Neighbours a row.
        seed: Of the start of the eigensolver.

    Raises:
        ValueError: Not more rows than `dim` + 1, or than `k`.

    Source:
        SUE (Yacobi et al., "Learning shared representations from unpaired data") trains a network
        for these eigenvectors; here they are computed. Local scaling: Zelnik-Manor, Perona 2004.
    """
    rows = np.asarray(x, dtype=np.float64)
    if len(rows) <= max(dim + 1, k):
        raise ValueError(
            f"{len(rows)} rows are too few for dim={dim} and k={k}: both must be smaller."
        )
    mean = rows.mean(axis=0)
    points = unit_rows(rows - mean)
    graph, width = _graph(points, k)
    graph, parts = _bridged(graph, points)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = 1 / np.sqrt(degree)
    walk = diags_array(scale) @ graph @ diags_array(scale)
    first = np.random.default_rng(seed).normal(size=len(rows))
    values, vectors = eigsh(walk, k=dim + 1, which="LA", v0=first)
    order = values.argsort()[::-1]
    # The largest eigenvalue belongs to the stationary distribution, which says nothing.
    kept, values = vectors[:, order[1:]] * scale[:, None], values[order[1:]]
    kept = kept - kept.mean(axis=0)
    kept /= kept.std(axis=0)
    kept *= np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(dim)])
    return SpectralEmbedding(mean, points, width, kept, np.maximum(values, 1e-6), k, parts)


def _graph(points: Array, k: int) -> tuple[csr_array, Array]:
    found = neighbours(points, points, k=k + 1)
    squared = np.maximum(2 - 2 * found.scores, 0)
    width = np.sqrt(squared[:, -1])
    row = np.repeat(np.arange(len(points)), k + 1)
    column = found.indices.ravel()
    scale = np.maximum(width[row] * width[column], 1e-12)
    edges = csr_array((np.exp(-squared.ravel() / scale), (row, column)), shape=2 * (len(points),))
    return edges.maximum(edges.T), width


def _bridged(graph: csr_array, points: Array) -> tuple[csr_array, int]:
    """Join the parts of a graph, each to the nearest row outside it, by one edge of mean weight.

    A graph in parts has an eigenvalue of one per part, and Lanczos finds equal ones unreliably.
    """
    weight, joined = float(graph.data.mean()), graph
    parts, label = connected_components(graph, directed=False)
    count = int(parts)
    while parts > 1:
        inside = label == np.bincount(label).argmin()
        best = neighbours(points[inside], points[~inside], k=1)
        near = int(best.scores[:, 0].argmax())
        u = int(np.flatnonzero(inside)[near])
        v = int(np.flatnonzero(~inside)[best.indices[near, 0]])
        bridge = csr_array(([weight, weight], ([u, v], [v, u])), shape=graph.shape)
        joined = joined + bridge
        parts, label = connected_components(joined, directed=False)
    return joined, count
