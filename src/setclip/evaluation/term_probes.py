"""Probes of an embedding where an item has several labels, such as terms of function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.evaluation.neighbours import neighbour_weights
from setclip.evaluation.protein_function import TermCounts, joined_counts, term_counts
from setclip.evaluation.rows import (
    DoubleArray,
    FloatArray,
    check_widths,
    rows_per_block,
    unit_rows,
)

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TermProbe:
    """What a probe says of held-out rows.

    Attributes:
        scores: From 0 to 1. Shape [n_test, terms].
        counts: Of these scores against the truth; `counts.fmax` is the measure.
        setting: The hyper-parameters that were used, for the report.
    """

    scores: DoubleArray
    counts: TermCounts
    setting: str


def knn_terms(
    train_z: npt.ArrayLike,
    train_terms: npt.ArrayLike,
    test_z: npt.ArrayLike,
    test_terms: npt.ArrayLike,
    *,
    k: int = 20,
    temperature: float = 0.07,
    block: int | None = None,
) -> TermProbe:
    """Score a term by the share of the votes of the `k` nearest train rows that have it.

    Rows vote with weight exp(cosine / temperature) and those that tie at the k-th place share it,
    as in :func:`setclip.evaluation.knn_probe`. With k = 1 the terms of the nearest row are taken.

    Args:
        train_z: Shape [n_train, d].
        train_terms: Shape [n_train, terms].
        test_z: Shape [n_test, d].
        test_terms: Shape [n_test, terms].
        k: Neighbours; fewer if there are fewer train rows.
        temperature: Lower lets the nearest neighbours decide.
        block: Test rows to score at once; by default as many as keep the scores at 32 MB.

    Raises:
        ValueError: NaN or zero rows, differing d, terms or lengths, k or temperature not positive.
    """
    train, test = unit_rows("train_z", train_z), unit_rows("test_z", test_z)
    check_widths(train_z=train, test_z=test)
    if k < 1 or temperature <= 0:
        raise ValueError(f"k is {k} and temperature {temperature}: both must be positive.")
    known, truth = _terms(train_terms, test_terms, len(train), len(test))
    k = min(k, len(train))
    scores = np.empty(truth.shape)
    rows = rows_per_block(len(train), block)
    for first in range(0, len(test), rows):
        part = slice(first, first + rows)
        cosines = test[part] @ train.T
        # Relative to the nearest: far from everything, all votes would be zero in float32.
        nearest = cosines.max(axis=1, keepdims=True)
        votes = neighbour_weights(cosines, k) * np.exp((cosines - nearest) / temperature)
        scores[part] = (votes / votes.sum(axis=1, keepdims=True)) @ known
    scores = scores.clip(0, 1)
    return TermProbe(scores, term_counts(scores, truth), f"k={k}, temperature={temperature}")


def ridge_terms(
    train_z: npt.ArrayLike,
    train_terms: npt.ArrayLike,
    test_z: npt.ArrayLike,
    test_terms: npt.ArrayLike,
    *,
    train_groups: npt.ArrayLike | None = None,
    penalties: Sequence[float] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    class_weights: bool = False,
    folds: int = 3,
    seed: int = 0,
) -> TermProbe:
    """Ridge regression of each term on standardised dimensions, its scores cut to 0 … 1.

    The penalty, one for all terms, is the one with the best Fmax on folds of the train rows.

    Args:
        train_z: Shape [n_train, d].
        train_terms: Shape [n_train, terms].
        test_z: Shape [n_test, d].
        test_terms: Shape [n_test, terms].
        train_groups: Group of each train row; cross-validation keeps groups whole. Shape [n_train].
            By default each row is its own group.
        penalties: To choose from, relative to the mean variance of a dimension.
        class_weights: Whether the errors of a term weigh n / n_with_term, as in the loss of the
            published networks. In a ridge this shrinks rare terms less.
        folds: Folds of the cross-validation; fewer if there are fewer groups.
        seed: Seed of the folds.

    Raises:
        ValueError: NaN or zero rows, differing d, terms or lengths, or fewer than two groups.
    """
    train, test = unit_rows("train_z", train_z), unit_rows("test_z", test_z)
    check_widths(train_z=train, test_z=test)
    known, truth = _terms(train_terms, test_terms, len(train), len(test))
    groups = np.arange(len(train)) if train_groups is None else np.asarray(train_groups)
    if groups.shape != (len(train),):
        raise ValueError(
            f"train_groups has shape {list(groups.shape)} for {len(train)} train rows: give one "
            "group a row."
        )
    tried: list[list[TermCounts]] = [[] for _ in penalties]
    for rest, part in _folds(groups, folds, seed):
        predict = _ridge(train[rest], known[rest], class_weights)
        for counts, penalty in zip(tried, penalties, strict=True):
            counts.append(term_counts(predict(train[part], penalty), known[part]))
    best = penalties[int(np.argmax([joined_counts(counts).fmax.value for counts in tried]))]
    scores = _ridge(train, known, class_weights)(test, best)
    return TermProbe(scores, term_counts(scores, truth), f"penalty={best:g}")


def _ridge(
    train: FloatArray, known: BoolArray, class_weights: bool
) -> Callable[[FloatArray, float], DoubleArray]:
    """Scores of rows under a penalty, [m, d] to [m, terms]; one decomposition serves all."""
    mean, spread = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    spread[spread < 1e-9] = 1.0
    x = (train - mean) / spread
    prior = known.mean(axis=0)
    variances, axes = np.linalg.eigh(x.T @ x / len(x))
    variances = variances.clip(0)
    moments = axes.T @ (x.T @ (known - prior)) / len(x)
    weights = 1 / np.maximum(prior, 1 / len(x)) if class_weights else np.ones(len(prior))

    def predict(z: FloatArray, penalty: float) -> DoubleArray:
        shrunk = variances[:, None] + penalty * variances.mean() / weights
        along = ((z - mean) / spread) @ axes
        scores: DoubleArray = prior + along @ (moments / np.maximum(shrunk, 1e-12))
        return scores.clip(0, 1)

    return predict


def _folds(
    groups: npt.NDArray[np.generic], folds: int, seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Rows to learn from and rows to be asked, groups whole."""
    names, own = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"the {len(groups)} train rows are one group: a probe needs two groups or more to "
            "choose its penalty."
        )
    count = min(folds, len(names))
    fold = np.random.default_rng(seed).permutation(len(names))[own] % count
    for number in range(count):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _terms(
    train_terms: npt.ArrayLike, test_terms: npt.ArrayLike, n_train: int, n_test: int
) -> tuple[BoolArray, BoolArray]:
    known, truth = np.asarray(train_terms, dtype=bool), np.asarray(test_terms, dtype=bool)
    wanted = ((known, n_train), (truth, n_test))
    if any(a.ndim != 2 or len(a) != n for a, n in wanted) or known.shape[1:] != truth.shape[1:]:
        raise ValueError(
            f"train_terms have shape {list(known.shape)} and test_terms {list(truth.shape)}: give "
            f"[{n_train}, terms] and [{n_test}, terms]."
        )
    return known, truth
