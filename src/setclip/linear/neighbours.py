"""What the neighbours of a row are matched to: a guess at its partner that needs no linear map.

A regression by kernel on rows whose partners are known or believed. Beside the linear map of a
closed form it is a second witness: it sees what is local and not linear, and errs elsewhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from setclip.linear.maps import Array

Single = npt.NDArray[np.float32]

# Similarities held at once: 2^22 float32 are 16 MB.
BUDGET = 1 << 22
# A bandwidth is a median over so many rows, found to a few percent.
SAMPLE = 128
STEPS = 12


def partners_of_neighbours(
    rows: Array, references: Array, partners: Array, neighbours: float
) -> Array:
    """For each row, the average of the partners of the reference rows that resemble it.

    Weights are the softmax of inner products over a bandwidth, which is chosen so that the median
    row listens to `neighbours` references.

    Args:
        rows: Rows whose inner products with `references` are similarities. Shape [n, d].
        references: Shape [m, d], m >= 1.
        partners: What each reference row is matched to. Shape [m, r].
        neighbours: Effective number of references that a row listens to, the inverse of the sum
            of its squared weights.

    Returns:
        Shape [n, r].

    Source:
        Regression by kernel, Nadaraya (1964) and Watson (1964).
    """
    asking, heard, values = (z.astype(np.float32) for z in (rows, references, partners))
    sharp = 1 / bandwidth(asking, heard, neighbours)
    found = np.empty((len(rows), partners.shape[1]))
    step = max(1, BUDGET // len(heard))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        found[block] = _softmax(asking[block] @ heard.T, sharp) @ values
    return found


def bandwidth(rows: Single, references: Single, neighbours: float) -> float:
    """The bandwidth at which the median row listens to so many references.

    Args:
        rows: Shape [n, d].
        references: Shape [m, d].
        neighbours: Effective number; the widest bandwidth tried is the spread of the similarities,
            so more than there are references means all of them alike.
    """
    drawn = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)
    similarities = rows[drawn] @ references.T
    widest = float(similarities.max() - similarities.min()) or 1.0
    low, high = np.log(widest / 1000), np.log(widest)
    for _ in range(STEPS):
        middle = (low + high) / 2
        weights = _softmax(similarities.copy(), np.exp(-middle))
        if np.median(1 / (weights**2).sum(axis=1)) < neighbours:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _softmax(similarities: Single, sharp: float) -> Single:
    """Of each row, in place."""
    similarities -= similarities.max(axis=1, keepdims=True)
    similarities *= np.float32(sharp)
    np.exp(similarities, out=similarities)
    similarities /= similarities.sum(axis=1, keepdims=True)
    return similarities
