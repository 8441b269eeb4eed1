"""The interactive figures, as Plotly JSON for the script of the page to draw.

No word of the user enters a Plotly figure: Plotly reads text as a small markup with links. Titles,
names and captions stand in the page around the figures, escaped there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from setclip.report.content import Curves, Densities, JointMap
from setclip.report.panels import (
    CurvePanel,
    DensityPanel,
    MapGroup,
    MapPanel,
    curve_panels,
    density_panels,
    map_panels,
)

# x and y differ in shape as well as in colour, for print and for eyes that do not tell them apart.
SYMBOLS = {"x": "circle", "y": "diamond"}
# y lies over x: smaller, so that a true partner in the same place still shows.
SIZES = {"pool": 6, "set": 6, "test": 7, "pair": 9}
SHARE = {"x": 1.0, "y": 0.7}
OPACITIES = {"pool": 0.55, "set": 0.65, "test": 0.85, "pair": 1.0}


def curve_figures(curves: Curves) -> list[str]:
    """One figure for each of `curve_panels(curves)`, as JSON."""
    return [_curve(panel, curves.chosen_step) for panel in curve_panels(curves)]


def map_figures(joint: JointMap) -> list[str]:
    """One figure for each of `map_panels(joint)`, as JSON.

    `customdata` of a point is its row among the items, `meta` of a trace its side and split.
    """
    return [_map(panel) for panel in map_panels(joint)]


def density_figures(densities: Densities) -> list[str]:
    """One figure for each of `density_panels(densities)`, as JSON."""
    return [_density(panel) for panel in density_panels(densities)]


def _figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> str:
    import plotly.graph_objects as go
    import plotly.io

    shared = {
        "template": "none",
        "showlegend": False,
        # Keeps the reader's zoom when the page redraws for another theme.
        "uirevision": "kept",
        "margin": {"l": 10, "r": 10, "t": 10, "b": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--muted)", "size": 11},
        "hoverlabel": {
            "bgcolor": "var(--paper)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
        },
    }
    return str(plotly.io.to_json(go.Figure(data=traces, layout={**shared, **layout})))


def _axis(**settings: Any) -> dict[str, Any]:
    return {
        "gridcolor": "var(--line)",
        "zeroline": False,
        "linecolor": "var(--line)",
        "automargin": True,
        **settings,
    }


def _curve(panel: CurvePanel, chosen: int | None) -> str:
    colour = "var(--good)" if panel.is_criterion else "var(--ink)"
    trace = {
        "type": "scatter",
        "mode": "lines" if len(panel.steps) > 1 else "markers",
        "x": panel.steps,
        "y": panel.values,
        "line": {"color": colour, "width": 1.6},
        "marker": {"color": colour},
        "hovertemplate": "step %{x:,}<br>%{y:.4g}<extra></extra>",
    }
    layout: dict[str, Any] = {
        "xaxis": _axis(showgrid=False, nticks=5, showline=True),
        "yaxis": _axis(type="log" if panel.logarithmic else "linear", nticks=5),
        "hovermode": "x",
    }
    if panel.logarithmic:
        layout["yaxis"] |= {"dtick": 1, "exponentformat": "none"}
    if chosen is not None:
        layout["shapes"] = [
            {
                "type": "line",
                "x0": chosen,
                "x1": chosen,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "var(--good)", "width": 1, "dash": "dot"},
            }
        ]
    return _figure([trace], layout)


def _map(panel: MapPanel) -> str:
    hidden = {"visible": False, "fixedrange": False}
    traces = [_lines(panel)] if len(panel.lines) else []
    traces += [_points(group) for group in panel.groups]
    layout = {
        "xaxis": {**hidden, "range": panel.x_range},
        "yaxis": {**hidden, "range": panel.y_range},
        "hovermode": "closest",
        "hoverdistance": 12,
    }
    return _figure(traces, layout)


def _lines(panel: MapPanel) -> dict[str, Any]:
    # A NaN row after the two ends of each line lifts the pen.
    ends = np.concatenate([panel.lines, np.full((len(panel.lines), 1, 2), np.nan)], axis=1)
    path = ends.reshape(-1, 2)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": path[:, 0].astype(np.float32),
        "y": path[:, 1].astype(np.float32),
        "line": {"color": "var(--faint)", "width": 0.8},
        "hoverinfo": "skip",
        "meta": {"split": "pair"},
    }


def _points(group: MapGroup) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": group.points[:, 0].astype(np.float32),
        "y": group.points[:, 1].astype(np.float32),
        "customdata": group.rows,
        "meta": {"side": group.side, "split": group.split},
        "marker": {
            "color": f"var(--{group.side})"
            if group.colours is None
            else [f"var(--{name})" for name in group.colours],
            "symbol": SYMBOLS[group.side],
            "size": SIZES[group.split] * SHARE[group.side],
            "opacity": OPACITIES[group.split],
            "line": {"color": "var(--paper)", "width": 1 if group.split == "pair" else 0},
        },
        # The page shows its own card; "none" silences Plotly's label but keeps the event.
        "hoverinfo": "none",
    }


def _density(panel: DensityPanel) -> str:
    span = [panel.low, panel.high]
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": span,
        "y": span,
        "line": {"color": "var(--faint)", "width": 1},
        "hoverinfo": "skip",
    }
    traces = [diagonal]
    for side, points in (("x", panel.x), ("y", panel.y)):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": points[:, 0].astype(np.float32),
                "y": points[:, 1].astype(np.float32),
                "marker": {
                    "color": f"var(--{side})",
                    "symbol": SYMBOLS[side],
                    "size": 5,
                    "opacity": 0.5,
                },
                "hovertemplate": "own %{x:.3g}<br>other %{y:.3g}<extra></extra>",
            }
        )
    layout = {
        "xaxis": _axis(range=span, nticks=6, title={"text": "log density under own modality"}),
        "yaxis": _axis(range=span, nticks=6, title={"text": "under the other modality"}),
        "hovermode": "closest",
    }
    return _figure(traces, layout)
