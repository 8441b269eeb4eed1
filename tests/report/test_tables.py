"""Cells as they are printed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from setclip.evaluation import Interval
from setclip.report import Column, ReportContent, ResultTable, Row, tables
from setclip.report.standings import Scale
from setclip.report.tables import CellView, number, table_view

Content = Callable[..., ReportContent]


def printed(cell: object, decimals: int = 1) -> CellView:
    table = ResultTable("t", (Column("m", decimals=decimals, main=True),), (Row("a", (cell,)),))
    return table_view(table).rows[0].cells[0]


def test_an_interval_prints_its_mean_and_its_ends() -> None:
    cell = printed(Interval(40.12, 37.96, 42.4))
    assert (cell.text, cell.span) == ("40.1", "38.0–42.4")


def test_a_bare_number_has_no_ends() -> None:
    cell = printed(1234.5, decimals=0)
    assert (cell.text, cell.span, cell.numeric) == ("1,234", "", True)


def test_text_is_kept() -> None:
    cell = printed("closed form")
    assert (cell.text, cell.numeric, cell.dots) == ("closed form", False, None)


@pytest.mark.parametrize("cell", [None, math.nan, Interval(math.nan, 1, 2)])
def test_what_was_not_measured_is_a_dash(cell: object) -> None:
    assert printed(cell).text == "–"


def test_negative_intervals_stay_readable() -> None:
    assert printed(Interval(-2, -3, -1)).span == "−3.0 to −1.0"
    assert number(-1234.56, 1) == "−1,234.6"


def test_an_interval_without_ends_is_a_dot() -> None:
    cell = printed(Interval(4, math.nan, math.nan))
    assert cell.span == ""
    assert cell.dots is not None
    assert cell.dots.low == cell.dots.mean == cell.dots.high


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(99.93, 99.96, ("99.930", "99.960")), (0, 1500, ("0", "1,500")), (0.2, 0.9, ("0.20", "0.90"))],
)
def test_the_ends_of_an_axis_differ(low: float, high: float, expected: tuple[str, str]) -> None:
    assert tables._ends(Scale(low, high)) == expected


def test_dots_lie_where_the_values_are(content: ReportContent) -> None:
    view = table_view(content.tables[0])
    heading = view.headings[0]
    assert heading.ends == ("0", "55")
    assert heading.chance == pytest.approx(100 * 3.2 / 55)
    own = view.rows[3].cells[0].dots
    assert own is not None
    assert (own.low, own.mean, own.high) == pytest.approx((2210 / 55, 2430 / 55, 2650 / 55))
    assert own.label == "24.3 (22.1–26.5)"
    assert not view.headings[1].drawn
    assert view.rows[3].cells[1].dots is None


def test_marks_reach_the_cells(content: ReportContent) -> None:
    view = table_view(content.tables[0])
    assert [row.cells[0].standing for row in view.rows] == ["", "tied", "", "best", "", ""]
    assert [row.cells[1].standing for row in view.rows] == ["", "", "", "best", "", ""]
    assert (view.has_winners, view.has_intervals, view.has_chance) == (True, True, True)


def test_a_table_of_bare_numbers_needs_no_legend() -> None:
    table = ResultTable("t", (Column("m"),), (Row("a", (1.0,)), Row("b", (2.0,))))
    view = table_view(table)
    assert (view.has_winners, view.has_intervals, view.has_chance) == (False, False, False)
