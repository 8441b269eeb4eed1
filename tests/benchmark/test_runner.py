"""Running cells in processes: shared results, resumption, failures, interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark.clouds import SMALL, small_data
from benchmark.odd_methods import Buggy, Counted, Killed

from setclip.benchmark import BenchmarkData, Cell, read_results, run_cell, run_cells
from setclip.benchmark.runner import cost
from setclip.methods import CCA, CLIP, Procrustes, Ridge

DATA = {"small": small_data()}
GOOD = [
    Cell("small", condition, 30, seed, method)
    for condition in ("disjoint", "sets")
    for seed in (0, 1)
    for method in (Ridge(penalty=1.0), Procrustes(rounds=2), CCA(penalty=3.0, power=0.5))
]
BAD = [Cell("small", "sets", 30, 0, method(), method().name) for method in (Killed, Buggy)]


def numbers(results: list[dict[str, Any]]) -> list[Any]:
    return [(r["cell"], r["credits"], r["metrics"]) for r in results]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    """One worker, the cells that fail in between the others."""
    cells = [*GOOD[:3], *BAD, *GOOD[3:]]
    return run_cells(cells, folder, workers=1, progress=False, data=DATA)


def test_results_are_in_order_and_those_of_one_process(results: list[dict[str, Any]]) -> None:
    good = results[:3] + results[5:]
    asked = [(r["cell"]["condition"], r["cell"]["seed"], r["cell"]["label"]) for r in good]
    assert asked == [(c.condition, c.seed, c.name) for c in GOOD]
    alone = run_cell(GOOD[-1], DATA["small"])
    assert good[-1]["metrics"] == pytest.approx(alone["metrics"])


def test_a_cell_that_dies_is_reported_and_the_others_go_on(results: list[dict[str, Any]]) -> None:
    assert [r["failed"] for r in results[3:5]] == [True, True]
    assert "killed" in results[3]["error"]
    assert results[4]["error"] == "ZeroDivisionError: a bug in the method"


def test_cells_that_see_the_same_share_one_result(folder: Path, results: object) -> None:
    # Ridge once a seed, Procrustes and CCA once a seed and condition; none for those that failed.
    assert len(list((folder / "results").iterdir())) == 2 + 4 + 4
    assert len({cell.key for cell in GOOD}) == 10


def test_finished_results_are_not_measured_again(folder: Path, results: object) -> None:
    files = sorted((folder / "results").iterdir())
    before = [file.stat().st_mtime_ns for file in files]
    again = run_cells(GOOD, folder, workers=1, progress=False, data=DATA)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert numbers(read_results(GOOD, folder)) == numbers(again)


def test_two_workers_give_the_same_numbers_and_replace_what_does_not_count(
    folder: Path, results: list[dict[str, Any]], tmp_path: Path
) -> None:
    counted = Counted(file=str(tmp_path / "fits"))
    cells = [
        *GOOD[:6],
        Cell("small", "sets", 30, 0, counted, "a"),
        Cell("small", "disjoint", 30, 0, counted, "b"),
    ]
    folder = shutil.copytree(folder, tmp_path / "copy")
    damaged = folder / "results" / f"{GOOD[0].key}.json"
    older = folder / "results" / f"{GOOD[1].key}.json"
    of_other_data = folder / "results" / f"{GOOD[2].key}.json"
    damaged.write_text('{"form')
    for path, change in (
        (older, {"versions": {"setclip": "0"}}),
        (of_other_data, {"data": "other"}),
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    again = run_cells(cells, folder, workers=2, progress=False, data=DATA)
    assert numbers(again[:6]) == numbers(results[:3] + results[5:8])
    assert json.loads(damaged.read_text())["format"] == 1
    assert json.loads(of_other_data.read_text())["data"] == DATA["small"].fingerprint()
    assert [r["cell"]["label"] for r in again[6:]] == ["a", "b"]
    assert (tmp_path / "fits").read_text() == "fit\n"
    run_cells(cells[-1:], folder, workers=1, progress=False, fresh=True, data=DATA)
    assert (tmp_path / "fits").read_text() == "fit\nfit\n"


INTERRUPTED = """
import signal
import sys
from benchmark.clouds import small_data
from benchmark.odd_methods import Counted
from setclip.benchmark import Cell, run_cells

if __name__ == "__main__":
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cells = [Cell("small", "disjoint", 5, 0, Counted(file=sys.argv[1]))]
    cells += [Cell("small", "disjoint", 5, 1, Counted(file=sys.argv[1], seconds=600))]
    data = {"small": small_data()}
    run_cells(cells, sys.argv[2], workers=1, progress=False, data=data)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_benchmark_leaves_no_worker_and_keeps_what_was_finished(
    tmp_path: Path, how: signal.Signals
) -> None:
    script, fits = tmp_path / "script.py", tmp_path / "fits"
    script.write_text(INTERRUPTED)
    fits.touch()
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(fits), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(fits.read_text().splitlines()) == 2, seconds=120)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert any(is_a_worker(pid) for pid in children)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -how or "KeyboardInterrupt" in errors
    wait_until(lambda: not any(is_a_worker(pid) for pid in children), seconds=10)
    finished = Cell("small", "disjoint", 5, 0, Counted(file=str(fits)))
    assert "metrics" in read_results([finished], tmp_path)[0]
    run_cells([finished], tmp_path, workers=1, progress=False, data=DATA)
    assert fits.read_text() == "fit\nfit\n"


def wait_until(happened: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_a_worker(pid: str) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_longest_come_first() -> None:
    kinds = [Cell("d", "disjoint", 5, 0, m) for m in (Ridge(), CLIP(), CCA())]
    kinds += [Cell("d", "sets", 5, 0, CCA()), Cell("d", "disjoint", "all", 0, CCA())]
    order = sorted(range(5), key=lambda i: cost(kinds[i]), reverse=True)
    assert order == [4, 3, 1, 2, 0]


def test_data_are_written_once_and_mapped(tmp_path: Path) -> None:
    home = DATA["small"].write(tmp_path)
    before = [p.stat().st_mtime_ns for p in sorted(home.iterdir())]
    assert DATA["small"].write(tmp_path) == home
    assert [p.stat().st_mtime_ns for p in sorted(home.iterdir())] == before
    mapped = BenchmarkData.read(home)
    assert isinstance(mapped.x, np.memmap)
    assert mapped.fingerprint() == DATA["small"].fingerprint()


def test_other_data_have_another_fingerprint() -> None:
    x = DATA["small"].x.copy()
    x[0, 0] += 1
    other = BenchmarkData(x, DATA["small"].y, DATA["small"].groups, DATA["small"].labels)
    assert other.fingerprint() != DATA["small"].fingerprint()


def test_misaligned_data_are_refused() -> None:
    with pytest.raises(ValueError, match="rows differ"):
        BenchmarkData(DATA["small"].x, DATA["small"].y[1:], np.arange(SMALL.items))


def test_unknown_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set is called 'emojy'"):
        run_cells([Cell("emojy", "disjoint", 5, 0, Ridge())], tmp_path, progress=False)
