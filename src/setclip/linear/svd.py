"""The singular value decomposition that every map here comes from, without its rare failure."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.linalg

Real = TypeVar("Real", np.float32, np.float64)


def thin_svd(
    matrix: npt.NDArray[Real],
) -> tuple[npt.NDArray[Real], npt.NDArray[Real], npt.NDArray[Real]]:
    """U, singular values (descending) and V^T of a finite matrix, as many as its smaller side.

    LAPACK's divide and conquer gives up on some rare finite matrices. SciPy's slower QR iteration
    settles these too. NumPy comes first because all else is computed by its BLAS: SciPy brings one
    of its own, and the idle threads of either hold up those of the other, to four times the time of
    a fit. Float32 is decomposed in float32, in two thirds of the time.

    Args:
        matrix: Shape [n, m].

    Raises:
        ValueError: NaN or infinite values.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("the matrix holds NaN or infinite values: look for them in the features.")
    try:
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        u, s, vt = scipy.linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
    return u, s, vt


def polar(cross: npt.NDArray[Real]) -> npt.NDArray[Real]:
    """The rotation nearest to a cross-covariance: rows of x times it match rows of y best.

    Args:
        cross: Shape [n, m].

    Returns:
        Orthonormal columns, or rows where there are fewer of these. Shape [n, m].
    """
    u, _, vt = thin_svd(cross)
    return u @ vt
