"""Every ablated method is the base with what its label says changed, and nothing else."""

from __future__ import annotations

import pytest

from setclip.benchmark import NAMED, SUITES, cells_of
from setclip.benchmark.ablation import (
    ABLATED,
    ABLATED_STARTS,
    FORMS,
    MEMORY,
    TRAINED_ENCODERS,
    TRAINED_PROTEINS,
)

BASE = ABLATED["sdd"][1].model_dump()
CHANGED = {
    "sdd-start": {"steps": 0},
    "sdd-clip": {"weight_sdd": 0.0},
    "sdd-mmd": {"weight_sdd": 0.0, "weight_mmd": 3.0},
    "sdd-alone": {"weight_clip": 0.0},
    "sdd-weight-1": {"weight_sdd": 1.0},
    "sdd-fast": {"lr": 0.01},
    "sdd-published": {"within_sets": False, "bandwidth": 0.5},
    "sdd-batch": {"within_sets": False},
    "sdd-wide": {"bandwidth": 0.5},
    "sdd-narrow": {"bandwidth": 0.1},
    "sdd-several": {"bandwidth": (0.1, 0.25, 0.5)},
    "sdd-adaptive": {"adaptive": 10},
    "sdd-normalised": {"normalise": True},
    "sdd-left-out": {"leave_one_out": True},
    "sdd-memory": {"memory": MEMORY},
    "sdd-matched": {"matched_batches": True},
    "sdd-from-random": {"start": "random"},
    "sdd-from-transport-clip": {"start": "transport", "weight_sdd": 0.0},
    "sdd-from-cca-start": {"start": "cca", "steps": 0},
}


@pytest.mark.parametrize(("name", "changed"), CHANGED.items(), ids=list(CHANGED))
def test_one_thing_is_changed(name: str, changed: dict[str, object]) -> None:
    options = NAMED[name][1].model_dump()
    assert {k: v for k, v in options.items() if v != BASE[k]} == changed


@pytest.mark.parametrize(
    ("trained", "whole"),
    [(TRAINED_ENCODERS, "towers"), (TRAINED_PROTEINS, "protein-towers")],
    ids=["clip-art", "protein-chains"],
)
def test_of_trained_encoders_one_weight_is_taken_away(trained, whole) -> None:
    base = trained[whole][1].model_dump()
    without = [method.model_dump() for name, (_, method) in trained.items() if "-no-" in name]
    assert sorted(
        next(iter(changed))
        for options in without
        if len(changed := {k: v for k, v in options.items() if v != base[k]}) == 1
        and not any(changed.values())
    ) == ["weight_match", "weight_mmd", "weight_sdd", "weight_ssl"]
    clip = next(m for n, (_, m) in trained.items() if n in ("clip-towers", "protein-clip"))
    shared = {"steps", "lr", "batch_pairs", "x", "y", "x_blocks", "y_blocks", "wise", "augment"}
    assert {k: base[k] for k in shared} == {k: clip.model_dump()[k] for k in shared}


def test_every_ablated_method_is_pinned_above_but_for_starts() -> None:
    assert {*ABLATED, *FORMS} == {n for n in CHANGED if not n.startswith("sdd-from-")} | {"sdd"}
    assert len(ABLATED_STARTS) == 9


def test_labels_tell_all_of_them_apart() -> None:
    labels = [label for label, _ in (ABLATED | FORMS | ABLATED_STARTS).values()]
    assert len(set(labels)) == len(labels)


def test_the_named_line_of_the_sets() -> None:
    """What issue and docs quote: glosses, sets of 64, 20 pairs, start against CLIP + SDD."""
    cells = cells_of("ablation-sets", pairs=[20], seeds=1, methods=["sdd-start", "sdd"])
    found = [c for c in cells if c.dataset == "glosses" and c.pairs == 20]
    assert [(c.name, c.condition, c.set_size) for c in found] == [
        ("start", "sets", 64),
        ("CLIP + SDD", "sets", 64),
    ]


@pytest.mark.parametrize("suite", [name for name in SUITES if name.startswith("ablation")])
def test_cells_of_a_suite_are_told_apart(suite: str) -> None:
    cells = cells_of(suite, seeds=1)
    labels = {(c.dataset, c.condition, c.pairs, c.name) for c in cells}
    assert len(labels) == len(cells)
