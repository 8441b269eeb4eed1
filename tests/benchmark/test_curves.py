"""The page shows every panel and number, and asks the network for nothing."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from benchmark.results import failed, result

from setclip.benchmark import curves_page, pairs_replaced, summarise
from setclip.evaluation import bootstrap

PAIRS = (0, 20, 50)


def results() -> list[dict[str, Any]]:
    cells = [
        result(label, seed, 0.2 + pairs / 100, pairs=pairs, condition=condition)
        for condition in ("disjoint", "sets")
        for pairs in PAIRS
        for label in ("cca", "<setclip>")
        for seed in (0, 1)
    ]
    cells += [
        result("ridge", seed, 0.1 + pairs / 125, pairs=pairs, condition=kind, view="pairs")
        for kind in ("disjoint", "sets")
        for pairs in PAIRS[1:]
        for seed in (0, 1)
    ]
    cells += [failed("clip", seed, pairs=0, condition="sets") for seed in (0, 1)]
    cells += [result("clip", seed, 0.3, pairs=50, condition="sets") for seed in (0, 1)]
    return cells + [
        result("cca, all pairs", seed, 0.9, pairs="all", view="pairs") for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("page")
    rows = summarise(results(), suite="emoji")
    path = curves_page(
        rows,
        folder,
        name="emoji",
        title="A & B",
        command="run",
        note="Not `all`.\n\nNor ever.",
        worth_of="cca",
    )
    assert path == folder / "emoji.html"
    return path.read_text(encoding="utf-8")


def figures(page: str) -> list[list[dict[str, Any]]]:
    """Traces of the figures in order."""
    starts = [m.end() for m in re.finditer(r'Plotly\.newPlot\(\s*"[^"]+",\s*', page)]
    return [json.JSONDecoder().raw_decode(page, start)[0] for start in starts]


def test_each_condition_has_quality_differences_and_cost(page: str) -> None:
    assert re.findall("<h2>(.*)</h2>", page) == [
        "How many pairs the unpaired data replaced",
        "Every method",
        "emoji: disjoint pools",
        "emoji: sets of 16",
    ]
    assert len(figures(page)) == 2 + 6
    assert page.count("over the best on pairs alone, paired") == 2
    assert "<p>Not <code>all</code>.</p>\n<p>Nor ever.</p>" in page
    assert page.count("against seconds of a fit, 50 pairs") == 2


def test_curves_are_the_numbers_of_the_table_fewest_pairs_first(page: str) -> None:
    traces = {t["name"]: t for t in figures(page)[2]}
    assert traces["cca"]["x"] == ["0", "20", "50"]
    credits = [
        r["credits"]["10"]
        for r in results()
        if (r["cell"]["label"], r["cell"]["condition"], r["cell"]["pairs"])
        == ("cca", "disjoint", 20)
    ]
    expected = bootstrap(credits)
    assert traces["cca"]["y"][1] == pytest.approx(expected.mean)
    assert traces["cca"]["error_y"]["array"][1] == pytest.approx(expected.high - expected.mean)
    assert traces["chance"]["y"] == [20.0] * 3
    assert traces["cca, all pairs"]["y"][0] > 50


def test_what_could_not_be_measured_is_a_gap_with_its_reason(page: str) -> None:
    clip = next(t for t in figures(page)[5] if t["name"] == "clip")
    assert [value is None for value in clip["y"]] == [True, True, False]
    assert "clip: clip cannot." in page


def test_gains_are_told_in_pairs(page: str) -> None:
    traces = {t["name"]: t for t in figures(page)[0]}
    expected = {
        each.pairs: each
        for each in pairs_replaced(summarise(results()), "cca")
        if each.kind == "disjoint pools"
    }
    assert traces["emoji"]["x"] == ["0", "20", "50"]
    assert traces["emoji"]["y"] == [expected[p].worth.mean for p in PAIRS]
    assert traces["mean"]["y"] == pytest.approx(traces["emoji"]["y"])  # of one data set
    symbols = [s.endswith("-open") for s in traces["emoji"]["marker"]["symbol"]]
    assert symbols == [expected[p].beyond for p in PAIRS]
    assert traces["nothing replaced"]["y"] == [None, 20, 50]
    assert traces["worth twice the pairs"]["y"] == [None, 40, 100]
    assert "over 1 data set<" in page


def test_without_a_method_of_pairs_alone_nothing_is_told_in_pairs(tmp_path: Path) -> None:
    cells = [result(name, 0, 0.4, pairs=p) for name in ("cca", "other") for p in (10, 50)]
    text = curves_page(summarise(cells), tmp_path).read_text(encoding="utf-8")
    assert "pairs the unpaired data replaced" not in text
    assert "R@10 over cca, paired" in text


def test_names_are_escaped(page: str) -> None:
    assert "<title>A &amp; B</title>" in page
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "<setclip>" not in outside
    assert "<setclip>" in unescape(outside)


def test_nothing_is_fetched(page: str) -> None:
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
