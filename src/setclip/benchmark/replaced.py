"""How many pairs the unpaired data replaced: quality read as a number of pairs.

A method with p pairs and unpaired data finds so many partners. The best method that sees pairs
alone needs some other number of pairs for as many: what unpaired data are worth, in the unit that
labelling is paid in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from setclip.benchmark.cells import ALL
from setclip.benchmark.table import ABSENT, MethodRow, markdown_table
from setclip.evaluation.intervals import Interval

K = 10
"""The recall that is compared."""

FIRST_CHOICE = "auto"


@dataclass(frozen=True)
class Curve:
    """R@k of the best method that sees pairs alone, by number of pairs.

    Attributes:
        pairs: Ascending, from 0.
        recall: In percent, never falling: more pairs can be used as fewer.
    """

    pairs: tuple[int, ...]
    recall: tuple[float, ...]

    def pairs_for(self, recall: float) -> float:
        """Pairs at which the curve reaches `recall`, interpolated in log(1 + pairs).

        The last number of pairs where it never does.
        """
        # The first place where a value is reached: flat stretches would make it ambiguous.
        rising = [0] + [
            i for i in range(1, len(self.recall)) if self.recall[i] > self.recall[i - 1]
        ]
        ends = [self.recall[i] for i in rising], [math.log1p(self.pairs[i]) for i in rising]
        beyond = recall > self.recall[-1]
        return float(self.pairs[-1] if beyond else np.expm1(np.interp(recall, *ends)))


@dataclass(frozen=True)
class Replaced:
    """What unpaired data were worth in one place.

    Attributes:
        dataset: Name of the data.
        kind: The condition in words.
        pairs: Pairs that the method had.
        worth: Pairs that the best method on pairs alone needs for the same, with the ends of the
            method's own interval.
        beyond: Whether no measured number of pairs was enough, so that `worth` is a lower end.
    """

    dataset: str
    kind: str
    pairs: int
    worth: Interval
    beyond: bool


def pairs_replaced(rows: Sequence[MethodRow], method: str) -> list[Replaced]:
    """What the unpaired data were worth to a method, wherever it can be told.

    Args:
        rows: From :func:`setclip.benchmark.summarise`.
        method: Label of a method that uses unpaired data.
    """
    curves = _curves(rows)
    found = []
    for row in rows:
        curve = curves.get(row.block.dataset)
        if row.method != method or row.role != "method" or not row.recall or curve is None:
            continue
        reached = row.recall[K]
        ends = (curve.pairs_for(value) for value in (reached.mean, reached.low, reached.high))
        beyond = reached.mean > curve.recall[-1]
        block = row.block
        assert block.pairs != ALL
        found.append(Replaced(block.dataset, block.kind, int(block.pairs), Interval(*ends), beyond))
    return found


def chosen_method(rows: Sequence[MethodRow]) -> str | None:
    """`auto` if it was measured, else the best of the methods that use unpaired data.

    The best is that of the highest mean R@10 over the blocks where most such methods work; None
    where there is none.
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.role == "method" and row.recall and not row.alone:
            scores.setdefault(row.method, []).append(row.recall[K].mean)
    if FIRST_CHOICE in scores:
        return FIRST_CHOICE
    most = max(map(len, scores.values()), default=0)
    whole = {name: mean(values) for name, values in scores.items() if len(values) == most}
    return max(whole, key=lambda name: whole[name]) if whole else None


def averages(found: Sequence[Replaced]) -> dict[tuple[str, int], tuple[float, int, bool]]:
    """Over data sets, by condition and pairs: geometric mean of 1 + worth, less 1.

    Returns:
        The mean, over how many data sets, and whether it is a lower end because one of them is.
    """
    groups: dict[tuple[str, int], list[Replaced]] = {}
    for each in sorted(found, key=lambda each: (each.kind, each.pairs)):
        groups.setdefault((each.kind, each.pairs), []).append(each)
    return {
        where: (
            math.expm1(mean(math.log1p(each.worth.mean) for each in group)),
            len(group),
            any(each.beyond for each in group),
        )
        for where, group in groups.items()
    }


def replaced_tables(found: Sequence[Replaced], *, level: int = 3) -> str:
    """A table for each condition, a row for each data set, as Markdown; empty without any.

    Args:
        found: From :func:`pairs_replaced`.
        level: Of the headings.
    """
    parts = []
    for kind in dict.fromkeys(each.kind for each in found):
        here = [each for each in found if each.kind == kind]
        own = {(each.dataset, each.pairs): in_pairs(each.worth.mean, each.beyond) for each in here}
        names = dict.fromkeys(each.dataset for each in here)
        counts = sorted({each.pairs for each in here})
        rows = [[name, *(own.get((name, pairs), ABSENT) for pairs in counts)] for name in names]
        # Means over the same data sets at every number of pairs.
        whole = [each for each in here if all((each.dataset, pairs) in own for pairs in counts)]
        if len({each.dataset for each in whole}) > 1:
            means = averages(whole).values()
            rows.append(["mean of whole rows", *(in_pairs(n, beyond) for n, _, beyond in means)])
        title = f"{'#' * level} Pairs that the unpaired data replaced: {kind}"
        said = f"Pairs that the best method of pairs alone takes for as much R@{K}, by pairs known."
        parts += [title, said, markdown_table(["data", *map(str, counts)], rows)]
    return "\n\n".join(parts)


def in_pairs(worth: float, beyond: bool) -> str:
    """A number of pairs for people."""
    return f"{'≥ ' if beyond else ''}{worth:.0f}"


def _curves(rows: Sequence[MethodRow]) -> dict[str, Curve]:
    """By data set; those with fewer than two numbers of pairs are left out."""
    best: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.block.pairs == ALL or not row.recall:
            continue
        if row.role == "chance":
            # With no pair, pairs alone give chance.
            best.setdefault(row.block.dataset, {}).setdefault(0, row.recall[K].mean)
        elif row.alone and row.role == "method":
            points = best.setdefault(row.block.dataset, {})
            pairs = int(row.block.pairs)
            points[pairs] = max(points.get(pairs, 0.0), row.recall[K].mean)
    return {
        name: Curve(
            tuple(sorted(points)),
            tuple(np.maximum.accumulate([points[p] for p in sorted(points)]).tolist()),
        )
        for name, points in best.items()
        if len(points) > 2
    }
