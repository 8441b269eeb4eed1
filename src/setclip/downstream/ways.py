"""The ways to ask an encoder about a task: linear probe, k-NN, fine-tuning, across modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from setclip.data.pools import FloatArray, IntArray
from setclip.downstream.finetune import FineTuning, fine_tune
from setclip.downstream.models import Asked
from setclip.downstream.tasks import Task
from setclip.evaluation import (
    TermCounts,
    fmax,
    knn_probe,
    knn_terms,
    linear_probe,
    ridge_terms,
    term_counts,
)
from setclip.training.journal import Journal

Way = Literal["probe", "knn", "finetune", "sequence-to-structure", "structure-to-sequence"]

ACROSS: tuple[Way, ...] = ("sequence-to-structure", "structure-to-sequence")
"""Zero-shot: the nearest labelled chain is looked for in the other modality."""

K = 10
"""Neighbours that vote."""
STRENGTHS = (1e-3, 1e-2, 1e-1)
"""Inverse penalties that the linear probe of classes chooses from."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of asking, chain by chain.

    Attributes:
        task: What was asked; its `test` are the rows.
        credits: Probability of being right of each test chain, where classes exclude each other.
        counts: What Fmax is made of, where they do not.
        setting: Hyper-parameters that were chosen.
    """

    task: Task
    credits: npt.NDArray[np.float64] | None
    counts: TermCounts | None
    setting: str

    def of(self, test: str) -> npt.NDArray[np.float64] | TermCounts:
        """The chains of one test."""
        places = np.searchsorted(self.task.test, self.task.tests[test])
        if self.credits is not None:
            found: npt.NDArray[np.float64] = self.credits[places]
            return found
        assert self.counts is not None
        return self.counts.take(places)

    def value(self, test: str) -> float:
        """Accuracy or Fmax of one test, in percent."""
        own = self.of(test)
        return 100 * (own.fmax.value if isinstance(own, TermCounts) else float(own.mean()))


def ask(
    way: Way,
    asked: Asked,
    task: Task,
    *,
    options: FineTuning | None = None,
    seed: int = 0,
    journal: Journal | None = None,
) -> Answer:
    """Ask an encoder about the test chains of a task.

    Args:
        way: How.
        asked: The encoder; its own weights stay as they are.
        task: What it learns from is what `task` labels.
        options: Of fine-tuning; None for the default.
        seed: Of folds of the probes, and of all that fine-tuning draws.
        journal: Of fine-tuning.

    Raises:
        ValueError: The encoder cannot be asked in this way.
    """
    options, journal = options or FineTuning(), journal or Journal()
    if way == "finetune":
        if asked.fresh is None:
            raise ValueError(
                f"{asked.encoder.name} has no weights to train: ask it with probe and knn."
            )
        scores = fine_tune(asked.fresh(), task, options, seed=seed, journal=journal)
        return _scored(task, scores, options.recipe)
    if way in ACROSS:
        return _across(way, asked, task, journal)
    taught = asked.features(_taken(task, asked.reads, task.train), progress=journal.progress)
    test = asked.features(_taken(task, asked.reads, task.test), progress=journal.progress)
    if way == "knn":
        return _nearest(task, taught, test, K)
    groups = task.groups[task.train]
    if task.single:
        known, truth = task.codes[task.train], task.codes[task.test]
        probe = linear_probe(
            taught, known, test, truth, train_groups=groups, strengths=STRENGTHS, seed=seed
        )
        return Answer(task, probe.credits, None, probe.setting)
    terms, true_terms = task.labels[task.train], task.labels[task.test]
    found = ridge_terms(taught, terms, test, true_terms, train_groups=groups, seed=seed)
    return Answer(task, None, found.counts, found.setting)


def prior(task: Task) -> dict[str, float]:
    """What is reached without looking at a chain, in percent by test: the floor of every table.

    Always the most frequent class of the chains that teach, or each term with its share of them.
    """
    known = task.labels[task.train]
    shares = known.mean(axis=0)
    scores = np.tile(shares, (len(task.test), 1))
    if not task.single:
        places = {t: np.searchsorted(task.test, rows) for t, rows in task.tests.items()}
        truth = task.labels[task.test]
        return {t: 100 * fmax(scores[own], truth[own]).value for t, own in places.items()}
    answer = _scored(task, scores, "")
    return {test: answer.value(test) for test in task.tests}


def _across(way: Way, asked: Asked, task: Task, journal: Journal) -> Answer:
    """Each test chain, known by one modality, takes the labels of the nearest in the other."""
    if asked.partner is None or asked.partner.reads == asked.reads:
        raise ValueError(
            f"{asked.encoder.name} has no partner of the other modality: {way} asks the folder of "
            "a run that aligned sequences with structures."
        )
    sides = {one.reads: one for one in (asked, asked.partner)}
    query, _, labelled = way.partition("-to-")
    taught, test = (
        sides[reads].embeddings(_taken(task, reads, rows), progress=journal.progress)  # type: ignore[index]
        for reads, rows in ((labelled, task.train), (query, task.test))
    )
    return _nearest(task, taught, test, 1)


def _nearest(task: Task, taught: FloatArray, test: FloatArray, k: int) -> Answer:
    if task.single:
        found = knn_probe(taught, task.codes[task.train], test, task.codes[task.test], k=k)
        return Answer(task, found.credits, None, found.setting)
    terms = knn_terms(taught, task.labels[task.train], test, task.labels[task.test], k=k)
    return Answer(task, None, terms.counts, terms.setting)


def _scored(task: Task, scores: npt.NDArray[np.floating], setting: str) -> Answer:
    if task.single:
        right = scores.argmax(axis=1) == task.codes[task.test]
        return Answer(task, right.astype(np.float64), None, setting)
    return Answer(task, None, term_counts(scores, task.labels[task.test]), setting)


def _taken(task: Task, reads: str, rows: IntArray) -> list[object]:
    items = task.items(reads)
    return [items[row] for row in rows]
