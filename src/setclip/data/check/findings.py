"""What checking the data of a run brought to light, as data and as something to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from setclip.data.bad_items import BadItem
from setclip.data.pools import NO_SET, IntArray

if TYPE_CHECKING:
    from rich.console import RenderableType

    from setclip.diagnosis import Diagnosis
    from setclip.evaluation.alignability import Alignability

Severity = Literal["error", "warning", "note"]

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing before training.

    Attributes:
        severity: error, the run would stop or its numbers would mislead; warning, it costs quality;
            note, good to know.
        message: What was found, with counts and rows.
        remedy: What to do about it; empty if nothing need be done.
    """

    severity: Severity
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Supervision:
    """How much there is of each kind of supervision, the test part left out.

    Attributes:
        pairs: Known pairs.
        x_pool: Items known only by x, those in sets included.
        y_pool: Items known only by y, likewise.
        sets: Sets with items on both sides.
        set_x: Items of x in these sets.
        set_y: Items of y in these sets.
        set_size: Median size of these sets, the larger side counting; 0 without sets.
        uneven_sets: Sets that hold more items on one side than on the other.
        strays: Sets with items on one side only.
        test_pairs: Pairs held out for the test; for a share still to be drawn, about how many.
        test_drawn: Whether that share is still to be drawn, by group: then the test is smaller
            where groups have several pairs, and takes what is like it out of the pools.
    """

    pairs: int
    x_pool: int
    y_pool: int
    sets: int
    set_x: int
    set_y: int
    set_size: int
    uneven_sets: int
    strays: int
    test_pairs: int
    test_drawn: bool = False


def count_supervision(
    pairs: int, x_sets: IntArray, y_sets: IntArray, *, test_pairs: int, test_drawn: bool = False
) -> Supervision:
    """Count pairs, sets and pools.

    Args:
        pairs: Known pairs to train on.
        x_sets: Set of each item known only by x, `NO_SET` for none. Shape [n].
        y_sets: Set of each item known only by y. Shape [m].
        test_pairs: Pairs held out.
        test_drawn: Whether that is a share still to be drawn.
    """
    in_x, in_y = x_sets[x_sets != NO_SET], y_sets[y_sets != NO_SET]
    names, inverse = np.unique(np.concatenate([in_x, in_y]), return_inverse=True)
    x_sizes = np.bincount(inverse[: len(in_x)], minlength=len(names))
    y_sizes = np.bincount(inverse[len(in_x) :], minlength=len(names))
    shared = (x_sizes > 0) & (y_sizes > 0)
    sizes = np.maximum(x_sizes, y_sizes)[shared]
    return Supervision(
        pairs=pairs,
        x_pool=len(x_sets),
        y_pool=len(y_sets),
        sets=int(shared.sum()),
        set_x=int(x_sizes[shared].sum()),
        set_y=int(y_sizes[shared].sum()),
        set_size=int(np.median(sizes)) if len(sizes) else 0,
        uneven_sets=int((x_sizes != y_sizes)[shared].sum()),
        strays=int((~shared).sum()),
        test_pairs=test_pairs,
        test_drawn=test_drawn,
    )


@dataclass(frozen=True)
class CheckResult:
    """The result of `setclip check`.

    Attributes:
        source: What was checked.
        findings: Errors first, then warnings, then notes.
        supervision: Counts; None if the data could not be read.
        alignability: Shared geometry of the two frozen spaces, if features could be had.
        advice: What to do next, in plain words.
        bad: Every item that could not be read.
        diagnosis: What to expect before training, if features could be had.
    """

    source: str
    findings: list[Finding]
    supervision: Supervision | None = None
    alignability: Alignability | None = None
    advice: list[str] = field(default_factory=list)
    bad: list[BadItem] = field(default_factory=list)
    diagnosis: Diagnosis | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of a run."""
        return all(finding.severity != "error" for finding in self.findings)

    def render(self) -> RenderableType:
        """The whole result, to print with rich."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [Text(self.source, style="bold")]
        if self.supervision is not None:
            parts.append(_counts_table(self.supervision))
        parts += [_finding_text(finding) for finding in self.findings]
        if self.diagnosis is not None:
            parts.append(Text("\nWhat to expect", style="bold"))
            parts += [Text(f"  • {sentence}") for sentence in self.diagnosis.sentences]
        elif self.alignability is not None:
            parts.append(Text(f"\n{self.alignability.verdict}"))
        if self.advice:
            parts.append(Text("\nWhat to do next", style="bold"))
            parts += [Text(f"  • {sentence}") for sentence in self.advice]
        return Group(*parts)


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes, each in the order found."""
    order = list(_STYLES)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _counts_table(counts: Supervision) -> RenderableType:
    from rich.table import Table

    table = Table("supervision", box=None, pad_edge=False)
    table.add_column("x", justify="right")
    table.add_column("y", justify="right")
    table.add_column("")
    pools = counts.x_pool - counts.set_x, counts.y_pool - counts.set_y
    table.add_row("pairs", f"{counts.pairs:,}", f"{counts.pairs:,}", "")
    about = f"{counts.sets:,} sets, half of them up to {counts.set_size:,} items a side"
    table.add_row("sets", f"{counts.set_x:,}", f"{counts.set_y:,}", about if counts.sets else "")
    table.add_row("pools", f"{pools[0]:,}", f"{pools[1]:,}", "")
    drawn = "about: fit draws them by group, and scores one of each"
    drawn = drawn if counts.test_drawn and counts.test_pairs else ""
    table.add_row("test pairs", f"{counts.test_pairs:,}", f"{counts.test_pairs:,}", drawn)
    return table


def _finding_text(finding: Finding) -> RenderableType:
    from rich.text import Text

    text = Text.assemble((f"{finding.severity:8}", _STYLES[finding.severity]), finding.message)
    if finding.remedy:
        text.append(f"\n{'':8}{finding.remedy}", style="dim")
    return text
