"""Pins heads trained on pairs alone: their losses, what they learn, and that pools are not seen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference import linear as naive

from setclip.data.pools import Pools, make_pools
from setclip.data.splits import draw_pools
from setclip.losses import clip_loss, siglip_loss
from setclip.methods import CLIP, SigLIP, make_method
from setclip.methods.pair_heads import PairHeads
from setclip.training.journal import Journal

CLOUD = naive.rotated_cloud(160, 6, noise=0.1)
PLANTED = replace(CLOUD, x=CLOUD.x - 1, y=CLOUD.y + 2)  # about the origin, where heads learn fast
SHORT = {"steps": 60, "folds": 2, "dim": 8, "lr": (0.01,)}


def pools(pairs: int = 60, **options: Any) -> Pools:
    return draw_pools(PLANTED.x, PLANTED.y, np.arange(100), pairs=pairs, **options)


def held_out(method: PairHeads, data: Pools, **options: Any) -> float:
    model = method.fit(data, **options)
    return naive.recall_at_1(model.encode_x(PLANTED.x[100:]), model.encode_y(PLANTED.y[100:]))


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    zx, zy = (torch.randn(5, 3, generator=generator) for _ in range(2))
    return torch.nn.functional.normalize(zx), torch.nn.functional.normalize(zy)


def test_clip_is_infonce_at_its_temperature() -> None:
    loss = CLIP(temperature=0.2).pair_loss(5)
    torch.testing.assert_close(loss(*rows()), clip_loss(*rows(), temperature=0.2))
    assert list(loss.parameters()) == []


@pytest.mark.parametrize(("bias", "expected"), [(None, -math.log(4)), (-10.0, -10.0)])
def test_siglip_starts_at_its_scale_and_learns_both(bias: float | None, expected: float) -> None:
    loss = SigLIP(scale=7.0, bias=bias).pair_loss(5)
    torch.testing.assert_close(
        loss(*rows()), siglip_loss(*rows(), scale=torch.tensor(7.0), bias=torch.tensor(expected))
    )
    loss(*rows()).backward()
    assert all(p.grad is not None and p.grad.abs() > 0 for p in loss.parameters())
    assert len(list(loss.parameters())) == 2


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_learns_a_planted_rotation(name: str) -> None:
    method = make_method(name, **{**SHORT, "steps": 120, "lr": (0.03,)})
    untrained = make_method(name, **{**SHORT, "steps": 1, "lr": (1e-9,)})
    assert held_out(method, pools()) > 0.35
    assert held_out(untrained, pools()) < 0.1


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("head", ["linear", "projection"])
def test_sees_the_pairs_alone(name: str, head: str) -> None:
    method = make_method(name, **{**SHORT, "steps": 12, "head": head})
    models = [
        method.fit(data, seed=4)
        for data in (pools(20, condition="sets", set_size=4), pools(20).without_pools())
    ]
    assert models[0].card == models[1].card
    for side in ("x_tower", "y_tower"):
        weights = [getattr(model, side).state_dict() for model in models]
        assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_tuning_tries_each_rate_on_folds() -> None:
    journal = Journal()
    CLIP(**{**SHORT, "lr": (1e-6, 0.01), "steps": 30}).fit(pools(), journal=journal)
    assert sorted(journal.curves) == [
        "final",
        *(f"fold {fold} of schedule {rate}" for fold in range(2) for rate in range(2)),
    ]
    assert "at rate 0.01" in journal.notes[0]
    assert journal.curves["final"].keys() == {"clip", "loss"}


def test_one_fold_trains_all_steps_at_the_first_rate() -> None:
    journal = Journal()
    SigLIP(**{**SHORT, "folds": 1, "lr": (0.02, 0.01), "steps": 9}).fit(pools(), journal=journal)
    assert set(journal.curves) == {"final"}
    assert len(journal.curves["final"]["siglip"]) == 9


def test_batches_are_no_larger_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: set[int] = set()
    pair_loss = CLIP.pair_loss

    def spy(self: CLIP, n: int) -> torch.nn.Module:
        loss = pair_loss(self, n)
        loss.register_forward_pre_hook(lambda module, inputs: sizes.add(len(inputs[0])))
        return loss

    monkeypatch.setattr(CLIP, "pair_loss", spy)
    CLIP(**{**SHORT, "steps": 3, "batch": 16}).fit(pools(40))
    assert sizes == {16}


@pytest.mark.parametrize("pairs", [0, 1])
def test_fewer_than_two_pairs_is_an_error_that_names_a_way_out(pairs: int) -> None:
    for name in ("clip", "siglip"):
        with pytest.raises(
            ValueError,
            match=rf"{name} learns from pairs alone and was given {pairs}: give at least 2, or use "
            "`auto`, which also takes sets and pools",
        ):
            make_method(name).fit(pools(pairs))


def test_units_of_the_features_do_not_matter() -> None:
    data = pools(20)
    far = make_pools(1e3 * data.x_pairs + 7, 1e-3 * data.y_pairs - 1)
    near, moved = (CLIP(**{**SHORT, "steps": 20}).fit(p) for p in (data, far))
    np.testing.assert_allclose(
        near.similarity(PLANTED.x, PLANTED.y),
        moved.similarity(1e3 * PLANTED.x + 7, 1e-3 * PLANTED.y - 1),
        rtol=0,
        atol=0.02,
    )


def test_two_pairs_are_enough() -> None:
    data = make_pools(PLANTED.x[:2], PLANTED.y[:2])
    for name in ("clip", "siglip"):
        assert make_method(name, **{**SHORT, "steps": 3}).fit(data).dim == 8


def test_the_base_has_no_loss() -> None:
    with pytest.raises(TypeError, match="PairHeads has no loss of its own"):
        PairHeads(kind="none").fit(pools())
