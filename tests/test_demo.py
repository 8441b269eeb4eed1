"""The demo end to end, on a few emoji with planted features in place of encoded ones."""

import pytest
from benchmark.results import result
from rich.console import Console
from tiny import few_emoji

import setclip.benchmark.data
import setclip.data.material
from setclip.benchmark import suites
from setclip.benchmark.table import by_block, summarise
from setclip.demo import _verdict, run_demo
from setclip.methods import CLIP, SetCLIP, SigLIP

BRIEF = {
    "clip": ("clip", CLIP(steps=10, folds=2)),
    "siglip": ("siglip", SigLIP(steps=10, folds=2)),
    "setclip-paper": ("setclip (paper)", SetCLIP(recipe="paper", steps=10)),
    "setclip": ("setclip (default)", SetCLIP(steps=10, folds=2)),
}


@pytest.fixture
def few(monkeypatch):
    data = few_emoji()
    for room in (setclip.benchmark.data, setclip.data.material):
        monkeypatch.setattr(room, "load_dataset", lambda name, **_: data)
    for name, method in BRIEF.items():
        monkeypatch.setitem(suites.NAMED, name, method)


def test_demo_prints_both_tables_and_ends_in_the_report(few, tmp_path):
    console = Console(record=True, width=160)
    page = run_demo(tmp_path, seeds=1, workers=1, console=console)
    printed = console.export_text()
    for shown in (
        "emoji: disjoint pools, 50 pairs",
        "glosses: sets of 16, no pair",
        "auto",
        "siglip",
    ):
        assert shown in printed
    html = page.read_text()
    assert "knowing which sixteen images go with which sixteen names" in " ".join(html.split())
    assert "setclip bench demo --seeds 1" in html

    runs = sorted((tmp_path / "benchmark").rglob("*.json"))
    stamps = {path: path.stat().st_mtime_ns for path in runs}
    assert stamps
    run_demo(tmp_path, seeds=1, workers=1, console=console)
    assert {path: path.stat().st_mtime_ns for path in runs} == stamps


def test_the_best_map_of_the_pairs_saw_neither_pools_nor_all_pairs():
    results = []
    for dataset in ("emoji", "glosses"):
        results.append(result("cca, all pairs", 0, 1.0, pairs="all", view="pairs", dataset=dataset))
        for pairs, condition in ((0, "disjoint"), (50, "disjoint"), (0, "sets")):
            of = {"pairs": pairs, "condition": condition, "dataset": dataset}
            results.append(result("auto", 0, 0.9, **of))
            results.append(result("cca", 0, 0.8, **of))  # which takes covariances of the pools
            if pairs:
                results.append(result("cca (pairs alone)", 0, 0.4, **{**of, "view": "pairs"}))
                results.append(result("clip", 0, 0.2, **{**of, "view": "pairs"}))
    rows = summarise(results, suite="demo")
    (alone,) = (
        row.recall[10].mean
        for row in rows
        if row.method == "cca (pairs alone)" and row.block.dataset == "emoji"
    )
    assert f"the best map of 50 pairs finds {alone:.0f} %" in _verdict(by_block(rows))
