"""Kernel features: what lets a closed form bend.

Where a linear map is too stiff, CCA on kernel features is as simple and bends with the data.
Landmarks drawn from all data stand for the kernel (Nyström), so that unpaired rows serve here
too, and the map stays small: inner products with landmarks, an exponential, a matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from setclip.linear.maps import Kernel, Principal, no_variance, principal, unit_rows

# Measured for CCA, from pairs, pools and sets: docs/trials.md, kernel features.
SHARPNESS = 2.0
LANDMARKS = 1500
# Rows that the axes are found from, at most.
ROWS = 20_000
# Directions of the landmarks' own kernel below this share of the strongest are rounding.
FLOOR = 1e-6


def kernel_principal(
    x: npt.ArrayLike,
    *,
    sharpness: float,
    rank: int | None = None,
    landmarks: int = LANDMARKS,
    seed: int = 0,
    side: str = "",
) -> Principal:
    """Principal axes of the rows of `x` in the space of the kernel.

    Args:
        x: Shape [n, d], n >= 2.
        sharpness: Of the kernel, positive; see :class:`setclip.linear.maps.Kernel`.
        rank: Keep at most so many axes.
        landmarks: Rows that stand for the kernel, at most, drawn from `x`. Penalties count them as
            the features, so that a penalty means the same where there are fewer.
        seed: Of the draws.
        side: Name of the modality, for messages.

    Raises:
        ValueError: Fewer than two rows, or all rows equal.

    Source:
        Kernel PCA, Schölkopf, Smola and Müller (1998); Nyström, Williams and Seeger (2001).
    """
    rows = np.asarray(x)
    if len(rows) and (rows == rows[0]).all():
        raise no_variance(len(rows), side)  # centred, they would differ by rounding
    rows = rows[np.random.default_rng(seed).permutation(len(rows))[:ROWS]]
    centre = rows.mean(axis=0, dtype=np.float64)
    kernel = Kernel(centre, unit_rows(rows[:landmarks] - centre), sharpness)
    features = kernel(rows)
    values, vectors = np.linalg.eigh(features[: len(kernel.landmarks)])
    kept = values > FLOOR * values[-1]
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    found = principal(features @ whiten, rank=rank, unit=True, side=side)
    return Principal(
        mean=features.mean(axis=0),
        axes=whiten @ found.axes,
        variance=found.variance,
        features=landmarks,
        unit=True,
        kernel=kernel,
    )
