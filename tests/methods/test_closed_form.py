"""Pins what closed forms share: axes from pairs or all data, and the choice among settings."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from reference import linear as naive

from setclip.data.pools import Pools, make_pools
from setclip.data.splits import draw_pools
from setclip.linear.cca import cca
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.maps import AffineMap, Alignment, Array, Principal, principal
from setclip.linear.procrustes import procrustes
from setclip.methods import closed_form
from setclip.methods.closed_form import (
    Candidate,
    PoolTransport,
    SetMatching,
    choose,
    compare,
    judge,
    solve,
)
from setclip.methods.tuning import all_pairs_held_out, log_ranks
from setclip.training.journal import Journal

MATCHING = SetMatching(rounds=2, temperature=0.1, neighbours=0.0, folds=1)


def pools(pairs: int = 20, **options: Any) -> Pools:
    planted = naive.rotated_cloud(120, 6, noise=0.3)
    return draw_pools(planted.x, planted.y, np.arange(120), pairs=pairs, **options)


def ridged(penalty: float, covariances: Any = "pairs") -> Candidate:
    settings = {"penalty": penalty, "covariances": covariances}
    return Candidate(partial(cca, penalty=penalty), covariances, settings, matching=MATCHING)


def chosen(candidates: list[Candidate], data: Pools, **options: Any) -> tuple[Candidate, Journal]:
    journal = Journal()
    given = {"rank": 50, "folds": 5, "seed": 0, **options}
    return choose(data, candidates, name="cca", journal=journal, **given), journal


def solved(candidate: Candidate, data: Pools, *, rank: int = 50) -> Alignment:
    return solve(data, candidate, name="cca", rank=rank)


def test_a_candidate_prints_its_settings() -> None:
    assert str(ridged(3.0)) == "penalty 3.0, covariances pairs"
    assert str(Candidate(procrustes, "all", {})) == "its form"


def test_from_pairs_alone() -> None:
    data = pools()
    x, y = principal(data.x_pairs), principal(data.y_pairs)
    expected = cca(x, y, from_pairs(x(data.x_pairs), y(data.y_pairs)), penalty=2.0)
    found = solved(ridged(2.0), data)
    np.testing.assert_allclose(found.x.weight, expected.x.weight, atol=1e-12)
    np.testing.assert_allclose(found.y.bias, expected.y.bias, atol=1e-12)


def test_with_axes_from_all_data_the_pairs_keep_their_own_centre() -> None:
    """Pairs that are a biased sample of the pools must not put the bias into the covariance."""
    data = pools(60)
    shift = np.float32(5)
    moved = Pools(
        data.x_pairs + shift, data.y_pairs - shift, *[vars(data)[n] for n in list(vars(data))[2:]]
    )
    for here in (data, moved):
        x, y = principal(here.all_x(), unit=True), principal(here.all_y(), unit=True)
        cross = naive.covariance(x(here.x_pairs), y(here.y_pairs))
        expected = cca(x, y, cross, penalty=2.0)
        found = solved(ridged(2.0, "all"), here)
        np.testing.assert_allclose(
            found.x.weight @ found.y.weight.T, expected.x.weight @ expected.y.weight.T, atol=1e-8
        )


def test_rank_bounds_the_axes_of_all_data() -> None:
    assert solved(ridged(2.0, "all"), pools(), rank=3).x.weight.shape == (6, 3)
    assert solved(ridged(2.0, "pairs"), pools(), rank=3).x.weight.shape == (6, 6)


def test_sets_alone_are_enough_and_ignored_by_pairs_covariances() -> None:
    found, known = (
        solved(ridged(1.0, "all"), pools(pairs, condition="sets", set_size=4)) for pairs in (0, 120)
    )
    truth = naive.rotated_cloud(120, 6, noise=0.3)
    recalls = [naive.recall_at_1(f.x(truth.x), f.y(truth.y)) for f in (found, known)]
    assert recalls[0] > recalls[1] - 0.05 > 0.4
    both = pools(20, condition="sets", set_size=4)
    np.testing.assert_array_equal(
        solved(ridged(1.0), both).x.weight, solved(ridged(1.0), both.without_sets()).x.weight
    )


@pytest.mark.parametrize("pairs", [0, 1])
def test_neither_pairs_nor_sets_is_an_error_that_names_a_way_out(pairs: int) -> None:
    data = pools(pairs)
    with pytest.raises(
        ValueError,
        match=rf"cca learns from pairs or sets, and was given {pairs} pairs; 0 shared sets.*"
        "Give at least 2 pairs or 2 sets .* from pools alone `auto` takes",
    ):
        solved(ridged(1.0), data)


@pytest.mark.parametrize("pairs", [0, 20])
def test_a_transport_begins_from_given_maps(pairs: int) -> None:
    """Without a pair they are all there is; maps that lead astray end worse than true ones."""
    data = pools(pairs)
    transport = PoolTransport(weight=1.0, rounds=2, temperature=0.05, batch=500, seed=0)
    candidate = Candidate(partial(cca, penalty=0.1), "all", {}, transport)
    true = solved(ridged(0.1), pools(80))
    astray = Alignment(true.x, AffineMap(true.y.weight[:, ::-1], true.y.bias[::-1]))
    judged = all_pairs_held_out(pools(80))
    ranks = []
    for start in (true, astray):
        found = solve(data, candidate, name="cca", rank=50, start=start)
        ranks.append(log_ranks(judged, found.x, found.y).mean())
    assert ranks[0] < 1
    assert ranks[0] < ranks[1] - 0.3


def test_pairs_choose_among_maps_that_saw_none_of_them() -> None:
    data = pools(20)
    transport = PoolTransport(weight=1.0, rounds=3, temperature=0.05, batch=500, seed=0)
    candidates = [
        Candidate(form, "all", {"form": name}, transport)
        for name, form in (("spoiled", spoiled), ("cca", partial(cca, penalty=0.1)))
    ]
    start = solved(ridged(0.1), pools(80))
    fold = all_pairs_held_out(data)
    choice = judge(data, fold, candidates, start, name="auto", rank=50)
    assert choice.candidate is candidates[1]
    assert choice.sentence == "auto goes on from it with form cca, of 2 settings."
    assert len(choice.ranks) == 20


def spoiled(x: Principal, y: Principal, cross: Array) -> Alignment:
    """A form that pairs every direction with a wrong one."""
    good = cca(x, y, cross, penalty=1.0)
    return Alignment(good.x, type(good.y)(good.y.weight[:, ::-1], good.y.bias[::-1]))


@pytest.mark.parametrize("condition", ["disjoint", "sets"])
def test_the_candidate_that_ranks_held_out_items_best_wins(condition: str) -> None:
    wrong = Candidate(spoiled, "all", {"which": "spoiled"})
    good = ridged(1.0, "all")
    for candidates in ([wrong, good], [good, wrong]):
        found, journal = chosen(candidates, pools(condition=condition, set_size=4))
        assert found is good
        assert len(journal.notes) == 1
        assert journal.notes[0].startswith("cca took penalty 1.0, covariances all: mean log2 rank")
        folds = "5 folds" if condition == "disjoint" else "1 fold,"
        assert f"held-out items in {folds}" in journal.notes[0]
        assert "of 2 settings" in journal.notes[0]


@pytest.mark.parametrize(("lead", "wins"), [(1.3, False), (1.7, True)])
def test_settings_of_another_kind_must_lead_clearly(
    monkeypatch: pytest.MonkeyPatch, lead: float, wins: bool
) -> None:
    """Ranks that differ by so many standard errors from the best setting of the first kind."""
    data = pools()
    noise = np.random.default_rng(0).standard_normal(20)
    noise = (noise - noise.mean()) / noise.std()
    base = np.full(20, 5.0)
    ranks = [base + 3.0, base, base + 2.0, base + noise - lead / np.sqrt(19)]
    monkeypatch.setattr(closed_form, "make_folds", lambda *_, **__: [SimpleNamespace(train=data)])
    monkeypatch.setattr(closed_form, "_ranks_of_fold", lambda *_: ranks)
    every = [ridged(penalty) for penalty in (1.0, 2.0, 3.0, 4.0)]
    options: dict[str, Any] = {"rank": 50, "folds": 5, "seed": 0}
    choice = compare(data, every[:2], otherwise=every[2:], lead=1.5, name="auto", **options)
    assert choice.candidate is every[3 if wins else 1]
    np.testing.assert_array_equal(choice.ranks, ranks[3 if wins else 1])
    assert "of 4 settings" in choice.sentence


def test_ties_go_to_the_first() -> None:
    twins = [ridged(1.0), ridged(1.0)]
    assert chosen(twins, pools())[0] is twins[0]


def test_a_candidate_of_nan_never_wins() -> None:
    def broken(x: Principal, y: Principal, cross: Array) -> Alignment:
        good = cca(x, y, cross, penalty=1.0)
        return Alignment(type(good.x)(good.x.weight * np.nan, good.x.bias), good.y)

    candidates = [Candidate(broken, "pairs", {}), ridged(1.0)]
    assert chosen(candidates, pools())[0] is candidates[1]


def test_one_candidate_is_not_cross_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "make_folds", None)
    only = ridged(1.0)
    found, journal = chosen([only], pools())
    assert found is only
    assert journal.notes == []


@pytest.mark.parametrize("data", [pools(2), make_pools(np.eye(3), np.ones((3, 2)))])
def test_too_little_to_hold_out_takes_the_first(data: Pools) -> None:
    candidates = [ridged(10.0), ridged(1.0)]
    found, journal = chosen(candidates, data)
    assert found is candidates[0]
    assert journal.notes == [
        "cca took penalty 10.0, covariances pairs: there is too little to cross-validate."
    ]


@pytest.mark.parametrize("covariances", ["pairs", "all"])
def test_kernel_features_bend_a_closed_form(covariances: Any) -> None:
    x, y = naive.bent_cloud(500)
    data = draw_pools(x, y, np.arange(400), pairs=200, condition="disjoint")
    found = {}
    for sharpness in (0.0, 2.0):
        candidate = Candidate(partial(cca, penalty=1.0), covariances, {}, sharpness=sharpness)
        fitted = solved(candidate, data)
        assert (fitted.x.kernel is None) == (sharpness == 0)
        found[sharpness] = naive.recall_at_1(fitted.x(x[400:]), fitted.y(y[400:]))
    assert found[2.0] > 1.4 * found[0.0]


def test_both_kinds_of_features_stand_for_election_together() -> None:
    x, y = naive.bent_cloud(500)
    bent = draw_pools(x, y, np.arange(400), pairs=200, condition="disjoint")
    candidates = [
        Candidate(partial(cca, penalty=1.0), "all", {"by": name}, sharpness=sharpness)
        for name, sharpness in (("line", 0.0), ("kernel", 2.0))
    ]
    assert chosen(candidates, bent)[0].settings["by"] == "kernel"
    assert chosen(candidates, pools(80))[0].settings["by"] == "line"


def test_folds_and_candidates_share_the_coordinates_of_the_pools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    plain = Principal.__call__

    def counting(self: Principal, rows: Any) -> Array:
        seen.append(len(rows))
        return plain(self, rows)

    monkeypatch.setattr(Principal, "__call__", counting)
    data = pools(20, condition="disjoint")
    transport = closed_form.PoolTransport(0.25, 1, 0.05, 50, 0)
    candidates = [
        Candidate(partial(cca, penalty=penalty), "all", {}, transport) for penalty in (1.0, 2.0)
    ]
    chosen(candidates, data)
    assert seen.count(len(data.x_pool)) == 2  # once a side
