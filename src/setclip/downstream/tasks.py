"""Labelled tasks on protein chains: fold and reaction, enzyme numbers, terms of function.

Read from the released sets (:func:`read_task`) or made of a set of chains with CATH, EC and GO
labels (:func:`make_task`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from setclip.data.pools import IntArray
from setclip.data.proteins import PackedChains, ProteinSet
from setclip.data.splits import split_by_group
from setclip.modalities import BadItemError
from setclip.proteins.function_sets import (
    IDENTITIES,
    LabelledChains,
    read_ec,
    read_fold,
    read_go,
    read_reaction,
)

TaskName = Literal["fold", "reaction", "ec", "go-mf", "go-bp", "go-cc"]
SplitBy = Literal["superfamily", "cluster"]

TASKS: tuple[TaskName, ...] = get_args(TaskName)
SINGLE: tuple[TaskName, ...] = ("fold", "reaction")
"""Tasks with one class a chain; the others have any number of terms."""

TEST_FRACTION = 0.25
"""What the benchmark, the demo and `configs/protein.yaml` hold out."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Task:
    """Chains with labels, and which of them teach, choose and test.

    Attributes:
        name: Which task.
        source: Where it comes from, in words.
        sequences: Of each chain.
        structures: The same chains as :func:`setclip.proteins.packed.pack_chain` makes them.
        labels: Which classes each chain has; exactly one in fold and reaction. Shape [n, classes].
        classes: Their names.
        groups: Chains of one group are relatives: cross-validation keeps them together. Shape [n].
        train: Rows to learn from.
        validation: Rows that choose the step.
        tests: Rows of each test by name, the main one first; they may overlap.
        bad: Chains that could not be used.
        split: What no two parts share; None where whoever published the task split it.
    """

    name: TaskName
    source: str
    sequences: Sequence[str]
    structures: Sequence[bytes]
    labels: BoolArray
    classes: tuple[str, ...]
    groups: IntArray
    train: IntArray
    validation: IntArray
    tests: dict[str, IntArray]
    bad: tuple[BadItemError, ...] = ()
    split: SplitBy | None = None

    @property
    def single(self) -> bool:
        """Whether each chain has exactly one class: then accuracy counts, else Fmax."""
        return self.name in SINGLE

    @property
    def measure(self) -> str:
        """What is measured, in percent."""
        return "accuracy" if self.single else "Fmax"

    @property
    def codes(self) -> IntArray:
        """The class of each chain, where there is one. Shape [n]."""
        codes: IntArray = self.labels.argmax(axis=1).astype(np.int64)
        return codes

    @property
    def test(self) -> IntArray:
        """Rows of any test, ascending."""
        rows: IntArray = np.unique(np.concatenate(list(self.tests.values())))
        return rows

    @property
    def lengths(self) -> IntArray:
        """Residues of each chain. Shape [n]."""
        return np.array([len(sequence) for sequence in self.sequences], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when chains, labels or parts do."""
        digest = hashlib.sha256("\0".join([self.name, *self.classes, *self.sequences]).encode())
        digest.update(np.packbits(self.labels).tobytes())
        for packed in self.structures:
            digest.update(hashlib.sha256(packed).digest())
        for name, rows in [("train", self.train), ("val", self.validation), *self.tests.items()]:
            digest.update(name.encode() + np.asarray(rows, dtype=np.int64).tobytes())
        return digest.hexdigest()[:16]

    def items(self, modality: str) -> Sequence[Any]:
        """What an encoder of sequences or of structures reads."""
        return self.structures if modality == "structure" else self.sequences

    def few_labels(self, share: float, *, seed: int) -> Task:
        """The task with the labels of a share of the chains: of those that teach and that choose.

        Choosing a step by labels that training may not see would be training on them. What a small
        share draws is part of what a larger one of the same seed draws; at least two chains teach.

        Raises:
            ValueError: The share is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"the share of labels is {share}: give one above 0, up to 1.")
        rng = np.random.default_rng(seed)
        train, validation = (
            np.sort(rng.permutation(rows)[: max(least, round(share * len(rows)))])
            for rows, least in ((self.train, 2), (self.validation, 1))
        )
        return replace(self, train=train, validation=validation)

    def __str__(self) -> str:
        tests = ", ".join(f"{name} {len(rows):,}" for name, rows in self.tests.items())
        kind = "classes" if self.single else "terms"
        return (
            f"{self.name} ({self.source}): {len(self.classes):,} {kind}; {len(self.train):,} "
            f"chains to learn from, {len(self.validation):,} to choose the step, test: {tests}"
        )


def read_task(folder: str | Path, name: TaskName) -> Task:
    """A released set: IEConv's fold and reaction, nrPDB's EC and GO, with their own parts.

    The tests of fold are named as published; those of EC and GO are the chains below each identity
    to the training part, "95 %" first, which is what papers report.

    Args:
        folder: Where its files lie.
        name: Which task.

    Raises:
        BadItemError: A file of the layout is missing or cannot be read.
        ValueError: A part has no usable chain.
    """
    parts = _parts(Path(folder), name)
    for part, read in parts.items():
        if not read.chains:
            first = f"; the first: {read.bad[0]}" if read.bad else ""
            raise ValueError(
                f"{folder} has no usable chain in its part {part!r}, {len(read.bad):,} bad{first}."
            )
    chains = [chain for read in parts.values() for chain in read.chains]
    ends = np.cumsum([0, *(len(read.chains) for read in parts.values())])
    rows = {part: np.arange(*ends[i : i + 2]) for i, part in enumerate(parts)}
    first, second, *tests = rows
    found = {test: rows[test] for test in tests}
    if below := parts[tests[-1]].below:
        found = {f"{i} %": found["test"][below[i]] for i in reversed(IDENTITIES)}
        found = {test: own for test, own in found.items() if len(own)}
    return Task(
        name=name,
        source=Path(folder).name,
        sequences=[chain.sequence for chain in chains],
        structures=PackedChains(chains.__getitem__, len(chains)),
        labels=np.concatenate([read.labels for read in parts.values()]),
        classes=parts[first].classes,
        groups=np.arange(len(chains)),
        train=rows[first],
        validation=rows[second],
        tests=found,
        bad=tuple(bad for read in parts.values() for bad in read.bad),
    )


def _parts(folder: Path, name: TaskName) -> dict[str, LabelledChains]:
    """Training, validation and test parts, in this order."""
    if name == "fold":
        tests = ("test_fold", "test_superfamily", "test_family")
        return {part: read_fold(folder, part) for part in ("training", "validation", *tests)}  # type: ignore[arg-type]
    if name == "reaction":
        names = ("training", "validation", "testing")
        return {part: read_reaction(folder, part) for part in names}  # type: ignore[arg-type]
    parts: tuple[Literal["train", "valid", "test"], ...] = ("train", "valid", "test")
    if name == "ec":
        return {part: read_ec(folder, part) for part in parts}
    branch: Any = name.removeprefix("go-")
    return {part: read_go(folder, part, branch=branch) for part in parts}


def make_task(
    chains: ProteinSet,
    name: TaskName,
    *,
    split: SplitBy | None = None,
    max_residues: int | None = None,
    least: int | None = None,
    test_fraction: float = TEST_FRACTION,
    validation: float = 0.1,
    seed: int = 0,
) -> Task:
    """A task on chains of exactly one CATH domain.

    The fold of a chain is its CATH topology. An enzyme number counts as itself and as the number
    above it (1.2.3.4 and 1.2.3.-), a chain has the GO terms that it is annotated with. Classes that
    no chain of the training part has are left out, and chains without class with them.

    Split by superfamily, the test superfamilies are those that `setclip fit`, `bench` and
    `demo-protein` hold out of this set with the same seed and `test_fraction`, so that no encoder
    aligned there has seen a test chain. Split by cluster, no test chain has a relative of 35 %
    identity or more in training, but superfamilies, and what an encoder was aligned on, may be on
    both sides.

    Args:
        chains: With CATH, EC and GO.
        name: Any but reaction.
        split: By default superfamily for fold and cluster, of 35 % identity, for the others.
        max_residues: Leave out longer chains.
        least: Leave out classes with fewer chains; by default 10, of GO 20.
        test_fraction: Share of the groups' chains that test.
        validation: Share of the others that choose the step.
        seed: Of the split.

    Raises:
        ValueError: No such labels in this set, or too few chains are left.
    """
    if name == "reaction" or (name.startswith("go-") and not chains.go):
        known = [t for t in TASKS if t != "reaction" and (chains.go or not t.startswith("go-"))]
        raise ValueError(
            f"{chains.name} has no labels for {name}: choose one of {', '.join(known)}, or give "
            "the folder of a released set."
        )
    split = split or ("superfamily" if name == "fold" else "cluster")
    fits = np.diff(chains.starts) <= (max_residues or np.iinfo(np.int64).max)
    rows = np.flatnonzero(fits & np.array([bool(s) for s in chains.superfamilies]))
    terms = [_terms(chains, name, int(row)) for row in rows]
    counts = Counter(term for own in terms for term in own)
    least = least or (20 if name.startswith("go-") else 10)
    classes = sorted(term for term, count in counts.items() if count >= least)
    column = {term: i for i, term in enumerate(classes)}
    labels = np.zeros((len(rows), len(classes)), dtype=bool)
    for i, own in enumerate(terms):
        labels[i, [column[term] for term in own if term in column]] = True
    rows, labels = rows[labels.any(axis=1)], labels[labels.any(axis=1)]
    if not len(rows):
        raise ValueError(
            f"no class of {name} has {least} of the chains of {chains.name} that are left: lower "
            "`least`, or allow longer chains."
        )
    parts = _split(chains, rows, split, test_fraction, validation, seed)
    taught = labels[parts == 0].any(axis=0)
    usable = labels[:, taught].any(axis=1)
    rows, labels, parts = rows[usable], labels[usable][:, taught], parts[usable]
    train, choose, test = (np.flatnonzero(parts == part) for part in range(3))
    if min(len(train), len(choose), len(test)) == 0:
        raise ValueError(
            f"{name} on {chains.name} leaves {len(train)} chains to learn from, {len(choose)} to "
            f"choose the step and {len(test)} to test: allow longer chains, or lower `least`."
        )
    part = chains.take(rows)
    keys = part.superfamilies if split == "superfamily" else part.s35
    return Task(
        name=name,
        source=f"{chains.name} split by {split}",
        sequences=part.sequences,
        structures=PackedChains(part.chain, len(part)),
        labels=labels,
        classes=tuple(np.array(classes)[taught].tolist()),
        groups=np.unique(keys, return_inverse=True)[1].astype(np.int64),
        train=train,
        validation=choose,
        tests={"test": test},
        split=split,
    )


def _terms(chains: ProteinSet, name: TaskName, row: int) -> set[str]:
    if name == "fold":
        return {chains.topologies[row]}
    if name == "ec":
        fields = [number.split(".") for number in chains.ec[row]]
        known = [own for own in fields if len(own) == 4 and own[2] != "-"]
        return {".".join(own) for own in known} | {".".join([*own[:3], "-"]) for own in known}
    return set(chains.go[name.removeprefix("go-")][row])


def _split(
    chains: ProteinSet,
    rows: IntArray,
    split: SplitBy,
    test_fraction: float,
    validation: float,
    seed: int,
) -> IntArray:
    """Part of each row: 0 to learn from, 1 to choose the step, 2 to test."""
    families = np.array(chains.superfamilies)[rows]
    parts = np.zeros(len(rows), dtype=np.int64)
    if split == "superfamily":
        keys = families
        parts[np.isin(keys, held_out_superfamilies(chains, test_fraction, seed))] = 2
    else:
        keys = np.array(chains.s35)[rows]
        parts[split_by_group(keys, test_fraction=test_fraction, seed=seed)[1]] = 2
    left = np.flatnonzero(parts == 0)
    parts[left[split_by_group(keys[left], test_fraction=validation, seed=seed)[1]]] = 1
    return parts


def held_out_superfamilies(
    chains: ProteinSet, test_fraction: float, seed: int
) -> npt.NDArray[np.str_]:
    """Superfamilies in the test of the data set of that name, as runs and the benchmark split it.

    Runs see of these chains the first of each cluster of 35 % identity.
    """
    families = np.array(chains.superfamilies)[chains.representatives]
    _, test = split_by_group(families, test_fraction=test_fraction, seed=seed)
    return np.unique(families[test])
