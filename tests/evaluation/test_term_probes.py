"""Probes with several labels an item: votes by hand, the ridge by its normal equations, folds."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.evaluation import fmax, knn_terms, ridge_terms


def planted(n, terms=6, noise=0.3, seed=0):
    """Each term is a half-space."""
    planes = np.random.default_rng(99).standard_normal((10, terms))
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 10))
    return hidden + noise * rng.standard_normal((n, 10)), hidden @ planes > 2


@pytest.mark.parametrize("k", [1, 3, 50])
def test_knn_scores_are_shares_of_votes(k):
    (train, known), (test, truth) = planted(30), planted(12, seed=1)
    found = knn_terms(train, known, test, truth, k=k, temperature=0.2, block=5)
    unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (train, test)]
    for i, row in enumerate(unit[1]):
        cosines = unit[0] @ row
        near = np.argsort(-cosines)[:k]
        votes = np.exp(cosines[near] / 0.2)
        np.testing.assert_allclose(found.scores[i], votes @ known[near] / votes.sum(), atol=1e-5)
    assert found.counts.fmax == fmax(found.scores, truth)
    assert found.setting == f"k={min(k, 30)}, temperature=0.2"


def test_knn_far_from_everything_still_votes():
    found = knn_terms(np.eye(3), np.eye(3), -np.ones((1, 3)), [[1, 0, 0]], temperature=1e-3)
    np.testing.assert_allclose(found.scores, 1 / 3, atol=1e-6)


@pytest.mark.parametrize("class_weights", [False, True])
def test_ridge_solves_the_normal_equations(class_weights):
    (train, known), (test, truth) = planted(60), planted(9, seed=1)
    known[:, 5] = False  # a term that nobody has is never predicted
    found = ridge_terms(
        train, known, test, truth, penalties=[0.5], class_weights=class_weights
    ).scores
    x, z = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (train, test))
    x, z = (x - x.mean(axis=0)) / x.std(axis=0), (z - x.mean(axis=0)) / x.std(axis=0)
    for term in range(5):
        y = known[:, term].astype(float)
        weight = 1 / y.mean() if class_weights else 1.0
        # Standardised: the variances of ten dimensions have the mean 1.
        gram = weight * x.T @ x / 60 + 0.5 * np.eye(10)
        slope = np.linalg.solve(gram, weight * x.T @ (y - y.mean()) / 60)
        expected = (y.mean() + z @ slope).clip(0, 1)
        np.testing.assert_allclose(found[:, term], expected, atol=1e-4)
    assert not found[:, 5].any()


def test_terms_that_can_be_told_are_told_and_others_are_not():
    (train, known), (test, truth) = planted(400, noise=0.1), planted(100, noise=0.1, seed=1)
    prior = fmax(np.tile(known.mean(axis=0), (100, 1)), truth).value
    for probe in (knn_terms, ridge_terms):
        assert probe(train, known, test, truth).counts.fmax.value > prior + 0.2
        shuffled = known[np.random.default_rng(0).permutation(400)]
        assert probe(train, shuffled, test, truth).counts.fmax.value < prior + 0.05


def test_the_penalty_is_chosen_with_groups_whole():
    rng = np.random.default_rng(0)
    # Items of a group are copies: alone, a row is best told by its copies, with hardly a penalty.
    groups = np.repeat(np.arange(20), 5)
    z = rng.standard_normal((20, 40))[groups] + 0.01 * rng.standard_normal((100, 40))
    known = (rng.random((20, 4)) < 0.4)[groups]
    arguments = (z, known, z[:5], known[:5])
    weak, strong = (
        float(ridge_terms(*arguments, train_groups=g, penalties=(1e-4, 100.0)).setting[8:])
        for g in (None, groups)
    )
    assert (weak, strong) == (1e-4, 100.0)


def test_what_cannot_be_probed():
    z, terms = np.eye(3), np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="one group"):
        ridge_terms(z, terms, z, terms, train_groups=[0, 0, 0])
    with pytest.raises(ValueError, match=r"train_groups has shape \[2\] for 3 train rows"):
        ridge_terms(z, terms, z, terms, train_groups=[0, 1])
    with pytest.raises(ValueError, match=r"\[3, 3\] and test_terms \[3, 2\]"):
        knn_terms(z, terms, z, terms[:, :2])
    with pytest.raises(ValueError, match="both must be positive"):
        knn_terms(z, terms, z, terms, k=0)
