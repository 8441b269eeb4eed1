"""Candidates: against plain loops, in blocks, and the laws of the margin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setclip.mining.candidates import Hubness, find_candidates, hubness, join


def unit(n, d=6, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, d))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def by_loops(zx, zy, hubs, per_item):
    scores = np.array(
        [
            [2 * float(a @ b) - float(hubs.x[i]) - float(hubs.y[j]) for j, b in enumerate(zy)]
            for i, a in enumerate(zx)
        ]
    )
    out = {}
    for i in range(len(zx)):
        for rank, j in enumerate(sorted(range(len(zy)), key=lambda j: -scores[i, j])[:per_item], 1):
            other_y = max([scores[i, k] for k in range(len(zy)) if k != j], default=0.0)
            other_x = max([scores[k, j] for k in range(len(zx)) if k != i], default=0.0)
            mutual = scores[i, j] > other_x or len(zx) == 1
            out[i, j] = (rank, mutual, scores[i, j], 2 * scores[i, j] - other_y - other_x)
    return out


@pytest.mark.parametrize(("n", "m"), [(9, 7), (5, 1), (1, 6), (4, 13)])
@pytest.mark.parametrize("block", [None, 2])
def test_candidates_are_those_of_plain_loops(n, m, block):
    zx, zy = unit(n), unit(m, seed=1)
    hubs = hubness(zx, zy)
    found = find_candidates(zx, zy, hubs, per_item=3, block=block)
    expected = by_loops(zx, zy, hubs, 3)
    assert len(found) == len(expected)
    for i, key in enumerate(zip(found.x.tolist(), found.y.tolist(), strict=True)):
        rank, mutual, csls, margin = expected[key]
        assert (found.rank[i], bool(found.mutual[i])) == (rank, mutual)
        assert found.csls[i] == pytest.approx(csls, abs=1e-5)
        assert found.margin[i] == pytest.approx(margin, abs=1e-5)
        assert found.similarity[i] == pytest.approx(float(zx[key[0]] @ zy[key[1]]), abs=1e-5)


def test_hubness_is_the_mean_of_the_ten_nearest():
    zx, zy = unit(12), unit(15, seed=1)
    cosines = zx @ zy.T
    hubs = hubness(zx, zy)
    np.testing.assert_allclose(hubs.x, np.sort(cosines, axis=1)[:, -10:].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(hubs.y, np.sort(cosines, axis=0)[-10:].mean(axis=0), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.5), st.integers(0, 4))
def test_a_more_similar_candidate_has_a_larger_margin(gain, row):
    # A further dimension that only one x and its best y have raises one cosine and no other.
    zx, zy = (np.pad(unit(5, seed=s), ((0, 0), (0, 1))) for s in (2, 3))
    hubs = Hubness(np.zeros(5, np.float32), np.zeros(5, np.float32))
    before = find_candidates(zx, zy, hubs, per_item=1)
    best = before.y[row]
    zx[row, -1] = zy[best, -1] = np.sqrt(gain)
    after = find_candidates(zx, zy, hubs, per_item=1)
    assert after.y[row] == best
    assert after.similarity[row] > before.similarity[row]
    assert after.margin[row] > before.margin[row]


def test_parts_are_joined_and_renumbered():
    zx, zy = unit(4), unit(5, seed=1)
    found = find_candidates(zx, zy, hubness(zx, zy), per_item=2)
    whole = join([found, found.renumbered(np.arange(10, 14), np.arange(20, 25))])
    assert len(whole) == 16
    assert whole.x[8:].tolist() == (found.x + 10).tolist()
    assert whole.at(whole.rank == 1).y[4:].tolist() == (found.y[::2] + 20).tolist()
