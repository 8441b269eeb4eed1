"""Drawn chains: the same from every side, small, honest about breaks, and safe to embed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from setclip.report.palette import chain_colour
from setclip.report.structures import both_ends, trace_pieces, trace_svg

SVG = "{http://www.w3.org/2000/svg}"


def coil(n: int, seed: int = 0) -> np.ndarray:
    """A chain of bonds of 3.8 A that wanders without turning back."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(size=(n, 3)), axis=0) + rng.normal(size=3)
    return np.cumsum(3.8 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)


def lines(svg: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(svg).iter(f"{SVG}path") if e.get("stroke") != "#fff"]


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), n=st.integers(30, 200))
def test_a_turned_and_moved_chain_gives_the_same_picture(seed: int, n: int) -> None:
    chain = coil(n, seed)
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    for one, other in zip(trace_pieces(chain), trace_pieces(chain @ turn.T + 50), strict=True):
        np.testing.assert_allclose(one.points, other.points, atol=1e-6)
        assert one.nearness == pytest.approx(other.nearness, abs=1e-6)


def test_a_mirrored_chain_gives_another_picture() -> None:
    chain = coil(80)
    own = np.concatenate([p.points for p in trace_pieces(chain)])
    mirrored = np.concatenate([p.points for p in trace_pieces(chain * [1, 1, -1])])
    assert not np.allclose(own, mirrored, atol=0.01)


def test_the_chain_runs_from_blue_on_the_left_to_orange_on_the_right() -> None:
    straight = np.arange(60)[:, None] * np.array([[0.0, -3.8, 0.0]])
    pieces = sorted(trace_pieces(straight), key=lambda piece: piece.points[0, 0])
    for left, right in pairwise(pieces):
        np.testing.assert_allclose(left.points[-1], right.points[0])
    assert pieces[0].points[0, 0] == pytest.approx(0.04)
    assert pieces[-1].points[-1, 0] == pytest.approx(0.96)
    assert (chain_colour(0), chain_colour(1)) == ("#2b66c4", "#c2631a")
    shades = [int(piece.colour[5:], 16) for piece in (pieces[0], pieces[-1])]
    assert shades[0] > shades[1] + 50, "blue fades"
    assert chain_colour(0.3, paleness=1) == "#ffffff"


def test_nearer_stretches_are_drawn_later_broader_and_darker() -> None:
    pieces = trace_pieces(coil(120, 3))
    nearness = [piece.nearness for piece in pieces]
    assert nearness == sorted(nearness)
    widths = [piece.width for piece in pieces]
    assert widths == sorted(widths)
    assert widths[-1] > 1.5 * widths[0]
    assert all(piece.rim > piece.width for piece in pieces)


def test_breaks_stay_open() -> None:
    chain = coil(60)
    chain[30:] += 40
    chain[45] = np.nan
    joints = [tuple(end) for p in trace_pieces(chain) for end in (p.points[0], p.points[-1])]
    ends = [end for end in joints if joints.count(end) == 1]
    assert len(ends) == 6, "three stretches with two ends each"


@pytest.mark.parametrize("n", [1, 2, 3, 40, 2000])
def test_it_is_small_well_formed_and_says_what_it_is(n: int) -> None:
    svg = trace_svg(coil(n), title='<b>&"1abc_A"', size=90)
    assert len(svg) < 6000
    root = ET.fromstring(svg)
    assert (root.get("width"), root.get("role")) == ("90", "img")
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == f'<b>&"1abc_A": chain of {n:,} residues, from blue to orange'
    for path in lines(svg):
        assert re.fullmatch(r"M\d+ \d+l[-\d ]+", path.get("d", ""))
    assert not re.search("nan|http(?!://www.w3.org/2000/svg)|script", svg)


def test_fewer_pieces_are_fewer_bytes() -> None:
    assert len(trace_svg(coil(300), pieces=12)) < 0.6 * len(trace_svg(coil(300)))


def test_loose_fragments_do_not_make_a_large_drawing() -> None:
    scattered = np.random.default_rng(0).normal(size=(3000, 3)) * 1000
    assert len(trace_svg(scattered)) < 6000
    assert 1 <= len(lines(trace_svg(scattered))) <= 12


@pytest.mark.parametrize("chain", [np.zeros((0, 3)), np.full((5, 3), np.nan)])
def test_nothing_to_draw_is_an_empty_picture(chain: np.ndarray) -> None:
    assert lines(trace_svg(chain)) == []


def test_residues_in_one_place_are_a_dot() -> None:
    (dot,) = trace_pieces(np.zeros((1, 3)))
    assert dot.points.tolist() == [[0.5, 0.5]]
    assert 'l0 0"' in trace_svg(np.zeros((1, 3)))
    for piece in trace_pieces(np.zeros((3, 3))):
        np.testing.assert_allclose(piece.points, 0.5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \[4, 4, 3\], expected \[n, 3\]"):
        trace_svg(np.zeros((4, 4, 3)))


def test_long_sequences_keep_both_ends() -> None:
    assert both_ends("MKTAYIAK", 8) == "MKTAYIAK"
    short = both_ends("M" * 20 + "K" * 20, 12)
    assert (len(short), short) == (12, "MMMMMMM…KKKK")
