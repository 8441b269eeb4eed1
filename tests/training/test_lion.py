"""Pins Lion: its formula against a loop, its fixed step, and its state."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from setclip.training.lion import Lion
from setclip.training.loop import Schedule, train


def test_follows_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    weights, momentum = rng.standard_normal(5), np.zeros(5)
    parameter = nn.Parameter(torch.from_numpy(weights.copy()))
    optimiser = Lion([parameter], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    for _ in range(4):
        gradient = rng.standard_normal(5)
        parameter.grad = torch.from_numpy(gradient)
        optimiser.step()
        direction = np.sign(0.9 * momentum + 0.1 * gradient)
        weights = weights - 0.1 * (direction + 0.5 * weights)
        momentum = 0.99 * momentum + 0.01 * gradient
        np.testing.assert_allclose(parameter.detach().numpy(), weights, atol=1e-12)


def test_published_defaults() -> None:
    group = Lion([nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.99), 0.0)


def test_parameters_without_a_gradient_stay() -> None:
    parameter = nn.Parameter(torch.ones(2))
    Lion([parameter], lr=1.0, weight_decay=1.0).step()
    assert torch.equal(parameter.detach(), torch.ones(2))


def test_the_loop_takes_it_and_decays_no_single_number() -> None:
    """Without a gradient of their own only decay moves weights, and it spares scalars."""
    module = nn.Module()
    module.scale, module.weight = (
        nn.Parameter(torch.tensor(2.0)),
        nn.Parameter(torch.full((2,), 2.0)),
    )
    for optimiser in ("lion", "adamw"):
        schedule = Schedule(5, 0.1, weight_decay=0.5, optimiser=optimiser)  # type: ignore[arg-type]
        before = module.weight.detach().clone()
        train(module, lambda rng: {"none": 0.0 * (module.scale + module.weight.sum())}, schedule)
        assert float(module.scale.detach()) == 2.0
        assert (module.weight < before).all()
