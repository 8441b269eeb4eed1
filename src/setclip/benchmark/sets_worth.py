"""What matched sets gave one method: held against pairs, against all pairs, and damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from setclip.benchmark.cells import ALL
from setclip.benchmark.measure import Result
from setclip.benchmark.replaced import K
from setclip.benchmark.table import (
    ABSENT,
    Block,
    best_alone,
    markdown_table,
    results_by_block,
    seedwise_difference,
)

BESIDE = 50
"""Pairs that sets are held against, and that are given beside them."""

Blocks = Mapping[Block, Mapping[str, Sequence[Result]]]


def what_sets_gave(results: Sequence[Result], method: str, *, level: int = 3) -> str:
    """A row for each data set on which a method was measured in sets without a pair, as Markdown.

    Empty where there is none.

    Args:
        results: What :func:`setclip.benchmark.run_cells` returned.
        method: Label of a method that uses sets.
        level: Of the heading.
    """
    blocks = results_by_block(results)
    rows = [
        _row(blocks, block, method)
        for block, methods in blocks.items()
        if block.condition == "sets" and block.pairs == 0 and _measured(methods.get(method, []))
    ]
    if not rows:
        return ""
    head = [
        "data",
        f"best of {BESIDE} pairs alone",
        "sets, no pair",
        "over all pairs",
        f"{BESIDE} pairs beside them add",
        "damaged sets, no pair",
        f"lost of the gain over {BESIDE} pairs",
    ]
    title = f"{'#' * level} What sets gave `{method}`"
    said = (
        f"R@{K} in percent, mean over seeds; differences on the same seeds and queries, with 95 % "
        f"intervals. All pairs are those of the reference, a linear map. The best method of "
        f"{BESIDE} pairs alone was chosen by its result."
    )
    return "\n\n".join([title, said, markdown_table(head, rows)])


def _row(blocks: Blocks, block: Block, method: str) -> list[str]:
    def found(condition: str, pairs: int) -> Sequence[Result]:
        place = block._replace(condition=condition, pairs=pairs)
        return _measured(blocks.get(place, {}).get(method, []))

    sets, damaged = found("sets", 0), found("damaged-sets", 0)
    alone = best_alone(blocks.get(block._replace(pairs=BESIDE), {}))
    references = (
        of
        for b, methods in blocks.items()
        if (b.dataset, b.pairs) == (block.dataset, ALL)
        for of in methods.values()
    )
    return [
        f"{block.dataset}, {block.kind}",
        _recall(alone),
        _recall(sets),
        _difference(sets, next(references, [])),
        _difference(found("sets", BESIDE), sets),
        _recall(damaged),
        _lost(sets, damaged, alone),
    ]


def _measured(results: Sequence[Result]) -> Sequence[Result]:
    return [r for r in results if "error" not in r]


def _mean(results: Sequence[Result]) -> float:
    return mean(float(r["metrics"][f"recall@{K}"]) for r in results)


def _recall(results: Sequence[Result]) -> str:
    return f"{_mean(results):.1f}" if results else ABSENT


def _difference(mine: Sequence[Result], theirs: Sequence[Result]) -> str:
    difference = seedwise_difference(mine, theirs)
    return ABSENT if difference is None else f"{difference:+.1f}"


def _lost(sets: Sequence[Result], damaged: Sequence[Result], alone: Sequence[Result]) -> str:
    """Share of what sets gain over pairs that the damage takes, on the seeds that all have."""
    by_seed = [{r["cell"]["seed"]: r for r in each} for each in (sets, damaged, alone)]
    common = set.intersection(*map(set, by_seed))
    if not common:
        return ABSENT
    whole, harmed, pairs = (_mean([each[seed] for seed in common]) for each in by_seed)
    return f"{(whole - harmed) / (whole - pairs):.0%}" if whole > pairs else ABSENT
