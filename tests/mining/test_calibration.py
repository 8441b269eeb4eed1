"""Probabilities: right on planted clouds, never against similarity, honest with few pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import cloud

from setclip.data.pools import make_pools
from setclip.methods import CCA
from setclip.mining.calibration import Trial, calibrate, estimate_coverage
from setclip.mining.candidates import Candidates
from setclip.mining.trial import blocks_of, propose, run_trial

METHOD = CCA(penalty=1.0, power=0.0, covariances="all")


def candidates(similarity, csls=None, margin=None):
    n = len(similarity)
    values = np.asarray(similarity, dtype=np.float32)
    return Candidates(
        np.arange(n),
        np.arange(n),
        np.ones(n, dtype=np.int64),
        np.ones(n, dtype=bool),
        values,
        values if csls is None else np.asarray(csls, dtype=np.float32),
        values if margin is None else np.asarray(margin, dtype=np.float32),
    )


def planted(n, *, noise, pairs, overlap, seed=0):
    """Pools of which a share of x has its partner in y, and the true partner of each x or -1."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 8))
    x = latent @ rng.normal(size=(8, 16)) + noise * rng.normal(size=(n, 16))
    y = latent @ rng.normal(size=(8, 12)) + noise * rng.normal(size=(n, 12))
    rest = n - pairs
    half = rest // 2
    x_rows = pairs + np.arange(half)
    both = int(overlap * half)
    y_rows = rng.permutation(np.concatenate([x_rows[:both], pairs + half + np.arange(half - both)]))
    pools = make_pools(x[:pairs], y[:pairs], x_pool=x[x_rows], y_pool=y[y_rows])
    return pools, x_rows, y_rows


def proposed(pools, per_item):
    model = METHOD.fit(pools)
    zx, zy = model.encode_x(pools.x_pool), model.encode_y(pools.y_pool)
    return propose(zx, zy, pools, per_item=per_item)


def trial_of(pools, groups=None, **options):
    groups = np.arange(pools.n_pairs) if groups is None else groups
    return run_trial(METHOD, pools, groups, seed=0, say=lambda _: None, **options)


@pytest.mark.parametrize("overlap", [1.0, 0.5])
def test_probabilities_are_frequencies(overlap):
    pools, x_rows, y_rows = planted(3600, noise=0.8, pairs=1200, overlap=overlap)
    trial = run_trial(
        METHOD, pools, np.arange(pools.n_pairs), per_item=2, folds=5, seed=0, say=lambda _: None
    )
    found = proposed(pools, per_item=2)
    right = x_rows[found.x] == y_rows[found.y]
    chance = calibrate(trial, coverage=overlap)(found)
    assert 0.1 < right.mean() < 0.6
    assert chance[right].mean() > chance[~right].mean() + 0.1
    parts = np.array_split(np.argsort(chance), 10)
    error = np.mean([abs(chance[part].mean() - right[part].mean()) for part in parts])
    assert error < 0.04


def test_the_coverage_is_found_from_the_scores():
    for overlap in (0.0, 0.4, 1.0):
        pools, *_ = planted(1400, noise=0.3, pairs=400, overlap=overlap)
        trial = run_trial(
            METHOD, pools, np.arange(pools.n_pairs), per_item=1, folds=5, seed=0, say=lambda _: None
        )
        share, error = estimate_coverage(trial, proposed(pools, per_item=1))
        assert error < 0.1
        assert abs(share - overlap) < 2.5 * error


def test_the_coverage_of_unrelated_spaces_is_left_open():
    rng = np.random.default_rng(0)
    there, gone = (candidates(rng.normal(size=60)) for _ in range(2))
    trial = Trial(there, rng.random(60) < 0.1, gone, 60)
    assert estimate_coverage(trial, candidates(rng.normal(size=500)))[1] > 0.3


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_more_similar_is_never_less_probable(seed, coverage):
    rng = np.random.default_rng(seed)
    there, gone = (candidates(*rng.normal(size=(3, 40))) for _ in range(2))
    calibration = calibrate(Trial(there, rng.random(40) < 0.4, gone, 40), coverage=coverage)
    base = rng.normal(size=3)
    for feature in range(3):
        grid = np.repeat(base[:, None], 50, axis=1)
        grid[feature] = np.linspace(-4, 4, 50)
        chance = calibration(candidates(*grid))
        assert (np.diff(chance) >= 0).all()
        assert ((chance >= 0) & (chance <= 1)).all()


def test_a_lower_coverage_is_never_more_probable():
    rng = np.random.default_rng(1)
    there = candidates(rng.normal(size=80) + 1)
    trial = Trial(there, there.similarity > 1, candidates(rng.normal(size=80)), 80)
    asked = candidates(np.linspace(-2, 4, 30))
    full, half = (calibrate(trial, coverage=c)(asked) for c in (1.0, 0.5))
    assert (half <= full + 0.05).all()
    assert half.sum() < full.sum()


def test_a_few_hits_are_not_certainty():
    there = candidates([0.1, 0.2, 0.8, 0.9])
    trial = Trial(there, np.array([False, False, True, True]), candidates([0.1] * 4), 4)
    assert calibrate(trial, coverage=1.0)(candidates([5.0]))[0] == pytest.approx(2 / 3)


def test_nothing_right_leaves_the_order_to_the_margin():
    there = candidates(np.zeros(5))
    calibration = calibrate(Trial(there, np.zeros(5, bool), there, 5), coverage=1.0)
    assert calibration.weights.tolist() == [0, 0, 1]
    assert calibration(there).tolist() == [0] * 5


def test_inside_sets_matches_stay_inside():
    x, y = cloud(90)
    sets = np.repeat(np.arange(10), 6)
    pools = make_pools(x[:30], y[:30], x_pool=x[30:], y_pool=y[30:], x_sets=sets, y_sets=sets)
    assert len(blocks_of(pools)) == 10
    trial = run_trial(
        METHOD, pools, np.arange(pools.n_pairs), per_item=2, folds=3, seed=0, say=lambda _: None
    )
    assert trial.pairs == 30
    assert len(trial.hits) == len(trial.absent) == 30 * 2
    assert trial.hits[trial.present.rank == 1].mean() > 0.5
    found = proposed(pools, per_item=2)
    assert (sets[found.x] == sets[found.y]).all()
    assert (found.x == found.y)[found.rank == 1].mean() > 0.5
    assert calibrate(trial, coverage=1.0)(found).max() > 0.5


class Spy(CCA):
    """Keeps what it is fitted to."""

    def fit(self, pools, **options):
        SEEN.append(pools)
        return super().fit(pools, **options)


SEEN = []


@pytest.mark.parametrize("size", [0, 6])
def test_held_out_pairs_join_the_pools_before_the_fit(size):
    x, y = cloud(72)
    sets = np.repeat(np.arange(7), 6) if size else np.full(42, -1)
    pools = make_pools(x[:30], y[:30], x_pool=x[30:], y_pool=y[30:], x_sets=sets, y_sets=sets)
    SEEN.clear()
    method = Spy(penalty=1.0, power=0.0, covariances="all")
    run_trial(method, pools, np.arange(30), per_item=1, folds=3, seed=0, say=lambda _: None)
    assert len(SEEN) == 2 * 3
    for one, other in zip(SEEN[::2], SEEN[1::2], strict=True):
        assert one.n_pairs == other.n_pairs == 20
        assert len(one.x_pool) == len(other.x_pool) == 10 + 42
        # Each y is there in one of the two fits.
        assert len(one.y_pool) == len(other.y_pool) == 5 + 42
        held = np.concatenate([one.y_pool[:5], other.y_pool[:5]])
        assert len(np.unique(np.concatenate([held, one.y_pairs]), axis=0)) == 30
        for filed in (one, other):
            assert set(filed.x_sets[:10]) <= set(pools.x_sets)
            assert set(filed.y_sets[:5]) <= set(filed.x_sets[:10])


@pytest.mark.parametrize("related", [False, True])
def test_copies_among_the_pairs_do_not_flatter(related):
    """Held out apart, an item's copies in training would tell which y is its own."""
    rng = np.random.default_rng(0)
    pools, *_ = planted(360, noise=0.2, pairs=60, overlap=0.0)
    copies = np.repeat(np.arange(60), 5)
    y = pools.y_pairs if related else rng.permutation(pools.y_pairs)
    pools = make_pools(pools.x_pairs[copies], y[copies], x_pool=pools.x_pool, y_pool=pools.y_pool)
    trial = trial_of(pools, copies, per_item=1, folds=5)
    assert trial.pairs == 300
    # Any copy of the partner is right.
    assert trial.hits.mean() > 0.7 if related else trial.hits.mean() < 0.1
