"""Quality told in pairs: the curve is read backwards, and what it cannot tell is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from benchmark.results import result
from hypothesis import given
from hypothesis import strategies as st

from setclip.benchmark import summarise
from setclip.benchmark.replaced import (
    Curve,
    averages,
    chosen_method,
    pairs_replaced,
    replaced_tables,
)

CURVE = Curve((0, 9, 99, 999), (2.0, 10.0, 30.0, 50.0))


def test_the_curve_is_reached_at_its_own_points() -> None:
    for pairs, recall in zip(CURVE.pairs, CURVE.recall, strict=True):
        assert CURVE.pairs_for(recall) == pytest.approx(pairs)


def test_between_points_the_logarithm_of_pairs_is_straight() -> None:
    assert 1 + CURVE.pairs_for(20.0) == pytest.approx(math.sqrt(10 * 100))


def test_beyond_the_ends_is_an_end() -> None:
    assert CURVE.pairs_for(80.0) == 999
    assert CURVE.pairs_for(0.0) == 0


@given(
    steps=st.lists(st.floats(0, 20), min_size=3, max_size=6),
    recalls=st.lists(st.floats(0, 100), min_size=2, max_size=2),
)
def test_more_quality_is_never_worth_fewer_pairs(steps: list[float], recalls: list[float]) -> None:
    counts = tuple(range(0, 10 * len(steps), 10))
    curve = Curve(counts, tuple(np.cumsum(steps).tolist()))
    low, high = sorted(recalls)
    assert curve.pairs_for(low) <= curve.pairs_for(high) + 1e-9


def test_a_flat_stretch_is_reached_where_it_begins() -> None:
    flat = Curve((0, 10, 20, 30), (1.0, 5.0, 5.0, 9.0))
    assert flat.pairs_for(5.0) == pytest.approx(10)


def cells(ours: dict[int, float], dataset: str = "emoji") -> list[dict[str, Any]]:
    alone = {10: 0.3, 100: 0.6}
    of: dict[str, Any] = {"dataset": dataset}
    found = [result("auto", 0, hits, pairs=p, **of) for p, hits in ours.items()]
    for pairs, hits in alone.items():
        found.append(result("ridge", 0, hits, pairs=pairs, view="pairs", **of))
        found.append(result("clip", 0, hits - 0.2, pairs=pairs, view="pairs", **of))
    # The row of all pairs stands in every block, and is no method on few pairs.
    return [*found, result("cca, all pairs", 0, 1.0, pairs="all", view="pairs", **of)]


def test_a_method_is_held_against_the_best_on_pairs_alone() -> None:
    rows = summarise(cells({0: 0.5, 10: 0.5, 100: 1.0}))
    best = {r.block.pairs: r.recall[10].mean for r in rows if r.method == "ridge" and r.recall}
    curve = Curve((0, 10, 100), (20.0, best[10], best[100]))
    found = {each.pairs: each for each in pairs_replaced(rows, "auto")}
    ours = {r.block.pairs: r.recall[10] for r in rows if r.method == "auto" and r.recall}
    assert found[0].worth.mean == pytest.approx(curve.pairs_for(ours[0].mean))
    assert found[10].worth.low == pytest.approx(curve.pairs_for(ours[10].low))
    assert found[10].worth.high == pytest.approx(curve.pairs_for(ours[10].high))
    assert (found[100].beyond, found[100].worth.mean) == (True, 100)
    assert not found[10].beyond


def test_without_a_curve_nothing_is_told() -> None:
    alone = result("ridge", 0, 0.3, pairs=10, view="pairs")
    assert pairs_replaced(summarise([result("auto", 0, 0.5, pairs=10), alone]), "auto") == []


def test_means_over_data_sets_are_geometric() -> None:
    both = [*cells({10: 0.4}), *cells({10: 1.0}, "glosses")]
    found = pairs_replaced(summarise(both), "auto")
    ((kind, pairs), (worth, sets, beyond)), *_ = averages(found).items()
    product = math.prod(1 + each.worth.mean for each in found)
    assert (kind, pairs, sets, beyond) == ("disjoint pools", 10, 2, True)
    assert 1 + worth == pytest.approx(math.sqrt(product))


def test_auto_is_shown_or_else_the_best_of_those_that_work_in_most_places() -> None:
    rows = summarise(
        [
            *(result("a", 0, 0.5, pairs=p) for p in (10, 50)),
            *(result("b", 0, 0.7, pairs=p) for p in (10, 50)),
            result("lucky", 0, 1.0, pairs=10),
            *(result("ridge", 0, 0.9, pairs=p, view="pairs") for p in (10, 50)),
        ]
    )
    assert chosen_method(rows) == "b"
    assert chosen_method([*rows, *summarise([result("auto", 0, 0.1)])]) == "auto"
    assert chosen_method([]) is None


def test_a_table_for_each_condition_and_a_mean_of_whole_rows() -> None:
    both = [*cells({0: 0.5, 100: 1.0}), *cells({0: 0.4}, "glosses"), *cells({0: 0.3}, "icons")]
    found = pairs_replaced(summarise(both), "auto")
    worth = {(each.dataset, each.pairs): each.worth.mean for each in found}
    table = [
        "### Pairs that the unpaired data replaced: disjoint pools",
        "",
        "Pairs that the best method of pairs alone takes for as much R@10, by pairs known.",
        "",
        "| data | 0 | 100 |",
        "| --- | --: | --: |",
        f"| emoji | {worth['emoji', 0]:.0f} | ≥ 100 |",
        f"| glosses | {worth['glosses', 0]:.0f} | — |",
        f"| icons | {worth['icons', 0]:.0f} | — |",
    ]
    assert replaced_tables(found).splitlines() == table  # one whole row needs no mean
    without = [each for each in found if each.pairs == 0]
    mean = averages(without)["disjoint pools", 0][0]
    assert replaced_tables(without).splitlines()[-1] == f"| mean of whole rows | {mean:.0f} |"
    assert replaced_tables([]) == ""
