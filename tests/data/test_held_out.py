"""The test of a run in words."""

from __future__ import annotations

import pytest

from setclip.data.held_out import HeldOut, held_out_about


def test_a_gallery_of_one_a_group_says_why_it_is_smaller() -> None:
    line = HeldOut(1040, 4, grouped=True).describe()
    assert line.startswith("Held out: 1,040 pairs, 4 of them in the gallery: one of each group")
    assert "trained" not in line
    assert HeldOut(5, 5, grouped=True).describe() == "Held out: 5 pairs, all in the gallery."


def test_what_is_left_out_is_counted() -> None:
    line = HeldOut(5, 5, left_out=(0, 3, 0)).describe()
    assert "Neither trained on nor tested: 0 pairs, 3 unpaired x and 0 unpaired y" in line


def test_nothing_held_out_says_why() -> None:
    assert HeldOut(why="no pair").describe() == "Nothing is held out: no pair."


@pytest.mark.parametrize(("pairs", "expected"), [(9, 0), (10, 2), (14, 3), (0, 0)])
def test_a_share_of_less_than_two_pairs_is_none(pairs: int, expected: int) -> None:
    assert held_out_about(pairs, 0.2) == expected
