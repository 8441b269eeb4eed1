"""Probes: how much of the labels an embedding gives to simple classifiers.

The caller splits by group; items of one group on both sides would let a probe recognise items
instead of classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.evaluation.neighbours import neighbour_weights
from setclip.evaluation.positives import as_names
from setclip.evaluation.rows import (
    TIE,
    DoubleArray,
    check_widths,
    rows_per_block,
    unit_rows,
)

Labels = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Probe:
    """Accuracy of a probe on held-out rows.

    Attributes:
        accuracy: In percent. Test rows of a class that training lacks count as wrong.
        majority: Accuracy in percent of always naming the most frequent class of the train rows.
        credits: Per test row, the probability of being right. Shape [n_test].
        setting: The hyper-parameters that were used, for the report.
    """

    accuracy: float
    majority: float
    credits: DoubleArray
    setting: str


def knn_probe(
    train_z: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_z: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: int = 20,
    temperature: float = 0.07,
    block: int | None = None,
) -> Probe:
    """Classify by the `k` nearest train rows, each voting with weight exp(cosine / temperature).

    Rows that tie at the k-th place share it, and classes that tie share the credit, so nothing
    depends on the order of the rows.

    Args:
        train_z: Shape [n_train, d].
        train_labels: Whole numbers or strings. Shape [n_train].
        test_z: Shape [n_test, d].
        test_labels: Shape [n_test].
        k: Neighbours; fewer if there are fewer train rows.
        temperature: Lower lets the nearest neighbours decide.
        block: Test rows to score at once; by default as many as keep the scores at 32 MB.

    Raises:
        ValueError: NaN or zero rows, differing d or lengths, k or temperature not positive.

    Source:
        Wu et al., arXiv 1805.01978; k and temperature as in DINO, arXiv 2104.14294.
    """
    train, test = unit_rows("train_z", train_z), unit_rows("test_z", test_z)
    check_widths(train_z=train, test_z=test)
    if k < 1 or temperature <= 0:
        raise ValueError(f"k is {k} and temperature {temperature}: both must be positive.")
    known = _labels("train_labels", train_labels, len(train))
    truth = _labels("test_labels", test_labels, len(test))
    if (known.dtype.kind in "US") != (truth.dtype.kind in "US"):
        raise ValueError(
            f"labels are {known.dtype} in training and {truth.dtype} in the test, so none can be "
            "right. Use one type for both."
        )
    k = min(k, len(train))
    classes, codes = np.unique(known, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    firsts = np.searchsorted(codes[order], np.arange(len(classes)))
    credits = np.empty(len(test))
    rows = rows_per_block(len(train), block)
    for first in range(0, len(test), rows):
        part = slice(first, first + rows)
        scores = test[part] @ train[order].T
        # Of the nearest the exponent is 0: no temperature lets all votes vanish.
        nearest = scores.max(axis=1, keepdims=True)
        votes = neighbour_weights(scores, k) * np.exp((scores - nearest) / temperature)
        tally = np.add.reduceat(votes, firsts, axis=1, dtype=np.float64)
        credits[part] = _vote_credits(tally, classes, truth[part])
    return _probe(credits, known, truth, f"k={k}, temperature={temperature}")


def _vote_credits(tally: DoubleArray, classes: Labels, truth: Labels) -> DoubleArray:
    """One for the winning class, shared if several win."""
    winners = tally >= tally.max(axis=1, keepdims=True) * (1 - TIE)
    right = (winners & (classes[None, :] == truth[:, None])).any(axis=1)
    credits: DoubleArray = right / winners.sum(axis=1)
    return credits


def linear_probe(
    train_z: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_z: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    train_groups: npt.ArrayLike | None = None,
    strengths: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0),
    folds: int = 3,
    seed: int = 0,
) -> Probe:
    """Logistic regression on standardised dimensions, its penalty chosen inside the train rows.

    Args:
        train_z: Shape [n_train, d].
        train_labels: Whole numbers or strings, two classes or more. Shape [n_train].
        test_z: Shape [n_test, d].
        test_labels: Shape [n_test].
        train_groups: Group of each train row; cross-validation keeps groups whole. Shape [n_train].
            By default each row is its own group.
        strengths: Inverse penalties C to choose from.
        folds: Folds of the cross-validation; fewer if there are fewer groups.
        seed: Seed of the folds.

    Raises:
        ValueError: NaN or zero rows, differing d or lengths, fewer than two classes or groups, no
            class with two train rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = unit_rows("train_z", train_z), unit_rows("test_z", test_z)
    check_widths(train_z=train, test_z=test)
    known = _labels("train_labels", train_labels, len(train))
    truth = _labels("test_labels", test_labels, len(test))
    groups: Labels = np.arange(len(train))
    if train_groups is not None:
        groups = _labels("train_groups", train_groups, len(train))
    counts = {"classes": len(np.unique(known)), "groups": len(np.unique(groups))}
    if min(counts.values()) < 2:
        raise ValueError(
            f"the train rows have {counts['classes']} classes in {counts['groups']} groups: a "
            "linear probe needs two or more of each."
        )
    # More folds than a class has rows would leave nothing to stratify.
    most = int(np.unique(known, return_counts=True)[1].max())
    if most < 2:
        raise ValueError(
            f"each of the {counts['classes']} classes has a single train row: a linear probe needs "
            "two rows of some class."
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    splitter = StratifiedGroupKFold(
        min(folds, most, counts["groups"]), shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():
        # Rare classes that miss a fold are usual here and only blur the choice of C.
        warnings.filterwarnings("ignore", message="The least populated class")
        # Where one class is all that there is to learn, or to ask, no penalty shows.
        splits = [
            (rest, part)
            for rest, part in splitter.split(train, known, groups)
            if min(len(np.unique(known[rows])) for rows in (rest, part)) > 1
        ]
        search = GridSearchCV(model, {"logisticregression__C": list(strengths)}, cv=splits or None)
        if splits:
            model = search.fit(train, known)
            chosen = model.best_params_["logisticregression__C"]
        else:
            chosen = strengths[-1]
            model.set_params(logisticregression__C=chosen).fit(train, known)
    credits = (model.predict(test) == truth).astype(np.float64)
    return _probe(credits, known, truth, f"C={chosen:g}")


def _labels(name: str, values: npt.ArrayLike, rows: int) -> Labels:
    labels = as_names(values)
    if labels.shape != (rows,) or labels.dtype.kind not in "biuUS":
        raise ValueError(
            f"{name} holds {labels.dtype} of shape {list(labels.shape)}, expected {rows} whole "
            "numbers or strings, one a row."
        )
    return labels


def _probe(credits: DoubleArray, known: Labels, truth: Labels, setting: str) -> Probe:
    classes, counts = np.unique(known, return_counts=True)
    majority = float(np.mean(truth == classes[counts.argmax()]))
    return Probe(100.0 * float(credits.mean()), 100.0 * majority, credits, setting)
