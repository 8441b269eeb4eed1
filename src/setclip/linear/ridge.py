"""Ridge regression from one modality's features onto the other's."""

from __future__ import annotations

import numpy as np

from setclip.linear.maps import AffineMap, Alignment, Array, Principal


def ridge(x: Principal, y: Principal, cross: Array, *, penalty: float) -> Alignment:
    """Predict centred y from centred x; y itself is only centred.

    The map is ``(S_xx + penalty * v I)^-1 S_xy`` with v the mean variance of a feature of x, so
    that `penalty` means the same for any scale and width. It may differ from the number of rows:
    more features than rows is fine.

    Args:
        x: Principal axes of the first modality.
        y: Of the second.
        cross: Cross-covariance along these axes. Shape [r_x, r_y].
        penalty: Ridge in units of the mean variance of a feature, positive.

    Raises:
        ValueError: The penalty is not positive.
    """
    if penalty <= 0:
        raise ValueError(f"penalty is {penalty}, must be positive: try 1.")
    weight = cross / (x.variance + penalty * mean_variance(x))[:, None]
    # Into the y features themselves, not their axes, so that the space is the y encoder's.
    return Alignment(x.then(weight @ y.axes.T), AffineMap(np.eye(len(y.mean)), -y.mean))


def mean_variance(modality: Principal) -> float:
    """Mean variance of a feature: total variance over the number of features."""
    return float(modality.variance.sum() / modality.features)
