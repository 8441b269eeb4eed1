"""Tables: intervals, paired differences, notes, formats."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from benchmark.results import failed, result
from rich.console import Console

from setclip.benchmark import (
    Fewer,
    Suite,
    by_block,
    suites,
    summarise,
    to_csv,
    to_markdown,
    to_result_table,
    to_rich,
)
from setclip.evaluation import bootstrap, paired_bootstrap


def two_blocks() -> list[dict[str, Any]]:
    blocks = [{"pairs": 50, "condition": "disjoint"}, {"pairs": 0, "condition": "sets"}]
    cells = [
        result(label, seed, hits, **block)
        for block in blocks
        for seed in range(3)
        for label, hits in (("cca", 0.4), ("setclip (default)", 0.6))
    ]
    cells += [failed("clip", seed, **blocks[1]) for seed in range(3)]
    return cells + [result("cca, all pairs", seed, 0.9, pairs="all") for seed in range(3)]


def test_intervals_are_those_of_the_bootstrap_over_seeds_and_queries() -> None:
    cells = [result("cca", seed, 0.4) for seed in range(3)]
    row = summarise(cells)[1]
    assert row.recall is not None
    assert row.recall[5] == bootstrap([c["credits"]["5"] for c in cells])
    assert row.median_rank is not None
    assert (row.median_rank.mean, row.median_rank.low) == (4.0, 3.0)
    assert row.seeds == (0, 1, 2)


def test_differences_are_paired_by_seed_whatever_the_order() -> None:
    ours = [result("setclip", seed, 0.6) for seed in range(3)]
    theirs = [result("cca", seed, 0.4) for seed in range(3)]
    row = next(r for r in summarise([*ours, *theirs[::-1]]) if r.method == "setclip")
    expected = paired_bootstrap(
        [c["credits"]["10"] for c in ours], [c["credits"]["10"] for c in theirs]
    )
    assert row.difference == expected


def test_the_best_method_on_pairs_alone_is_what_the_others_are_held_against() -> None:
    cells = [result("setclip", seed, 0.6) for seed in range(3)]
    good = [result("ridge", seed, 0.4, view="pairs") for seed in range(3)]
    bad = [result("clip", seed, 0.1, view="pairs") for seed in range(3)]
    lucky = [result("siglip", 0, 0.9, view="pairs")]
    rows = {r.method: r for r in summarise([*cells, *good, *bad, *lucky])}
    expected = paired_bootstrap(*([c["credits"]["10"] for c in of] for of in (cells, good)))
    assert rows["setclip"].over_alone == expected
    assert rows["ridge"].over_alone is None
    assert (rows["ridge"].alone, rows["setclip"].alone) == (True, False)
    assert rows["siglip"].note == "1 of 3 seeds."
    more = result("setclip", 3, 0.6)  # of one method alone costs no other its place
    rows = {r.method: r for r in summarise([*cells, more, *good, *bad, *lucky])}
    assert rows["setclip"].over_alone == expected
    assert summarise(cells)[1].over_alone is None


def test_methods_measured_in_fewer_places_are_missed_aloud(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fewer = {"setclip-paper": Fewer(pairs=(0, 20)), "planted": Fewer(seeds=1)}
    few = Suite("q", ("emoji",), (), (), fewer=fewer)
    monkeypatch.setitem(suites.SUITES, "few", few)
    cells = [result("setclip (paper)", 0, 0.4, pairs=20)]
    cells += [result("cca", 0, 0.4, pairs=pairs) for pairs in (20, 50)]
    text = to_markdown(summarise(cells, suite="few"))
    assert text.count("for its time measured at pairs 0, 20 alone.") == 1
    assert "| setclip (paper) | — |" in text


def test_commands_name_what_the_suite_does_not() -> None:
    cells = [result("cca (config)", seed, 0.4, condition="damaged-sets") for seed in (0, 1)]
    for cell in cells:
        cell["cell"]["set_size"] = 64
    row = summarise(cells, suite="a.yaml")[1]
    assert row.block.title == "emoji: damaged sets of 64, 50 pairs"
    assert (
        row.command == "setclip bench a.yaml --methods config --pairs 50 --seeds 2 "
        "--conditions damaged-sets --set-size 64"
    )


def test_each_block_has_chance_and_all_pairs() -> None:
    blocks = by_block(summarise(two_blocks()))
    assert [b.title for b in blocks] == [
        "emoji: disjoint pools, 50 pairs",
        "emoji: sets of 16, no pair",
    ]
    for rows in blocks.values():
        assert rows[0].role == "chance"
        assert rows[0].recall is not None
        assert rows[0].recall[10].mean == 20.0
        assert rows[-1].role == "reference"


def test_all_pairs_stand_alone_where_they_are_all_there_is() -> None:
    rows = summarise([result("cca, all pairs", 0, 0.9, pairs="all")])
    assert [r.method for r in rows] == ["chance", "cca, all pairs"]


def test_a_method_that_cannot_work_stays_in_the_table_with_its_reason() -> None:
    text = to_markdown(summarise(two_blocks()))
    assert "| clip | — | — | — | — | — | — | — |" in text
    assert text.count("- clip cannot.") == 1


def test_the_terminal_says_why_a_method_has_no_numbers() -> None:
    rows = [*two_blocks(), result("s-clip", 0, 0.5), failed("s-clip", 1)]
    rows[-1]["error"] = "needs [pairs]."
    first, second = to_rich(summarise(rows))
    console = Console(width=300)
    shown = [console.render_str(str(table.caption)).plain for table in (first, second)]
    assert shown[0].endswith("s-clip: 1 of 2 seeds: needs [pairs].")
    assert shown[1].endswith("\nclip cannot.")


def test_seeds_that_failed_are_counted() -> None:
    rows = summarise([result("cca", 0, 0.4), failed("cca", 1)])
    assert rows[1].note == "1 of 2 seeds: cca cannot."
    assert rows[1].seeds == (0,)


def test_markdown_tables_are_rectangular() -> None:
    text = to_markdown(summarise(two_blocks()), command="setclip bench demo")
    assert text.startswith("Made by `setclip bench demo`.")
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {9}


def test_each_row_has_the_command_that_measures_it() -> None:
    rows = summarise(two_blocks(), suite="demo")
    made = {(r.block.condition, r.method): r.command for r in rows}
    assert (
        made["disjoint", "setclip (default)"]
        == "setclip bench demo --methods setclip --pairs 50 --seeds 3 --conditions disjoint"
    )
    assert made["sets", "cca, all pairs"] == "setclip bench demo --pairs all --seeds 3"
    one = summarise([result("cca", 2, 0.4)], suite="demo")[1]
    assert "--seeds 2, " in one.command


def test_csv_reads_back() -> None:
    rows = summarise(two_blocks(), suite="demo")
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert len(lines) == len(rows)
    by_name = {(line["condition"], line["method"]): line for line in lines}
    recall = rows[1].recall
    assert recall is not None
    assert float(by_name["disjoint", "cca"]["recall@10_low"]) == pytest.approx(recall[10].low, 1e-4)
    assert by_name["sets", "clip"]["recall@10"] == ""
    assert by_name["sets", "cca"]["set_size"] == "16"
    assert [line["alone"] for line in lines] == [str(int(row.alone)) for row in rows]
    blind = summarise([result("ridge", 0, 0.5, view="pairs")])[1:]
    assert next(csv.DictReader(io.StringIO(to_csv(blind))))["alone"] == "1"


def test_the_report_gets_flags_and_winners() -> None:
    block = next(iter(by_block(summarise(two_blocks())).values()))
    table = to_result_table(block, command="setclip bench demo", this_run="setclip (default)")
    assert [row.flags for row in table.rows] == [
        ("chance",),
        ("baseline",),
        ("this run",),
        ("reference",),
    ]
    assert [column.name for column in table.columns if column.main] == ["R@10"]
    assert table.command == "setclip bench demo"
    assert "3 seeds" in table.note


def test_a_table_of_the_report_is_one_block() -> None:
    with pytest.raises(ValueError, match="given 2"):
        to_result_table(summarise(two_blocks()))


def test_the_terminal_shows_every_row() -> None:
    tables = to_rich(summarise(two_blocks()))
    assert [table.row_count for table in tables] == [4, 5]
    # Without overlap of the intervals the best alone is bold.
    clear = to_rich(summarise([*two_blocks(), *(result("ridge", s, 0.1) for s in range(3))]))[0]
    styles = {name: row.style for name, row in zip(clear.columns[0].cells, clear.rows, strict=True)}
    assert styles["chance"] == styles["cca, all pairs"] == "dim"
    assert (styles["setclip (default)"], styles["ridge"]) == ("bold", None)
