"""Pins STRUCTURE: its published constants, warm-up, batches, and that neighbourhoods stay."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from reference import linear as naive

from setclip.data.splits import draw_pools
from setclip.losses import structure_loss
from setclip.methods import Structure, make_method
from setclip.training.journal import Journal

PLANTED = naive.rotated_cloud(200, 6, noise=0.1)
POOLS = draw_pools(PLANTED.x, PLANTED.y, np.arange(140), pairs=12)
SHORT = {"steps": 60, "folds": 1, "lr": (0.03,), "dim": 8}


def test_published_constants() -> None:
    for options in (Structure(), Structure(recipe="paper")):
        assert (options.weight, options.levels, options.structure_temperature) == (10.0, 1, 0.05)
        assert not options.swapped_kl
    assert Structure(recipe="paper").rank is None
    assert Structure(recipe="paper", rank=3).rank == 3


def test_learns_a_planted_rotation_and_keeps_neighbourhoods() -> None:
    def found(name: str, **options: object) -> tuple[float, float]:
        model = make_method(name, **{**SHORT, **options}).fit(POOLS)
        z = model.encode_x(PLANTED.x[140:]), model.encode_y(PLANTED.y[140:])
        before = torch.from_numpy(PLANTED.x[140:])
        return naive.recall_at_1(*z), float(structure_loss(before, torch.from_numpy(z[0])))

    chance, _ = found("clip", steps=1, lr=(1e-9,))
    clip, moved = found("clip")
    recall, kept = found("structure", rank=None)
    assert recall > chance + 0.15
    assert kept < moved
    assert clip > chance


def test_the_weight_rises_linearly_and_the_swapped_form_is_another() -> None:
    terms = []
    for options in ({"weight_warmup": 0}, {"weight_warmup": 4}, {"swapped_kl": True}):
        journal = Journal()
        Structure(**{**SHORT, "steps": 5, "lr": (1e-12,), "weight_warmup": 0, **options}).fit(
            POOLS, journal=journal
        )
        curve = journal.curves["final"]
        assert set(curve) == {"clip", "structure x", "structure y", "loss"}
        terms.append(np.array([value for _, value in curve["structure x"]]))
    np.testing.assert_allclose(terms[1] / terms[0], [0.25, 0.5, 0.75, 1, 1], rtol=1e-4)
    assert np.abs(terms[2] / terms[0] - 1).min() > 1e-3


def test_a_resumed_warm_up_goes_on(tmp_path: Path) -> None:
    options = Structure(**{**SHORT, "steps": 6, "weight_warmup": 6})
    whole, killed = Journal(), Journal(tmp_path, checkpoint_every=2)
    options.fit(POOLS, journal=whole)
    log = killed.log

    def dying(phase: str, step: int, values: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt
        log(phase, step, values)

    killed.log = dying  # type: ignore[method-assign]
    with suppress(KeyboardInterrupt):
        options.fit(POOLS, journal=killed)
    resumed = Journal(tmp_path, checkpoint_every=2)
    options.fit(POOLS, journal=resumed)
    assert resumed.curves["final"] == whole.curves["final"]
