"""Sinkhorn as its definition, on logarithms in float64, differentiable through every iteration."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinkhorn_plan(
    scores: Tensor,
    *,
    epsilon: float,
    row_marginal: list[float] | None = None,
    column_marginal: list[float] | None = None,
    iterations: int = 500,
) -> Tensor:
    n, m = scores.shape
    a = row_marginal or [1 / n] * n
    b = column_marginal or [1 / m] * m
    f = [torch.zeros((), dtype=torch.float64) for _ in range(n)]
    g = [torch.zeros((), dtype=torch.float64) for _ in range(m)]
    for _ in range(iterations):
        for i in range(n):
            f[i] = math.log(a[i]) - torch.logsumexp(scores[i] / epsilon + torch.stack(g), 0)
        for j in range(m):
            g[j] = math.log(b[j]) - torch.logsumexp(scores[:, j] / epsilon + torch.stack(f), 0)
    return torch.exp(scores / epsilon + torch.stack(f)[:, None] + torch.stack(g)[None, :])


def kl(target: Tensor, plan: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for p, q in zip(target.flatten(), plan.flatten(), strict=True):
        total = total + p * (torch.log(p) - torch.log(q))
    return total
