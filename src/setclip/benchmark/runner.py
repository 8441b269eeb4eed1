"""Running many cells: one JSON a result, resumable, parallel over processes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from setclip.benchmark.cells import ALL, Asked, Cell
from setclip.benchmark.data import BenchmarkData, load_all
from setclip.benchmark.measure import FORMAT, Result, versions
from setclip.benchmark.timings import Timings
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
        has the label, condition and number of pairs that were asked for. A cell whose process died
        or failed has ``error`` and ``failed``, and is tried again by the next call.

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
    timings = Timings.read(folder)
    costs = {k: timings.seconds(c) or cost(c) for k, c in wanted.items() if k not in results}
    missing = [wanted[key] for key in sorted(costs, key=lambda key: costs[key], reverse=True)]
    homes = {n: loaded[n].write(folder / "features") for n in {c.dataset for c in missing}}
    with _bar(costs, done=len(results), shown=progress) as advance:
        for done in run_parallel(missing, homes, workers):
            results[done.cell.key] = _keep(folder, done, prints)
            advance(done.cell)
    return [_for(cell.asked, results[cell.key]) for cell in cells]


def read_results(cells: Iterable[Cell | Asked], directory: str | Path) -> list[Result]:
    """The finished results among `cells`, whatever data and version they were made with."""
    asked = (cell.asked if isinstance(cell, Cell) else cell for cell in cells)
    found = ((each, _parse(_path(Path(directory), each.key))) for each in asked)
    return [_for(each, result) for each, result in found if result]


def is_measured(cell: Cell, directory: str | Path) -> bool:
    """Whether there is a result of this version; that its data have changed is not looked at."""
    result = _parse(_path(Path(directory), cell.key))
    return result is not None and _is_current(result)


def cost(cell: Cell) -> float:
    """Seconds a cell takes, roughly, where nothing was recorded: to start with the longest.

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


def _path(folder: Path, key: str) -> Path:
    return folder / "results" / f"{key}.json"


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
    result = _parse(_path(folder, cell.key))
    if result is None or result["data"] != prints[cell.dataset]:
        return None
    return result if _is_current(result) else None


def _is_current(result: Result) -> bool:
    return bool(result["versions"]["setclip"] == versions()["setclip"])


def _keep(folder: Path, done: Done, prints: Mapping[str, str]) -> Result:
    if done.result is None:
        log.warning("%s failed: %s", done.cell.describe(), done.failure)
        reason = done.failure.splitlines()[-1]
        return {"cell": done.cell.decisive(), "error": reason, "failed": True}
    result = done.result | {"data": prints[done.cell.dataset]}
    write_json(_path(folder, done.cell.key), result, indent=None)
    return result


def _for(asked: Asked, result: Result) -> Result:
    cell = asked._asdict()
    return result | {"key": cell.pop("key"), "cell": result["cell"] | cell}


@contextmanager
def _bar(costs: Mapping[str, float], *, done: int, shown: bool) -> Iterator[Callable[[Cell], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
    if done and costs:
        log.info("%d results were there, %d are missing", done, len(costs))
    off = not shown or not costs
    with Progress(*columns, TimeElapsedColumn(), TimeLeft(), disable=off) as bar:
        # Costs, not counts: the longest cells come first.
        task = bar.add_task("benchmark", total=sum(costs.values()), count=f"0/{len(costs)}")
        finished = 0

        def advance(cell: Cell) -> None:
            nonlocal finished
            finished += 1
            bar.update(task, advance=costs[cell.key], count=f"{finished}/{len(costs)}")

        yield advance
