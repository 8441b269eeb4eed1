"""From margins to probabilities, by what held-out pairs show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression

from setclip.mining.candidates import Candidates

Array = npt.NDArray[np.float64]

# Enough to tell chance from order; every probability of fewer would be a guess.
FEWEST_HELD_OUT = 10
BINS = 10

# What the estimated coverage is off by even with many pairs, since the models of the folds are not
# the run's own: on planted clouds and glosses 0 to 0.2, mostly upwards.
FOLD_ERROR = 0.05


@dataclass(frozen=True, eq=False)
class Trial:
    """Held-out pairs put back among the pools, and what was proposed for them.

    Attributes:
        present: Candidates of held-out x whose partner stood among the y.
        hits: Which of these are the partner. Shape [present].
        absent: Candidates of held-out x whose partner was not there: all wrong.
        pairs: Number of held-out pairs.
        folds: Parts of the pairs that models were fitted without knowing, two models each; 0 where
            the run's own has seen none.
    """

    present: Candidates
    hits: npt.NDArray[np.bool_]
    absent: Candidates
    pairs: int
    folds: int = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Candidates to probabilities, fitted by :func:`calibrate`.

    Attributes:
        weights: Of cosine, CSLS and margin in the score, none negative. Shape [3].
        scores: Scores at which the probability is known, ascending. Shape [k].
        probabilities: There, ascending; linear between. Shape [k].
        coverage: Share of the x whose partner is assumed to be among the y.
        pairs: Held-out pairs that it rests on.
    """

    weights: Array
    scores: Array
    probabilities: Array
    coverage: float
    pairs: int

    def __call__(self, candidates: Candidates) -> Array:
        """Probability that y is the partner of x, for each candidate. Shape [c]."""
        return np.interp(_score(candidates, self.weights), self.scores, self.probabilities)


def calibrate(trial: Trial, *, coverage: float) -> Calibration:
    """Fit probabilities to held-out pairs.

    Cosine, CSLS and margin become one score by a logistic regression without negative weights, and
    the score a probability by isotonic regression. Held-out x whose partner is there weigh
    `coverage`, the same x with their partner taken away the rest: so the probability is that of
    "this is the partner" where only that share of the x has one.

    Args:
        trial: What was proposed for held-out pairs.
        coverage: Share of the x whose partner is among the y, above 0.

    Source:
        Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability
        estimates", KDD 2002 (isotonic calibration).
    """
    labels = np.concatenate([trial.hits, np.zeros(len(trial.absent), dtype=bool)])
    sides = [(trial.present, coverage), (trial.absent, 1.0 - coverage)]
    sample_weight = np.concatenate([np.full(len(c), weight) for c, weight in sides])
    features = np.concatenate([_features(c) for c, _ in sides])
    weights = _combine(features, labels, sample_weight)
    scores = features @ weights
    # One more candidate, wrong, at the very top: three hits out of three are not certainty.
    fit = IsotonicRegression(y_min=0.0, y_max=1.0).fit(
        np.append(scores, scores.max()), np.append(labels, False), np.append(sample_weight, 1.0)
    )
    return Calibration(weights, fit.X_thresholds_, fit.y_thresholds_, coverage, trial.pairs)


def estimate_coverage(trial: Trial, proposed: Candidates) -> tuple[float, float]:
    """Share of the x that have their partner among the y, by the scores of their best candidates.

    The best scores of x with a partner and of x without one are known from the trial; those of the
    pools are a mixture of the two, whose share is fitted by maximum likelihood over bins.

    Args:
        trial: What was proposed for held-out pairs.
        proposed: Candidates among the pools.

    Returns:
        The share and its standard error, which is large where the two distributions are alike.
    """
    calibration = calibrate(trial, coverage=0.5)
    with_partner, without, found = (
        _score(c.at(c.rank == 1), calibration.weights)
        for c in (trial.present, trial.absent, proposed)
    )
    edges = np.quantile(np.concatenate([with_partner, without]), np.linspace(0, 1, BINS + 1)[1:-1])
    first, second = (_shares(z, edges) for z in (with_partner, without))
    counts = np.bincount(np.searchsorted(edges, found), minlength=BINS)

    def unlikelihood(share: float) -> float:
        return -float(counts @ np.log(share * first + (1 - share) * second))

    share = float(minimize_scalar(unlikelihood, bounds=(0.0, 1.0), method="bounded").x)
    mixed = share * first + (1 - share) * second
    # The reference distributions are themselves estimated, from so many pairs: their noise counts.
    slope = (first - second) / mixed
    information = float(mixed @ slope**2)
    noise = 1 / len(found) + (share**2 + (1 - share) ** 2) / trial.pairs
    return share, float(np.sqrt(noise / max(information, 1e-12) + FOLD_ERROR**2))


def _shares(scores: Array, edges: Array) -> Array:
    counts = np.bincount(np.searchsorted(edges, scores), minlength=BINS) + 0.5
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def _features(candidates: Candidates) -> Array:
    columns = candidates.similarity, candidates.csls, candidates.margin
    return np.stack(columns, axis=1).astype(np.float64)


def _score(candidates: Candidates, weights: Array) -> Array:
    return _features(candidates) @ weights


def _combine(features: Array, labels: npt.NDArray[np.bool_], sample_weight: Array) -> Array:
    """Weights of a logistic regression, none negative: more of a feature never counts against."""
    scale = features.std(axis=0)
    scale[scale == 0] = 1.0
    z = (features - features.mean(axis=0)) / scale
    signs = np.where(labels, 1.0, -1.0)

    def loss(parameters: Array) -> tuple[float, Array]:
        margins = signs * (z @ parameters[:3] + parameters[3])
        value = sample_weight @ np.logaddexp(0, -margins) + 0.5 * parameters[:3] @ parameters[:3]
        pull = -sample_weight * signs / (1 + np.exp(np.minimum(margins, 500)))
        gradient = np.append(z.T @ pull + parameters[:3], pull.sum())
        return float(value), gradient

    start = np.array([0.1, 0.1, 0.1, 0.0])
    bounds = [(0, None)] * 3 + [(None, None)]
    weights = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x[:3] / scale
    # Nothing told right from wrong: the margin alone keeps the order.
    return weights if weights.any() else np.array([0.0, 0.0, 1.0])
