"""The table of sets: held against pairs alone, all pairs, pairs beside them, and damage."""

from __future__ import annotations

from typing import Any

import pytest
from benchmark.results import failed, result

from setclip.benchmark.sets_worth import what_sets_gave
from setclip.evaluation.intervals import paired_bootstrap

SEEDS = (0, 1)


def sets(hits: float, *, pairs: int = 0, condition: str = "sets") -> list[dict[str, Any]]:
    return [result("auto", seed, hits, pairs=pairs, condition=condition) for seed in SEEDS]


def reached(results: list[dict[str, Any]]) -> float:
    return sum(r["metrics"]["recall@10"] for r in results) / len(results)


def cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]


def test_every_column_from_the_results_of_its_own_block() -> None:
    clean, damaged, beside = sets(0.9), sets(0.5, condition="damaged-sets"), sets(0.95, pairs=50)
    ridge, clip = (
        [result(name, seed, hits, condition="sets", view="pairs") for seed in SEEDS]
        for name, hits in (("ridge", 0.2), ("clip", 0.1))
    )
    every = [result("cca, all pairs", seed, 0.6, pairs="all") for seed in SEEDS]
    text = what_sets_gave([*clean, *damaged, *beside, *ridge, *clip, *every], "auto")
    over, adds = (
        paired_bootstrap(*([r["credits"]["10"] for r in each] for each in both))
        for both in ((clean, every), (beside, clean))
    )
    lost = (reached(clean) - reached(damaged)) / (reached(clean) - reached(ridge))
    assert text.startswith("### What sets gave `auto`\n")
    assert cells(text) == [
        "emoji, sets of 16",
        f"{reached(ridge):.1f}",
        f"{reached(clean):.1f}",
        f"{over:+.1f}",
        f"{adds:+.1f}",
        f"{reached(damaged):.1f}",
        f"{lost:.0%}",
    ]


def test_what_was_not_measured_is_said_to_be_absent() -> None:
    text = what_sets_gave(sets(0.5), "auto")
    assert cells(text)[1] == "—"
    assert cells(text)[3:] == ["—"] * 4


def test_the_share_lost_stands_on_common_seeds() -> None:
    ridge = [result("ridge", seed, 0.2, condition="sets", view="pairs") for seed in SEEDS]
    damaged = result("auto", 1, 0.5, pairs=0, condition="damaged-sets")
    clean = sets(0.9)
    text = what_sets_gave([*clean, *ridge, damaged], "auto")
    whole, harmed, alone = (r["metrics"]["recall@10"] for r in (clean[1], damaged, ridge[1]))
    assert cells(text)[-1] == f"{(whole - harmed) / (whole - alone):.0%}"


@pytest.mark.parametrize("without", [[], [failed("auto", 0, pairs=0, condition="sets")]])
def test_nothing_is_said_where_sets_were_not_measured(without: list[dict[str, Any]]) -> None:
    assert what_sets_gave([result("auto", 0, 0.5), *without], "auto") == ""
