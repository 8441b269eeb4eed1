"""The printed figures: one for each picture of the content, whatever its captions hold."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import numpy as np
from PIL import Image

from setclip.report import Curve, Curves, Gallery, Item, JointMap, MapView, Query, ReportContent
from setclip.report.canvas import clip_line
from setclip.report.figures_png import png_figures
from setclip.report.palette import LIGHT

NAMES = [
    "classes.png",
    "curves.png",
    "density.png",
    "joint-map.png",
    "results-1-1.png",
    "retrieved-1.png",
    "retrieved-2.png",
]


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def holds(png: bytes, colour: str) -> bool:
    """Whether some pixel is nearly of the colour; thin lines are blended with the white around."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(pixels(png).astype(int) - rgb).sum(axis=2) < 60).any())


def test_every_section_with_a_picture_gets_one(content: ReportContent) -> None:
    pictures = png_figures(content)
    assert sorted(pictures) == NAMES
    for picture in pictures.values():
        assert pixels(picture).shape[1] > 100
    for name in ("joint-map.png", "density.png"):
        assert holds(pictures[name], LIGHT["x"])
        assert holds(pictures[name], LIGHT["y"])
    assert holds(pictures["retrieved-1.png"], LIGHT["good"])
    assert not holds(pictures["retrieved-2.png"], LIGHT["good"])
    red, green, blue = np.moveaxis(pixels(pictures["curves.png"]).astype(int), 2, 0)
    assert (green - np.maximum(red, blue)).max() > 20, "the criterion and the chosen step are green"


def test_nothing_to_draw_is_no_picture() -> None:
    bare = ReportContent("t", "v", curves=Curves(), galleries=(Gallery("x", ()),))
    assert png_figures(bare) == {}


def test_any_caption_can_be_drawn(decorated: Callable[..., ReportContent]) -> None:
    words = "$\\frac{1}{ 🪿 שלום\n\ud83d \x00 %s {} "
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(png_figures(decorated(lambda word: words + word))) == NAMES


def test_settings_do_not_leak(content: ReportContent) -> None:
    before = dict(matplotlib.rcParams)
    png_figures(replace(content, tables=(), galleries=(), joint_map=None, densities=None))
    assert dict(matplotlib.rcParams) == before


def test_a_diverged_run_still_has_pictures() -> None:
    nan = np.full((2, 2), np.nan)
    content = ReportContent(
        "t",
        "v",
        curves=Curves({"clip": Curve(np.arange(2), np.array([np.nan, np.inf]))}),
        joint_map=JointMap((Item("a"),) * 2, (Item("b"),) * 2, after=MapView(nan, nan)),
        galleries=(Gallery("x", (Query(Item("nothing found"), ()),)),),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(png_figures(content)) == ["curves.png", "joint-map.png", "retrieved-1.png"]


def test_long_text_is_cut_to_one_line() -> None:
    assert clip_line("a\nb\tc\x00d", 20) == "a b c d"
    assert clip_line("word " * 10, 12) == "word word w…"
