"""Whether one method is the best everywhere, and where it is not: the claim a recipe stands by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from setclip.benchmark.cells import ALL
from setclip.benchmark.measure import Result
from setclip.benchmark.replaced import K
from setclip.benchmark.table import Block, results_by_block, seedwise_difference
from setclip.evaluation.intervals import Interval


class BestRival(NamedTuple):
    """A method against the best of the others in one block.

    Attributes:
        block: Data, condition, pairs.
        rival: Label of the other method with the highest R@10 on the same seeds; of those that are
            better by more than the interval, where there are any.
        difference: Of R@10 to it. It was chosen by its result here, which favours it.
    """

    block: Block
    rival: str
    difference: Interval

    @property
    def behind(self) -> bool:
        """Whether the rival is better by more than the interval."""
        return self.difference.high < 0

    def __str__(self) -> str:
        return f"{self.block.title}, {self.difference:+.1f} to {self.rival}"


def best_rivals(results: Sequence[Result], method: str, *, alone: bool = False) -> list[BestRival]:
    """The best rival of a method in each block where both were measured on common seeds.

    Args:
        results: What :func:`setclip.benchmark.run_cells` returned.
        method: Label of the method.
        alone: Hold it only against methods that saw the pairs alone.
    """
    found = []
    for block, methods in results_by_block(results).items():
        if block.pairs == ALL or method not in methods:
            continue
        others = {
            label: theirs
            for label, theirs in methods.items()
            if label != method and (_alone(theirs) or not alone)
        }
        gaps = {
            label: gap
            for label, theirs in others.items()
            if (gap := _gap(methods[method], theirs)) is not None
        }
        # Those that are better on average, or else the best of the others.
        ahead = [label for label, gap in gaps.items() if gap < 0 or gap == min(gaps.values())]
        rivals = [
            BestRival(block, label, difference)
            for label in ahead
            if (difference := seedwise_difference(methods[method], others[label])) is not None
        ]
        # One of few seeds and a wide interval must not hide one that is surely better.
        surely = [rival for rival in rivals if rival.behind]
        if rivals:
            found.append(min(surely or rivals, key=lambda rival: rival.difference.mean))
    return found


def against_rivals(results: Sequence[Result], method: str) -> str:
    """How a method stands against its rivals, in a sentence or two; empty where it has none."""
    found = best_rivals(results, method)
    if not found:
        return ""
    behind = [each for each in found if each.behind]
    ahead = len(found) - len(behind)
    said = (
        f"`{method}` is the best method, or within the 95 % interval of the best, in {ahead} of "
        f"{len(found)} places."
    )
    if behind:
        said += f" Behind: {'; '.join(map(str, behind))}."
    against_pairs = best_rivals(results, method, alone=True)
    under = [each for each in against_pairs if each.behind]
    if under:
        said += f" Behind the best on pairs alone: {'; '.join(map(str, under))}."
    elif against_pairs:
        said += " It is nowhere behind the best on pairs alone."
    return said


def against_twice_the_pairs(results: Sequence[Result], method: str) -> str:
    """What a method reaches with half of the pairs that methods of the pairs alone get, in words.

    R@10 of the method at p pairs and of the best method that saw 2p pairs alone, both averaged over
    data sets: those for which there are both at the most numbers of pairs, everywhere the same.

    Returns:
        A sentence, empty where nothing was measured at p and 2p pairs.
    """
    found = _half_and_twice(results, method)
    places = Counter(data for at in found.values() for both in at.values() for data in both)
    if not places:
        return ""
    names = [data for data, count in places.items() if count == max(places.values())]
    means = {
        kind: {p: _means([both[d] for d in names]) for p, both in at.items() if {*names} <= {*both}}
        for kind, at in found.items()
    }
    if len(means) > 1:
        common = [p for p in next(iter(means.values())) if all(p in at for at in means.values())]
        means["all conditions"] = {p: _means([at[p] for at in means.values()]) for p in common}
    listed = [
        f"{kind} "
        + ", ".join(f"{mine:.1f} and {twice:.1f} at {p}" for p, (mine, twice) in at.items())
        for kind, at in means.items()
        if at
    ]
    said = f"`{method}` with p pairs, and the best on 2p pairs alone, means of {', '.join(names)}"
    return f"{said}: {'; '.join(listed)}." if listed else ""


def _half_and_twice(
    results: Sequence[Result], method: str
) -> dict[str, dict[int, dict[str, tuple[float, float]]]]:
    """By condition, number of pairs and data: R@10 of the method, and of the best on twice them."""
    ours: dict[str, dict[int, dict[str, float]]] = {}
    alone: dict[tuple[str, int], float] = {}
    for block, methods in results_by_block(results).items():
        if block.pairs == ALL:
            continue
        data, pairs = block.dataset, int(block.pairs)
        for label, results_of in methods.items():
            reached = _mean(results_of)
            if reached is None:
                continue
            if label == method:
                ours.setdefault(block.kind, {}).setdefault(pairs, {})[data] = reached
            elif _alone(results_of):
                alone[data, pairs] = max(reached, alone.get((data, pairs), 0.0))
    return {
        kind: {
            pairs: {
                d: (r, alone[d, 2 * pairs]) for d, r in at[pairs].items() if (d, 2 * pairs) in alone
            }
            for pairs in sorted(at)
            if pairs
        }
        for kind, at in ours.items()
    }


def _means(several: Sequence[tuple[float, float]]) -> tuple[float, float]:
    mine, theirs = zip(*several, strict=True)
    return mean(mine), mean(theirs)


def _mean(results: Sequence[Result]) -> float | None:
    found = [r["metrics"]["recall@10"] for r in results if "error" not in r]
    return mean(found) if found else None


def _gap(mine: Sequence[Result], theirs: Sequence[Result]) -> float | None:
    """Mean difference of R@10 on common seeds; None where there are none, or nothing to miss."""
    ours, others = (
        {
            r["cell"]["seed"]: r["metrics"][f"recall@{K}"]
            for r in each
            if "error" not in r and r["gallery"] > K
        }
        for each in (mine, theirs)
    )
    common = ours.keys() & others.keys()
    return mean(ours[seed] - others[seed] for seed in common) if common else None


def _alone(results: Sequence[Result]) -> bool:
    return all(r["cell"]["view"] == "pairs" for r in results)
