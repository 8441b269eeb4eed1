import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.fmax import reference_fmax

from setclip.evaluation import fmax


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32), st.booleans())
@settings(max_examples=60, deadline=None)
def test_fmax_equals_the_loop_over_its_definition(n, terms, seed, rounded):
    rng = np.random.default_rng(seed)
    scores = rng.random((n, terms)) ** 2
    if rounded:  # scores that fall on thresholds
        scores = scores.round(2)
    labels = rng.random((n, terms)) < 0.4
    found = fmax(scores, labels)
    value, _, precision, recall = reference_fmax(scores.tolist(), labels.tolist())
    assert found.value == pytest.approx(value, abs=1e-12)
    if found.value > 0:
        expected = 2 * found.precision * found.recall / (found.precision + found.recall)
        assert found.value == pytest.approx(expected)
        assert precision * recall > 0


def test_perfect_scores_and_the_proteins_that_do_not_count():
    labels = np.array([[1, 0], [0, 1], [0, 0]], dtype=bool)
    found = fmax(labels.astype(float), labels)
    # Precision is over the two with predictions, recall over all three.
    assert (found.precision, found.recall) == (1.0, pytest.approx(2 / 3))
    assert found.value == pytest.approx(0.8)
    assert fmax(labels[:2].astype(float), labels[:2]).value == 1
    assert fmax(np.zeros((2, 2)), labels[:2]).value == 0


def test_a_score_on_a_threshold_is_not_above_it():
    found = fmax([[0.5, 0.49]], [[True, False]])
    assert (found.value, found.threshold) == (1.0, 0.49)


def test_what_cannot_be_measured():
    with pytest.raises(ValueError, match=r"shape \[1, 2\] and labels \[1, 3\]"):
        fmax([[0.1, 0.2]], [[True, False, True]])
    with pytest.raises(ValueError, match="from -1"):
        fmax([[-1.0]], [[True]])
    with pytest.raises(ValueError, match="from nan"):
        fmax([[np.nan]], [[True]])
    with pytest.raises(ValueError, match="at least one"):
        fmax(np.zeros((0, 3)), np.zeros((0, 3)))
