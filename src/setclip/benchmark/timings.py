"""How long cells took before, to say how long others will take."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from setclip.benchmark.cells import Cell
from setclip.benchmark.measure import Result


@dataclass(frozen=True)
class Timings:
    """Median seconds of recorded fits, from like cells to less like ones.

    Attributes:
        medians: By method, data set and view; by method and data set; by method.
    """

    medians: dict[tuple[str, ...], float]

    @classmethod
    def of(cls, results: Iterable[Result]) -> Timings:
        """Medians of what was measured; fits that could not be made are left out."""
        found: dict[tuple[str, ...], list[float]] = {}
        for result in results:
            if "error" not in result:
                for key in _keys(result["cell"]):
                    found.setdefault(key, []).append(result["cost"]["seconds"])
        return cls({key: median(seconds) for key, seconds in found.items()})

    @classmethod
    def read(cls, folder: Path) -> Timings:
        """From all results of a benchmark folder; files that cannot be read tell nothing."""
        return cls.of(filter(None, map(_parsed, sorted((folder / "results").glob("*.json")))))

    def seconds(self, cell: Cell) -> float | None:
        """Of a fit of this cell, None where the method was never measured."""
        found = (self.medians.get(key) for key in _keys(cell.decisive()))
        return next((value for value in found if value is not None), None)


def spoken(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _keys(decisive: dict[str, Any]) -> list[tuple[str, ...]]:
    method = json.dumps(decisive["method"], sort_keys=True)
    like = (method, decisive["dataset"], decisive["view"])
    # All pairs make another fit than few; let them never stand for each other.
    known = "all" if decisive["pairs"] == "all" else "some"
    return [(known, *like), (known, *like[:2]), (known, method)]


def _parsed(path: Path) -> Result | None:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return result if {"cell", "cost"} <= result.keys() else None
    except (ValueError, AttributeError, OSError):
        return None
