"""Results to tables: intervals over seeds and queries, paired differences, and the commands."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Literal, NamedTuple

from setclip.benchmark.cells import ALL, SIZED, Cell, PairCount
from setclip.benchmark.measure import KS, Result
from setclip.benchmark.suites import BASELINE, SUITES, command, label_of, name_of
from setclip.evaluation.intervals import Interval, bootstrap, paired_bootstrap
from setclip.report import Column, ResultTable, Row

if TYPE_CHECKING:
    from rich.table import Table

ABSENT = "—"

Role = Literal["method", "chance", "reference"]


class Block(NamedTuple):
    """What the rows of one table share."""

    dataset: str
    condition: str
    pairs: PairCount
    set_size: int

    @property
    def title(self) -> str:
        """For headings."""
        if self.pairs == ALL:
            return f"{self.dataset}: all pairs"
        pairs = "no pair" if self.pairs == 0 else f"{self.pairs} pairs"
        return f"{self.dataset}: {self.kind}, {pairs}"

    @property
    def kind(self) -> str:
        """The condition in words."""
        if self.condition == "concept-sets":
            return "sets of one concept"
        if self.condition in SIZED:
            return f"{self.condition.replace('-', ' ')} of {self.set_size}"
        return f"{self.condition} pools"


@dataclass(frozen=True)
class MethodRow:
    """One method in one block, over its seeds.

    Attributes:
        block: Data, condition, pairs.
        method: Label.
        role: Whether it competes.
        recall: R@k in percent, by k; None where the method cannot work.
        median_rank: From 1.
        seconds: Of a fit, tuning included.
        cpu_seconds: The same, of all threads.
        peak_mb: Largest memory of the process, libraries included.
        difference: Of R@10 to the baseline on the same seeds and queries.
        over_alone: The same to the best method of the block that sees the pairs alone. That one
            was chosen by its result here, which favours it.
        alone: Whether the method saw the pairs alone.
        seeds: The seeds that gave a result.
        gallery: Test items, the mean over seeds.
        note: Why a result is missing.
        command: What measures this row.
    """

    block: Block
    method: str
    role: Role
    recall: dict[int, Interval] | None
    median_rank: Interval | None = None
    seconds: Interval | None = None
    cpu_seconds: Interval | None = None
    peak_mb: Interval | None = None
    difference: Interval | None = None
    over_alone: Interval | None = None
    alone: bool = False
    seeds: tuple[int, ...] = ()
    gallery: float = 0.0
    note: str = ""
    command: str = ""


def summarise(
    results: Sequence[Result], *, suite: str = "", baseline: str = BASELINE
) -> list[MethodRow]:
    """Rows of the table: in each block chance, the methods, and a linear map of all pairs.

    Args:
        results: What :func:`setclip.benchmark.run_cells` returned.
        suite: Name of the suite, for the commands; without it there are none.
        baseline: Label of the method that differences are taken to.
    """
    blocks = results_by_block(results)
    bounds = {b.dataset: methods for b, methods in blocks.items() if b.pairs == ALL}
    measured = {label for methods in blocks.values() for label in methods}
    rows = []
    for block, methods in blocks.items():
        if block.pairs == ALL and len(blocks) > len(bounds):
            continue  # shown in the other blocks
        against = methods.get(baseline, []), best_alone(methods)
        body = [_row(block, name, found, against, suite) for name, found in methods.items()]
        chance = _chance(block, [r for found in methods.values() for r in found])
        upper = bounds.get(block.dataset, {}) if block.pairs != ALL else {}
        above = [
            _row(block, name, found, ([], []), suite, "reference") for name, found in upper.items()
        ]
        left_out = _left_out(block, measured - methods.keys(), suite)
        rows += [*chance, *_with_fewer_seeds(body), *left_out, *above]
    return rows


def results_by_block(results: Sequence[Result]) -> dict[Block, dict[str, list[Result]]]:
    """Results of each block by the label of the method."""
    blocks: dict[Block, dict[str, list[Result]]] = {}
    for result in results:
        cell = result["cell"]
        block = Block(cell["dataset"], cell["condition"], cell["pairs"], cell["set_size"])
        blocks.setdefault(block, {}).setdefault(cell["label"], []).append(result)
    return blocks


def best_alone(methods: Mapping[str, Sequence[Result]]) -> Sequence[Result]:
    """Results of the best method that saw the pairs alone."""
    alone = [[r for r in found if r["cell"]["view"] == "pairs"] for found in methods.values()]
    good = [[r for r in found if "error" not in r] for found in alone]
    # Fewer seeds than others of the pairs alone were asked make a lucky best.
    most = max(map(len, alone), default=0)
    whole = [found for found in good if found and len(found) == most]
    return max(whole, key=lambda found: mean(r["metrics"]["recall@10"] for r in found), default=[])


def _with_fewer_seeds(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """Say of rows that have fewer seeds than others of the block, and no other note, how many."""
    most = max((len(row.seeds) for row in rows), default=0)
    return [
        replace(row, note=f"{len(row.seeds)} of {most} seeds.")
        if not row.note and len(row.seeds) < most
        else row
        for row in rows
    ]


def _left_out(block: Block, absent: Collection[str], suite: str) -> list[MethodRow]:
    """Rows for methods that the suite measures in other places alone, for their cost."""
    if suite not in SUITES:
        return []
    limited = SUITES[suite]
    limits = ((label_of(name, limited.known), less) for name, less in limited.fewer.items())
    return [
        MethodRow(block, label, "method", None, note=f"for its time measured at {less} alone.")
        for label, less in limits
        if label in absent and block.pairs not in (less.pairs or (block.pairs,))
    ]


def _row(
    block: Block,
    name: str,
    found: Sequence[Result],
    against: tuple[Sequence[Result], Sequence[Result]],
    suite: str,
    role: Role = "method",
) -> MethodRow:
    good = [r for r in found if "error" not in r]
    reasons = list(dict.fromkeys(r["error"] for r in found if "error" in r))
    note = f"{len(found) - len(good)} of {len(found)} seeds: " if good and reasons else ""
    note += " ".join(reasons)
    seeds = tuple(r["cell"]["seed"] for r in found)
    how = _command(suite, block, name, seeds, role) if suite else ""
    if not good:
        return MethodRow(block, name, role, None, note=note, command=how)

    def over_seeds(*path: str) -> Interval:
        return bootstrap([[r[path[0]][path[1]]] for r in good])

    def over(others: Sequence[Result]) -> Interval | None:
        itself = any(r["cell"]["label"] == name for r in others)
        return None if itself else seedwise_difference(good, others)

    return MethodRow(
        block,
        name,
        role,
        {k: bootstrap([r["credits"][str(k)] for r in good]) for k in KS},
        median_rank=over_seeds("metrics", "median_rank"),
        seconds=over_seeds("cost", "seconds"),
        cpu_seconds=over_seeds("cost", "cpu_seconds"),
        peak_mb=over_seeds("cost", "peak_mb"),
        difference=over(against[0]),
        over_alone=over(against[1]),
        alone=all(r["cell"]["view"] == "pairs" for r in good),
        seeds=tuple(r["cell"]["seed"] for r in good),
        gallery=sum(r["gallery"] for r in good) / len(good),
        note=note,
        command=how,
    )


def seedwise_difference(found: Sequence[Result], against: Sequence[Result]) -> Interval | None:
    """Of R@10 on the seeds that both have; None where there are none."""
    others = {r["cell"]["seed"]: r for r in against if "error" not in r}
    good = (r for r in found if "error" not in r)
    common = [(r, others[r["cell"]["seed"]]) for r in good if r["cell"]["seed"] in others]
    if not common:
        return None
    mine, theirs = zip(*((a["credits"]["10"], b["credits"]["10"]) for a, b in common), strict=True)
    return paired_bootstrap(mine, theirs)


def _chance(block: Block, found: Sequence[Result]) -> list[MethodRow]:
    by_seed = {r["cell"]["seed"]: r for r in found if "error" not in r}
    if not by_seed:
        return []
    good = list(by_seed.values())

    def average(name: str) -> Interval:
        value = sum(r["chance"][name] for r in good) / len(good)
        return Interval(value, value, value)

    return [
        MethodRow(
            block,
            "chance",
            "chance",
            {k: average(f"recall@{k}") for k in KS},
            median_rank=average("median_rank"),
            seeds=tuple(by_seed),
            gallery=sum(r["gallery"] for r in good) / len(good),
        )
    ]


def _command(suite: str, block: Block, label: str, seeds: tuple[int, ...], role: Role) -> str:
    # A comma tells one seed from a number of seeds.
    listed = ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")
    counted = len(seeds) if seeds == tuple(range(len(seeds))) else listed
    if role == "reference" or block.pairs == ALL:
        return command(suite, pairs=[ALL], seeds=counted)
    usual, known = Cell.set_size, None
    if suite in SUITES:
        usual, known = SUITES[suite].set_size, SUITES[suite].known
    sized = block.condition in SIZED and block.set_size != usual
    return command(
        suite,
        methods=[name_of(label, known)],
        pairs=[block.pairs],
        seeds=counted,
        conditions=[block.condition],
        set_size=block.set_size if sized else None,
    )


def to_result_table(
    rows: Sequence[MethodRow],
    *,
    title: str = "",
    command: str = "",
    this_run: str = "",
    baseline: str = BASELINE,
) -> ResultTable:
    """One block as the report shows it.

    Args:
        rows: Rows of one block.
        title: By default what the block says.
        command: What makes the table.
        this_run: Label of the method that the report is about; the others are its baselines.
        baseline: Label of the method that differences were taken to.

    Raises:
        ValueError: No rows, or rows of several blocks.
    """
    blocks = {row.block for row in rows}
    if len(blocks) != 1:
        raise ValueError(
            f"a table shows one block and was given {len(blocks)}: split the rows, see `by_block`."
        )
    block = blocks.pop()
    columns = (
        Column("R@1", "%", "higher"),
        Column("R@5", "%", "higher"),
        Column("R@10", "%", "higher", main=True),
        Column("median rank", "", "lower"),
        Column(f"R@10 over {baseline}", "points"),
        Column("time", "s"),
        Column("memory", "MB", decimals=0),
    )
    return ResultTable(
        title or block.title,
        columns,
        tuple(
            Row(row.method, _cells(row), flags=_flags(row, this_run), note=row.note) for row in rows
        ),
        note=_note(rows),
        command=command,
    )


def _cells(row: MethodRow) -> tuple[Interval | float | None, ...]:
    recall = row.recall or {}
    spent = (row.seconds and row.seconds.mean, row.peak_mb and row.peak_mb.mean)
    return (*(recall.get(k) for k in KS), row.median_rank, row.difference, *spent)


def _flags(
    row: MethodRow, this_run: str
) -> tuple[Literal["this run", "baseline", "reference", "chance"], ...]:
    if row.role != "method":
        return (row.role,)
    return ("this run",) if row.method == this_run else ("baseline",)


def _note(rows: Iterable[MethodRow]) -> str:
    seen = [row for row in rows if row.seeds]
    if not seen:
        return "No method could work from this."
    seeds = max(len(row.seeds) for row in seen)
    return (
        f"Group split; gallery of {seen[0].gallery:,.0f} items; {seeds} "
        f"seed{'s' if seeds > 1 else ''}, mean and 95 % interval; mean of both directions; time of "
        "one fit on one thread, tuning included."
    )


def _reasons(rows: Iterable[MethodRow]) -> list[str]:
    """Why numbers of these rows are missing, by method."""
    named = [(row.note.startswith(row.method), row) for row in rows if row.note]
    return [row.note if told else f"{row.method}: {row.note}" for told, row in named]


def by_block(rows: Sequence[MethodRow]) -> dict[Block, list[MethodRow]]:
    """Rows by block, in order."""
    blocks: dict[Block, list[MethodRow]] = {}
    for row in rows:
        blocks.setdefault(row.block, []).append(row)
    return blocks


_HEADINGS = ("method", "R@1", "R@5", "R@10", "median rank", "R@10 over {}", "s", "MB")


def headings(baseline: str = BASELINE) -> list[str]:
    """Headings of the columns that :func:`printed` fills."""
    return [heading.format(baseline) for heading in _HEADINGS]


def printed(row: MethodRow) -> list[str]:
    """One row for people."""
    *scores, seconds, memory = _cells(row)
    return [
        row.method,
        *(ABSENT if score is None else str(score) for score in scores),
        ABSENT if seconds is None else f"{seconds:.1f}",
        ABSENT if memory is None else f"{memory:.0f}",
    ]


def to_markdown(
    rows: Sequence[MethodRow],
    *,
    command: str = "",
    note: str = "",
    glance: str = "",
    baseline: str = BASELINE,
    level: int = 3,
) -> str:
    """Every block as a Markdown table, with the command that makes it.

    Args:
        rows: From :func:`summarise`.
        command: What makes all tables.
        note: What else to say above the tables.
        glance: Smaller tables to stand before them, see :func:`setclip.benchmark.at_a_glance`.
        baseline: Label of the method that differences were taken to.
        level: Of the headings.
    """
    parts = [f"Made by `{command}`."] if command else []
    parts += [text.strip() for text in (note, glance) if text]
    for block, body in by_block(rows).items():
        table = markdown_table(headings(baseline), [printed(row) for row in body])
        notes = "\n".join(f"- {reason}" for reason in _reasons(body))
        parts += [f"{'#' * level} {block.title}", _note(body), table, *filter(None, [notes])]
    return "\n\n".join(parts) + "\n"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of Markdown, the first column left and the others right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_csv(rows: Sequence[MethodRow]) -> str:
    """One line a row: three numbers a measure, and the command that makes the row.

    `alone` is 1 where the method saw the pairs alone.
    """
    measures = [*(f"recall@{k}" for k in KS), "median_rank", "difference@10", "over_alone@10"]
    measures += ["seconds", "cpu_seconds", "peak_mb"]
    numbers = [f"{m}{end}" for m in measures for end in ("", "_low", "_high")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = ["dataset", "condition", "set_size", "pairs", "method", "role"]
    header += ["alone", "seeds", "gallery"]
    writer.writerow([*header, *numbers, "note", "command"])
    for row in rows:
        recall = row.recall or {}
        values = [*(recall.get(k) for k in KS), row.median_rank, row.difference, row.over_alone]
        values += [row.seconds, row.cpu_seconds, row.peak_mb]
        block = row.block
        size = block.set_size if block.condition in SIZED else ""
        flat = [n for v in values for n in (_ends(v) if v else ("", "", ""))]
        seeds = " ".join(map(str, row.seeds))
        about = [block.dataset, block.condition, size, block.pairs, row.method, row.role]
        about += [int(row.alone), seeds]
        writer.writerow([*about, f"{row.gallery:g}", *flat, row.note, row.command])
    return out.getvalue()


def _ends(value: Interval) -> tuple[str, str, str]:
    return f"{value.mean:.6g}", f"{value.low:.6g}", f"{value.high:.6g}"


def to_rich(rows: Sequence[MethodRow], *, baseline: str = BASELINE) -> list[Table]:
    """Every block as a table for the terminal; the best R@10 and those within its interval bold.

    Under it stands why numbers are missing.
    """
    from rich.markup import escape
    from rich.table import Table

    from setclip.report.standings import standings

    tables = []
    for block, body in by_block(rows).items():
        caption = "\n".join([_note(body), *map(escape, _reasons(body))])
        table = Table(title=block.title, caption=caption, title_justify="left")
        for heading in headings(baseline):
            table.add_column(heading, justify="left" if heading == "method" else "right")
        marks = standings(to_result_table(body), _HEADINGS.index("R@10") - 1)
        for row, mark in zip(body, marks, strict=True):
            style = "dim" if row.role != "method" else "bold" if mark else None
            table.add_row(*printed(row), style=style)
        tables.append(table)
    return tables
