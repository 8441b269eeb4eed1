"""Squared distances and kernel sums, one tile at a time: memory n·d + block², never n².

`sdd` and `mk_mmd` compare every point with every other. At 65,536 points one such matrix is 17 GB,
so nothing here ever holds more than a `block` × `block` tile of it: the forward pass keeps one
number per point, and the backward pass computes each tile again. (Batches as small as in training
keep their tiles: 26 MB save a third of the time.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Side of a tile: large enough for the matrix product to run at full speed, small enough for its
# buffers (1 MB each in float32) to stay in cache. GPUs like four times as much.
BLOCK = 512
# Rows of both sets together up to which tiles of the forward pass are kept for the backward pass.
KEPT_ROWS = 2048


def exponent_floor(dtype: torch.dtype) -> float:
    """Exponents below this are raised to it: e^-78 (float32) is invisible next to a sum near 1.

    Without it exp() lands on denormal numbers, which processors handle about 50 times slower.
    """
    return 0.9 * math.log(torch.finfo(dtype).tiny)


@dataclass(frozen=True)
class SquaredDistances:
    """Squared distances between the rows of two clouds, by tiles, with their gradient.

    ‖u − z‖² is expanded to ‖u‖² + ‖z‖² − 2 u·z, one matrix product. Both clouds are centred on
    their own mean first, with the gap between the means put back in the norms, so that rounding
    stays small next to the distances even for tight clouds far from the origin.

    Build with :func:`distances_within`, :func:`distances_between` or :func:`compare`.

    Attributes:
        x: First cloud, centred. Shape [n, d].
        y: Second cloud, centred; `x` itself within one cloud. Shape [m, d].
        gap: Mean of the first cloud less that of the second. Shape [d].
        x_terms: What a row adds to each distance. Shape [n].
        y_terms: What a column adds. Shape [m].
        kept: Tiles computed so far, or None to compute them again when asked again.
    """

    x: Tensor
    y: Tensor
    gap: Tensor
    x_terms: Tensor
    y_terms: Tensor
    kept: dict[tuple[int, int], Tensor] | None

    @property
    def one_cloud(self) -> bool:
        """Within one cloud tiles below the diagonal are left to symmetry."""
        return self.x is self.y

    def tiles(self, block: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Row range, column range and distances of each tile; the distances are read-only."""
        for rows in _ranges(len(self.x), block):
            for columns in _ranges(len(self.y), block):
                if self.one_cloud and columns.start < rows.start:
                    continue
                if self.kept is None:
                    yield rows, columns, self.tile(rows, columns)
                    continue
                place = rows.start, columns.start
                if place not in self.kept:
                    self.kept[place] = self.tile(rows, columns)
                yield rows, columns, self.kept[place]

    def tile(self, rows: slice, columns: slice) -> Tensor:
        """Distances from a range of the first cloud to a range of the second."""
        tile = torch.addmm(self.y_terms[columns], self.x[rows], self.y[columns].T, alpha=-2.0)
        tile.add_(self.x_terms[rows, None]).clamp_min_(0.0)
        if self.on_diagonal(rows, columns):
            tile.fill_diagonal_(0.0)
        return tile

    def on_diagonal(self, rows: slice, columns: slice) -> bool:
        """Whether a tile compares some points with themselves."""
        return self.one_cloud and rows == columns

    def add_gradient(
        self, weights: Tensor, rows: slice, columns: slice, grad_x: Tensor, grad_y: Tensor
    ) -> None:
        """Add the gradient of Σ weights · distances over one tile.

        Args:
            weights: Derivative of the loss by each distance of the tile; may be overwritten.
            rows: The tile's rows.
            columns: The tile's columns.
            grad_x: Gradient by the first cloud, added to. Shape [n, d].
            grad_y: Gradient by the second; the same tensor as `grad_x` within one cloud.
        """
        if self.on_diagonal(rows, columns):
            # Both ends of each distance are in the same rows: one product serves both.
            both_ends = weights.T.clone(memory_format=torch.contiguous_format).add_(weights)
            _pull(grad_x[rows], both_ends, self.x[rows], self.x[rows])
            return
        _pull(grad_x[rows], weights, self.x[rows] + self.gap, self.y[columns])
        _pull(grad_y[columns], weights.T, self.y[columns] - self.gap, self.x[rows])


def distances_within(x: Tensor) -> SquaredDistances:
    """Squared distances among the rows of `x` [n, d]."""
    x, mean = _centred(x)
    return _expanded(x, x, torch.zeros_like(mean), keep=False)


def distances_between(x: Tensor, y: Tensor) -> SquaredDistances:
    """Squared distances from the rows of `x` [n, d] to the rows of `y` [m, d]."""
    (x, x_mean), (y, y_mean) = _centred(x), _centred(y)
    return _expanded(x, y, x_mean - y_mean, keep=False)


def compare(x: Tensor, y: Tensor) -> tuple[SquaredDistances, SquaredDistances, SquaredDistances]:
    """Squared distances within `x`, within `y`, and between them; tiles are kept if few."""
    keep = len(x) + len(y) <= KEPT_ROWS
    (x, x_mean), (y, y_mean) = _centred(x), _centred(y)
    nowhere = torch.zeros_like(x_mean)
    return (
        _expanded(x, x, nowhere, keep=keep),
        _expanded(y, y, nowhere, keep=keep),
        _expanded(x, y, x_mean - y_mean, keep=keep),
    )


def _centred(z: Tensor) -> tuple[Tensor, Tensor]:
    mean = z.mean(dim=0)
    return z - mean, mean


def _expanded(x: Tensor, y: Tensor, gap: Tensor, *, keep: bool) -> SquaredDistances:
    # ‖(u + gap) − z‖² less −2 u·z, split into what depends on u and what on z.
    x_terms = torch.linalg.vector_norm(x, dim=1).square() + x @ (2 * gap) + gap @ gap
    y_terms = torch.linalg.vector_norm(y, dim=1).square() - y @ (2 * gap)
    return SquaredDistances(x, y, gap, x_terms, y_terms, kept={} if keep else None)


def _ranges(n: int, block: int) -> Iterator[slice]:
    for start in range(0, n, block):
        yield slice(start, min(start + block, n))


def _pull(grad: Tensor, weights: Tensor, points: Tensor, others: Tensor) -> None:
    """Add 2 Σ_j w_ij (points_i − others_j) to grad_i."""
    grad.addcmul_(weights.sum(dim=1, keepdim=True), points, value=2.0)
    grad.addmm_(weights, others, alpha=-2.0)


class LogKernelSums:
    """log Σ_b w_b Σ_j exp(−rate_bj · D_ij) for every i, from tiles that arrive in any order.

    Keeps the largest exponent seen and the sum relative to it, as a streaming softmax does, so
    that no density underflows however far its point lies.

    Args:
        n: Number of evaluation points.
        rates: Inverse squared widths, one row per bandwidth, one column per centre. Shape [b, m].
        log_weights: Logarithm of each bandwidth's weight. Length b.
        keep: Keep each tile's kernels for the gradient, rather than compute them again.
    """

    def __init__(
        self, n: int, rates: Tensor, log_weights: tuple[float, ...], *, keep: bool = False
    ) -> None:
        self.rates = rates
        self.log_weights = log_weights
        self.floor = exponent_floor(rates.dtype)
        self.peak = rates.new_full((n,), torch.finfo(rates.dtype).min)
        self.total = rates.new_zeros(n)
        self.kept: dict[tuple[int, int, int], tuple[Tensor, Tensor]] | None = {} if keep else None

    def add(self, distances: Tensor, points: slice, centres: slice, *, hollow: bool) -> None:
        """Add the kernels of a range of centres at a range of points.

        Args:
            distances: Squared distances, points by centres.
            points: Range of the evaluation points.
            centres: Range of the centres.
            hollow: Leave each point's own kernel out (a tile on the diagonal).
        """
        for b, log_weight in enumerate(self.log_weights):
            exponents = self._exponents(b, distances, centres, hollow)
            before = self.peak[points]
            peak = torch.maximum(before, exponents.amax(dim=1) + log_weight)
            kernels = self._kernels(b, exponents, peak)
            self.total[points] *= (before - peak).exp_()
            self.total[points] += kernels.sum(dim=1)
            self.peak[points] = peak
            if self.kept is not None:
                self.kept[b, points.start, centres.start] = kernels, peak

    def value(self) -> Tensor:
        """The logarithms of the sums. Shape [n]."""
        return self.peak + self.total.log()

    def add_gradient(
        self,
        distances: Tensor,
        points: slice,
        centres: slice,
        grad: Tensor,
        weights: Tensor,
        grad_rates: Tensor,
        *,
        hollow: bool,
    ) -> None:
        """Spread the derivative by the value over the distances of a tile and the rates.

        Args:
            distances: As in :meth:`add`, after all tiles have been added.
            points: Range of the evaluation points.
            centres: Range of the centres.
            grad: Derivative of the loss by each value. Shape [n].
            weights: Derivative by each distance of the tile, added to.
            grad_rates: Derivative by each rate, added to. Shape [b, m].
            hollow: As in :meth:`add`.
        """
        for b in range(len(self.log_weights)):
            shares = self._shares(b, distances, points, centres, grad, hollow)
            rates = self.rates[b, centres]
            weights.addcmul_(shares, rates[None, :], value=-1.0)
            grad_rates[b, centres] -= shares.mul_(distances).sum(dim=0)

    def _shares(
        self, b: int, distances: Tensor, points: slice, centres: slice, grad: Tensor, hollow: bool
    ) -> Tensor:
        """Each kernel's share of its point's sum, times the derivative by the sum's logarithm."""
        peak, per_kernel = self.peak[points], grad[points] / self.total[points]
        if self.kept is not None:
            kernels, peak_then = self.kept[b, points.start, centres.start]
            return kernels * (per_kernel * (peak_then - peak).exp())[:, None]
        # Relative to the peak, not to the value: at exponents of a million the sum of peak and
        # log total has lost the total to rounding.
        kernels = self._kernels(b, self._exponents(b, distances, centres, hollow), peak)
        return kernels.mul_(per_kernel[:, None])

    def _exponents(self, b: int, distances: Tensor, centres: slice, hollow: bool) -> Tensor:
        exponents = torch.mul(distances, -self.rates[b, centres])
        return exponents.fill_diagonal_(-math.inf) if hollow else exponents

    def _kernels(self, b: int, exponents: Tensor, peak: Tensor) -> Tensor:
        exponents -= (peak - self.log_weights[b])[:, None]
        return exponents.clamp_(self.floor, 0.0).exp_()


def mutual_log_kernel_sums(
    x: Tensor,
    y: Tensor,
    x_rates: Tensor,
    y_rates: Tensor,
    log_weights: tuple[float, ...],
    *,
    leave_one_out: bool,
    block: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log kernel sums of two sets at all points of both, with gradients.

    Args:
        x: First set. Shape [n, d].
        y: Second set. Shape [m, d].
        x_rates: Inverse squared widths of the kernels on `x`, per bandwidth. Shape [b, n].
        y_rates: The same for `y`. Shape [b, m].
        log_weights: Logarithm of each bandwidth's weight. Length b.
        leave_one_out: Leave a point's own kernel out of its own set's sum.
        block: Side of a tile.

    Returns:
        At the points of `x` under `x` and under `y` (shape [n] each), then at the points of `y`
        under `x` and under `y` (shape [m] each).
    """
    result = _MutualLogKernelSums.apply(x, y, x_rates, y_rates, log_weights, leave_one_out, block)
    x_under_x, x_under_y, y_under_x, y_under_y = result
    return x_under_x, x_under_y, y_under_x, y_under_y


class _MutualLogKernelSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        x_rates: Tensor,
        y_rates: Tensor,
        log_weights: tuple[float, ...],
        leave_one_out: bool,
        block: int,
    ) -> tuple[Tensor, ...]:
        within_x, within_y, between = comparison = compare(x, y)
        x_under_x, x_under_y, y_under_x, y_under_y = sums = tuple(
            LogKernelSums(n, rates, log_weights, keep=between.kept is not None)
            for n in (len(x), len(y))
            for rates in (x_rates, y_rates)
        )
        for distances, under in ((within_x, x_under_x), (within_y, y_under_y)):
            for rows, columns, tile in distances.tiles(block):
                diagonal = rows == columns
                under.add(tile, rows, columns, hollow=diagonal and leave_one_out)
                if not diagonal:
                    under.add(tile.T, columns, rows, hollow=False)
        for rows, columns, tile in between.tiles(block):
            x_under_y.add(tile, rows, columns, hollow=False)
            y_under_x.add(tile.T, columns, rows, hollow=False)
        ctx.save_for_backward(x, y)
        ctx.comparison = None if between.kept is None else comparison
        ctx.sums = sums
        ctx.options = (leave_one_out, block)
        return tuple(each.value() for each in sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        leave_one_out, block = ctx.options
        x_under_x, x_under_y, y_under_x, y_under_y = ctx.sums
        g_xx, g_xy, g_yx, g_yy = grads
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        x_rates = torch.zeros_like(x_under_x.rates)
        y_rates = torch.zeros_like(y_under_y.rates)
        with torch.autocast(x.device.type, enabled=False):
            within_x, within_y, between = ctx.comparison or compare(x, y)
            for distances, under, grad, grad_z, rates in (
                (within_x, x_under_x, g_xx, grad_x, x_rates),
                (within_y, y_under_y, g_yy, grad_y, y_rates),
            ):
                for rows, columns, tile in distances.tiles(block):
                    weights = torch.zeros_like(tile)
                    diagonal = rows == columns
                    hollow = diagonal and leave_one_out
                    under.add_gradient(tile, rows, columns, grad, weights, rates, hollow=hollow)
                    if not diagonal:
                        under.add_gradient(
                            tile.T, columns, rows, grad, weights.T, rates, hollow=False
                        )
                    distances.add_gradient(weights, rows, columns, grad_z, grad_z)
            for rows, columns, tile in between.tiles(block):
                weights = torch.zeros_like(tile)
                x_under_y.add_gradient(tile, rows, columns, g_xy, weights, y_rates, hollow=False)
                y_under_x.add_gradient(
                    tile.T, columns, rows, g_yx, weights.T, x_rates, hollow=False
                )
                between.add_gradient(weights, rows, columns, grad_x, grad_y)
        return grad_x, grad_y, x_rates, y_rates, None, None, None


def log_kernel_sums(
    points: Tensor,
    centres: Tensor,
    rates: Tensor,
    log_weights: tuple[float, ...],
    *,
    block: int,
) -> Tensor:
    """Log kernel sums of fixed centres at points, with gradients by points and rates.

    Args:
        points: Where to evaluate. Shape [n, d].
        centres: What carries the kernels; takes no gradient. Shape [m, d].
        rates: Inverse squared widths of the kernels, per bandwidth. Shape [b, m].
        log_weights: Logarithm of each bandwidth's weight. Length b.
        block: Side of a tile.

    Returns:
        The logarithms of the sums. Shape [n].
    """
    found: Tensor = _LogKernelSums.apply(points, centres, rates, log_weights, block)
    return found


class _LogKernelSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        centres: Tensor,
        rates: Tensor,
        log_weights: tuple[float, ...],
        block: int,
    ) -> Tensor:
        keep = len(points) + len(centres) <= KEPT_ROWS
        sums = LogKernelSums(len(points), rates, log_weights, keep=keep)
        for rows, columns, tile in distances_between(points, centres).tiles(block):
            sums.add(tile, rows, columns, hollow=False)
        ctx.save_for_backward(points, centres)
        ctx.sums, ctx.block = sums, block
        return sums.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        points, centres = ctx.saved_tensors
        grad_points, nowhere = torch.zeros_like(points), torch.zeros_like(centres)
        grad_rates = torch.zeros_like(ctx.sums.rates)
        with torch.autocast(points.device.type, enabled=False):
            distances = distances_between(points, centres)
            for rows, columns, tile in distances.tiles(ctx.block):
                weights = torch.zeros_like(tile)
                ctx.sums.add_gradient(tile, rows, columns, grad, weights, grad_rates, hollow=False)
                distances.add_gradient(weights, rows, columns, grad_points, nowhere)
        return grad_points, None, grad_rates, None, None


def kth_neighbour(x: Tensor, k: int, *, block: int) -> Tensor:
    """Row of each point's k-th nearest other point, not differentiable. Shape [n]."""
    x = x.detach()
    distances = distances_within(x)
    found = []
    for rows in _ranges(len(x), block):
        nearest = x.new_full((rows.stop - rows.start, k), math.inf)
        index = torch.zeros_like(nearest, dtype=torch.long)
        for columns in _ranges(len(x), block):
            tile = distances.tile(rows, columns)
            if distances.on_diagonal(rows, columns):
                tile.fill_diagonal_(math.inf)
            here = torch.arange(columns.start, columns.stop, device=x.device).expand_as(tile)
            candidates = torch.cat([nearest, tile], dim=1)
            nearest, best = candidates.topk(k, dim=1, largest=False)
            index = torch.cat([index, here], dim=1).gather(1, best)
        found.append(index[:, -1])
    return torch.cat(found)
