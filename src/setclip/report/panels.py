"""What the interactive and the printed drawing of a panel share: points, ranges, numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from setclip.evaluation.distribution import DensityAgreement
from setclip.report.content import (
    SPLITS,
    Curve,
    Curves,
    Densities,
    Item,
    JointMap,
    MapView,
    Split,
)
from setclip.report.palette import CLASSES

Points = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

SPLIT_NAMES: dict[Split, str] = {
    "pair": "known pairs",
    "set": "in sets",
    "pool": "unmatched",
    "test": "held out",
}

# Labels that name a place in a hierarchy, as of CATH folds and of enzymes; one dot is a decimal's.
DOTTED = re.compile(r"\d+(\.[\d-]+){2,}")


@dataclass(frozen=True, eq=False)
class CurvePanel:
    """One curve; values that are not finite are NaN, a gap in the line."""

    name: str
    detail: str
    steps: Points
    values: Points
    logarithmic: bool
    is_criterion: bool


def curve_panels(curves: Curves) -> list[CurvePanel]:
    """One panel a curve, what early stopping watched first."""
    watched = [
        _curve_panel(name, c, curves.chosen_step, True) for name, c in curves.criteria.items()
    ]
    terms = [_curve_panel(name, c, curves.chosen_step, False) for name, c in curves.terms.items()]
    return watched + terms


def _curve_panel(name: str, curve: Curve, chosen: int | None, is_criterion: bool) -> CurvePanel:
    steps = np.asarray(curve.steps, dtype=np.float64)
    values = np.asarray(curve.values, dtype=np.float64)
    finite = np.isfinite(values)
    shown = values[finite]
    # Two decades squeeze a linear axis until the end of training is a flat line.
    logarithmic = bool(shown.size and shown.min() > 0 and shown.max() >= 100 * shown.min())
    return CurvePanel(
        name=name,
        detail=_curve_detail(steps[finite], shown, len(values), chosen),
        steps=steps,
        values=np.where(finite, values, np.nan),
        logarithmic=logarithmic,
        is_criterion=is_criterion,
    )


def _curve_detail(steps: Points, values: Points, recorded: int, chosen: int | None) -> str:
    if not len(values):
        return "no finite value"
    end = len(values) - 1 if chosen is None else int(np.abs(steps - chosen).argmin())
    detail = f"{values[0]:.3g} → {values[end]:.3g}"
    lost = recorded - len(values)
    return f"{detail}, {lost:,} not finite" if lost else detail


@dataclass(frozen=True, eq=False)
class MapGroup:
    """Points of one modality and one split, with their rows in the item list.

    `colours` names the palette's colour of each point; None gives all that of their modality.
    """

    side: str
    split: Split
    rows: Rows
    points: Points
    colours: list[str] | None = None


@dataclass(frozen=True, eq=False)
class MapPanel:
    """One map: its points by group, the ends of its pair lines, and a square range that holds all.

    `lines` has shape [p, 2 ends, 2 coordinates]. `classes` maps classes to names of colours, and is
    empty where points have the colour of their modality.
    """

    title: str
    how: str
    groups: list[MapGroup]
    lines: Points
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    classes: Mapping[str, str] = field(default_factory=dict)


def map_panels(joint: JointMap) -> list[MapPanel]:
    """Before, if there is one, and after; once more by class if there are a few classes."""
    views = [(joint.before, "Before"), (joint.after, "After")]
    panels = [_map_panel(joint, view, title) for view, title in views if view is not None]
    classes = map_classes(joint)
    return [*panels, _by_class(panels[-1], joint, classes)] if classes else panels


def map_classes(joint: JointMap) -> dict[str, str]:
    """Colour of each class of a map, by name of the class; empty for one class or too many."""
    found = {branch(item.label, 1) for item in (*joint.x_items, *joint.y_items) if item.label}
    if not 2 <= len(found) <= len(CLASSES):
        return {}
    # Numbers in the order of their values, names in that of the alphabet.
    ordered = sorted(found, key=lambda label: (not label.isdecimal(), label.zfill(9), label))
    return dict(zip(ordered, CLASSES, strict=False))


def branch(label: str, depth: int) -> str:
    """The first numbers of a dotted label such as 3.40.50, and any other label as it is."""
    return ".".join(label.split(".")[:depth]) if DOTTED.fullmatch(label) else label


def _by_class(panel: MapPanel, joint: JointMap, classes: Mapping[str, str]) -> MapPanel:
    groups = []
    for group in panel.groups:
        items = joint.x_items if group.side == "x" else joint.y_items
        colours = [classes.get(branch(items[row].label, 1), "faint") for row in group.rows]
        groups.append(replace(group, colours=colours))
    return replace(panel, title=f"{panel.title}, by class", how="", groups=groups, classes=classes)


def splits_of(joint: JointMap) -> list[Split]:
    """The splits that occur in a map, in the order of the legend."""
    present = {_split(item) for item in (*joint.x_items, *joint.y_items)}
    return [split for split in SPLITS if split in present]


def _split(item: Item) -> Split:
    return item.split or "pool"


def _map_panel(joint: JointMap, view: MapView, title: str) -> MapPanel:
    groups = []
    # Drawn in this order, so that the few known pairs lie on top.
    for split in ("pool", "set", "test", "pair"):
        for side, items, points in (("x", joint.x_items, view.x), ("y", joint.y_items, view.y)):
            rows = np.array(
                [i for i, it in enumerate(items) if _split(it) == split], dtype=np.int64
            )
            if len(rows):
                groups.append(MapGroup(side, split, rows, np.asarray(points, np.float64)[rows]))
    pairs = np.zeros((0, 2), np.int64) if joint.pairs is None else np.asarray(joint.pairs)
    ends = (
        np.asarray(view.x, np.float64)[pairs[:, 0]],
        np.asarray(view.y, np.float64)[pairs[:, 1]],
    )
    x_range, y_range = _square(np.concatenate([view.x, view.y]))
    return MapPanel(view.title or title, view.how, groups, np.stack(ends, axis=1), x_range, y_range)


def _square(points: Points) -> tuple[tuple[float, float], tuple[float, float]]:
    kept = points[np.isfinite(points).all(axis=1)]
    if not len(kept):
        return (-1.0, 1.0), (-1.0, 1.0)
    low, high = kept.min(axis=0), kept.max(axis=0)
    half = (float((high - low).max()) / 2 or 1.0) * 1.06
    middle = (low + high) / 2
    return (
        (float(middle[0]) - half, float(middle[0]) + half),
        (float(middle[1]) - half, float(middle[1]) + half),
    )


@dataclass(frozen=True, eq=False)
class DensityPanel:
    """One scatter of own against other log density, points that are finite in both.

    Attributes:
        x: Own and other log density of the x points. Shape [n, 2].
        y: The same for y. Shape [m, 2].
        difference: Mean absolute difference over all points, in nats.
        correlation: Pearson's, over all points; NaN where one side is constant.
        dropped: How many points had an infinite density.
    """

    title: str
    x: Points
    y: Points
    low: float
    high: float
    difference: float
    correlation: float
    dropped: int

    @property
    def detail(self) -> str:
        """The numbers in words."""
        if math.isnan(self.difference):
            return "no point has a finite density under both"
        parts = [f"mean difference {self.difference:.3g} nats"]
        if not math.isnan(self.correlation):
            parts.append(f"correlation {self.correlation:.2f}")
        if self.dropped:
            parts.append(f"{self.dropped:,} points of infinite density left out")
        return " · ".join(parts)


def density_panels(densities: Densities) -> list[DensityPanel]:
    """Before, if there is one, and after."""
    views = [(densities.before, "Before"), (densities.after, "After")]
    return [_density_panel(view, title) for view, title in views if view is not None]


def _density_panel(view: DensityAgreement, title: str) -> DensityPanel:
    x = np.stack([view.x_under_x, view.x_under_y], axis=1).astype(np.float64)
    y = np.stack([view.y_under_y, view.y_under_x], axis=1).astype(np.float64)
    kept_x, kept_y = x[np.isfinite(x).all(axis=1)], y[np.isfinite(y).all(axis=1)]
    both = np.concatenate([kept_x, kept_y])
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    constant = len(both) < 2 or bool((both.std(axis=0) == 0).any())
    return DensityPanel(
        title=title,
        x=kept_x,
        y=kept_y,
        low=low - margin,
        high=high + margin,
        difference=float(np.abs(both[:, 0] - both[:, 1]).mean()) if len(both) else math.nan,
        correlation=math.nan if constant else float(np.corrcoef(both.T)[0, 1]),
        dropped=len(x) + len(y) - len(both),
    )
