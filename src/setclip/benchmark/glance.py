"""Quality against pairs in numbers: a small table for each data set and condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from setclip.benchmark.cells import ALL
from setclip.benchmark.replaced import FIRST_CHOICE, K
from setclip.benchmark.table import ABSENT, MethodRow, markdown_table


class Place(NamedTuple):
    """What the numbers of one small table share."""

    dataset: str
    kind: str


def at_a_glance(rows: Sequence[MethodRow], *, level: int = 3) -> str:
    """R@10 of every method by the number of pairs, as Markdown.

    The best of a column is bold, of the methods that have all seeds; the others say how many.
    Where `auto` was measured with several numbers of pairs, the others are left out. Empty where no
    data set was measured with two of them: the tables of the blocks say it all.

    Args:
        rows: From :func:`setclip.benchmark.summarise`.
        level: Of the headings.
    """
    places: dict[Place, list[MethodRow]] = {}
    references: dict[str, MethodRow] = {}
    for row in rows:
        if row.role == "reference":
            references[row.block.dataset] = row
        elif row.block.pairs != ALL:
            places.setdefault(Place(row.block.dataset, row.block.kind), []).append(row)
    wide = {place: body for place, body in places.items() if len(_counts(body)) > 1}
    if not wide:
        return ""
    parts = [
        f"R@{K} in percent by the number of pairs, mean over seeds; intervals stand in the tables "
        f"below. {ABSENT}: not measured, or cannot work."
    ]
    for place, body in wide.items():
        bound = references.get(place.dataset)
        title = f"{'#' * level} {place.dataset}: {place.kind}"
        above = f"{bound.method}: {bound.recall[K].mean:.1f}." if bound and bound.recall else ""
        parts += [title, _table(body), *filter(None, [above])]
    return "\n\n".join(parts) + "\n"


def _counts(body: Sequence[MethodRow]) -> list[int]:
    every, recipe = (
        {int(row.block.pairs) for row in rows if row.block.pairs != ALL}
        for rows in (body, [row for row in body if row.method == FIRST_CHOICE])
    )
    return sorted(recipe if len(recipe) > 1 else every)


def _table(body: Sequence[MethodRow]) -> str:
    counts = _counts(body)
    most = max(len(row.seeds) for row in body)
    found = {(row.method, row.block.pairs): row for row in body if row.recall is not None}
    best = {count: _best(body, count, most) for count in counts}

    def cell(method: str, count: int) -> str:
        row = found.get((method, count))
        if row is None or row.recall is None:
            return ABSENT
        text = f"{row.recall[K].mean:.1f}"
        leads = row.role == "method" and len(row.seeds) == most and text == best[count]
        return f"**{text}**" if leads else text

    def name(method: str) -> str:
        seeds = {len(row.seeds) for (label, _), row in found.items() if label == method}
        return method if not seeds or max(seeds) == most else f"{method}, {_seeds(max(seeds))}"

    methods = dict.fromkeys(row.method for row in body)
    rows = [[name(method), *(cell(method, count) for count in counts)] for method in methods]
    return markdown_table(["pairs", *map(str, counts)], rows)


def _best(body: Sequence[MethodRow], count: int, seeds: int) -> str:
    """As it is printed, so that what looks the same is marked the same.

    Only of methods with so many seeds: fewer stand on other splits, and make a lucky best.
    """
    values = [
        row.recall[K].mean
        for row in body
        if row.role == "method"
        and row.recall
        and row.block.pairs == count
        and len(row.seeds) == seeds
    ]
    return f"{max(values):.1f}" if values else ""


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"
