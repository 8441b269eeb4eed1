"""Result tables as the page prints them: formatted cells with their marks and dots."""

from __future__ import annotations

import math
from dataclasses import dataclass

from setclip.evaluation.intervals import Interval
from setclip.report.content import Cell, Column, ResultTable, Row
from setclip.report.standings import (
    Scale,
    Standing,
    as_interval,
    chance_level,
    scale_of,
    standings,
)

ABSENT = "–"


@dataclass(frozen=True)
class Dots:
    """A mean with its interval as positions on the column's axis, in percent of its width."""

    mean: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class CellView:
    """One printed cell; `dots` only in a main column."""

    text: str
    span: str
    standing: Standing
    dots: Dots | None
    numeric: bool


@dataclass(frozen=True)
class RowView:
    """One printed row."""

    row: Row
    cells: list[CellView]


@dataclass(frozen=True)
class Heading:
    """One printed heading; `drawn` adds the column of dots, `chance` its line in percent."""

    column: Column
    drawn: bool
    chance: float | None
    ends: tuple[str, str]


@dataclass(frozen=True)
class TableView:
    """A table ready for the template."""

    table: ResultTable
    headings: list[Heading]
    rows: list[RowView]
    has_intervals: bool
    has_winners: bool
    has_chance: bool


def table_view(table: ResultTable) -> TableView:
    """Format every cell and mark the winners."""
    scales = [scale_of(table, i) if c.main else None for i, c in enumerate(table.columns)]
    marks = [standings(table, i) for i in range(len(table.columns))]
    rows = [
        RowView(
            row,
            [
                _cell(cell, column, marks[i][r], scales[i])
                for i, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True))
            ],
        )
        for r, row in enumerate(table.rows)
    ]
    headings = [_heading(table, i, scale) for i, scale in enumerate(scales)]
    return TableView(
        table=table,
        headings=headings,
        rows=rows,
        has_intervals=any(cell.span for row in rows for cell in row.cells),
        has_winners=any(mark for column in marks for mark in column),
        has_chance=any(heading.chance is not None for heading in headings),
    )


def _heading(table: ResultTable, column: int, scale: Scale | None) -> Heading:
    if scale is None:
        return Heading(table.columns[column], False, None, ("", ""))
    chance = chance_level(table, column)
    return Heading(
        column=table.columns[column],
        drawn=True,
        chance=None if chance is None else 100 * scale.place(chance),
        ends=_ends(scale),
    )


def _ends(scale: Scale) -> tuple[str, str]:
    """Both ends with decimals enough to tell them apart."""
    span = abs(scale.high - scale.low)
    decimals = max(0, 1 - math.floor(math.log10(span))) if span > 0 else 2
    low, high = (f"{end:,.{decimals}f}" for end in (scale.low, scale.high))
    return low, high


def _cell(cell: Cell, column: Column, standing: Standing, scale: Scale | None) -> CellView:
    if isinstance(cell, str):
        return CellView(cell, "", "", None, numeric=False)
    interval = as_interval(cell)
    if interval is None:
        return CellView(ABSENT, "", "", None, numeric=True)
    text = number(interval.mean, column.decimals)
    span = _span(interval, column.decimals) if isinstance(cell, Interval) else ""
    dots = None if scale is None else _dots(interval, scale, f"{text} ({span})" if span else text)
    return CellView(text, span, standing, dots, numeric=True)


def _dots(cell: Interval, scale: Scale, label: str) -> Dots:
    low = cell.low if math.isfinite(cell.low) else cell.mean
    high = cell.high if math.isfinite(cell.high) else cell.mean
    mean = 100 * scale.place(cell.mean)
    return Dots(mean, 100 * scale.place(low), 100 * scale.place(high), label)


def _span(interval: Interval, decimals: int) -> str:
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    # "-3–-1" is unreadable.
    joint = " to " if interval.low < 0 else "–"
    return f"{number(interval.low, decimals)}{joint}{number(interval.high, decimals)}"


def number(value: float, decimals: int) -> str:
    """A number for people: thousands separated, a real minus sign."""
    return f"{value:,.{decimals}f}".replace("-", "−")
