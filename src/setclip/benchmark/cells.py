"""Cells: what one number of a benchmark table stands for, and when two cells share one result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from setclip.methods import Method

Condition = Literal[
    "disjoint", "overlapping", "sets", "damaged-sets", "concept-sets", "shifted", "own"
]
View = Literal[
    "disjoint",
    "overlapping",
    "strays",
    "sets",
    "damaged-sets",
    "concept-sets",
    "shifted",
    "own",
    "pairs",
]
"""What a method sees: the pools of a condition, or its pairs alone."""

WITH_SETS: dict[Condition, View] = {
    "sets": "overlapping",
    "damaged-sets": "strays",
    "concept-sets": "overlapping",
}
"""Conditions of sets, with what is left of them where the sets are not looked at."""

SIZED = frozenset({"sets", "damaged-sets"})
"""Those whose sets are drawn, of a size that was asked for."""

All = Literal["all"]
PairCount = int | All
ALL: All = "all"
"""As a number of pairs: every training item is a known pair. That is more than
any method is given; one that draws more from sets may still pass a linear map of it."""

TEST_FRACTION = 0.25


@runtime_checkable
class BenchmarkMethod(Method, Protocol):
    """A method that can be written into a result."""

    def decisive(self) -> dict[str, Any]:
        """What of the configuration decides the result, as JSON values, defaults included."""


class Asked(NamedTuple):
    """Where a result stands in tables: what was asked for, and the name of the result."""

    key: str
    dataset: str
    condition: Condition
    pairs: PairCount
    seed: int
    label: str
    set_size: int


@dataclass(frozen=True)
class Cell:
    """One method on one draw of one condition of one data set.

    Attributes:
        dataset: Name of the data.
        condition: What is known of the training items that are not pairs; see
            :func:`setclip.benchmark.conditions.draw`.
        pairs: How many pairs are known, or "all".
        seed: Of the split, the draw and the method.
        method: The configured method.
        label: What to call it in tables; by default its kind.
        set_size: Items of a matched set; matters under "sets" and "damaged-sets".
        test_fraction: Share of the items held out, by group.
        alone: Show the method the pairs alone, whatever it could use: how a baseline that ignores
            unpaired data is made of one that does not.
    """

    dataset: str
    condition: Condition
    pairs: PairCount
    seed: int
    method: BenchmarkMethod
    label: str = ""
    set_size: int = 16
    test_fraction: float = TEST_FRACTION
    alone: bool = False

    @property
    def name(self) -> str:
        """The label, or the method's kind."""
        return self.label or self.method.kind

    @property
    def view(self) -> View:
        """The least that tells the method what it may see.

        Cells of one view share their result: the same seed draws the same pairs in every
        condition, and items of sets whose sets are not looked at are overlapping pools, with
        strays where the sets are damaged.
        """
        uses = self.method.uses
        if self.pairs == ALL or self.alone or not uses & {"sets", "pools"}:
            return "pairs"
        if self.condition == "own" or (self.condition in WITH_SETS and "sets" in uses):
            return self.condition
        return WITH_SETS.get(self.condition, self.condition) if "pools" in uses else "pairs"

    @property
    def shown_pairs(self) -> PairCount:
        """The number of pairs that the method's data are drawn with.

        A method that ignores pairs has one result for all their numbers, that of no pair: every
        training item is then in its pools.
        """
        ignored = self.pairs != ALL and "pairs" not in self.method.uses
        return 0 if ignored else self.pairs

    @property
    def key(self) -> str:
        """Name of the result: a hash of everything in the cell that decides it."""
        text = json.dumps(self.decisive(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def asked(self) -> Asked:
        """The cell without its method."""
        return Asked(
            self.key,
            self.dataset,
            self.condition,
            self.pairs,
            self.seed,
            self.name,
            self.set_size,
        )

    def decisive(self) -> dict[str, Any]:
        """What decides the result, as JSON values; labels and unseen conditions do not."""
        return {
            "dataset": self.dataset,
            "view": self.view,
            "pairs": self.shown_pairs,
            "seed": self.seed,
            "method": self.method.decisive(),
            "set_size": self.set_size if self.view in SIZED else None,
            "test_fraction": self.test_fraction,
        }

    def describe(self) -> str:
        """One line for progress and messages."""
        given = f"{self.pairs} pairs" if self.pairs != 1 else "1 pair"
        return f"{self.dataset}, {self.condition}, {given}, {self.name}, seed {self.seed}"
