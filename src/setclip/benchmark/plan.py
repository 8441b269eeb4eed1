"""What a benchmark will take, before it is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from setclip.benchmark.cells import Cell
from setclip.benchmark.runner import is_measured
from setclip.benchmark.timings import Timings, spoken

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Planned:
    """One method of a plan.

    Attributes:
        method: Label.
        cells: Cells that were asked for.
        results: Results that they need and no method before needs: cells that see the same thing
            share one.
        there: Results that are there.
        unknown: Results that are missing and whose time nothing recorded tells.
        seconds: Of the other missing ones, on one core: the sum of the medians of what like cells
            took before.
    """

    method: str
    cells: int
    results: int
    there: int
    unknown: int
    seconds: float

    @property
    def missing(self) -> int:
        """Results to measure."""
        return self.results - self.there


def plan(cells: Sequence[Cell], directory: str | Path) -> list[Planned]:
    """Count what is there and estimate the rest from the times in `directory`.

    Reads results, no data: a result counts as there if this version of setclip made it. That its
    data have changed since is noticed by the run.
    """
    folder = Path(directory)
    timings = Timings.read(folder)
    methods: dict[str, list[Cell]] = {}
    for cell in cells:
        methods.setdefault(cell.name, []).append(cell)
    planned, counted = [], set[str]()
    for label, own in methods.items():
        # What two labels share is measured once, for the first of them.
        wanted = {cell.key: cell for cell in own if cell.key not in counted}
        missing = [cell for cell in wanted.values() if not is_measured(cell, folder)]
        counted |= wanted.keys()
        times = [timings.seconds(cell) for cell in missing]
        known = [seconds for seconds in times if seconds is not None]
        there = len(wanted) - len(missing)
        unknown = len(times) - len(known)
        planned.append(Planned(label, len(own), len(wanted), there, unknown, sum(known)))
    return planned


def to_rich(planned: Sequence[Planned], *, workers: int) -> Table:
    """The plan as a table for the terminal, with its total on so many processes."""
    from rich.table import Table

    total = sum(each.seconds for each in planned) / workers
    unknown = sum(each.unknown for each in planned)
    caption = f"{spoken(total)} on {workers} process{'es' if workers > 1 else ''}, fits alone"
    if unknown:
        caption += f"; and {unknown} fits whose time is unknown: none like them was measured here"
    table = Table(caption=caption)
    for heading in ("method", "cells", "results", "there", "missing", "time on one core"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for each in planned:
        counts = (each.cells, each.results, each.there, each.missing)
        time = spoken(each.seconds) if each.missing > each.unknown else ""
        guess = f"{each.unknown} unknown" if each.unknown else ""
        table.add_row(each.method, *map(str, counts), " + ".join(filter(None, [time, guess])))
    return table
