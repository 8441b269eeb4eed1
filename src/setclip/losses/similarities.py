"""Log-sums and means over all similarities of two sets, one tile at a time.

A contrastive loss asks of every row which of all others is its own. The logits of 65,536 rows are
17 GB; here, as for `sdd` in `kernels.py`, memory is n·d + block²: the forward pass keeps one number
a row, and the backward pass computes each tile again. One tile serves both directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from setclip.losses.kernels import BLOCK, LogKernelSums

# Up to so many logits a loss holds them and leaves the rest to autograd. Above, tiles cost a CPU no
# time (half at 4,096 rows); a GPU would wait for their many small steps long before 128 MB matter.
DENSE_CELLS = 1 << 18
DENSE_CELLS_ACCELERATOR = 1 << 25


def held_whole(rows: int, columns: int, device: torch.device) -> bool:
    """Whether a matrix of logits is small enough to be held."""
    most = DENSE_CELLS if device.type == "cpu" else DENSE_CELLS_ACCELERATOR
    return rows * columns <= most


def log_sums(x: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """``log Σ exp(scale · x_i·y_j)`` over j for every i, and over i for every j.

    Args:
        x: First set. Shape [n, d].
        y: Second set. Shape [m, d].
        scale: Inverse temperature, one number.

    Returns:
        Shapes [n] and [m].
    """
    by_row, by_column = _LogSums.apply(x, y, scale)
    return by_row, by_column


def log_sums_within(z: Tensor, scale: Tensor) -> Tensor:
    """``log Σ exp(scale · z_i·z_j)`` over all j but i, for every i. Shapes [n, d] to [n]."""
    found: Tensor = _LogSumsWithin.apply(z, scale)
    return found


def mean_softplus(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    bias: Tensor,
    positives: Tensor | None,
) -> Tensor:
    """Mean over i and j of ``softplus(∓(scale · x_i·y_j + bias))``, − on the diagonal.

    Args:
        x: First set. Shape [n, d].
        y: Second set. Shape [n, d].
        scale: One number.
        bias: One number.
        positives: Where else the sign is −. Bool, shape [n, n].
    """
    found: Tensor = _MeanSoftplus.apply(x, y, scale, bias, positives)
    return found


def mean_positive(y: Tensor, positives: Tensor) -> Tensor:
    """Mean of y_i and of the rows of `y` that are true in row i of `positives`.

    Args:
        y: Rows. Shape [n, d].
        positives: Bool, shape [n, n].

    Returns:
        Shape [n, d].
    """
    others = ~positives.diagonal()
    total: Tensor = _Selected.apply(y, positives)
    return (total + y * others[:, None]) / (positives.sum(dim=1) + others)[:, None]


def number(value: float | Tensor, like: Tensor) -> Tensor:
    """One number as a tensor of another's dtype and device, with its gradient. Shape []."""
    return value.to(like).reshape(()) if isinstance(value, Tensor) else like.new_tensor(value)


def _ranges(z: Tensor) -> list[slice]:
    block = BLOCK if z.device.type == "cpu" else 4 * BLOCK
    return [slice(start, min(start + block, len(z))) for start in range(0, len(z), block)]


def _tiles(x: Tensor, y: Tensor) -> Iterator[tuple[slice, slice]]:
    """Ranges of the rows of both."""
    return itertools.product(_ranges(x), _ranges(y))


def _tiles_within(z: Tensor) -> Iterator[tuple[slice, slice]]:
    """The same within one set, where half of the tiles mirror the other."""
    return itertools.combinations_with_replacement(_ranges(z), 2)


def _opposite(x: Tensor, y: Tensor) -> Tensor:
    """Similarities with a minus: kernel sums take distances."""
    return (x @ y.T).neg_()


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        by_row = LogKernelSums(len(x), scale.expand(1, len(y)), (0.0,))
        by_column = LogKernelSums(len(y), scale.expand(1, len(x)), (0.0,))
        for rows, columns in _tiles(x, y):
            tile = _opposite(x[rows], y[columns])
            by_row.add(tile, rows, columns, hollow=False)
            by_column.add(tile.T, columns, rows, hollow=False)
        ctx.save_for_backward(x, y)
        ctx.sums = by_row, by_column
        return by_row.value(), by_column.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_rows: Tensor, of_columns: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        by_row, by_column = ctx.sums
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        row_rates, column_rates = x.new_zeros(1, len(y)), x.new_zeros(1, len(x))
        with torch.autocast(x.device.type, enabled=False):
            for rows, columns in _tiles(x, y):
                tile = _opposite(x[rows], y[columns])
                weights = torch.zeros_like(tile)
                by_row.add_gradient(tile, rows, columns, of_rows, weights, row_rates, hollow=False)
                by_column.add_gradient(
                    tile.T, columns, rows, of_columns, weights.T, column_rates, hollow=False
                )
                grad_x[rows].addmm_(weights, y[columns], alpha=-1.0)
                grad_y[columns].addmm_(weights.T, x[rows], alpha=-1.0)
        return grad_x, grad_y, row_rates.sum() + column_rates.sum()


class _LogSumsWithin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor) -> Tensor:
        sums = LogKernelSums(len(z), scale.expand(1, len(z)), (0.0,))
        for rows, columns in _tiles_within(z):
            tile = _opposite(z[rows], z[columns])
            sums.add(tile, rows, columns, hollow=rows == columns)
            if rows != columns:
                sums.add(tile.T, columns, rows, hollow=False)
        ctx.save_for_backward(z)
        ctx.sums = sums
        return sums.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        grad_z, rates = torch.zeros_like(z), z.new_zeros(1, len(z))
        with torch.autocast(z.device.type, enabled=False):
            for rows, columns in _tiles_within(z):
                tile = _opposite(z[rows], z[columns])
                weights = torch.zeros_like(tile)
                diagonal = rows == columns
                ctx.sums.add_gradient(tile, rows, columns, grad, weights, rates, hollow=diagonal)
                if not diagonal:
                    ctx.sums.add_gradient(
                        tile.T, columns, rows, grad, weights.T, rates, hollow=False
                    )
                grad_z[rows].addmm_(weights, z[columns], alpha=-1.0)
                grad_z[columns].addmm_(weights.T, z[rows], alpha=-1.0)
        return grad_z, rates.sum()


class _MeanSoftplus(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        bias: Tensor,
        positives: Tensor | None,
    ) -> Tensor:
        # A sum over n² cells wants more digits than float32. (Apple's GPUs have no float64.)
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        total = torch.zeros((), dtype=wide, device=x.device)
        for rows, columns in _tiles(x, y):
            logits = (x[rows] @ y[columns].T).mul_(scale).add_(bias)
            matches = _matches(positives, rows, columns, logits)
            logits = torch.where(matches, -logits, logits)
            total += functional.softplus(logits).sum(dim=1).to(wide).sum()
        ctx.save_for_backward(x, y, scale, bias)
        ctx.positives = positives
        return (total / (len(x) * len(y))).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, bias = ctx.saved_tensors
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        grad_scale, grad_bias = torch.zeros_like(scale), torch.zeros_like(bias)
        share = grad / (len(x) * len(y))
        with torch.autocast(x.device.type, enabled=False):
            for rows, columns in _tiles(x, y):
                cosines = x[rows] @ y[columns].T
                logits = cosines * scale + bias
                matches = _matches(ctx.positives, rows, columns, logits)
                weights = torch.where(matches, -(-logits).sigmoid(), logits.sigmoid()).mul_(share)
                grad_scale += (weights * cosines).sum()
                grad_bias += weights.sum()
                weights *= scale
                grad_x[rows].addmm_(weights, y[columns])
                grad_y[columns].addmm_(weights.T, x[rows])
        return grad_x, grad_y, grad_scale, grad_bias, None


def _matches(positives: Tensor | None, rows: slice, columns: slice, tile: Tensor) -> Tensor:
    """Where a tile's rows and columns match."""
    if positives is None:
        matches = torch.zeros_like(tile, dtype=torch.bool)
    else:
        matches = positives[rows, columns].clone()
    return matches.fill_diagonal_(True) if rows == columns else matches


class _Selected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, selection: Tensor) -> Tensor:
        total = torch.zeros_like(y)
        for rows, columns in _tiles(y, selection):
            total[rows].addmm_(selection[rows, columns].to(y.dtype), y[columns])
        ctx.selection = selection
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Selected.apply(grad, ctx.selection.T), None
