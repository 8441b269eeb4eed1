"""The demo on proteins end to end, on some superfamilies and a few steps."""

import numpy as np
import pytest
from rich.console import Console

from setclip import demo_protein
from setclip.benchmark import runner
from setclip.benchmark.measure import run_cell
from setclip.benchmark.workers import Done
from setclip.data import proteins
from setclip.data.proteins import load_proteins
from setclip.demo_protein import Sizes, run_protein_demo

TINY = Sizes(steps=2, batch_pairs=4, batch=8, batch_views=4, lr=1e-4)
TOPOLOGIES = ("1.10.10", "3.40.50")


def in_this_process(cells, homes, workers):
    """What workers do, where the few chains are known."""
    for cell in cells:
        data = runner.BenchmarkData.read(homes[cell.dataset])
        yield Done(cell, run_cell(cell, data))


@pytest.fixture
def few(monkeypatch, tmp_path):
    chains = load_proteins()
    lengths = np.diff(chains.starts)
    rows = np.flatnonzero(np.isin(chains.topologies, TOPOLOGIES) & (lengths < 110))[:40]
    part = chains.take(rows)
    monkeypatch.setattr(proteins, "load_proteins", lambda *_, **__: part)
    monkeypatch.setattr(runner, "run_parallel", in_this_process)
    monkeypatch.setattr(demo_protein, "SETTINGS", (("disjoint", 0.3), ("concept-sets", 0.3)))
    monkeypatch.setattr(demo_protein, "SHOWN", ("concept-sets", 0.3))
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))


def test_the_demo_trains_compares_and_ends_in_the_report(few, tmp_path):
    console = Console(record=True, width=160)
    output = tmp_path / "demo"
    page = run_protein_demo(output, seeds=1, workers=1, console=console, sizes=TINY)
    printed = console.export_text()
    for shown in ("sets of one concept", "Set-CLIP end to end", "ridge, composition"):
        assert shown in printed
    html = " ".join(page.read_text(encoding="utf-8").split())
    assert "Topology from one modality" in html
    assert "sequence and structure of superfamilies that it has not seen" in html
    assert "setclip demo-protein --seeds 1" in html

    kept = list((output / "benchmark").rglob("*.json"))
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) > len(demo_protein.SETTINGS)
    run_protein_demo(output, seeds=1, workers=1, console=console, sizes=TINY)
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
