"""The page of a benchmark: quality against pairs, differences, cost, and every number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from setclip.benchmark.replaced import K, Replaced, chosen_method, in_pairs, pairs_replaced
from setclip.benchmark.replaced import averages as averaged
from setclip.benchmark.suites import BASELINE
from setclip.benchmark.table import Block, MethodRow, by_block, headings, printed
from setclip.data.atomic import write_text
from setclip.evaluation.intervals import Interval
from setclip.report.build import require_extra
from setclip.report.inline_code import inline_code

if TYPE_CHECKING:
    from markupsafe import Markup

COST_AT = 50
"""Pairs at which cost is drawn against quality, or the nearest there are."""

# Okabe and Ito's colours, which colour-blind readers tell apart; signs for those who see none.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b")
SIGNS = {"circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "cross": "✚"}


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str
    symbol: str


@dataclass(frozen=True)
class Panel:
    """One condition of one data set."""

    title: str
    figures: list[tuple[str, Markup]]
    blocks: list[tuple[Block, list[MethodRow]]]


@dataclass(frozen=True)
class Worth:
    """What unpaired data were worth to one method.

    Attributes:
        method: Its label.
        figures: One a condition.
        averages: Condition, pairs and what they were worth, in words.
    """

    method: str
    figures: list[tuple[str, Markup]]
    averages: list[tuple[str, int, str]]


def curves_page(
    rows: Sequence[MethodRow],
    directory: str | Path,
    *,
    name: str = "curves",
    title: str = "Benchmark",
    command: str = "",
    note: str = "",
    baseline: str = BASELINE,
    worth_of: str | None = None,
) -> Path:
    """Write ``<name>.html``, one file that opens offline.

    Args:
        rows: From :func:`setclip.benchmark.summarise`.
        directory: Made if absent.
        name: Of the file.
        title: Heading of the page.
        command: What makes the benchmark again.
        note: What else to say at the top, in paragraphs.
        baseline: Label of the method that the differences of the tables were taken to.
        worth_of: Label of the method whose gain from unpaired data is told in pairs; by default
            `auto`, or the best one that uses unpaired data.

    Returns:
        Path of the page.

    Raises:
        ImportError: The report extra is not installed.
    """
    require_extra()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    looks = _looks(rows)
    environment = Environment(
        loader=PackageLoader("setclip.benchmark", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["inline_code"] = inline_code
    page = environment.get_template("curves.html").render(
        title=title,
        command=command,
        legend=[(name, look.colour, SIGNS[look.symbol]) for name, look in looks.items()],
        script=Markup(get_plotlyjs()),
        note=note.split("\n\n") if note else (),
        worth=_worth(rows, worth_of or chosen_method(rows)),
        panels=[_panel(blocks, looks, baseline) for blocks in _conditions(rows)],
        headings=headings(baseline),
        printed=printed,
    )
    path = Path(directory) / f"{name}.html"
    write_text(path, page)
    return path


def _looks(rows: Sequence[MethodRow]) -> dict[str, Look]:
    names = dict.fromkeys(row.method for row in rows if row.role == "method")
    return {n: Look(c, s) for n, c, s in zip(names, cycle(COLOURS), cycle(SIGNS), strict=False)}


def _conditions(rows: Sequence[MethodRow]) -> list[list[tuple[Block, list[MethodRow]]]]:
    """Blocks by data set and condition, fewest pairs first."""
    found: dict[tuple[str, str, int], list[tuple[Block, list[MethodRow]]]] = {}
    for block, body in by_block(rows).items():
        found.setdefault((block.dataset, block.condition, block.set_size), []).append((block, body))
    return [
        sorted(blocks, key=lambda each: float("inf") if each[0].pairs == "all" else each[0].pairs)
        for blocks in found.values()
    ]


def _panel(
    blocks: list[tuple[Block, list[MethodRow]]], looks: dict[str, Look], baseline: str
) -> Panel:
    block = blocks[0][0]
    counts = [str(b.pairs) for b, _ in blocks]
    alone = any(row.over_alone for _, body in blocks for row in body)
    against = "the best on pairs alone" if alone else baseline
    figures = [
        (f"R@{K} against pairs", _quality(blocks, counts, looks)),
        (f"R@{K} over {against}, paired", _differences(blocks, counts, looks, alone)),
    ]
    counted = [each for each in blocks if each[0].pairs != "all"]
    if counted:
        at, body = min(counted, key=lambda each: abs(int(each[0].pairs) - COST_AT))
        figures.append((f"R@{K} against seconds of a fit, {at.pairs} pairs", _cost(body, looks)))
    return Panel(f"{block.dataset}: {block.kind}", figures, blocks)


def _quality(
    blocks: list[tuple[Block, list[MethodRow]]], counts: list[str], looks: dict[str, Look]
) -> Markup:
    traces = [
        _with_interval(name, look, [_recall(body, name) for _, body in blocks], counts)
        for name, look in looks.items()
    ]
    for role, dash in (("chance", "dot"), ("reference", "dash")):
        level = [next((r for r in body if r.role == role), None) for _, body in blocks]
        values = [r.recall[K].mean if r and r.recall else None for r in level]
        name = next((r.method for r in level if r), role)
        traces.append(
            {
                "x": counts,
                "y": values,
                "name": name,
                "mode": "lines+markers" if len(counts) == 1 else "lines",
                "marker": {"symbol": "line-ew-open", "size": 30, "color": "#9aa2ac"},
                "line": {"dash": dash, "color": "#9aa2ac", "width": 1.5},
                "hovertemplate": f"{name}: %{{y:.1f}}<extra></extra>",
            }
        )
    return _figure(traces, _pairs_axis(counts), {"rangemode": "tozero"})


def _differences(
    blocks: list[tuple[Block, list[MethodRow]]],
    counts: list[str],
    looks: dict[str, Look],
    alone: bool,
) -> Markup:
    traces = []
    for name, look in looks.items():
        found = [next((r for r in body if r.method == name), None) for _, body in blocks]
        over = [(r.over_alone if alone else r.difference) if r else None for r in found]
        traces.append(_with_interval(name, look, over, counts))
    return _figure(traces, _pairs_axis(counts), {"zerolinecolor": "#626b76"})


def _cost(body: list[MethodRow], looks: dict[str, Look]) -> Markup:
    traces = [
        {
            **_with_interval(row.method, looks[row.method], [row.recall[K]], [row.seconds.mean]),
            "hovertemplate": f"{row.method}: %{{y:.1f}} in %{{x:.2g}} s<extra></extra>",
        }
        for row in body
        if row.method in looks and row.recall and row.seconds
    ]
    return _figure(traces, {"type": "log", "title": {"text": "seconds"}}, {"rangemode": "tozero"})


def _worth(rows: Sequence[MethodRow], method: str | None) -> Worth | None:
    found = pairs_replaced(rows, method) if method else []
    if not found or not method:
        return None
    kinds = dict.fromkeys(each.kind for each in found)
    figures = [(kind, _equivalents([e for e in found if e.kind == kind])) for kind in kinds]
    averages = [
        (kind, pairs, f"{in_pairs(worth, beyond)}, over {sets} data set{'s'[: sets > 1]}")
        for (kind, pairs), (worth, sets, beyond) in averaged(found).items()
    ]
    return Worth(method, figures, averages)


def _equivalents(found: Sequence[Replaced]) -> Markup:
    """Pairs that pairs alone would take, by data set and in the mean, against the pairs given."""
    counts = sorted({each.pairs for each in found})
    axis = [str(count) for count in counts]
    names = dict.fromkeys(each.dataset for each in found)
    traces = []
    for name, colour, symbol in zip(names, cycle(COLOURS), cycle(SIGNS), strict=False):
        own = {each.pairs: each for each in found if each.dataset == name}
        shown = [own.get(count) for count in counts]
        trace = _with_interval(
            name, Look(colour, symbol), [e.worth if e else None for e in shown], axis
        )
        # Open signs: more than the most pairs that were measured.
        symbols = [f"{symbol}-open" if e and e.beyond else symbol for e in shown]
        traces.append(trace | {"marker": trace["marker"] | {"symbol": symbols}})
    averages = {pairs: worth for (_, pairs), (worth, *_) in averaged(found).items()}
    traces.append(
        {
            "x": axis,
            "y": [averages[count] for count in counts],
            "name": "mean",
            "mode": "lines",
            "line": {"color": "#1b1f24", "width": 4},
            "opacity": 0.35,
            "hovertemplate": "mean: %{y:.0f} pairs<extra></extra>",
        }
    )
    for times, dash in ((1, "dot"), (2, "dash")):
        name = "nothing replaced" if times == 1 else "worth twice the pairs"
        line = {"dash": dash, "color": "#9aa2ac", "width": 1.5}
        level = [times * count or None for count in counts]
        common = {"x": axis, "name": name, "mode": "lines", "line": line}
        traces.append({**common, "y": level, "hovertemplate": f"{name}<extra></extra>"})
    # Below one pair there is nothing to read.
    top = max(max(each.worth.high for each in found), 2 * counts[-1], 10)
    y: dict[str, Any] = {"type": "log", "dtick": "D2", "range": [0, math.log10(top) + 0.1]}
    y["title"] = {"text": "pairs alone"}
    return _figure(traces, _pairs_axis(axis), y, legend=True)


def _recall(body: list[MethodRow], method: str) -> Interval | None:
    row = next((r for r in body if r.method == method), None)
    return row.recall[K] if row and row.recall else None


def _with_interval(
    name: str, look: Look, intervals: Sequence[Interval | None], x: Sequence[str | float]
) -> dict[str, Any]:
    return {
        "x": list(x),
        "y": [i.mean if i else None for i in intervals],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [i.high - i.mean if i else None for i in intervals],
            "arrayminus": [i.mean - i.low if i else None for i in intervals],
            "thickness": 1,
            "width": 3,
        },
        "name": name,
        "mode": "lines+markers",
        "cliponaxis": False,
        "line": {"color": look.colour, "width": 1.8},
        "marker": {"symbol": look.symbol, "size": 8, "color": look.colour},
        "customdata": [[i.low, i.high] if i else [None, None] for i in intervals],
        "hovertemplate": f"{name}: %{{y:.1f}} [%{{customdata[0]:.1f}}, %{{customdata[1]:.1f}}]"
        "<extra></extra>",
    }


def _pairs_axis(counts: list[str]) -> dict[str, Any]:
    # Numbers of pairs double or so from one to the next, and there is a zero: equal steps.
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": counts,
        "title": {"text": "pairs"},
    }


def _figure(
    traces: list[dict[str, Any]], x: dict[str, Any], y: dict[str, Any], *, legend: bool = False
) -> Markup:
    import plotly.io
    from markupsafe import Markup

    layout = {
        "template": "plotly_white",
        "showlegend": legend,
        "legend": {"orientation": "h", "y": -0.25, "font": {"size": 11}},
        "height": 420 if legend else 330,
        "margin": {"l": 45, "r": 10, "t": 10, "b": 45},
        "xaxis": x,
        "yaxis": y,
    }
    figure = {"data": [{"type": "scatter", **trace} for trace in traces], "layout": layout}
    return Markup(
        plotly.io.to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            config={"displayModeBar": False, "responsive": True},
        )
    )
