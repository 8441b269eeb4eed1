"""Running many cells: one JSON a result, resumable, parallel over processes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from setclip.benchmark.cells import ALL, Cell
from setclip.benchmark.data import BenchmarkData, load_all
from setclip.benchmark.measure import FORMAT, Result, versions
from setclip.benchmark.workers import Done, run_parallel
from setclip.data.atomic import write_json

log = logging.getLogger(__name__)


def run_cells(
    cells: Sequence[Cell],
    directory: str | Path,
    *,
    workers: int = 2,
    progress: bool = True,
    fresh: bool = False,
    data: Mapping[str, BenchmarkData] | None = None,
) -> list[Result]:
    """Measure cells, taking from `directory` what was measured before.

    Each result is one file, written atomically when it is there: an interrupted or killed benchmark
    goes on where it stopped. A result made from other data or by another version of setclip does
    not count as measured.

    Args:
        cells: What to measure. Cells that see the same thing share one result.
        directory: Where results and features are kept.
        workers: Processes, one thread each.
        progress: Show what is running and the time left.
        fresh: Measure everything again.
        data: Data by name, for names that :func:`setclip.benchmark.data.load_data` does not know.

    Returns:
        One result a cell, in order; see :func:`setclip.benchmark.measure.run_cell`. ``cell`` also
        has the label and condition that were asked for. A cell whose process died or failed has
        ``error`` and ``failed``, and is tried again by the next call.

    Raises:
        ValueError: Data of an unknown name.
    """
    folder = Path(directory)
    loaded = load_all({cell.dataset for cell in cells}, data, progress=progress)
    prints = {name: content.fingerprint() for name, content in loaded.items()}
    results: dict[str, Result] = {}
    wanted = {cell.key: cell for cell in cells}
    if not fresh:
        results = {key: r for key, cell in wanted.items() if (r := _read(folder, cell, prints))}
    missing = sorted((c for k, c in wanted.items() if k not in results), key=cost, reverse=True)
    homes = {n: loaded[n].write(folder / "features") for n in {c.dataset for c in missing}}
    with _bar(missing, done=len(results), shown=progress) as advance:
        for done in run_parallel(missing, homes, workers):
            results[done.cell.key] = _keep(folder, done, prints)
            advance(done.cell)
    return [_for(cell, results[cell.key]) for cell in cells]


def read_results(cells: Sequence[Cell], directory: str | Path) -> list[Result]:
    """The finished results among `cells`, whatever data and version they were made with."""
    found = ((cell, _parse(_path(Path(directory), cell))) for cell in cells)
    return [_for(cell, result) for cell, result in found if result]


def cost(cell: Cell) -> float:
    """Seconds a cell takes, roughly, to start with the longest and to tell the time left.

    Measured on the emoji set; only their ratios matter.
    """
    seconds = _SECONDS.get(cell.method.kind, 30.0)
    if cell.view == "sets":
        seconds += 2.0
    return seconds * (3.0 if cell.pairs == ALL else 1.0)


_SECONDS = {
    "ridge": 0.2,
    "procrustes": 0.1,
    "cca": 2.4,
    "clip": 2.5,
    "siglip": 2.0,
    "s-clip": 6.0,
    "structure": 8.0,
    "sotalign": 8.0,
    "setclip": 11.0,
}


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "results" / f"{cell.key}.json"


def _parse(path: Path) -> Result | None:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        log.warning("measuring %s again, its file is damaged: %s", path.name, error)
        return None
    return result if isinstance(result, dict) and result.get("format") == FORMAT else None


def _read(folder: Path, cell: Cell, prints: Mapping[str, str]) -> Result | None:
    result = _parse(_path(folder, cell))
    if result is None or result["data"] != prints[cell.dataset]:
        return None
    return result if result["versions"]["setclip"] == versions()["setclip"] else None


def _keep(folder: Path, done: Done, prints: Mapping[str, str]) -> Result:
    if done.result is None:
        log.warning("%s failed: %s", done.cell.describe(), done.failure)
        reason = done.failure.splitlines()[-1]
        return {"cell": done.cell.decisive(), "error": reason, "failed": True}
    result = done.result | {"data": prints[done.cell.dataset]}
    write_json(_path(folder, done.cell), result, indent=None)
    return result


def _for(cell: Cell, result: Result) -> Result:
    asked = {"condition": cell.condition, "label": cell.name, "set_size": cell.set_size}
    return result | {"key": cell.key, "cell": result["cell"] | asked}


@contextmanager
def _bar(missing: Sequence[Cell], *, done: int, shown: bool) -> Iterator[Callable[[Cell], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
    if done and missing:
        log.info("%d results were there, %d are missing", done, len(missing))
    off = not shown or not missing
    with Progress(*columns, TimeElapsedColumn(), TimeLeft(), disable=off) as bar:
        # Costs, not counts: the longest cells come first.
        task = bar.add_task("benchmark", total=sum(map(cost, missing)), count=f"0/{len(missing)}")
        finished = 0

        def advance(cell: Cell) -> None:
            nonlocal finished
            finished += 1
            bar.update(task, advance=cost(cell), count=f"{finished}/{len(missing)}")

        yield advance
