"""Which cells share a result, and what tells results apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmark.odd_methods import Odd, OfPools, OfPoolsAndPairs

from setclip.benchmark import ALL, Cell
from setclip.methods import CCA, CLIP, Procrustes, Ridge, SetCLIP
from setclip.methods.towers import Towers

BASE = Cell("emoji", "disjoint", 50, 0, CCA())


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "glosses"},
        {"condition": "overlapping"},
        {"condition": "sets"},
        {"condition": "shifted"},
        {"condition": "damaged-sets"},
        {"condition": "own"},
        {"alone": True},
        {"pairs": 51},
        {"pairs": "all"},
        {"seed": 1},
        {"method": CCA(penalty=3.0)},
        {"method": Ridge()},
        {"test_fraction": 0.2},
    ],
)
def test_everything_that_decides_the_result_is_in_the_key(change: dict[str, object]) -> None:
    assert replace(BASE, **change).key != BASE.key


def test_labels_do_not_decide() -> None:
    assert replace(BASE, label="something").key == BASE.key


def test_how_a_method_computes_does_not_decide() -> None:
    cells = [replace(BASE, method=method) for method in (Towers(), Towers(workers=4, shard=True))]
    assert cells[0].key == cells[1].key != replace(BASE, method=Towers(steps=7)).key


@pytest.mark.parametrize("method", [Ridge(), CLIP()])
def test_methods_of_pairs_share_results_across_conditions(method: Ridge | CLIP) -> None:
    kinds = ("disjoint", "overlapping", "sets", "shifted")
    assert (
        len({Cell("d", kind, 50, 0, method, set_size=8 + i).key for i, kind in enumerate(kinds)})
        == 1
    )


def test_methods_without_pools_share_results_unless_there_are_sets() -> None:
    keys = {k: Cell("d", k, 50, 0, Procrustes()).key for k in ("disjoint", "overlapping", "sets")}
    assert keys["disjoint"] == keys["overlapping"] != keys["sets"]


def test_size_of_sets_decides_where_sets_are_seen() -> None:
    sets = replace(BASE, condition="sets")
    assert replace(sets, set_size=64).key != sets.key
    assert replace(BASE, set_size=64).key == BASE.key


def test_sets_that_are_not_looked_at_are_overlapping_pools() -> None:
    views = {
        kind: Cell("d", kind, 50, 0, OfPoolsAndPairs(), set_size=8)
        for kind in ("overlapping", "sets", "damaged-sets")
    }
    assert {k: c.view for k, c in views.items()} == {
        "overlapping": "overlapping",
        "sets": "overlapping",
        "damaged-sets": "strays",
    }
    assert views["overlapping"].key == views["sets"].key != views["damaged-sets"].key
    assert replace(views["damaged-sets"], set_size=64).key == views["damaged-sets"].key


def test_damaged_sets_have_a_size() -> None:
    damaged = replace(BASE, condition="damaged-sets")
    assert damaged.view == "damaged-sets"
    assert replace(damaged, set_size=64).key != damaged.key


def test_a_method_that_ignores_pairs_has_one_result_for_all_their_numbers() -> None:
    cells = [Cell("d", "disjoint", pairs, 0, OfPools()) for pairs in (0, 5, 500)]
    assert {c.shown_pairs for c in cells} == {0}
    assert len({c.key for c in cells}) == 1
    assert replace(cells[0], seed=1).key != cells[0].key
    assert replace(cells[0], pairs=ALL).key != cells[0].key


def test_a_method_shown_the_pairs_alone_has_one_result_for_all_conditions() -> None:
    kinds = ("disjoint", "overlapping", "sets", "damaged-sets", "shifted", "own")
    cells = [Cell("d", kind, 50, 0, CCA(), alone=True) for kind in kinds]
    assert {c.view for c in cells} == {"pairs"}
    assert len({c.key for c in cells}) == 1


def test_all_pairs_leave_nothing_for_a_condition() -> None:
    assert len({Cell("d", k, "all", 0, SetCLIP()).key for k in ("disjoint", "sets")}) == 1


def test_key_is_stable() -> None:
    # Results on disk are found by it: a change of this value throws all of them away.
    assert Cell("d", "disjoint", 3, 1, Odd()).key == "0270c49d88f163f71bac"


def test_describe_names_the_cell() -> None:
    assert BASE.describe() == "emoji, disjoint, 50 pairs, cca, seed 0"
