"""Lion: steps of one size, in the direction of the sign of a momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """``c = b1 m + (1 - b1) g;  p -= lr (sign(c) + decay p);  m = b2 m + (1 - b2) g``.

    Every weight moves by `lr` a step however small its gradient is: rates are to be three to ten
    times smaller than Adam's, and weight decays as much larger.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: b1, the share of the momentum in a step's direction, and b2, in the next momentum.
        weight_decay: Decoupled weight decay.

    Source:
        arXiv 2302.06675, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients there are."""
        for group in self.param_groups:
            rate, (direction, memory) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                momentum = state.setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - rate * group["weight_decay"])
                p.sub_(rate * torch.lerp(p.grad, momentum, direction).sign_())
                momentum.lerp_(p.grad, 1 - memory)
