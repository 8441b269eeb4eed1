"""Regularised canonical correlation analysis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from setclip.linear.maps import AffineMap, Alignment, Array, Principal, directions
from setclip.linear.ridge import mean_variance
from setclip.linear.svd import thin_svd


def cca(
    x: Principal, y: Principal, cross: Array, *, penalty: float, power: float = 0.0
) -> Alignment:
    """Whiten both sides, rotate onto the directions that correlate most.

    The singular value decomposition of ``(S_xx + r I)^-1/2 S_xy (S_yy + r I)^-1/2`` with r the
    penalty times the mean variance of a feature, per side.

    Args:
        x: Principal axes of the first modality; from pairs, or from all data there is.
        y: Of the second.
        cross: Cross-covariance along these axes. Shape [r_x, r_y].
        penalty: Ridge in units of the mean variance of a feature, positive.
        power: Each canonical direction is scaled by its correlation to this power: 0 is CCA, more
            trusts strong directions more.

    Raises:
        ValueError: The penalty is not positive, or the cross-covariance is zero.
    """
    if penalty <= 0:
        raise ValueError(f"penalty is {penalty}, must be positive: try 1.")
    x_scale = 1 / np.sqrt(x.variance + penalty * mean_variance(x))
    y_scale = 1 / np.sqrt(y.variance + penalty * mean_variance(y))
    u, s, vt = thin_svd(x_scale[:, None] * cross * y_scale)
    rank = directions(s, scale=1.0)
    weight = (s[:rank] / s[0]) ** power
    return Alignment(
        x.then(x_scale[:, None] * u[:, :rank] * weight),
        y.then(y_scale[:, None] * vt[:rank].T * weight),
    )


def averaged_cca(
    x: Principal, y: Principal, cross: Array, *, penalties: Sequence[float], power: float = 0.0
) -> Alignment:
    """Several CCAs of one cross-covariance side by side, each with the same say.

    The inner product of two embeddings is the mean of theirs, each scaled to rows of length one in
    the root mean square.

    Args:
        x: Principal axes of the first modality.
        y: Of the second.
        cross: Cross-covariance along these axes. Shape [r_x, r_y].
        penalties: One CCA each, see :func:`cca`.
        power: As of :func:`cca`.

    Raises:
        ValueError: No penalty, one that is not positive, or a cross-covariance of zero.
    """
    if not penalties:
        raise ValueError("penalties is empty: give at least one, for instance (3, 10).")
    inner = [
        cca(x.inner(), y.inner(), cross, penalty=penalty, power=power) for penalty in penalties
    ]
    return Alignment(
        x.then(_side_by_side([found.x for found in inner], x.variance)),
        y.then(_side_by_side([found.y for found in inner], y.variance)),
    )


def _side_by_side(maps: list[AffineMap], variance: Array) -> Array:
    lengths = [np.sqrt((variance[:, None] * found.weight**2).sum()) for found in maps]
    return np.concatenate(
        [found.weight / length for found, length in zip(maps, lengths, strict=True)], axis=1
    )
