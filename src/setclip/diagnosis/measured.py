"""Learning curves that were measured on the benchmark's suites, as a scale for new data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

NEAR = 0.1
"""Shared geometry may lie this far outside of the measured range, or from the nearest suite."""


@dataclass(frozen=True)
class MeasuredCurve:
    """One suite under disjoint pools.

    Attributes:
        suite: Its name.
        shared: Shared geometry, as `Alignability.shared`.
        pool: Items of either pool, about.
        gallery: Test items.
        pairs: Numbers of known pairs, ascending.
        pairs_only: R@10 of the best method that ignores the pools, in percent, by `pairs`.
        with_pools: R@10 of `auto`, which sees the pools.
        without_pairs: R@10 of `auto` from the pools and no pair.
    """

    suite: str
    shared: float
    pool: int
    gallery: int
    pairs: tuple[int, ...]
    pairs_only: tuple[float, ...]
    with_pools: tuple[float, ...]
    without_pairs: float

    def worth_of_pools(self, pairs: int) -> float | None:
        """Pairs that the pools replaced at `pairs` pairs; None outside of what was measured.

        Infinite where no measured number of pairs alone does as well as the pools did.
        """
        if not self.pairs[0] <= pairs <= self.pairs[-1]:
            return None
        counts = np.log(self.pairs)
        reached = float(np.interp(np.log(pairs), counts, self.with_pools))
        # The smallest number of pairs that does as well counts, also where the curve is flat.
        alone = np.maximum.accumulate(self.pairs_only) + 1e-9 * np.arange(len(counts))
        if reached > alone[-1] + 1e-6:
            return float("inf")
        return max(0.0, float(np.exp(np.interp(reached, alone, counts))) - pairs)

    def slope(self, pairs: int) -> float:
        """Logit of R@10 over the logarithm of the number of pairs alone, around `pairs`."""
        share = np.clip(np.asarray(self.pairs_only) / 100, 0.001, 0.999)
        heights, along = np.log(share / (1 - share)), np.log(self.pairs)
        steps = np.diff(heights) / np.diff(along)
        middles = (along[1:] + along[:-1]) / 2
        return float(np.interp(np.log(pairs), middles, steps))


@cache
def measured_curves() -> tuple[MeasuredCurve, ...]:
    """The curves that ship with the package, by shared geometry."""
    text = resources.files(__package__).joinpath("curves.json").read_text(encoding="utf-8")
    lists = ("pairs", "pairs_only", "with_pools")
    curves = [
        MeasuredCurve(**entry | {name: tuple(entry[name]) for name in lists})
        for entry in json.loads(text)["curves"]
    ]
    return tuple(sorted(curves, key=lambda curve: curve.shared))


def nearest_curve(shared: float) -> MeasuredCurve | None:
    """The suite whose two spaces share most nearly as much geometry; None if none is near."""
    best = min(measured_curves(), key=lambda curve: abs(curve.shared - shared))
    return best if abs(best.shared - shared) <= NEAR else None
