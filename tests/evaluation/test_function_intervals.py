"""Intervals of Fmax: the draw of all proteins, coverage of the mean, pairs that cancel."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.evaluation import bootstrap_fmax, fmax, paired_bootstrap_fmax, term_counts


def predictions(n, quality, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 5)) < 0.3
    return np.clip(quality * labels + (1 - quality) * rng.random((n, 5)), 0, 1), labels


def test_proteins_drawn_again_count_as_copies():
    scores, labels = predictions(12, 0.4, 0)
    weights = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=3)
    drawn = term_counts(scores, labels).curves(weights)[2].max(axis=1)
    for own, value in zip(weights, drawn, strict=True):
        rows = np.repeat(np.arange(12), own)
        assert value == pytest.approx(fmax(scores[rows], labels[rows]).value)


def test_the_interval_holds_the_mean_and_narrows_with_proteins():
    few, many = (
        bootstrap_fmax([term_counts(*predictions(n, 0.4, seed)) for seed in range(3)])
        for n in (30, 600)
    )
    values = [fmax(*predictions(30, 0.4, seed)).value for seed in range(3)]
    assert few.mean == pytest.approx(100 * np.mean(values))
    assert few.low < few.mean < few.high
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_differences_on_the_same_proteins():
    scores, labels = predictions(80, 0.5, 0)
    better = term_counts(scores, labels)
    worse = term_counts(np.random.default_rng(2).permutation(scores), labels)
    found = paired_bootstrap_fmax([better], [worse])
    assert found.low > 0
    assert found.mean == pytest.approx(100 * (better.fmax.value - worse.fmax.value))
    same = paired_bootstrap_fmax([better], [better])
    assert (same.low, same.mean, same.high) == (0, 0, 0)


def test_what_has_no_interval():
    one, other = (term_counts(*predictions(n, 0.5, 0)) for n in (3, 4))
    with pytest.raises(ValueError, match=r"\[3\] and \[4\]"):
        paired_bootstrap_fmax([one], [other])
    with pytest.raises(ValueError, match="no seed"):
        bootstrap_fmax([])
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_fmax([one], level=95)
