"""Pins Set-CLIP's behaviour: recipes, which terms train on what, starts, and what it never harms.

The default numbers are the sweep's business; here stand the rules that hold for any of them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from reference import linear as naive
from reference.planted import rotated_clouds

from setclip.data.pools import Pools, make_pools
from setclip.data.splits import draw_pools
from setclip.losses import mk_mmd
from setclip.methods import CCA, Procrustes, Ridge, SetCLIP, make_method, set_losses, starts
from setclip.methods import set_objective as module
from setclip.methods.blind import BlindMap
from setclip.methods.heads import random_towers, refined_towers, whitenings
from setclip.methods.setclip import PAPER
from setclip.methods.starts import StartName
from setclip.methods.tuning import make_folds
from setclip.model import AlignedModel
from setclip.training.journal import Journal

PLANTED = naive.rotated_cloud(220, 6, noise=0.25)
TINY: dict[str, Any] = {"steps": 3, "folds": 1, "batch": 24, "dim": 4}


def pools(pairs: int, condition: Any = "disjoint", *, set_size: int = 4) -> Pools:
    train = np.arange(120)
    return draw_pools(
        PLANTED.x, PLANTED.y, train, pairs=pairs, condition=condition, set_size=set_size
    )


def fitted(data: Pools, **options: Any) -> tuple[AlignedModel, Journal]:
    journal = Journal()
    return SetCLIP(**{**TINY, **options}).fit(data, journal=journal), journal


def terms(data: Pools, **options: Any) -> set[str]:
    return set(fitted(data, **options)[1].curves["final"]) - {"loss"}


def held_out(model: AlignedModel) -> float:
    return naive.recall_at_1(model.encode_x(PLANTED.x[120:]), model.encode_y(PLANTED.y[120:]))


def test_the_papers_recipe_fills_its_constants_and_explicit_fields_override() -> None:
    paper = SetCLIP(recipe="paper")
    assert {name: getattr(paper, name) for name in PAPER} == PAPER
    assert (paper.weight_clip, paper.weight_sdd, paper.weight_mmd, paper.weight_ssl) == (
        1.0,
        0.6,
        0.1,
        0.1,
    )
    assert (paper.batch, paper.batch_pairs, paper.lr, paper.weight_decay) == (64, 22, 1e-3, 1e-3)
    assert (paper.temperature, paper.dropout, paper.head, paper.start) == (
        0.05,
        0.1,
        "projection",
        "random",
    )
    changed = SetCLIP(recipe="paper", weight_sdd=0.7, start="cca")
    assert (changed.weight_sdd, changed.start) == (0.7, "cca")
    assert changed.weight_mmd == 0.1
    # What is written down is read back the same, whatever the recipe fills.
    for method in (paper, changed, SetCLIP(weight_sdd=0.2)):
        assert SetCLIP.model_validate(json.loads(method.model_dump_json())) == method


def test_gentle_clip_is_an_alias() -> None:
    data = pools(10)
    named = [make_method(name, **TINY).fit(data, seed=1) for name in ("setclip", "gentle-clip")]
    assert [m.card.method["kind"] for m in named] == ["setclip", "gentle-clip"]
    np.testing.assert_array_equal(named[0].encode_x(PLANTED.x), named[1].encode_x(PLANTED.x))


def test_unknown_fields_and_values_are_refused() -> None:
    for bad in ({"weight_ssd": 1.0}, {"recipe": "papers"}, {"weight_sdd": -1.0}, {"kind": "clip"}):
        with pytest.raises(ValidationError):
            SetCLIP(**bad)


ALL = {"weight_clip": 1.0, "weight_sdd": 1.0, "weight_mmd": 1.0, "weight_ssl": 1.0}
NAMES = {
    "weight_clip": {"clip"},
    "weight_sdd": {"sdd"},
    "weight_mmd": {"mmd"},
    "weight_ssl": {"ssl x", "ssl y"},
}


@pytest.mark.parametrize("start", ["cca", "random"])
@pytest.mark.parametrize("balance", [False, True])
def test_each_weight_switches_its_term(start: str, balance: bool) -> None:
    data = pools(20, "sets")
    assert terms(data, start=start, balance=balance, **ALL) == set().union(*NAMES.values())
    for weight, names in NAMES.items():
        others = {**dict.fromkeys(ALL, 0.0), weight: 1.0}
        assert terms(data, start=start, balance=balance, **others) == names


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (pools(20), {"clip", "sdd", "mmd"}),
        (pools(20, "sets"), {"clip", "sdd", "mmd"}),
        (pools(0), {"sdd", "mmd"}),
        (pools(0, "sets"), {"sdd", "mmd"}),
        (pools(1), {"sdd", "mmd"}),
        (pools(20).without_pools(), {"clip", "sdd", "mmd"}),
    ],
    ids=["pairs and pools", "pairs and sets", "pools", "sets", "one pair", "pairs"],
)
def test_terms_follow_the_supervision(data: Pools, expected: set[str]) -> None:
    """Without pairs there is nothing to contrast; the rest trains on what there is."""
    assert terms(data, weight_clip=1.0, weight_sdd=1.0, weight_mmd=1.0, weight_ssl=0.0) == expected


def test_weights_scale_their_terms() -> None:
    """Before any step has been taken the logged values are the weighted losses of one batch."""
    values = []
    for weight in (1.0, 3.0):
        _, journal = fitted(
            pools(20, "sets"), balance=False, steps=1, **dict.fromkeys(ALL, weight), lr=1e-9
        )
        values.append({name: curve[0][1] for name, curve in journal.curves["final"].items()})
    for name in values[0]:
        assert values[1][name] == pytest.approx(3 * values[0][name], rel=1e-5)


def test_options_of_the_terms_reach_them() -> None:
    """Every option changes what is trained on; one that does not would be decoration."""
    data = pools(20, "sets")
    common = {**TINY, **ALL, "balance": False, "start": "random", "steps": 1}

    def losses(**options: Any) -> dict[str, float]:
        journal = Journal()
        SetCLIP(**{**common, **options}).fit(data, journal=journal)
        return {name: curve[0][1] for name, curve in journal.curves["final"].items()}

    before = losses()
    for name, value, changed in (
        ("bandwidth", 0.7, {"sdd"}),
        ("bandwidth", (0.25, 0.7), {"sdd"}),
        ("normalise", True, {"sdd"}),
        ("leave_one_out", True, {"sdd"}),
        ("adaptive", 3, {"sdd"}),
        ("mmd_bandwidths", (0.3, 1.0), {"mmd"}),
        ("within_sets", False, {"sdd", "mmd"}),
        ("extra_negatives", False, {"clip"}),
        ("temperature", 0.5, {"clip", "ssl x", "ssl y"}),
        ("noise", 2.0, {"ssl x", "ssl y"}),
        ("mask", 0.9, {"ssl x", "ssl y"}),
    ):
        after = losses(**{name: value})
        assert {n for n in before if after[n] != before[n]} == changed | {"loss"}, name


def test_matched_batches_hold_rows_that_match() -> None:
    """Under the truth nearly every row of a batch has its partner in it, on either side."""
    overlapping = pools(20, "overlapping")
    partner = {tuple(x): tuple(y) for x, y in zip(PLANTED.x, PLANTED.y, strict=True)}
    shares = {}
    for matched in (False, True):
        options = SetCLIP(**{**TINY, "matched_batches": matched, "start": "cca", "batch": 50})
        alignment = CCA(penalty=0.1).solve(overlapping.without_sets())
        rank = whitenings(overlapping, rank=6, penalty=1.0)
        objective = module.SetObjective(
            options, overlapping, refined_towers(overlapping, alignment, rank)
        )
        found = []
        for step in range(6):
            x_rows, y_rows = objective._draw(20, np.random.default_rng(step))
            assert len(set(x_rows)) == len(x_rows) == len(set(y_rows)) == len(y_rows) == 30
            there = {tuple(row) for row in overlapping.y_pool[y_rows]}
            found += [partner[tuple(row)] in there for row in overlapping.x_pool[x_rows]]
        shares[matched] = np.mean(found)
    assert shares[False] < 0.5
    assert shares[True] > 0.6


def test_the_memory_holds_other_rows_than_the_batch_and_as_many_on_both_sides() -> None:
    data = pools(20)
    data = replace(data, y_pool=data.y_pool[:40], y_sets=data.y_sets[:40])
    options = SetCLIP(**{**TINY, "memory": 30, "start": "random"})
    towers = random_towers(data, kind="linear", dim=4, dropout=0.0, seed=0)
    objective = module.SetObjective(options, data, towers)
    x_rows, y_rows = np.arange(15), np.arange(25)
    memory = objective._memory(x_rows, y_rows, np.random.default_rng(0))
    assert {name: len(rows) for name, rows in memory.items()} == {"memory_x": 15, "memory_y": 15}
    left = {tuple(row) for row in towers.embed_y(data.y_pool[25:])}
    np.testing.assert_allclose(
        sorted(left), sorted(map(tuple, memory["memory_y"].numpy())), rtol=0, atol=1e-6
    )
    assert not memory["memory_x"].requires_grad


def test_with_a_memory_a_batch_of_sets_is_compared_as_a_whole() -> None:
    data = pools(20, "sets")
    values = [
        fitted(data, steps=1, balance=False, **options)[1].curves["final"]["sdd"][0][1]
        for options in ({}, {"within_sets": False}, {"memory": 20}, {"memory": 1})
    ]
    assert len(set(values)) == 4
    assert abs(values[3] - values[1]) < abs(values[0] - values[1])


def test_a_memory_inside_sets_is_refused() -> None:
    with pytest.raises(ValidationError, match="memory belongs to no set: set memory to 0"):
        SetCLIP(memory=10, within_sets=True)
    with pytest.raises(ValidationError, match="bandwidth"):
        SetCLIP(bandwidth=())


def test_sets_of_one_item_a_side_cannot_be_compared_inside() -> None:
    ids = np.arange(30)
    data = make_pools(
        PLANTED.x[:10],
        PLANTED.y[:10],
        x_pool=PLANTED.x[10:40],
        y_pool=PLANTED.y[10:40],
        x_sets=ids,
        y_sets=ids,
    )
    with pytest.raises(ValueError, match="none of the 30 sets has two items on both sides"):
        fitted(data, within_sets=True)
    assert terms(data) == {"clip", "sdd"}  # unless asked, the batch is compared as a whole
    # One set that can be compared is enough, and the batches are then of that set.
    data.x_sets[:3] = data.y_sets[:3] = 40
    assert terms(data, within_sets=True, batch=3) == {"clip", "sdd"}


def test_balance_makes_the_scale_of_a_loss_irrelevant(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(balance: bool, scale: float, weight: float = 1.0) -> np.ndarray:
        monkeypatch.setattr(set_losses, "mk_mmd", lambda *a, **k: scale * mk_mmd(*a, **k))
        weights = {"weight_clip": 1.0, "weight_sdd": 0.0, "weight_mmd": weight}
        model, _ = fitted(pools(20), start="random", balance=balance, **weights)
        return model.encode_x(PLANTED.x)

    np.testing.assert_allclose(moved(True, 100.0), moved(True, 1.0), rtol=0, atol=1e-5)
    assert np.abs(moved(True, 1.0, weight=10.0) - moved(True, 1.0)).max() > 1e-4
    assert np.abs(moved(False, 100.0) - moved(False, 1.0)).max() > 1e-4


def test_zero_steps_are_the_closed_form() -> None:
    for data in (pools(20), pools(20, "sets"), pools(0, "sets")):
        model, journal = fitted(data, steps=0)
        expected = CCA().fit(data)
        x, y = PLANTED.x[120:], PLANTED.y[120:]
        np.testing.assert_allclose(
            model.similarity(x, y), expected.similarity(x, y), rtol=0, atol=1e-4
        )
        assert any(note.startswith("cca took penalty") for note in journal.notes)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("cca-pairs", lambda data: CCA().fit(data.without_sets())),
        ("ridge", lambda data: Ridge().fit(data)),
        ("procrustes", lambda data: Procrustes().fit(data)),
    ],
    ids=["cca-pairs", "ridge", "procrustes"],
)
def test_a_start_is_the_method_of_its_name(start: str, expected: Any) -> None:
    x, y = PLANTED.x[120:], PLANTED.y[120:]
    data = pools(20, "sets")
    model, _ = fitted(data, steps=0, start=start)
    np.testing.assert_allclose(
        model.similarity(x, y), expected(data).similarity(x, y), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("start", ["cca", "cca-pairs", "ridge", "procrustes"])
def test_a_fold_starts_without_the_pairs_it_holds_out(start: Any) -> None:
    data = pools(20, "sets")
    solve = starts.make_start(start, data, folds=3, seed=0, journal=Journal())
    assert solve is not None
    (fold, *_) = make_folds(data, 3, seed=0)
    garbled = replace(data, x_pairs=data.x_pairs.copy())
    held = ~np.isin(data.x_pairs, fold.train.x_pairs).all(axis=1)
    assert held.any()
    garbled.x_pairs[held] = 0
    again = make_folds(garbled, 3, seed=0)[0]
    np.testing.assert_array_equal(solve(fold.train).x.weight, solve(again.train).x.weight)


@pytest.mark.parametrize("start", ["cca-pairs", "ridge"])
@pytest.mark.parametrize(("folds", "fewest"), [(1, 2), (3, 3)])
def test_a_start_from_pairs_says_how_many_it_needs(start: str, folds: int, fewest: int) -> None:
    """Sets do not make up for pairs here, and a fold must be left with two."""
    fitted(pools(fewest, "sets"), start=start, folds=folds)
    for pairs in range(fewest):
        with pytest.raises(
            ValueError,
            match=rf"`start: {start}` learns from pairs alone and was given {pairs} pairs?: give "
            rf"at least {fewest}, or use `start: cca`",
        ):
            fitted(pools(pairs, "sets"), start=start, folds=folds)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> list[Pools]:
    """Stand in for the search of the pools; holds what it was asked to lay onto each other."""
    asked: list[Pools] = []

    def found(data: Pools, **_: object) -> BlindMap:
        asked.append(data)
        return BlindMap(CCA().solve(pools(20)), agreement=0.02)

    monkeypatch.setattr(starts, "blind_map", found)
    return asked


def test_transport_starts_once_for_all_folds(blind: list[Pools]) -> None:
    data = pools(20)
    model, journal = fitted(data, start="transport", folds=3)
    assert blind == [data]
    assert any("start from the shape of the pools alone" in note for note in journal.notes)
    (warning,) = model.card.warnings
    assert warning.startswith("no shared geometry: The heads start from the shape of the pools")
    assert "agree on 2% of the nearest neighbours, 35% are needed" in warning


@pytest.mark.parametrize("start", ["cca", "procrustes"])
def test_with_neither_pair_nor_set_it_starts_from_the_pools(
    blind: list[Pools], start: StartName
) -> None:
    begun = fitted(pools(0), start=start, folds=3)[0]
    assert len(blind) == 1
    np.testing.assert_allclose(
        begun.similarity(PLANTED.x, PLANTED.y),
        fitted(pools(0), start="transport", steps=0)[0].similarity(PLANTED.x, PLANTED.y),
        atol=1e-6,
    )


def test_the_shape_of_the_pools_is_found() -> None:
    """Through the real search, on clouds that it can lay onto each other."""
    made = rotated_clouds(2, d=10, x_dim=40, y_dim=40, noise=0.2, clusters=12)
    model = SetCLIP().fit(make_pools(x_pool=made.x, y_pool=made.y))
    assert made.recall(model.encode_x(made.x_test), model.encode_y(made.y_test)) > 0.5
    assert model.card.warnings == []


def test_transport_needs_pools() -> None:
    with pytest.raises(ValueError, match=r"was given 0 x and 0 y: give at least 4 of each"):
        fitted(pools(20).without_pools(), start="transport")


def test_with_nothing_to_start_from_it_says_so() -> None:
    nothing = make_pools(x_pool=PLANTED.x[:3], y_pool=PLANTED.y[:40])
    (warning,) = fitted(nothing)[0].card.warnings
    assert warning.startswith("nothing to start from: there are neither pairs nor sets")
    assert "Expect chance" in warning
    assert fitted(nothing, start="random")[0].card.warnings == []


@pytest.mark.parametrize("head", ["linear", "projection"])
def test_random_heads_are_as_asked(head: str) -> None:
    model, _ = fitted(pools(20), start="random", head=head, dim=7, dropout=0.3)
    assert (model.dim, model.x_tower.spec.kind) == (7, head)


@pytest.mark.parametrize(
    ("pairs", "condition"),
    [(0, "sets"), (10, "disjoint"), (10, "sets"), (50, "disjoint"), (50, "sets")],
)
def test_the_default_is_not_worse_than_its_start(pairs: int, condition: str) -> None:
    """The default recipe but for smaller batches and fewer steps; 100 queries a way."""
    data = pools(pairs, condition)
    default = SetCLIP(batch=48, steps=60).fit(data)
    assert held_out(default) >= held_out(CCA().fit(data)) - 0.03


def test_sdd_on_sets_improves_a_start_that_saw_none() -> None:
    """The start has six pairs; what it lacks is in the sets, and training finds much of it."""
    data = pools(6, "sets")
    start, end = (
        held_out(SetCLIP(start="cca-pairs", batch=48, steps=steps, lr=0.01, folds=1).fit(data))
        for steps in (0, 100)
    )
    assert end > start + 0.15


def test_same_seed_same_model_and_progress_changes_nothing(tmp_path: Path) -> None:
    data = pools(20, "sets")
    method = SetCLIP(**{**TINY, "start": "random", "weight_ssl": 0.1, "folds": 2})
    models = [
        method.fit(data, seed=seed, journal=journal)
        for seed, journal in ((1, None), (1, Journal(tmp_path)), (2, None))
    ]
    weights = [model.x_tower.state_dict() for model in models]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


@pytest.mark.parametrize("start", ["cca", "random"])
def test_one_pair_or_one_item_is_nothing_to_learn_from(start: str) -> None:
    for data in (
        make_pools(PLANTED.x[:1], PLANTED.y[:1]),
        make_pools(x_pool=PLANTED.x[:20], y_pool=PLANTED.y[:1]),
    ):
        with pytest.raises(ValueError, match=r"nothing to learn from in .*: give at least 2 pairs"):
            fitted(data, start=start)


def test_all_weights_zero_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="a weight above zero"):
        fitted(pools(20), **dict.fromkeys(ALL, 0.0))
