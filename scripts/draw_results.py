"""Draw docs/results.svg, the README's figure, from the table of `setclip bench full`.

setclip bench full
python scripts/draw_results.py runs/bench/full.csv
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from setclip.benchmark.suites import DATASETS
from setclip.data.atomic import write_text
from setclip.report.canvas import new_figure, style
from setclip.report.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = Path(__file__).parents[1] / "docs" / "results.svg"
TITLES = {
    "emoji": "Emoji and their names",
    "glosses": "Glosses, two text encoders",
    "openclipart": "Clip art and captions",
    "mdi-icons": "Icons and their names",
}

Numbers = tuple[float, float, float]
"""R@10 and the ends of its interval."""


def best_of(rows: list[dict[str, str]]) -> dict[int, Numbers]:
    """The best of some rows by number of pairs."""
    best: dict[int, Numbers] = {}
    for row in rows:
        if row["role"] == "method" and row["recall@10"]:
            found = tuple(float(row[f"recall@10{end}"]) for end in ("", "_low", "_high"))
            pairs = int(row["pairs"])
            best[pairs] = max(best.get(pairs, (0.0, 0.0, 0.0)), found)
    return best


def draw(axes: Axes, name: str, rows: list[dict[str, str]]) -> None:
    """One data set."""
    own = [row for row in rows if row["dataset"] == name]
    pools = [row for row in own if row["condition"] == "disjoint"]
    in_sets = [row for row in own if row["condition"] == "sets" and row["method"] == "auto"]
    recipe = best_of([row for row in pools if row["method"] == "auto"])
    alone = best_of([row for row in pools if row["alone"] == "1"])
    clip = best_of([row for row in pools if row["method"] == "clip"])
    lines = {
        "auto, sets of 16": (best_of(in_sets), LIGHT["good"], "D"),
        "auto, two pools that share no item": (recipe, LIGHT["x"], "o"),
        "best method on the pairs alone": (alone, LIGHT["muted"], "s"),
        "CLIP-trained head on the pairs": (clip, LIGHT["y"], "^"),
    }
    places = {pairs: place for place, pairs in enumerate(sorted(recipe))}
    for label, (found, colour, sign) in lines.items():
        shown = {places[pairs]: found[pairs] for pairs in sorted(found) if pairs in places}
        means, low, high = zip(*shown.values(), strict=True)
        axes.fill_between(list(shown), low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(list(shown), means, color=colour, marker=sign, markersize=4, label=label)
    every = next(float(row["recall@10"]) for row in own if row["role"] == "reference")
    axes.axhline(every, color=LIGHT["faint"], linestyle="--", label="linear CCA on all pairs")
    chance = next(float(row["recall@10"]) for row in own if row["role"] == "chance")
    axes.axhline(chance, color=LIGHT["faint"], linestyle=":", label="chance")
    axes.set_xticks(list(places.values()), [str(pairs) for pairs in places])
    axes.set_ylim(bottom=0)
    axes.set_title(TITLES[name], fontsize=10)
    axes.set_xlabel("known pairs")


def main() -> None:
    """The table is the only argument."""
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # Text stays text, and the same numbers give the same bytes.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "setclip", "font.family": "sans-serif"}
    with style(), matplotlib.rc_context(settings):
        figure = new_figure(12.0, 3.7)
        panels = figure.subplots(1, len(DATASETS))
        for axes, name in zip(panels, DATASETS, strict=True):
            draw(axes, name, rows)
        panels[0].set_ylabel("R@10, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_text(PICTURE, text.getvalue())


if __name__ == "__main__":
    main()
