"""Classes counted against classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setclip.evaluation import confusion

PAIRS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcdez")), min_size=1)


@given(pairs=PAIRS, limit=st.integers(1, 6))
def test_every_item_is_counted_once_and_where_it_belongs(pairs, limit):
    true, found = ([pair[side] for pair in pairs] for side in (0, 1))
    table = confusion(true, found, limit=limit)
    assert table.counts.sum() + table.others == len(pairs)
    seen = Counter(pairs)
    for i, own in enumerate(table.labels):
        assert table.counts[i].sum() == true.count(own)
        for j, other in enumerate(table.labels):
            assert table.counts[i, j] == seen[own, other]
    rarest = min(true.count(label) for label in table.labels)
    assert all(true.count(label) <= rarest for label in set(true) - set(table.labels))
    assert table.agreement == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_chance_is_the_agreement_of_shuffled_answers():
    true, found = list("aaab") * 500, list("aabb") * 500
    shuffled = np.random.default_rng(0).permutation(found)
    drawn = np.mean([a == b for a, b in zip(true, shuffled, strict=True)])
    assert confusion(true, found).expected == pytest.approx(drawn, abs=0.02)
    assert confusion(true, true).agreement == 1.0


def test_lists_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 true and 1 found"):
        confusion(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="at least one item"):
        confusion([], [])
