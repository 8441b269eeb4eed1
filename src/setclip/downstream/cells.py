"""Cells of a comparison: task, encoder, way, share of labels, seed; one result each, kept."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from setclip.data.atomic import write_bytes, write_json
from setclip.downstream.finetune import FineTuning
from setclip.downstream.models import Asked
from setclip.downstream.tasks import Task
from setclip.downstream.ways import STRENGTHS, Answer, K, Way, ask
from setclip.encoders.assembly import state_hash
from setclip.evaluation import TermCounts
from setclip.training.journal import Journal

FORMAT = 2


@dataclass(frozen=True, eq=False)
class Cell:
    """One question.

    Attributes:
        task: With the labels that may be used.
        share: Of the labels.
        label: What the encoder is called in the table.
        asked: The encoder.
        way: How it is asked.
        seed: Of labels, weights and training.
        options: Of fine-tuning.
    """

    task: Task
    share: float
    label: str
    asked: Asked
    way: Way
    seed: int
    options: FineTuning

    @property
    def decisive(self) -> dict[str, Any]:
        """All that decides the numbers."""
        partner = self.asked.partner
        settings: Any = {"k": K, "strengths": STRENGTHS}
        if self.way == "finetune":
            settings = self.options.model_dump(mode="json", exclude={"workers"})
        return {
            "format": FORMAT,
            "task": [self.task.name, self.task.fingerprint],
            "encoder": self.asked.fingerprint,
            "partner": partner.fingerprint if partner and "-to-" in self.way else "",
            "heads": [state_hash(one.tower) for one in (self.asked, partner) if one and one.tower]
            if "-to-" in self.way
            else [],
            "way": self.way,
            "seed": self.seed,
            "settings": settings,
        }

    @property
    def key(self) -> str:
        """Name of its files."""
        facts = json.dumps(self.decisive, sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Result:
    """A cell that was measured.

    Attributes:
        cell: Which.
        answer: What came of it.
        seconds: Processor time it took, reading kept features included.
    """

    cell: Cell
    answer: Answer
    seconds: float


def measure(cell: Cell, folder: Path, *, fresh: bool = False, progress: bool = False) -> Result:
    """The result of a cell, from its files where they are there.

    A fine-tuning that was killed goes on at its last checkpoint.

    Args:
        cell: Which.
        folder: Of the results.
        fresh: Measure again.
        progress: Show bars.
    """
    path = folder / "cells" / f"{cell.key}.json"
    if not fresh and (kept := _read(path, cell)) is not None:
        return kept
    training = folder / "training" / cell.key
    if fresh:
        shutil.rmtree(training, ignore_errors=True)
    own = training if cell.way == "finetune" else None
    started = time.process_time()
    journal = Journal(own, progress=progress)
    answer = ask(
        cell.way, cell.asked, cell.task, options=cell.options, seed=cell.seed, journal=journal
    )
    seconds = round(time.process_time() - started, 2)
    _write(path, cell, answer, seconds, journal.notes)
    # The log stays; a checkpoint is several times the encoder.
    shutil.rmtree(training / "checkpoints", ignore_errors=True)
    return Result(cell, answer, seconds)


def _write(path: Path, cell: Cell, answer: Answer, seconds: float, notes: list[str]) -> None:
    """Arrays of the chains first: a description that is there has all that it speaks of."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if answer.credits is not None:
        arrays["credits"] = answer.credits
    if answer.counts is not None:
        c = answer.counts
        arrays = {"hits": c.hits, "predicted": c.predicted, "terms": c.terms}
        arrays = {name: array.astype(np.uint16) for name, array in arrays.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path.with_suffix(".npz"), buffer.getvalue())
    write_json(
        path,
        {
            **cell.decisive,
            "label": cell.label,
            "share": cell.share,
            "source": cell.task.source,
            "taught": len(cell.task.train),
            "measure": cell.task.measure,
            "values": {test: round(answer.value(test), 3) for test in cell.task.tests},
            "chosen": answer.setting,
            "notes": notes,
            "seconds": seconds,
        },
    )


def _read(path: Path, cell: Cell) -> Result | None:
    """The kept result; None where there is none, or a damaged one."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        counts = None
        if "hits" in found:
            whole = (found[name].astype(np.int64) for name in ("hits", "predicted", "terms"))
            counts = TermCounts(*whole)
        answer = Answer(cell.task, found.get("credits"), counts, facts["chosen"])
        return Result(cell, answer, float(facts["seconds"]))
    # Bytes that are no JSON, no text and no array are ValueErrors.
    except (OSError, KeyError, ValueError, BadZipFile, zlib.error):
        return None
