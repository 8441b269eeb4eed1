"""Suites list the cells that they say, and their commands list the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from setclip.benchmark import ALL, NAMED, SUITES, Fewer, Setting, Suite, cells_of, command
from setclip.benchmark.suites import (
    ALL_PAIRS,
    BASELINE,
    EVERY,
    FAMILIAR,
    PAIRS,
    Further,
    baseline_of,
    name_of,
    named_method,
)
from setclip.methods import METHODS


def test_the_demo_asks_what_the_readme_shows() -> None:
    cells = cells_of("demo")
    found = {(c.condition, c.pairs) for c in cells if c.name != ALL_PAIRS}
    assert found == {("disjoint", 0), ("disjoint", 50), ("sets", 0)}
    assert {c.dataset for c in cells} == {"emoji", "glosses"}
    names = {named_method(name)[0] for name in SUITES["demo"].methods}
    assert names >= {NAMED[name][0] for name in FAMILIAR}
    assert {c.name for c in cells} == names | {ALL_PAIRS}
    assert {c.seed for c in cells} == set(range(2))
    assert {c.set_size for c in cells} == {16}
    assert len({c.key for c in cells}) < len(cells)


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_all_pairs_for_each_seed_and_data_set(suite: str) -> None:
    cells = cells_of(suite, seeds=2)
    bounds = [(c.dataset, c.seed) for c in cells if c.pairs == "all"]
    assert sorted(bounds) == sorted((d, s) for d in SUITES[suite].datasets for s in (0, 1))


@pytest.mark.parametrize("suite", [*SUITES, "mine.yaml"])
def test_differences_are_taken_to_a_method_of_the_suite(suite: str) -> None:
    labels = {cell.name for cell in cells_of(suite)} if suite in SUITES else set()
    assert baseline_of(suite) in labels | {BASELINE}


def test_a_part_of_a_suite() -> None:
    cells = cells_of(
        "emoji", methods=["ridge", "setclip-paper"], pairs=[5, 7], seeds=[3], conditions=["shifted"]
    )
    asked = [(c.condition, c.pairs, c.seed, c.name) for c in cells if c.pairs != "all"]
    assert asked == [
        ("shifted", 5, 3, "ridge"),
        ("shifted", 5, 3, "setclip (paper)"),
        ("shifted", 7, 3, "ridge"),
        ("shifted", 7, 3, "setclip (paper)"),
    ]


def test_a_condition_keeps_the_pairs_that_the_suite_has_for_it() -> None:
    cells = cells_of("demo", conditions=["disjoint"], seeds=1)
    assert {c.pairs for c in cells} == {0, 50, "all"}


def test_all_pairs_may_be_asked_for_alone() -> None:
    assert {c.name for c in cells_of("emoji", pairs=["all"])} == {ALL_PAIRS}


def test_the_recipe_of_the_paper_is_another_result() -> None:
    keys = {c.name: c.key for c in cells_of("demo", seeds=1, pairs=[50], conditions=["sets"])}
    assert keys["setclip (paper)"] != keys["setclip (default)"]


def test_every_method_takes_part_once_by_its_name() -> None:
    kinds = {named_method(name)[1].kind for name in EVERY}
    classes = {m for m in METHODS.values() if not getattr(m, "trains_encoders", False)}
    assert {type(named_method(name)[1]) for name in EVERY} == classes
    assert kinds <= METHODS.keys()
    for suite in ("emoji", "glosses", "openclipart", "mdi-icons", "planted", "full"):
        assert SUITES[suite].methods == EVERY


def test_the_full_suite_has_all_data_and_pairs() -> None:
    cells = cells_of("full", methods=["cca"])
    counts = {c.pairs for c in cells if c.dataset == "glosses" and c.pairs != ALL}
    assert counts == set(PAIRS)
    assert {c.seed for c in cells} == set(range(5))
    whole = {
        d
        for suite in ("emoji", "glosses", "openclipart", "mdi-icons", "planted")
        for d in SUITES[suite].datasets
    }
    assert {c.dataset for c in cells} == whole


FEW = Suite(
    "q",
    ("a", "b"),
    (Setting("disjoint", 5), Setting("disjoint", 9)),
    ("ridge", "cca"),
    seeds=3,
    fewer={"cca": Fewer(pairs=(9,), seeds=2), "b": Fewer(seeds=1)},
)


def test_slow_methods_and_data_are_measured_in_fewer_places() -> None:
    cells = [c for c in cells_of(FEW) if c.pairs != ALL]
    assert [(c.pairs, c.seed) for c in cells if (c.dataset, c.name) == ("a", "cca")] == [
        (9, 0),
        (9, 1),
    ]
    assert len([c for c in cells if (c.dataset, c.name) == ("a", "ridge")]) == 6
    assert {c.seed for c in cells_of(FEW) if c.dataset == "b"} == {0}


def test_what_is_asked_for_is_measured_everywhere() -> None:
    cells = cells_of(FEW, pairs=[5], seeds=[4])
    assert len(cells) == 2 * (2 + 1)
    assert {c.seed for c in cells} == {4}


def test_further_settings_are_for_some_methods_and_on_the_seeds_of_the_data() -> None:
    beside = Further(("ridge",), (Setting("disjoint", 7), Setting("sets", 0)))
    suite = replace(FEW, further=(beside,))
    added = [c for c in cells_of(suite) if c not in cells_of(FEW)]
    assert {(c.condition, c.pairs, c.name) for c in added} == {
        ("disjoint", 7, "ridge"),
        ("sets", 0, "ridge"),
    }
    assert {(c.dataset, c.seed) for c in added} == {("a", 0), ("a", 1), ("a", 2), ("b", 0)}
    assert not [c for c in cells_of(suite, methods=["cca"]) if c in added]


@pytest.mark.parametrize("asked", [{"pairs": [5]}, {"conditions": ["disjoint"]}])
def test_a_part_that_is_asked_for_has_no_further_settings(asked: dict[str, Any]) -> None:
    suite = replace(FEW, further=(Further(("ridge",), (Setting("disjoint", 7),)),))
    assert cells_of(suite, **asked) == cells_of(FEW, **asked)


def test_the_full_suite_knows_the_best_of_twice_the_pairs_and_what_damage_costs() -> None:
    cells = [c for c in cells_of("full") if c.pairs != ALL]
    alone = {c.pairs for c in cells if c.name == "kernel cca (pairs alone)"}
    assert {2 * p for p in PAIRS if 0 < p <= 200} <= alone
    damaged = [c for c in cells if c.condition == "damaged-sets"]
    assert {(c.pairs, c.name) for c in damaged} == {(0, "auto")}
    assert {c.dataset for c in damaged} == set(SUITES["full"].datasets)


def test_fewer_reads_as_words() -> None:
    assert str(Fewer((0, 20), 3)) == "pairs 0, 20; 3 seeds"
    assert str(Fewer(seeds=1)) == "1 seed"


def test_sets_may_have_another_size() -> None:
    cells = cells_of("demo", set_size=64, seeds=1)
    assert {c.set_size for c in cells if c.pairs != ALL} == {64}
    with pytest.raises(ValueError, match="set_size is 0"):
        cells_of("demo", set_size=0)


def test_a_closed_form_on_the_pairs_alone_is_another_result() -> None:
    cells = {c.name: c for c in cells_of("emoji", methods=["cca", "cca-pairs"], pairs=[5], seeds=1)}
    assert cells["cca (pairs alone)"].view == "pairs"
    assert cells["cca (pairs alone)"].key != cells["cca"].key


@pytest.mark.parametrize("name", ["cca", "cca-pairs", "setclip-paper"])
def test_labels_lead_back_to_names(name: str) -> None:
    assert name_of(named_method(name)[0]) == name


@pytest.mark.parametrize("suite", ["clip-art", "protein-chains"])
def test_labels_of_a_suite_lead_back_to_names(suite: str) -> None:
    known = SUITES[suite].known
    assert [name_of(label, known) for label, _ in known.values()] == list(known)


def test_commands() -> None:
    assert command("demo", methods=["a, b c"]) == "setclip bench demo --methods 'a, b c'"
    assert command("demo") == "setclip bench demo"
    assert command("my data/a.yaml", set_size=4) == "setclip bench 'my data/a.yaml' --set-size 4"
    assert (
        command("emoji", methods=["cca", "ridge"], pairs=[5, "all"], seeds=3)
        == "setclip bench emoji --methods cca,ridge --pairs 5,all --seeds 3"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"suite": "emojis"}, "Did you mean 'emoji'"),
        ({"methods": ["rigde"]}, "Did you mean 'ridge'"),
        ({"conditions": ["disjunct"]}, "Did you mean 'disjoint'"),
        ({"pairs": [-1]}, "pairs holds -1"),
        ({"seeds": 0}, "seeds is 0: give how many, 1 or more"),
        ({"seeds": []}, "seeds is"),
    ],
)
def test_unknown_words_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cells_of(**{"suite": "emoji", **asked})
