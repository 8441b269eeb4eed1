"""The closed forms as textbooks write them, in float64, and data with a planted truth.

Nothing is shared with the package: covariances by loops over rows, explicit inverses, SciPy's
Procrustes and generalised eigenproblem. Maps are compared by the products of embeddings, which no
sign or rotation of the shared space changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

Array = npt.NDArray[np.float64]


def covariance(x: Array, y: Array) -> Array:
    """Sum of outer products of centred rows over their number."""
    total = np.zeros((x.shape[1], y.shape[1]))
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    for a, b in zip(x, y, strict=True):
        total += np.outer(a - x_mean, b - y_mean)
    return total / len(x)


def mean_variance(x: Array) -> float:
    return float(np.mean([np.mean((column - column.mean()) ** 2) for column in x.T]))


def regularised(x: Array, penalty: float) -> Array:
    return covariance(x, x) + penalty * mean_variance(x) * np.eye(x.shape[1])


def ridge(x: Array, y: Array, penalty: float) -> Array:
    """Weights of the normal equations, [d_x, d_y]."""
    return np.linalg.inv(regularised(x, penalty)) @ covariance(x, y)


def procrustes(x: Array, y: Array) -> Array:
    """The rotation that brings centred x closest to centred y, [d, d]."""
    return scipy.linalg.orthogonal_procrustes(x - x.mean(axis=0), y - y.mean(axis=0))[0]


def cca(x: Array, y: Array, penalty: float) -> tuple[Array, Array, Array]:
    """Canonical correlations, descending, and the directions of either side as columns.

    The generalised eigenproblem ``S_xy S_yy^-1 S_yx a = rho^2 S_xx a``.
    """
    sxx, syy, sxy = regularised(x, penalty), regularised(y, penalty), covariance(x, y)
    back = np.linalg.inv(syy) @ sxy.T
    squares, a = scipy.linalg.eigh(sxy @ back, sxx)
    order = np.argsort(squares)[::-1][: min(x.shape[1], y.shape[1])]
    rho = np.sqrt(np.maximum(squares[order], 0))
    return rho, a[:, order], back @ a[:, order] / rho


def set_cross_covariance(
    x: Array, y: Array, x_sets: Sequence[int], y_sets: Sequence[int]
) -> tuple[Array, float]:
    """Weighted sum over shared sets of the outer product of their sums, and its worth in pairs."""
    total, worth = np.zeros((x.shape[1], y.shape[1])), 0.0
    for s in sorted(set(x_sets) & set(y_sets) - {-1}):
        xs = [row for row, i in zip(x, x_sets, strict=True) if i == s]
        ys = [row for row, i in zip(y, y_sets, strict=True) if i == s]
        partners = min(len(xs), len(ys))
        weight = partners / (len(xs) * len(ys))
        total += weight * np.outer(sum(xs), sum(ys))
        worth += weight * partners
    return total / worth, worth


def transport_plan(cosines: Array, temperature: float, rounds: int) -> Array:
    """Sinkhorn on one set, alternately scaling rows and columns of the plan itself."""
    n, m = cosines.shape
    plan = np.exp((cosines - cosines.max()) / temperature)
    for _ in range(rounds):
        for row in range(n):
            plan[row] *= min(n, m) / n / plan[row].sum()
        for column in range(m):
            plan[:, column] *= min(n, m) / m / plan[:, column].sum()
    return plan


@dataclass(frozen=True)
class Planted:
    """Two views of one cloud; row i of one belongs to row i of the other."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    rotation: Array


def rotated_cloud(rows: int, dim: int, *, noise: float, seed: int = 0) -> Planted:
    """A cloud with a different spread along each axis, and the same rotated, shifted, noisy.

    The rotation is the same for every number of rows.
    """
    rng = np.random.default_rng(seed)
    rotation = random_rotation(dim, rng)
    cloud = rng.standard_normal((rows, dim)) * np.linspace(1.5, 0.5, dim)
    x = cloud + noise * rng.standard_normal(cloud.shape) + 1.0
    y = cloud @ rotation + noise * rng.standard_normal(cloud.shape) - 2.0
    return Planted(x.astype(np.float32), y.astype(np.float32), rotation)


def bent_cloud(rows: int, *, noise: float = 0.05, seed: int = 0) -> tuple[Array, Array]:
    """x on a sphere, and y that winds as x turns: no linear map leads from one to the other."""
    rng = np.random.default_rng(seed)
    x = unit(rng.standard_normal((rows, 4)))
    y = np.sin(2 * x @ np.random.default_rng(0).standard_normal((4, 6)))
    return x, y + noise * rng.standard_normal(y.shape)


def random_rotation(dim: int, rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    return q * np.sign(np.diag(r))


def recall_at_1(zx: npt.NDArray[np.floating], zy: npt.NDArray[np.floating]) -> float:
    """Share of rows whose partner has the largest cosine of all, mean of both ways."""
    cosines = unit(zx) @ unit(zy).T
    own = np.arange(len(cosines))
    return float(np.mean([(cosines.argmax(axis=a) == own).mean() for a in (0, 1)]))


def unit(z: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return z / np.linalg.norm(z, axis=1, keepdims=True)
