"""Two pools as clouds of centred unit rows, ready to be laid onto each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.linear.maps import Alignment, Principal, principal
from setclip.linear.svd import thin_svd

# Matching works in float32: half the memory traffic, and a cosine needs no more digits.
Rows = npt.NDArray[np.float32]


LEAST_ROWS = 4
"""Of a pool whose shape is compared with another's."""

FLOAT32_ROOM = 100
"""Powers of two from 1 up to which products of a few float32 numbers stay in range."""


@dataclass(frozen=True)
class Clouds:
    """Both pools and the known pairs along their principal axes, centred, with unit rows.

    Attributes:
        x_axes: Principal axes of all rows of the first modality, pairs and pool.
        y_axes: Of the second.
        x: The first pool. Shape [n, r_x].
        y: The second pool. Shape [m, r_y].
        x_pairs: Known pairs; may have no row. Shape [p, r_x].
        y_pairs: Row-aligned with `x_pairs`. Shape [p, r_y].
    """

    x_axes: Principal
    y_axes: Principal
    x: Rows
    y: Rows
    x_pairs: Rows
    y_pairs: Rows

    @property
    def pair_cross(self) -> Rows:
        """Cross-covariance of the known pairs; zero when there are none. Shape [r_x, r_y]."""
        return self.x_pairs.T @ self.y_pairs / np.float32(max(1, len(self.x_pairs)))

    def rotation(self, cross: npt.ArrayLike) -> Alignment:
        """The rotation that fits a cross-covariance [r_x, r_y] best, as maps of raw features."""
        u, _, vt = thin_svd(np.asarray(cross, dtype=np.float64))
        return Alignment(self.x_axes.then(u), self.y_axes.then(vt.T))

    def inner(self, alignment: Alignment) -> Rows:
        """The matrix C for which ``x C y`` is the inner product of mapped rows. [r_x, r_y].

        Of features on another scale than float32 has room for, up to a factor.
        """
        weight = alignment.x.weight @ alignment.y.weight.T
        inner = self.x_axes.axes.T @ weight @ self.y_axes.axes
        exponent = np.frexp(np.abs(inner).max(initial=0.0))[1]
        if abs(exponent) > FLOAT32_ROOM:
            inner = np.ldexp(inner, -exponent)
        return np.asarray(inner, dtype=np.float32)


def clouds(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    x_pairs: npt.ArrayLike | None = None,
    y_pairs: npt.ArrayLike | None = None,
    rank: int | None = None,
) -> Clouds:
    """Centre by the mean of all rows of a modality, then give every row unit length.

    Args:
        x: First pool. Shape [n, d_x].
        y: Second pool. Shape [m, d_y].
        x_pairs: Known pairs. Shape [p, d_x].
        y_pairs: Shape [p, d_y].
        rank: Keep at most so many principal axes a side.

    Raises:
        ValueError: Fewer than four rows in a pool, pairs on one side only or of unequal number.
    """
    pools = [np.asarray(pool, dtype=np.float64) for pool in (x, y)]
    for name, pool in zip("xy", pools, strict=True):
        if len(pool) < LEAST_ROWS:
            raise ValueError(
                f"the {name} pool has {len(pool)} rows, matching needs at least {LEAST_ROWS}."
            )
    pairs = [
        np.zeros((0, pool.shape[1])) if known is None else np.asarray(known, dtype=np.float64)
        for known, pool in ((x_pairs, pools[0]), (y_pairs, pools[1]))
    ]
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(
            f"x_pairs has {len(pairs[0])} rows, y_pairs {len(pairs[1])}: row i of one must belong "
            "to row i of the other."
        )
    axes = [
        principal(np.concatenate(both), rank=rank, side=side)
        for *both, side in zip(pairs, pools, "xy", strict=True)
    ]
    return Clouds(
        axes[0],
        axes[1],
        unit_rows(axes[0](pools[0])),
        unit_rows(axes[1](pools[1])),
        unit_rows(axes[0](pairs[0])),
        unit_rows(axes[1](pairs[1])),
    )


def unit_rows(rows: npt.NDArray[np.floating]) -> Rows:
    """Rows of length one in float32; a zero row stays zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, np.finfo(length.dtype).tiny), dtype=np.float32)
