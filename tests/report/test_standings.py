"""Who is marked as best, and the axis on which intervals are drawn."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from setclip.evaluation import Interval
from setclip.report import Column, ResultTable, Row
from setclip.report.standings import Scale, chance_level, scale_of, standings


def one_column(
    *cells: object, better: Literal["higher", "lower"] | None = "higher", **flags: str
) -> ResultTable:
    """A table of one column; `flags` names the flag of a row by its method, a, b, c."""
    rows = tuple(
        Row(name, (cell,), (flags[name],) if name in flags else ())
        for name, cell in zip("abcdef", cells, strict=False)
    )
    return ResultTable("t", (Column("m", better=better),), rows)


def test_overlapping_intervals_tie_with_the_best() -> None:
    table = one_column(Interval(5, 4, 6), Interval(3, 2, 4.5), Interval(2, 1, 3))
    assert standings(table, 0) == ["best", "tied", ""]


def test_lower_can_be_better() -> None:
    table = one_column(50.0, 47.0, Interval(60, 40, 80), better="lower")
    assert standings(table, 0) == ["", "best", "tied"]


def test_references_chance_and_text_never_win() -> None:
    table = one_column(99.0, 3.0, "many", None, 5.0, math.nan, a="reference", b="chance")
    assert standings(table, 0) == ["", "", "", "", "", ""]
    table = one_column(99.0, 3.0, 4.0, 5.0, a="reference", b="chance")
    assert standings(table, 0) == ["", "", "", "best"]


def test_a_column_without_direction_has_no_winner() -> None:
    assert standings(one_column(1.0, 2.0, better=None), 0) == ["", ""]


def test_equal_means_share_the_place() -> None:
    assert standings(one_column(2.0, 2.0, 1.0), 0) == ["best", "best", ""]


def test_the_axis_starts_at_zero_if_that_costs_little() -> None:
    scale = scale_of(one_column(Interval(20, 18, 22), 48.0), 0)
    assert scale == Scale(0.0, 50.0)


def test_the_axis_does_not_start_at_zero_for_values_far_from_it() -> None:
    scale = scale_of(one_column(96.2, 98.9), 0)
    assert scale == Scale(96.0, 99.0)


def test_no_axis_without_numbers() -> None:
    assert scale_of(one_column("a", None, math.nan), 0) is None


@example([0.0, 5e-324])
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_the_axis_holds_every_value(values: list[float]) -> None:
    scale = scale_of(one_column(*values), 0)
    assert scale is not None
    assert scale.low < scale.high
    slack = 1e-9 * (abs(scale.low) + abs(scale.high))
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert all(0 <= scale.place(value) <= 1 for value in values)


def test_places_are_linear_and_clipped() -> None:
    scale = Scale(10, 20)
    assert [scale.place(v) for v in (10, 12.5, 20)] == pytest.approx([0, 0.25, 1])
    assert scale.place(25) == 1
    assert scale.place(math.inf) == 1


def test_chance_is_read_from_its_row() -> None:
    assert chance_level(one_column(5.0, Interval(3.2, 3, 4), b="chance"), 0) == 3.2
    assert chance_level(one_column(5.0, 3.2), 0) is None
