"""What is said before training: recall near the truth, geometry, shift, what is not known."""

from types import SimpleNamespace

import numpy as np
import pytest

import setclip
from setclip.data.pools import make_pools
from setclip.diagnosis import MeasuredCurve, expect, measured, measured_curves, overview
from setclip.diagnosis.expectation import _line, _resampled
from setclip.diagnosis.measured import nearest_curve
from setclip.diagnosis.overview import Blind, Diagnosis, _on_blind, _on_more, shift
from setclip.evaluation import retrieval
from setclip.evaluation.alignability import alignability
from setclip.methods import CCA


def planted(n, *, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 12))
    x = latent @ rng.normal(size=(12, 24)) + noise * rng.normal(size=(n, 24))
    y = latent @ rng.normal(size=(12, 20)) + noise * rng.normal(size=(n, 20))
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize("pairs", [40, 120])
def test_the_expected_recall_holds_what_is_reached(pairs):
    x, y = planted(pairs + 1600, noise=1.5)
    pools = make_pools(
        x[:pairs], y[:pairs], x_pool=x[pairs : pairs + 600], y_pool=y[pairs : pairs + 600]
    )
    expected = expect(pools, gallery=1000)
    method = CCA(penalty=10.0, power=0.5, covariances="all")
    model = method.fit(pools)
    held = slice(pairs + 600, None)
    reached = retrieval(model.encode_x(x[held]), model.encode_y(y[held]), ks=(10,)).recall[10]
    assert expected.low < reached < expected.high
    assert 0 <= expected.low < expected.high <= 100
    assert expected.more_high >= expected.high
    assert [count for count, _ in expected.curve] == [pairs // 5, 2 * pairs // 5, 4 * pairs // 5]


def test_a_larger_gallery_is_harder_and_unrelated_items_are_chance():
    x, y = planted(500)
    pools = make_pools(x[:60], y[:60], x_pool=x[60:280], y_pool=y[280:])
    small, large = expect(pools, gallery=100), expect(pools, gallery=5000)
    assert large.high < small.high
    shuffled = make_pools(x[:60], y[60:120], x_pool=x[120:300], y_pool=y[300:])
    assert expect(shuffled, gallery=1000).low < 2


def test_too_few_pairs_or_one_item_again_and_again_expect_nothing():
    x, y = planted(40)
    assert expect(make_pools(x[:19], y[:19])) is None
    assert expect(make_pools(np.repeat(x[:1], 30, axis=0), y[:30])) is None


@pytest.mark.parametrize("pairs", [20, 60, 200])
def test_pairs_without_pools_expect_what_their_own_number_can_show(pairs):
    """A prior on the share of rivals ahead, carried from 12 to 1,000, would rule out the truth."""
    x, y = planted(pairs, noise=0.05)
    found = expect(make_pools(x, y))
    assert found.gallery == min(2 * pairs, 1000)
    assert found.high > 90
    assert f"in a gallery of {found.gallery} of ridge CCA" in told(setclip.diagnose(x, y))


def test_copies_neither_show_geometry_nor_stand_in_the_way():
    x, y = planted(300, noise=0.3)
    copies = np.repeat(np.arange(40), 5)
    strange = y[np.random.default_rng(0).permutation(40)][copies]
    assert setclip.diagnose(x[copies], strange).alignability.level in ("none", "unknown")
    own = setclip.diagnose(x[copies], y[copies], x_pool=x[40:], y_pool=y[40:])
    single = setclip.diagnose(x[:40], y[:40], x_pool=x[40:], y_pool=y[40:])
    assert own.alignability.pairs == single.alignability.pairs == 40
    assert own.expectation.high > 0.8 * single.expectation.high


def test_an_item_at_the_centre_of_its_side_is_no_error():
    grid = np.arange(-20.0, 21.0)[:, None].astype(np.float32)
    features = np.concatenate([grid, grid**3 / 400], axis=1)
    assert setclip.diagnose(features, features).expectation.high > 50


def test_few_held_out_pairs_do_not_take_the_place_of_more_known_ones():
    x, y = planted(20)
    found = setclip.diagnose(x[:9], y[:9], x_held_out=x[9:12], y_held_out=y[9:12])
    assert found.alignability.pairs == 9


def test_what_is_too_near_is_the_users_to_say():
    """One spot of a sphere: each is a near-duplicate of all others, unless it is said not to be."""
    x, y = planted(60)
    near = (x / 30 + 5).astype(np.float32)
    told = setclip.diagnose(near, y, near_duplicate=0.99999)
    assert told.expectation is not None
    assert setclip.diagnose(near, y).expectation is None


def test_shares_that_hold_nothing_to_fit_are_left_out():
    x, y = planted(80)
    two = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    assert expect(make_pools(two, two)) is None
    # One pair in eight has an x of its own: now and then a quarter of them has none.
    rare = np.where(np.arange(80)[:, None] % 8, x[:1], x)
    expected = expect(make_pools(rare, y))
    assert 0 < len(expected.curve) < 3
    assert 0 <= expected.low < expected.high <= 100
    assert setclip.diagnose(two, two).expectation is None


def test_a_single_point_has_the_expected_slope():
    line = _line(np.log([40.0]), np.zeros((1, 9)), (0.7, 0.6))
    assert line.slope == (0.7, 0.6**2)
    assert line.level[0] == 0


def test_few_draws_lean_on_the_expected_slope_many_on_their_own():
    along = np.log([10.0, 20.0, 40.0])
    rng = np.random.default_rng(0)
    steep = 2.0 * along[:, None]
    clear = _line(along, steep + 0.01 * rng.normal(size=(3, 200)), (0.5, 0.6))
    vague = _line(along, steep + 3.0 * rng.normal(size=(3, 200)), (0.5, 0.6))
    assert clear.slope[0] == pytest.approx(2.0, abs=0.4)
    assert vague.slope[0] == pytest.approx(0.5, abs=0.2)
    falling = _line(along, -steep + 0.0 * rng.normal(size=(3, 9)), (0.0, 0.1))
    assert falling.slope[0] == 0.0


def test_shift_is_found_and_its_absence_too():
    x, _ = planted(700)
    assert shift(x[:100], x[100:]) < 0.62
    first = np.argsort(x[:, 0])
    assert shift(x[first[:100]], x[first[100:]]) > 0.9
    assert shift(x[:19], x) is None


CURVE = MeasuredCurve(
    "s", 0.4, 3000, 900, (10, 20, 40, 80), (10, 20, 40, 60), (40, 50, 62, 62), 37.0
)


def test_what_pools_are_worth_is_read_off_the_curve_of_pairs_alone():
    assert CURVE.worth_of_pools(10) == pytest.approx(30, abs=0.1)
    assert CURVE.worth_of_pools(40) == float("inf")
    assert CURVE.worth_of_pools(5) is None
    assert CURVE.worth_of_pools(81) is None
    equal = MeasuredCurve("s", 0.4, 3, 9, (10, 20), (30, 20), (30, 30), 9.0)
    assert equal.worth_of_pools(10) == pytest.approx(0, abs=1e-6)
    # Of the pairs alone, from 10 % at 10 pairs to 20 % at 20.
    assert CURVE.slope(10) == pytest.approx(np.log((20 / 80) / (10 / 90)) / np.log(2))


def test_the_curves_that_ship_are_sound():
    curves = measured_curves()
    assert len(curves) >= 2
    for curve in curves:
        assert len(curve.pairs) == len(curve.pairs_only) == len(curve.with_pools) >= 2
        assert list(curve.pairs) == sorted(curve.pairs)
        # Where pools add nothing the two differ by noise, less than a point at three seeds.
        assert all(a <= b + 1 for a, b in zip(curve.pairs_only, curve.with_pools, strict=True))
        assert nearest_curve(curve.shared).shared == curve.shared
    assert nearest_curve(0.99) is None


def told(found):
    return " ".join(found.sentences)


def test_with_pairs_everything_is_told():
    x, y = planted(900)
    # Pairs from one end of the pool.
    order = np.argsort(x[:, 0])
    x, y = x[order], y[order]
    found = setclip.diagnose(x[:60], y[:60], x_pool=x[60:480], y_pool=y[480:])
    assert "With your 60 pairs expect R@10 about" in told(found)
    assert "with 100 pairs more" in told(found)
    assert "not a random sample of the pool in x" in told(found)
    assert "geometry" in found.sentences[0]
    assert str(found).count("•") == len(found.sentences)


def test_what_cannot_be_known_is_said():
    x, y = planted(60)
    found = setclip.diagnose(x[:5], y[:5], x_pool=x[5:30], y_pool=y[30:])
    assert "cannot be told from 5 pairs" in told(found)
    assert "not known: shared geometry could not be told" in told(found)
    found = setclip.diagnose(x_pool=x[:30], y_pool=y[30:])
    assert "can be tried" in told(found)


def test_a_pair_with_a_row_of_zeros_shows_no_geometry_and_is_no_error():
    x, y = planted(50)
    x[3], y[7] = 0, 0
    kept = np.setdiff1d(np.arange(50), [3, 7])
    assert setclip.diagnose(x, y).alignability == alignability(x[kept], y[kept])


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_that_does_not_vary_is_named(side):
    arrays = [*planted(40)]
    arrays[side] = np.ones((40, 3))
    with pytest.raises(ValueError, match=f"features of {'xy'[side]} do not vary over the 40 pairs"):
        setclip.diagnose(*arrays)


def test_spaces_without_shared_geometry_rule_out_zero_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 400, 16)).astype(np.float32)
    found = setclip.diagnose(x_pool=x[:100], y_pool=y[:100], x_held_out=x[100:], y_held_out=y[100:])
    assert "Zero pairs cannot work here" in told(found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x, None), "come together: y_held_out is missing"),
        (lambda x, y: (None, y), "come together: x_held_out is missing"),
        (lambda x, y: (x, y[1:]), "x_held_out has 30 rows and y_held_out 29: row i"),
        (lambda x, y: (x[:, 1:], y), "x_held_out is 23 wide and the other x 24"),
        (lambda x, y: (x, y[:, 1:]), "y_held_out is 19 wide and the other y 20"),
        (lambda x, y: (x, y * np.nan), "y_held_out has NaN or infinite .* 30 rows"),
        (lambda x, y: (x[0], y), r"x_held_out has shape \[24\]"),
    ],
)
@pytest.mark.parametrize("pairs", [0, 20])
def test_held_out_pairs_are_checked_by_their_own_names(change, told, pairs):
    x, y = planted(60)
    held = dict(zip(("x_held_out", "y_held_out"), change(x[30:], y[30:]), strict=True))
    known = {"x_pairs": x[:pairs], "y_pairs": y[:pairs], "x_pool": x[:30], "y_pool": y[:30]}
    with pytest.raises(ValueError, match=told):
        setclip.diagnose(**known, **held)


def test_a_map_without_pairs_is_believed_by_its_agreement():
    assert "cannot work here" in _on_blind(Blind(0.02, 3.0, 500))
    assert "gamble" in _on_blind(Blind(0.3, 3.0, 500))
    assert "can work here" in _on_blind(Blind(0.9, 3.0, 500))
    assert "cannot be told" in _on_blind(Blind(0.9, 3.0, 12))


def test_deep_tells_what_the_map_cost_and_whether_to_believe_it(monkeypatch):
    fitted = SimpleNamespace(agreement=0.03)
    monkeypatch.setattr(overview, "blind_map", lambda pools, *, seed: fitted)
    x, y = planted(60)
    found = setclip.diagnose(x_pool=x, y_pool=y, deep=True)
    assert found.blind.agreement == 0.03
    assert found.blind.seconds > 0
    assert "two maps fitted without pairs agree on 3%" in told(found)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (0, "method auto found 37.0 % of the partners among the first ten of 900 from pools of"),
        (10, "about 30 pairs"),
        (40, "more pairs than were measured"),
        (5000, "was not measured"),
    ],
)
def test_pools_are_weighed_by_the_nearest_suite(monkeypatch, pairs, said):
    x, _ = planted(300)
    shared = alignability(x, x)
    curve = MeasuredCurve(**{**vars(CURVE), "shared": shared.shared})
    monkeypatch.setattr(measured, "measured_curves", lambda: (curve,))
    sentence = _on_more(Diagnosis(pairs, (9, 9), shared, None, None, None))
    assert said in sentence


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_a_seed_that_is_none_is_refused_by_name(seed):
    x, y = planted(40)
    with pytest.raises(ValueError, match=f"seed is {seed}: give a whole number from 0"):
        setclip.diagnose(x, y, seed=seed)


def test_the_interval_counts_groups_and_not_pairs() -> None:
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.random(30) < 0.4, 5).astype(np.float64)[None]
    together = _resampled(hits, np.repeat(np.arange(30), 5), rng)
    apart = _resampled(hits, np.arange(150), rng)
    assert together.mean() == pytest.approx(hits.mean(), abs=0.03)
    assert 1.8 < together.std() / apart.std() < 2.8  # the root of five
