"""Protein-centric Fmax, the measure of function prediction with many terms a protein."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, eq=False)
class TermCounts:
    """What Fmax is made of, protein by protein, so that proteins can be drawn again.

    Attributes:
        hits: Right predictions at each threshold. Shape [proteins, thresholds].
        predicted: Predictions at each threshold. Shape [proteins, thresholds].
        terms: How many terms each protein has. Shape [proteins].
    """

    hits: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.terms)

    def take(self, rows: npt.NDArray[np.int64]) -> TermCounts:
        """These proteins alone."""
        return TermCounts(self.hits[rows], self.predicted[rows], self.terms[rows])

    def curves(
        self, weights: npt.NDArray[np.number] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Precision, recall and their harmonic mean at each threshold.

        Args:
            weights: How often each protein counts, once by default. Shape [..., proteins].

        Returns:
            Shape [..., thresholds] each.
        """
        n = len(self)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        # Nothing predicted, or nothing to find: no hits, and so a share of zero.
        recall = w @ (self.hits / np.maximum(self.terms[:, None], 1)) / w.sum(axis=-1)[..., None]
        precision = w @ (self.hits / np.maximum(self.predicted, 1))
        counted = w @ (self.predicted > 0)
        precision = precision / np.where(counted > 0, counted, 1)
        both = precision + recall
        return precision, recall, 2 * precision * recall / np.where(both > 0, both, 1)

    @property
    def fmax(self) -> Fmax:
        """Of all of them."""
        precision, recall, f = self.curves()
        best = int(f.argmax())
        return Fmax(
            value=float(f[best]),
            threshold=float(THRESHOLDS[best]),
            precision=float(precision[best]),
            recall=float(recall[best]),
        )


def joined_counts(parts: Sequence[TermCounts]) -> TermCounts:
    """The counts of several sets of proteins as those of one."""
    return TermCounts(
        np.concatenate([part.hits for part in parts]),
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.terms for part in parts]),
    )


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
    return term_counts(scores, labels).fmax


def term_counts(scores: npt.ArrayLike, labels: npt.ArrayLike) -> TermCounts:
    """Hits and predictions of each protein at the thresholds of :func:`fmax`.

    Args:
        scores: Probability of each term. Shape [proteins, terms].
        labels: Which terms each protein has. Shape [proteins, terms].

    Raises:
        ValueError: As :func:`fmax`.
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
    return TermCounts(hits, predicted, has.sum(axis=1).astype(np.int64))


def _above(passed: npt.NDArray[np.intp], counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many counted terms of each protein pass each threshold. Shape [proteins, thresholds]."""
    n, levels = len(passed), len(THRESHOLDS) + 1
    rows, columns = counted.nonzero()
    cells = np.bincount(rows * levels + passed[rows, columns], minlength=n * levels)
    # A score that passes k thresholds counts at the first k of them.
    from_above = cells.reshape(n, levels)[:, ::-1].cumsum(axis=1)[:, ::-1]
    above: npt.NDArray[np.int64] = from_above[:, 1:]
    return above
