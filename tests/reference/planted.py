"""Two clouds of one distribution, one of them rotated: what zero-pair methods must find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """Pools without a shared item, pairs to judge by, and how they were made."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array

    def recall(self, zx: Array, zy: Array) -> float:
        """Share of test rows of x whose nearest test row of y is their own."""
        zx = zx / np.linalg.norm(zx, axis=1, keepdims=True)
        zy = zy / np.linalg.norm(zy, axis=1, keepdims=True)
        return float(((zx @ zy.T).argmax(axis=1) == np.arange(len(zx))).mean())


def rotated_clouds(
    seed: int,
    *,
    n: int = 400,
    m: int = 400,
    d: int = 6,
    x_dim: int | None = None,
    y_dim: int | None = None,
    noise: float = 0.03,
    clusters: int = 15,
    test: int = 100,
) -> Planted:
    """A mixture whose axes differ in spread; each item is seen twice, with noise, y rotated.

    With `x_dim` or `y_dim` above d the extra dimensions of that side hold nothing but noise.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, d)) * np.linspace(2, 0.5, d)
    items = centres[rng.integers(clusters, size=n + m + test)]
    items = items + 0.25 * rng.normal(size=items.shape)
    sides = []
    for width in (x_dim or d, y_dim or d):
        seen = np.zeros((len(items), width))
        seen[:, :d] = items
        seen += noise * rng.normal(size=seen.shape)
        rotation, _ = np.linalg.qr(rng.normal(size=(width, width)))
        sides.append(seen @ rotation + rng.normal(size=width))
    x, y = sides
    return Planted(x[:n], y[n : n + m], x[-test:], y[-test:])
