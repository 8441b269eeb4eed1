"""The journal of a fit: what it measured, what it decided, what went wrong, where it can resume."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from setclip.data.atomic import write_text
from setclip.data.bad_items import BadItem
from setclip.training.distributed import rank

logger = logging.getLogger("setclip")


class Steps(Protocol):
    """A progress bar of one phase."""

    def __call__(self, step: int, shown: str) -> None:
        """Move to `step` and show a few numbers."""


@dataclass
class Journal:
    """Where a fit leaves its traces; in memory by default, in a run folder if given one.

    Attributes:
        directory: Folder for ``log.jsonl`` and ``checkpoints/``, made if missing; None keeps all
            in memory and makes no checkpoints.
        progress: Show progress bars.
        checkpoint_every: Steps between checkpoints.
        notes: Decisions, one sentence each, for log, model card and report.
        warnings: Named problems with a remedy.
        curves: Every logged value by phase: ``curves[phase][term]`` is a list of (step, value).
        bad: Items that could not be read, each once; `field` is the stream of the pools ("x pairs",
            "y pairs", "x pool", "y pool") that `row` counts in, from 0.
    """

    directory: Path | None = None
    progress: bool = False
    checkpoint_every: int = 50
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    bad: list[BadItem] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def writes(self) -> bool:
        """Whether this process leaves traces on disk: of several, the first alone does."""
        return self.directory is not None and rank() == 0

    def note(self, sentence: str) -> None:
        """Record a decision."""
        logger.info(sentence)
        self.notes.append(sentence)

    def warn(self, name: str, sentence: str) -> None:
        """Record a named problem; the sentence says what to try."""
        line = f"{name}: {sentence}"
        if line not in self.warnings:
            logger.warning(line)
            self.warnings.append(line)

    def leave_out(self, items: Sequence[BadItem]) -> None:
        """Record items of the pools that could not be read, in one sentence and one by one."""
        known = {(item.field, item.row) for item in self.bad}
        new = [item for item in items if (item.field, item.row) not in known]
        if new:
            self.bad += new
            self.note(
                f"Items that could not be read and were left out: {len(new):,}, the first {new[0]}."
            )

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Record values of a step."""
        terms = self.curves.setdefault(phase, {})
        for name, value in values.items():
            terms.setdefault(name, []).append((step, value))
        if self.writes:
            assert self.directory is not None
            # JSON has no word for NaN: other readers than Python's would refuse the file.
            finite = {n: v if math.isfinite(v) else None for n, v in values.items()}
            line = json.dumps({"phase": phase, "step": step, **finite})
            with (self.directory / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def rewind(self, phase: str, step: int) -> None:
        """Forget what was logged of a phase after `step`, which is about to be logged again.

        What stays is read back from disk: a resumed run knows the curves of the run before it.
        """
        self.curves.pop(phase, None)
        if self.directory is None:
            return
        path = self.directory / "log.jsonl"
        if not path.is_file():
            return
        kept = [
            entry for entry in _entries(path) if entry["phase"] != phase or entry["step"] <= step
        ]
        if self.writes:
            write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))
        self.curves |= {name: terms for name, terms in read_curves(path).items() if name == phase}

    def checkpoint(self, phase: str) -> Path | None:
        """Where the state of a phase is kept; None when nothing is."""
        if self.directory is None:
            return None
        return self.directory / "checkpoints" / f"{phase.replace(' ', '-')}.safetensors"

    @contextmanager
    def bar(self, phase: str, total: int) -> Iterator[Steps]:
        """A progress bar with rate and time left, or nothing where progress is off."""
        if not self.progress or rank():
            yield lambda step, shown: None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task(phase, total=total, shown="")

            def advance(step: int, shown: str) -> None:
                bar.update(task, completed=step, shown=shown)

            yield advance


def read_curves(path: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Every logged value of a ``log.jsonl``: ``[phase][term]`` is a list of (step, value)."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for entry in _entries(path):
        phase, step = entry.pop("phase"), entry.pop("step")
        for name, value in entry.items():
            number = math.nan if value is None else value
            curves.setdefault(phase, {}).setdefault(name, []).append((step, number))
    return curves


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the line that was being written when the run was killed
    return entries
