"""The decomposition and what it does where LAPACK's first algorithm gives up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from setclip.linear.svd import thin_svd


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gives_up", [False, True])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_factors_are_orthonormal_and_give_the_matrix_back(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], gives_up: bool, dtype: type
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError("SVD did not converge")

    if gives_up:
        monkeypatch.setattr(np.linalg, "svd", fails)
    matrix = np.random.default_rng(0).normal(size=shape).astype(dtype)
    u, s, vt = thin_svd(matrix)
    assert u.dtype == s.dtype == vt.dtype == dtype
    assert (u.shape, s.shape, vt.shape) == ((shape[0], 4), (4,), (4, shape[1]))
    np.testing.assert_allclose(u.T @ u, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(vt @ vt.T, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(u * s @ vt, matrix, atol=1e-5)
    assert (np.diff(s) <= 0).all()


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        thin_svd(np.array([[1.0, np.nan], [0.0, 1.0]]))
