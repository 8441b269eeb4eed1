"""Results to one table: intervals over chains and seeds, and paired differences to a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from setclip.downstream.cells import Result
from setclip.downstream.tasks import Task
from setclip.downstream.ways import ACROSS, prior
from setclip.evaluation import (
    Interval,
    TermCounts,
    bootstrap,
    bootstrap_fmax,
    paired_bootstrap,
    paired_bootstrap_fmax,
)

if TYPE_CHECKING:
    from rich.table import Table

PRIOR = "no look at the chain"


@dataclass(frozen=True)
class Line:
    """One encoder, asked in one way, over its seeds.

    Attributes:
        task: Which.
        share: Of the labels that were seen.
        encoder: What it is called.
        way: How it was asked.
        measure: Accuracy or Fmax, in percent.
        taught: Chains whose labels were seen, the mean over seeds.
        tests: The measure by test.
        differences: To the baseline, asked in the same way, by test; empty where there is none.
        seeds: How many.
        seconds: Processor time of a cell, the mean over seeds.
    """

    task: str
    share: float
    encoder: str
    way: str
    measure: str
    taught: float
    tests: dict[str, Interval]
    differences: dict[str, Interval]
    seeds: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        return asdict(self)


def lines(results: Sequence[Result], *, baseline: str) -> list[Line]:
    """What to print: of each task and share first what is reached without looking.

    Args:
        results: Of all cells.
        baseline: Label of the encoder that others are compared with.
    """
    blocks: dict[tuple[str, float], dict[tuple[str, str], list[Result]]] = {}
    for result in results:
        cell = result.cell
        rows = blocks.setdefault((cell.task.name, cell.share), {})
        rows.setdefault((cell.way, cell.label), []).append(result)
    found = []
    for (task, share), rows in blocks.items():
        by_seed = {r.cell.seed: r.cell.task for own in rows.values() for r in own}
        found.append(_floor(task, share, list(by_seed.values())))
        for (way, label), own in rows.items():
            against = [] if label == baseline else rows.get((way, baseline), [])
            found.append(_line(task, share, label, way, own, against))
    return found


def _floor(name: str, share: float, tasks: list[Task]) -> Line:
    floors = [prior(task) for task in tasks]
    tests = {}
    for test in floors[0]:
        value = mean(floor[test] for floor in floors)
        tests[test] = Interval(value, value, value)
    taught = mean(len(task.train) for task in tasks)
    return Line(name, share, PRIOR, "", tasks[0].measure, taught, tests, {}, len(tasks), 0.0)


def _line(
    name: str, share: float, label: str, way: str, own: list[Result], against: list[Result]
) -> Line:
    task = own[0].cell.task
    other = {result.cell.seed: result for result in against}
    both = [result for result in own if result.cell.seed in other]
    tests, differences = {}, {}
    for test in task.tests:
        tests[test] = _interval([result.answer.of(test) for result in own])
        if both:
            differences[test] = _difference(
                [result.answer.of(test) for result in both],
                [other[result.cell.seed].answer.of(test) for result in both],
            )
    return Line(
        name,
        share,
        label,
        way,
        task.measure,
        mean(len(result.cell.task.train) for result in own),
        tests,
        differences,
        len(own),
        mean(result.seconds for result in own),
    )


def _interval(found: list[Any]) -> Interval:
    if isinstance(found[0], TermCounts):
        return bootstrap_fmax(found)
    return bootstrap([100 * credits for credits in found])


def _difference(first: list[Any], second: list[Any]) -> Interval:
    if isinstance(first[0], TermCounts):
        return paired_bootstrap_fmax(first, second)
    return paired_bootstrap([100 * c for c in first], [100 * c for c in second])


def to_rich(found: Sequence[Line], *, baseline: str) -> list[Table]:
    """One table a task and share."""
    from rich.table import Table

    blocks: dict[tuple[str, float], list[Line]] = {}
    for line in found:
        blocks.setdefault((line.task, line.share), []).append(line)
    tables = []
    for (task, share), own in blocks.items():
        tests = list(own[0].tests)
        floor = own[0]
        compared = any(line.differences for line in own)
        table = Table(
            "encoder",
            "asked by",
            *(f"{test}, %" for test in tests),
            *([f"{tests[0]}: over {baseline}"] if compared else []),
            "CPU s",
            title=f"{task}: {floor.measure}, labels of {floor.taught:,.0f} chains ({share:.0%}), "
            f"{floor.seeds} seed{'s' if floor.seeds > 1 else ''}",
            title_justify="left",
        )
        for line in own:
            values = [_shown(line.tests[test]) for test in tests]
            change = [_signed(line.differences.get(tests[0]))] if compared else []
            way = f"zero-shot, {line.way}" if line.way in ACROSS else line.way
            seconds = f"{line.seconds:.0f}" if line.way else ""
            table.add_row(line.encoder, way, *values, *change, seconds)
        tables.append(table)
    return tables


def _shown(interval: Interval) -> str:
    if interval.low == interval.high == interval.mean:
        return f"{interval.mean:.1f}"
    return str(interval)


def _signed(interval: Interval | None) -> str:
    return "" if interval is None else format(interval, "+.1f")
