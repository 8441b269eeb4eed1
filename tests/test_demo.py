"""The demo end to end, on a few emoji with planted features in place of encoded ones."""

import pytest
from rich.console import Console
from tiny import few_emoji

import setclip.benchmark.data
import setclip.data.material
from setclip.benchmark import suites
from setclip.demo import run_demo
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
