"""Are the known pairs a sample of the pools? A test that also sees small and local differences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from setclip.evaluation.rows import check_widths, finite_rows, sample_rows


def energy_test(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    rows: int = 500,
    permutations: int = 199,
    seed: int = 0,
) -> float:
    """P-value that two samples of one modality come from one distribution.

    Permutation test of the energy distance 2 E|u - v| - E|u - u'| - E|v - v'| between unit rows,
    centred on the mean of both samples: embeddings are compared by direction.

    Args:
        first: Shape [n, d], n of 1 or more.
        second: Shape [m, d], m of 1 or more.
        rows: Of larger samples so many are drawn; time grows with the square.
        permutations: Of the labels; the smallest p-value is one over this number and one.
        seed: Of draws and permutations.

    Raises:
        ValueError: Widths that differ, no row, or values that are not finite.

    Source:
        Szekely and Rizzo, Testing for equal distributions in high dimension, 2004.
    """
    samples = {"first": finite_rows("first", first), "second": finite_rows("second", second)}
    check_widths(**samples)
    drawn = [each[sample_rows(len(each), rows, seed)] for each in samples.values()]
    both = np.concatenate(drawn).astype(np.float64)
    both -= both.mean(axis=0)
    both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    n, m = map(len, drawn)
    # The distance is a quadratic form of weights 1/n on one sample and -1/m on the other.
    weights = np.repeat([1 / n, -1 / m], [n, m])
    rng = np.random.default_rng(seed)
    shuffled = np.stack([weights, *(rng.permutation(weights) for _ in range(permutations))])
    squares = (both**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * both @ both.T, 0.0))
    energies = -((shuffled @ distances) * shuffled).sum(axis=1)
    # Rounding must not make equal samples differ.
    as_large = energies[1:] >= energies[0] - 1e-7
    return float((1 + as_large.sum()) / (1 + permutations))
