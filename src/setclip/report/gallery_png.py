"""The gallery of retrieved items for paper."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from setclip.report.canvas import clip_line, new_figure
from setclip.report.content import FloatArray, Gallery, Item, Query, Retrieved
from setclip.report.palette import LIGHT
from setclip.report.structures import both_ends, trace_pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A long gallery is for the page; a picture of it stays on one slide.
GALLERY_ROWS = 8
GALLERY_TILES = 6


def gallery_figure(gallery: Gallery, names: tuple[str, str]) -> Figure:
    """One row a query: what was asked, and what came back."""
    queries = gallery.queries[:GALLERY_ROWS]
    tiles = min(GALLERY_TILES, max(len(query.results) for query in queries)) + 1
    figure = new_figure(1.5 * tiles, 1.35 * len(queries) + 0.4)
    asked, found = names if gallery.asks == "x" else names[::-1]
    figure.suptitle(
        clip_line(f"{asked} → {found}", 90), x=0.01, ha="left", fontsize=10, weight="bold"
    )
    grid = figure.add_gridspec(len(queries), tiles)
    answer = "y" if gallery.asks == "x" else "x"
    for line, query in enumerate(queries):
        axes = figure.add_subplot(grid[line, 0])
        _tile(axes, query.item, _rank_text(query), LIGHT[gallery.asks], 1.2)
        for place, result in enumerate(query.results[: tiles - 1], start=1):
            axes = figure.add_subplot(grid[line, place])
            _tile(axes, result.item, *_frame(result, place, answer))
    return figure


def _rank_text(query: Query) -> str:
    return "" if query.rank is None else f"partner at rank {query.rank:,}"


def _frame(result: Retrieved, place: int, answer: str) -> tuple[str, str, float]:
    """Label, colour and line width around one retrieved item."""
    if result.correct:
        return f"{place}  true partner", LIGHT["good"], 2.0
    return str(place), LIGHT[f"{answer}-soft"], 1.0


def _tile(axes: Axes, item: Item, label: str, colour: str, width: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=width)
    axes.set_title(label, fontsize=7, color=LIGHT["muted"], loc="left", pad=3)
    if item.thumbnail is not None:
        axes.imshow(_pixels(item.thumbnail))
        return
    axes.set(xlim=(0, 1), ylim=(0, 1))
    if item.structure is not None:
        _draw_chain(axes, item.structure)
        return
    if item.sequence:
        letters = textwrap.wrap(both_ends(item.sequence, 64), 14)
        axes.text(
            0.5, 0.5, "\n".join(letters), fontsize=6, family="monospace", ha="center", va="center"
        )
        axes.set_xlabel(clip_line(item.caption, 24), fontsize=6)
        return
    lines = textwrap.wrap(clip_line(item.caption, 110), 17)[:6]
    axes.text(0.5, 0.5, "\n".join(lines), fontsize=7, ha="center", va="center")


def _draw_chain(axes: Axes, structure: FloatArray) -> None:
    points = min(axes.get_window_extent().width, axes.get_window_extent().height)
    points *= 72 / axes.figure.dpi
    axes.set_aspect("equal")
    for order, piece in enumerate(trace_pieces(structure)):
        for line, colour, width in (
            (piece.points[1:-1], "white", piece.rim),
            (piece.points, piece.colour, piece.width),
        ):
            axes.plot(
                *line.T, color=colour, linewidth=width * points, zorder=2 + order,
                solid_capstyle="butt" if colour == "white" else "round", solid_joinstyle="round",
            )  # fmt: skip


def _pixels(encoded: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
    return np.asarray(on_white.convert("RGB"))
