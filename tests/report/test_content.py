"""Content whose parts do not fit each other is refused, with the value in the message."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.report import Column, Curve, Item, JointMap, MapView, ResultTable, Row

TWO = MapView(np.zeros((2, 2)), np.zeros((1, 2)))
ITEMS = ((Item("a"), Item("b")), (Item("c"),))


def test_a_row_with_too_few_cells_is_named() -> None:
    with pytest.raises(ValueError, match=r"row 'ridge' has 1 cells for 2 columns"):
        ResultTable("t", (Column("a"), Column("b")), (Row("ridge", (1.0,)),))


def test_coordinates_must_match_the_items() -> None:
    with pytest.raises(ValueError, match=r"after\.y has shape \[3, 2\] for 1 y items"):
        JointMap(*ITEMS, after=MapView(np.zeros((2, 2)), np.zeros((3, 2))))
    with pytest.raises(ValueError, match=r"before\.x has shape \[2, 3\]"):
        JointMap(*ITEMS, after=TWO, before=MapView(np.zeros((2, 3)), np.zeros((1, 2))))


@pytest.mark.parametrize("row", [[2, 0], [0, 1], [-1, 0]])
def test_links_outside_the_items_are_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match=r"matches\[1\] is .* 2 x items and 1 y items"):
        JointMap(*ITEMS, after=TWO, matches=np.array([[0, 0], row]))


@pytest.mark.parametrize("links", [np.zeros((2, 3), int), np.zeros(2, int), np.zeros((1, 2))])
def test_links_must_be_rows_of_two_whole_numbers(links: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pairs is .* expected whole numbers"):
        JointMap(*ITEMS, after=TWO, pairs=links)


@pytest.mark.parametrize(("steps", "values"), [((3,), (2,)), ((2, 2), (2, 2))])
def test_a_curve_is_two_vectors(steps: tuple[int, ...], values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two vectors of one length"):
        Curve(np.zeros(steps, int), np.zeros(values))


def test_a_thumbnail_must_be_an_encoded_picture() -> None:
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        Item("svg", b"<svg onload=alert(1)>")


def test_a_structure_must_be_positions() -> None:
    with pytest.raises(ValueError, match=r"structure of '1abc' has shape \[2, 4, 3\]"):
        Item("1abc", structure=np.zeros((2, 4, 3)))
