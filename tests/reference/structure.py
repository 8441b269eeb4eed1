"""STRUCTURE written out: one row, one level and one entry at a time, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def walk(z: Tensor, temperature: float) -> Tensor:
    unit = torch.stack([row / torch.sqrt(torch.dot(row, row)) for row in z])
    mean = sum(unit) / len(unit)
    centred = [row - mean for row in unit]
    rows = []
    for u in centred:
        weights = [torch.exp(torch.dot(u, v) / temperature) for v in centred]
        rows.append(torch.stack(weights) / sum(weights))
    return torch.stack(rows)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True))


def structure_loss(
    before: Tensor, after: Tensor, *, levels: int, temperature: float, swapped_kl: bool
) -> Tensor:
    n = len(before)
    p_step, q_step = walk(before, temperature), walk(after, temperature)
    total = torch.zeros((), dtype=torch.float64)
    for level in range(1, levels + 1):
        p_all = torch.linalg.matrix_power(p_step, level)
        q_all = torch.linalg.matrix_power(q_step, level)
        for i in range(n):
            p, q = p_all[i], q_all[i]
            m = (p + q) / 2
            both = kl(m, p) + kl(m, q) if swapped_kl else kl(p, m) + kl(q, m)
            total = total + both / 2 / level
    return total / (levels * n)


MOST = math.log(2)
