"""Affine maps into the shared space, and the principal axes that every closed form starts from.

Both may look at kernel features instead of the features themselves; a closed form does not notice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ROWS_AT_A_TIME = 8192


@dataclass(frozen=True)
class Kernel:
    """``exp(sharpness (cos - 1))`` between centred rows and landmarks: a Gaussian on directions.

    Attributes:
        centre: Taken off every row. Shape [d].
        landmarks: Rows of length one. Shape [l, d].
        sharpness: How fast it falls with the angle: near 0 it is linear but for a constant.
    """

    centre: Array
    landmarks: Array
    sharpness: float

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Kernel features. Shape [n, d] to [n, l]."""
        rows = unit_rows(np.asarray(x, dtype=np.float64) - self.centre)
        features: Array = np.exp(self.sharpness * (rows @ self.landmarks.T - 1))
        return features

    def times(self, x: npt.ArrayLike, weight: Array) -> Array:
        """Kernel features times `weight` [l, r], block by block. Shape [n, d] to [n, r]."""
        rows = np.asarray(x)
        found = np.empty((len(rows), weight.shape[1]))
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            block = slice(start, start + ROWS_AT_A_TIME)
            found[block] = self(rows[block]) @ weight
        return found


@dataclass(frozen=True)
class AffineMap:
    """``z = x @ weight + bias``, of the features or of their kernel features.

    Attributes:
        weight: Shape [d_in, d], or [l, d] with a kernel of l landmarks.
        bias: Shape [d].
        kernel: Comes before, if there is one.
    """

    weight: Array
    bias: Array
    kernel: Kernel | None = None

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Map rows. Shape [n, d_in] to [n, d]."""
        if self.kernel:
            return self.kernel.times(x, self.weight) + self.bias
        return np.asarray(x, dtype=np.float64) @ self.weight + self.bias


@dataclass(frozen=True)
class Alignment:
    """Two affine maps into one space, where matching items point the same way.

    Attributes:
        x: Map of the first modality.
        y: Map of the second.
    """

    x: AffineMap
    y: AffineMap


@dataclass(frozen=True)
class Principal:
    """Principal axes of one modality: in them its covariance is diagonal.

    Attributes:
        mean: Shape [d].
        axes: Orthonormal columns, largest variance first. Shape [d, r].
        variance: Variance along each axis, all positive. Shape [r].
        features: Number of features of the modality, which penalties count by.
        unit: Whether rows count by direction alone: coordinates have unit length.
        kernel: Comes before, if there is one; mean and axes are then of its features, and the axes
            orthonormal in the space of the kernel.
    """

    mean: Array
    axes: Array
    variance: Array
    features: int
    unit: bool = False
    kernel: Kernel | None = None

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Coordinates of rows along the axes. Shape [n, d] to [n, r]."""
        coordinates: Array
        if self.kernel:
            coordinates = self.kernel.times(x, self.axes) - self.mean @ self.axes
        else:
            coordinates = (np.asarray(x, dtype=np.float64) - self.mean) @ self.axes
        return unit_rows(coordinates) if self.unit else coordinates

    def then(self, weight: Array) -> AffineMap:
        """The map that takes coordinates along the axes through `weight` [r, d_out]."""
        full = self.axes @ weight
        return AffineMap(full, -self.mean @ full, self.kernel)

    def inner(self) -> Principal:
        """The same axes seen from inside: a closed form of these maps coordinates, not features."""
        r = len(self.variance)
        return _Coordinates(np.zeros(r), np.eye(r), self.variance, self.features)


class _Coordinates(Principal):
    """Axes that are the coordinates themselves; fits ask for their maps round after round."""

    def then(self, weight: Array) -> AffineMap:
        return AffineMap(weight, np.zeros(weight.shape[1]))


def unit_rows(rows: Array) -> Array:
    """Rows of length one; a zero row stays zero. Shape [n, d]."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = rows / np.maximum(length, np.finfo(np.float64).tiny)
    return unit


def principal(
    x: npt.ArrayLike, *, rank: int | None = None, unit: bool = False, side: str = ""
) -> Principal:
    """Principal axes of the rows of `x`.

    Args:
        x: Shape [n, d], n >= 2; n may be smaller than d.
        rank: Keep at most so many axes; by default all with variance above rounding.
        unit: Give the centred rows unit length first, so that none counts more than another.
            Embeddings are compared by direction, and lengths say little of meaning.
        side: Name of the modality, for messages.

    Raises:
        ValueError: Fewer than two rows, or all rows equal.
    """
    rows = np.asarray(x)
    n, d = rows.shape
    if n < 2:
        raise ValueError(f"principal axes need at least 2 rows, got {n}: add items.")
    mean = rows.mean(axis=0, dtype=np.float64)
    # The smaller of the two Gram matrices has the same spectrum and is cheaper to decompose.
    centred = _centred(rows, mean, unit) if n < d else None
    gram = _covariance(rows, mean, unit) if centred is None else centred @ centred.T / n
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    # Rounding of the decomposition, and of the mean: equal rows do not centre to exact zeros.
    eps = np.finfo(np.float64).eps
    largest = max(abs(float(rows.max())), abs(float(rows.min())))
    rounding = 0.0 if unit else d * (n * eps * largest) ** 2
    floor = max(max(n, d) * eps * values[0], rounding)
    keep = int((values > floor).sum())
    if keep == 0:
        raise no_variance(n, side)
    keep = min(keep, rank or keep)
    values, vectors = values[:keep], vectors[:, :keep]
    if centred is not None:
        vectors = centred.T @ vectors / np.sqrt(n * values)
    return Principal(mean, vectors, values, d, unit)


def no_variance(n: int, side: str) -> ValueError:
    """What is said of n rows that are all the same, of a side where it is known."""
    return ValueError(
        f"all {n} rows {side and f'of {side} '}are the same: there is no variance to align. Give "
        "items that differ, or look whether the encoder returns one vector for everything. If rows "
        "differ by little beside their mean, float32 has rounded them together: take off the mean "
        "first."
    )


def _covariance(rows: npt.NDArray[np.floating], mean: Array, unit: bool) -> Array:
    # Block by block: pools of millions of rows must not be copied into float64 as a whole.
    total = np.zeros((len(mean), len(mean)))
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        block = _centred(rows[start : start + ROWS_AT_A_TIME], mean, unit)
        total += block.T @ block
    return total / len(rows)


def _centred(rows: npt.NDArray[np.floating], mean: Array, unit: bool) -> Array:
    centred: Array = rows - mean
    return unit_rows(centred) if unit else centred


def directions(singular_values: Array, *, scale: float) -> int:
    """How many directions of a cross-covariance stand above rounding.

    Args:
        singular_values: Descending. Shape [r].
        scale: What the largest could be: the geometric mean of the two sides' largest variances,
            1 where both are whitened.

    Raises:
        ValueError: None does; nothing says which x goes with which y.
    """
    if not singular_values[0] > 1e-12 * scale:
        raise ValueError(
            "the pairs and sets show no covariance between x and y: give more of them, with items "
            "that differ on both sides."
        )
    return int((singular_values > singular_values[0] * 1e-10).sum())
