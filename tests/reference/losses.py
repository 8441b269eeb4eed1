"""The losses written out as their formulas, one pair of points at a time, in float64.

Slow on purpose: no matrix product, no log-space, nothing shared with the package. All of them are
differentiable, so their gradients are a reference too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def clip_loss(
    x: Tensor,
    y: Tensor,
    *,
    temperature: float,
    extra_x: Sequence[Tensor] = (),
    extra_y: Sequence[Tensor] = (),
    positives: Sequence[Sequence[bool]] | None = None,
) -> Tensor:
    n = len(x)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        for query, partners, extra, match in (
            (x[i], y, extra_y, lambda j, i=i: positives[i][j]),
            (y[i], x, extra_x, lambda j, i=i: positives[j][i]),
        ):
            scores = [torch.dot(query, z) / temperature for z in [*partners, *extra]]
            everything = sum(torch.exp(s) for s in scores)
            targets = [j for j in range(n) if j == i or (positives is not None and match(j))]
            for j in targets:
                total = total - torch.log(torch.exp(scores[j]) / everything) / len(targets)
    return total / (2 * n)


def siglip_loss(
    x: Tensor,
    y: Tensor,
    *,
    scale: float,
    bias: float,
    positives: Sequence[Sequence[bool]] | None = None,
) -> Tensor:
    n = len(x)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            match = i == j or (positives is not None and positives[i][j])
            logit = scale * torch.dot(x[i], y[j]) + bias
            total = total - torch.log(torch.sigmoid(logit if match else -logit))
    return total / n**2


def nt_xent(a: Tensor, b: Tensor, *, temperature: float) -> Tensor:
    n = len(a)
    views = [*a, *b]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(2 * n):
        scores = {
            j: torch.exp(torch.dot(views[i], views[j]) / temperature)
            for j in range(2 * n)
            if j != i
        }
        total = total - torch.log(scores[(i + n) % (2 * n)] / sum(scores.values()))
    return total / (2 * n)


def squared_distance(u: Tensor, z: Tensor) -> Tensor:
    return ((u - z) ** 2).sum()


def median_bandwidths(x: Tensor, y: Tensor) -> list[float]:
    pooled = [*x.detach(), *y.detach()]
    distances = sorted(
        math.sqrt(squared_distance(pooled[i], pooled[j]))
        for i in range(len(pooled))
        for j in range(i)
    )
    median = distances[(len(distances) - 1) // 2]
    return [median * factor for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]


def mk_mmd(
    x: Tensor, y: Tensor, *, bandwidths: Sequence[float] | None = None, unbiased: bool = False
) -> Tensor:
    widths = median_bandwidths(x, y) if bandwidths is None else bandwidths

    def kernel(u: Tensor, z: Tensor) -> Tensor:
        return sum(torch.exp(-squared_distance(u, z) / (2 * s**2)) for s in widths)

    def within(z: Tensor) -> Tensor:
        n = len(z)
        values = [kernel(z[i], z[j]) for i in range(n) for j in range(n) if not unbiased or i != j]
        return sum(values) / len(values)

    across = [kernel(u, z) for u in x for z in y]
    return within(x) + within(y) - 2 * sum(across) / len(across)


def total_variance(z: Tensor) -> Tensor:
    mean = sum(z) / len(z)
    return sum(squared_distance(row, mean) for row in z) / (len(z) - 1)


def kernel_scales(z: Tensor, adaptive: int | None) -> list[Tensor]:
    variance = total_variance(z)
    if adaptive is None:
        return [variance for _ in z]
    scales = []
    for i in range(len(z)):
        others = sorted(
            (squared_distance(z[i], z[j]) for j in range(len(z)) if j != i), key=lambda d: d.item()
        )
        scales.append(torch.maximum(others[adaptive - 1] / 2, 0.001 * variance))
    return scales


def density(
    u: Tensor,
    z: Tensor,
    scales: Sequence[Tensor],
    *,
    bandwidths: Sequence[float] = (0.5,),
    leave_out: int | None = None,
) -> Tensor:
    """p_Z(u), the hill of one row left out if asked."""
    total = torch.zeros((), dtype=torch.float64)
    for h in bandwidths:
        c = 3 / (2 * math.pi * h**2 * 16)
        for j in range(len(z)):
            if j != leave_out:
                total = total + c * torch.exp(-squared_distance(u, z[j]) / (4 * h**2 * scales[j]))
    return total / len(bandwidths)


def spread(z: Tensor) -> Tensor:
    columns = [z[:, k] for k in range(z.shape[1])]
    return sum((column.max() - column.min()) ** 2 for column in columns)


def divergence(
    x: Tensor,
    y: Tensor,
    x_scales: Sequence[Tensor],
    y_scales: Sequence[Tensor],
    *,
    bandwidth: float | Sequence[float] = 0.5,
    normalise: bool = False,
    leave_one_out: bool = False,
    memory_x: Sequence[Tensor] = (),
    memory_y: Sequence[Tensor] = (),
) -> Tensor:
    """D(X → Y) + D(Y → X); the scales are of the rows, then of the memory."""
    bandwidths = [bandwidth] if isinstance(bandwidth, float) else list(bandwidth)
    total = torch.zeros((), dtype=torch.float64)
    x_hills, y_hills = [*x, *memory_x], [*y, *memory_y]
    for points, own, own_scales, other, other_scales in (
        (x, x_hills, x_scales, y_hills, y_scales),
        (y, y_hills, y_scales, x_hills, x_scales),
    ):
        p = [
            density(
                u, own, own_scales, bandwidths=bandwidths, leave_out=i if leave_one_out else None
            )
            for i, u in enumerate(points)
        ]
        q = [density(u, other, other_scales, bandwidths=bandwidths) for u in points]
        if normalise:
            p, q = [value / sum(p) for value in p], [value / sum(q) for value in q]
        for a, b in zip(p, q, strict=True):
            total = total + a * torch.log(a / b) + b * torch.log(b / a)
    return total


def sdd(
    x: Tensor,
    y: Tensor,
    *,
    adaptive: int | None = None,
    memory_x: Sequence[Tensor] = (),
    memory_y: Sequence[Tensor] = (),
    **options: object,
) -> Tensor:
    scales = kernel_scales([*x, *memory_x], adaptive), kernel_scales([*y, *memory_y], adaptive)
    options = {**options, "memory_x": memory_x, "memory_y": memory_y}
    return divergence(x, y, *scales, **options) * (1 / spread(x) + 1 / spread(y))


def sdd_in_sets(
    x: Tensor,
    y: Tensor,
    x_sets: Sequence[int],
    y_sets: Sequence[int],
    *,
    adaptive: int | None = None,
    **options: object,
) -> Tensor:
    """SDD inside sets with the variances, neighbours and spreads of the whole batch."""
    x_scales, y_scales = kernel_scales(x, adaptive), kernel_scales(y, adaptive)
    divergences = [
        divergence(
            x[rows],
            y[columns],
            [x_scales[i] for i in rows],
            [y_scales[j] for j in columns],
            **options,
        )
        for rows, columns in shared_sets(x_sets, y_sets)
    ]
    return sum(divergences) / len(divergences) * (1 / spread(x) + 1 / spread(y))


def shared_sets(x_sets: Sequence[int], y_sets: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Rows and columns of each set with two or more of both."""
    shared = []
    for each in sorted(set(x_sets)):
        rows = [i for i, s in enumerate(x_sets) if s == each]
        columns = [j for j, s in enumerate(y_sets) if s == each]
        if each >= 0 and len(rows) > 1 and len(columns) > 1:
            shared.append((rows, columns))
    return shared


def mean_over_sets(
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    x_sets: Sequence[int],
    y_sets: Sequence[int],
) -> Tensor:
    """Mean of a loss inside each set, each with statistics of its own."""
    losses = [loss(x[rows], y[columns]) for rows, columns in shared_sets(x_sets, y_sets)]
    return sum(losses) / len(losses)
