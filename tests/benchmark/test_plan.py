"""Plans: what is counted, what is known of times, what is said to be unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from setclip.benchmark import ALL, Cell, plan
from setclip.benchmark.measure import FORMAT, versions
from setclip.benchmark.plan import to_rich
from setclip.benchmark.timings import Timings
from setclip.methods import CCA, Ridge

CELL = Cell("emoji", "disjoint", 50, 0, CCA())


def write(folder: Path, cell: Cell, seconds: float, **other: Any) -> None:
    content = {
        "format": FORMAT,
        "cell": cell.decisive(),
        "versions": versions(),
        "cost": {"seconds": seconds},
    }
    path = folder / "results" / f"{cell.key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content | other))


def test_times_are_medians_of_the_likest_cells(tmp_path: Path) -> None:
    for seed, seconds in enumerate((1.0, 2.0, 9.0)):
        write(tmp_path, replace(CELL, seed=seed), seconds)
    write(tmp_path, replace(CELL, condition="sets"), 20.0)
    write(tmp_path, replace(CELL, dataset="glosses"), 50.0)
    timings = Timings.read(tmp_path)
    assert timings.seconds(replace(CELL, pairs=5, seed=7)) == 2.0
    assert timings.seconds(replace(CELL, condition="sets", pairs=5)) == 20.0
    assert timings.seconds(replace(CELL, condition="shifted")) == 5.5  # of the data set
    assert timings.seconds(replace(CELL, dataset="planted")) == 9.0  # of the method
    assert timings.seconds(replace(CELL, pairs=ALL)) is None
    assert timings.seconds(replace(CELL, method=Ridge())) is None


def test_failed_fits_and_broken_files_tell_no_time(tmp_path: Path) -> None:
    write(tmp_path, CELL, 0.1, error="cannot")
    (tmp_path / "results" / "x.json").write_text("[1")
    (tmp_path / "results" / "y.json").write_text("[1]")
    assert Timings.read(tmp_path).medians == {}


def test_a_plan_counts_shared_results_once_and_says_what_it_cannot_know(tmp_path: Path) -> None:
    write(tmp_path, CELL, 3.0)
    write(tmp_path, replace(CELL, seed=1), 3.0, versions={"setclip": "0"})
    cells = [replace(CELL, seed=seed, label=label) for label in ("a", "b") for seed in range(4)]
    conditions = ("disjoint", "sets")
    cells += [Cell("emoji", kind, 50, 0, Ridge()) for kind in conditions]
    first, second, ridge = plan(cells, tmp_path)
    assert (first.cells, first.results, first.there, first.missing) == (4, 4, 1, 3)
    assert (first.seconds, first.unknown) == (pytest.approx(9.0), 0)
    assert (second.cells, second.results, second.there, second.seconds) == (4, 0, 0, 0.0)
    assert (ridge.cells, ridge.results, ridge.missing, ridge.unknown) == (2, 1, 1, 1)
    console = Console(width=120, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    console.print(to_rich([first, second, ridge], workers=2))
    shown = console.export_text()
    assert "4 s on 2 processes" in shown
    assert "1 fits whose time is unknown" in shown
    assert "1 unknown" in shown


def test_long_times_are_hours() -> None:
    planned = plan([], ".")
    assert planned == []
    hours = replace(example(), seconds=3 * 3600 + 120.0)
    assert "3 h 02 min" in to_rich([hours], workers=1).caption  # type: ignore[operator]
    assert "10 min" in to_rich([replace(hours, seconds=600.0)], workers=1).caption  # type: ignore[operator]


def example() -> Any:
    return plan([CELL], "nowhere")[0]
