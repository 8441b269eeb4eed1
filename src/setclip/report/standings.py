"""Who leads a column of a table, and the common scale on which its intervals are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from setclip.evaluation.intervals import Interval
from setclip.report.content import Cell, ResultTable

Standing = Literal["best", "tied", ""]


def as_interval(cell: Cell) -> Interval | None:
    """The cell as an interval, of no width for a bare number; None for text and for NaN."""
    if isinstance(cell, Interval):
        return cell if math.isfinite(cell.mean) else None
    if isinstance(cell, str) or cell is None or not math.isfinite(cell):
        return None
    return Interval(float(cell), float(cell), float(cell))


def standings(table: ResultTable, column: int) -> list[Standing]:
    """One mark a row: the best mean, and the rows whose interval overlaps the best row's.

    A column without a direction has no winners, and neither has one with a single competitor.
    """
    better = table.columns[column].better
    rows = [as_interval(row.cells[column]) if row.competes else None for row in table.rows]
    rivals = [cell for cell in rows if cell is not None]
    if better is None or len(rivals) < 2:
        return ["" for _ in rows]
    sign = 1.0 if better == "higher" else -1.0
    best = max(rivals, key=lambda cell: sign * cell.mean)
    return [_standing(cell, best) for cell in rows]


def _standing(cell: Interval | None, best: Interval) -> Standing:
    if cell is None:
        return ""
    if cell.mean == best.mean:
        return "best"
    return "tied" if cell.low <= best.high and best.low <= cell.high else ""


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Position of a value, 0 at the low end and 1 at the high end, clipped to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


def scale_of(table: ResultTable, column: int) -> Scale | None:
    """An axis that holds every interval of the column, from zero if the values allow it.

    Lengths are only comparable on an axis that starts at zero, so it does whenever that costs less
    than half the width.
    """
    cells = [as_interval(row.cells[column]) for row in table.rows]
    ends = [
        end
        for cell in cells
        if cell is not None
        for end in (cell.low, cell.mean, cell.high)
        if math.isfinite(end)
    ]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    if low >= 0 and low <= high / 2:
        low = 0.0
    # Ends on a round step, so that the two printed numbers explain the axis.
    # A narrower axis than floats have steps for has the narrowest of these.
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-300) if high > low else 1.0)) / 2
    low = math.floor(low / step) * step
    high = math.ceil(high / step) * step
    return Scale(low, high if high > low else low + step)


def chance_level(table: ResultTable, column: int) -> float | None:
    """Value of the row flagged "chance", the reference line of the picture."""
    for row in table.rows:
        cell = as_interval(row.cells[column])
        if "chance" in row.flags and cell is not None:
            return cell.mean
    return None
