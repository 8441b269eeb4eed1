"""Protein-centric Fmax, the measure of function prediction with many terms a protein."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

THRESHOLDS = np.arange(100) / 100


@dataclass(frozen=True)
class Fmax:
    """The best harmonic mean of precision and recall over all thresholds, each from 0 to 1.

    Attributes:
        value: Fmax.
        threshold: Where it is reached; terms with a score above it are predicted.
        precision: There, mean over proteins with at least one prediction.
        recall: There, mean over all proteins.
    """

    value: float
    threshold: float
    precision: float
    recall: float


def fmax(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Fmax:
    """Fmax of scores between 0 and 1 over the thresholds 0, 0.01, … 0.99.

    A term is predicted when its score is above the threshold. A protein without labels adds a
    recall of 0; one without predictions does not count for the precision.

    Args:
        scores: Probability of each term. Shape [proteins, terms].
        labels: Which terms each protein has. Shape [proteins, terms].

    Raises:
        ValueError: Shapes that differ, nothing to measure, or scores beyond 0 and 1.

    Source:
        Radivojac et al., A large-scale evaluation of computational protein function prediction,
        Nature Methods 2013; conventions of the nrPDB benchmarks.
    """
    p = np.asarray(scores, dtype=np.float64)
    has = np.asarray(labels, dtype=bool)
    if p.ndim != 2 or p.shape != has.shape or not p.size:
        raise ValueError(
            f"scores have shape {list(p.shape)} and labels {list(has.shape)}: give both as "
            "[proteins, terms], at least one of each."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"scores run from {p.min()} to {p.max()}: give probabilities, for instance the sigmoid "
            "of the logits."
        )
    # Below how many thresholds a score is predicted; both counts then are one histogram a protein.
    passed = np.searchsorted(THRESHOLDS, p, side="left")
    predicted = _above(passed, np.ones_like(has))
    hits = _above(passed, has)
    # Nothing predicted, or nothing to find: no hits, and so a share of zero.
    recall = (hits / np.maximum(has.sum(axis=1, keepdims=True), 1)).mean(axis=0)
    counted = (predicted > 0).sum(axis=0)
    precision = (hits / np.maximum(predicted, 1)).sum(axis=0) / np.maximum(counted, 1)
    both = precision + recall
    f = 2 * precision * recall / np.where(both > 0, both, 1)
    best = int(f.argmax())
    return Fmax(
        value=float(f[best]),
        threshold=float(THRESHOLDS[best]),
        precision=float(precision[best]),
        recall=float(recall[best]),
    )


def _above(passed: npt.NDArray[np.intp], counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many counted terms of each protein pass each threshold. Shape [proteins, thresholds]."""
    n, levels = len(passed), len(THRESHOLDS) + 1
    rows, columns = counted.nonzero()
    cells = np.bincount(rows * levels + passed[rows, columns], minlength=n * levels)
    # A score that passes k thresholds counts at the first k of them.
    from_above = cells.reshape(n, levels)[:, ::-1].cumsum(axis=1)[:, ::-1]
    above: npt.NDArray[np.int64] = from_above[:, 1:]
    return above
