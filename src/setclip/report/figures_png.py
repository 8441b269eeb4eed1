"""The same figures for paper, as PNG: for slides, for print, and where no script runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from setclip.report.canvas import clip_line, encode, new_figure, style
from setclip.report.content import (
    ClassTable,
    Curves,
    Densities,
    JointMap,
    ReportContent,
    ResultTable,
)
from setclip.report.gallery_png import gallery_figure
from setclip.report.palette import LIGHT
from setclip.report.panels import (
    SPLIT_NAMES,
    CurvePanel,
    DensityPanel,
    MapPanel,
    curve_panels,
    density_panels,
    map_panels,
    splits_of,
)
from setclip.report.standings import Scale, as_interval, chance_level, scale_of, standings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MARKERS = {"x": "o", "y": "D"}
# Areas; y lies over x and is smaller, so that a true partner in the same place still shows.
SIZES = {"pool": 10.0, "set": 12.0, "test": 14.0, "pair": 30.0}
SHARE = {"x": 1.0, "y": 0.45}
OPACITIES = {"pool": 0.55, "set": 0.65, "test": 0.85, "pair": 1.0}


def png_figures(content: ReportContent) -> dict[str, bytes]:
    """Every picture the content has, PNG bytes by file name."""
    names = (content.x_name, content.y_name)
    pictures: dict[str, bytes] = {}
    with style():
        for number, table in enumerate(content.tables, start=1):
            for column, measure in enumerate(table.columns):
                scale = scale_of(table, column) if measure.main else None
                if scale is not None:
                    name = f"results-{number}-{column + 1}.png"
                    pictures[name] = encode(_forest(table, column, scale))
        if content.curves is not None and curve_panels(content.curves):
            pictures["curves.png"] = encode(_curves(content.curves))
        if content.joint_map is not None:
            pictures["joint-map.png"] = encode(_joint_map(content.joint_map, names))
        if content.densities is not None:
            pictures["density.png"] = encode(_density(content.densities, names))
        for number, gallery in enumerate(content.galleries, start=1):
            if gallery.queries:
                pictures[f"retrieved-{number}.png"] = encode(gallery_figure(gallery, names))
        if content.classes is not None:
            pictures["classes.png"] = encode(_classes(content.classes))
    return pictures


def _forest(table: ResultTable, column: int, scale: Scale) -> Figure:
    measure = table.columns[column]
    marks = standings(table, column)
    figure = new_figure(7.5, 0.9 + 0.3 * len(table.rows))
    axes = figure.add_subplot()
    chance = chance_level(table, column)
    if chance is not None:
        axes.axvline(chance, color=LIGHT["faint"], linewidth=0.8, linestyle=":")
    for height, (row, mark) in enumerate(zip(table.rows, marks, strict=True)):
        cell = as_interval(row.cells[column])
        if cell is None:
            continue
        colour = LIGHT["good"] if "this run" in row.flags else LIGHT["ink"]
        if not row.competes:
            colour = LIGHT["faint"]
        if cell.high > cell.low:
            axes.plot([cell.low, cell.high], [height, height], color=colour, linewidth=1.6)
        axes.plot(cell.mean, height, "o" if row.competes else "D", color=colour, markersize=5)
        weight = "bold" if mark == "best" else "normal"
        text = f"{cell.mean:.{measure.decimals}f}"
        axes.annotate(
            text, (1.01, height), xycoords=("axes fraction", "data"), va="center", weight=weight
        )
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(len(table.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(table.rows)), [clip_line(row.method, 40) for row in table.rows])
    axes.tick_params(axis="y", colors=LIGHT["ink"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LIGHT["line"], linewidth=0.6)
    axes.set_axisbelow(True)
    unit = f" ({measure.unit})" if measure.unit else ""
    axes.set_title(clip_line(f"{table.title}: {measure.name}{unit}", 90), loc="left", fontsize=10)
    return figure


def _curves(curves: Curves) -> Figure:
    panels = curve_panels(curves)
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    figure = new_figure(3.2 * across, 2.1 * down)
    for place, panel in enumerate(panels, start=1):
        _curve(figure.add_subplot(down, across, place), panel, curves.chosen_step)
    return figure


def _curve(axes: Axes, panel: CurvePanel, chosen: int | None) -> None:
    colour = LIGHT["good"] if panel.is_criterion else LIGHT["ink"]
    if chosen is not None:
        axes.axvline(chosen, color=LIGHT["good"], linewidth=0.9, linestyle=":")
    axes.plot(panel.steps, panel.values, color=colour, linewidth=1.2)
    if panel.logarithmic:
        axes.set_yscale("log")
        # The default labels are formulas, and formulas are off.
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    axes.grid(axis="y", color=LIGHT["line"], linewidth=0.6)
    axes.set_title(clip_line(panel.name, 40), loc="left", fontsize=9, weight="bold")
    axes.set_title(panel.detail, loc="right", fontsize=8, color=LIGHT["muted"])


def _joint_map(joint: JointMap, names: tuple[str, str]) -> Figure:
    panels = map_panels(joint)
    figure = new_figure(5.2 * len(panels), 5.7)
    for place, panel in enumerate(panels, start=1):
        _map(figure.add_subplot(1, len(panels), place), panel)
    handles = [_handle(side, name) for side, name in zip("xy", names, strict=True)]
    handles += [_handle("", SPLIT_NAMES[s], SIZES[s], OPACITIES[s]) for s in splits_of(joint)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _handle(side: str, label: str, size: float = 25.0, opacity: float = 1.0) -> Line2D:
    from matplotlib.lines import Line2D

    colour = LIGHT[side] if side else LIGHT["ink"]
    return Line2D(
        [], [], color=colour, marker=MARKERS.get(side, "o"), linestyle="", alpha=opacity,
        markersize=math.sqrt(size), label=clip_line(label, 24),
    )  # fmt: skip


def _map(axes: Axes, panel: MapPanel) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(list(panel.lines), colors=LIGHT["faint"], linewidths=0.6))
    for group in panel.groups:
        axes.scatter(
            group.points[:, 0],
            group.points[:, 1],
            s=SIZES[group.split] * SHARE[group.side],
            marker=MARKERS[group.side],
            color=LIGHT[group.side]
            if group.colours is None
            else [LIGHT[name] for name in group.colours],
            alpha=OPACITIES[group.split],
            edgecolors="white" if group.split == "pair" else "none",
            linewidths=0.6,
            zorder=2,
        )
    axes.set_xlim(panel.x_range)
    axes.set_ylim(panel.y_range)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_title(clip_line(panel.title, 60), loc="left", fontsize=10, weight="bold")
    axes.set_xlabel(clip_line(panel.how, 90), fontsize=8)
    if panel.classes:
        axes.legend(
            handles=[_class_handle(label, LIGHT[name]) for label, name in panel.classes.items()],
            loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4, frameon=False, fontsize=8,
            handletextpad=0.1,
        )  # fmt: skip


def _class_handle(label: str, colour: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker="s", linestyle="", label=clip_line(label, 18))


def _classes(table: ClassTable) -> Figure:
    counts, labels = table.confusion.counts, table.confusion.labels
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(2.2 + 0.42 * (len(labels) + 1), 1.3 + 0.34 * len(labels))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=_ramp(), vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.6 else LIGHT["ink"]
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=colour)
    names = [clip_line(label, 22) for label in labels]
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(names) + 1), [*names, "other"], rotation=45, ha="right")
    axes.set_ylabel("true")
    axes.set_xlabel("found")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _ramp() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ["white", LIGHT["good"]])


def _density(densities: Densities, names: tuple[str, str]) -> Figure:
    panels = density_panels(densities)
    figure = new_figure(4.6 * len(panels), 4.9)
    for place, panel in enumerate(panels, start=1):
        _density_panel(figure.add_subplot(1, len(panels), place), panel)
    handles = [_handle(side, name) for side, name in zip("xy", names, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _density_panel(axes: Axes, panel: DensityPanel) -> None:
    span = (panel.low, panel.high)
    axes.plot(span, span, color=LIGHT["faint"], linewidth=0.8)
    for side, points in (("x", panel.x), ("y", panel.y)):
        axes.scatter(
            points[:, 0], points[:, 1], s=9, marker=MARKERS[side], color=LIGHT[side], alpha=0.5,
            linewidths=0,
        )  # fmt: skip
    axes.set_xlim(span)
    axes.set_ylim(span)
    axes.set_aspect("equal")
    axes.grid(color=LIGHT["line"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("log density under own modality")
    axes.set_ylabel("under the other modality")
    axes.set_title(panel.title, loc="left", fontsize=10, weight="bold")
    axes.set_title(panel.detail, loc="right", fontsize=7.5, color=LIGHT["muted"])
