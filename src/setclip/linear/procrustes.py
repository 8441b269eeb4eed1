"""Orthogonal Procrustes: the rotation that brings one modality closest to the other."""

from __future__ import annotations

import numpy as np

from setclip.linear.maps import Alignment, Array, Principal, directions
from setclip.linear.svd import thin_svd


def procrustes(x: Principal, y: Principal, cross: Array) -> Alignment:
    """Orthogonal maps from the singular vectors of the cross-covariance.

    With features of different widths both sides go to ``d = min(r_x, r_y)`` dimensions. Where
    the cross-covariance has fewer than d directions (few pairs), the rest of the rotation is
    arbitrary; those directions are left out.

    Args:
        x: Principal axes of the first modality.
        y: Of the second.
        cross: Cross-covariance along these axes. Shape [r_x, r_y].

    Raises:
        ValueError: The cross-covariance is zero.
    """
    u, s, vt = thin_svd(cross)
    rank = directions(s, scale=float(np.sqrt(x.variance[0] * y.variance[0])))
    return Alignment(x.then(u[:, :rank]), y.then(vt[:rank].T))
