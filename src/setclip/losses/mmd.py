"""Multi-kernel maximum mean discrepancy: how far apart two sets of points lie as distributions.

MMD² compares mean similarities: within x, within y, and across. When the two sets are draws of
one distribution the three agree. It never matches single points, is cheap in every sense, and its
pull reaches as far as its widest kernel; several widths let it see coarse shape and fine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from setclip.losses.kernels import (
    BLOCK,
    SquaredDistances,
    compare,
    exponent_floor,
)
from setclip.losses.sets import MatchedSets, Side, matched_sets, padded_squared_distances
from setclip.losses.validation import (
    block_size,
    full_precision,
    statistics_of,
    two_sets,
    varied,
    widths,
)

# Median-heuristic multiples: an octave grid around the typical distance.
MEDIAN_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
# Rows of each side from which the median is taken: 131,000 distances, a few milliseconds.
MEDIAN_ROWS = 256


@full_precision
def mk_mmd(
    x: Tensor,
    y: Tensor,
    *,
    bandwidths: Sequence[float] | None = None,
    unbiased: bool = False,
    x_sets: Tensor | None = None,
    y_sets: Tensor | None = None,
    statistics: Literal["batch", "set"] = "batch",
    block: int = BLOCK,
) -> Tensor:
    """Squared maximum mean discrepancy under a sum of Gaussian kernels.

    The kernel is k(u, z) = Σ_b exp(−‖u − z‖² / (2 σ_b²)). Invariant to rotating both sets and,
    for given bandwidths or up to 256 rows a side, to the order of rows; with V-statistics and given
    bandwidths also to repeating every row.

    Reach for it to pull two clouds together whose overlap is still poor; `sdd` sees finer
    differences once they overlap. Neither sees *which* point is which.

    Args:
        x: Embeddings of the first modality. Shape [n, d].
        y: Embeddings of the second. Shape [m, d]; n and m may differ.
        bandwidths: The σ_b, in units of distance. By default the median distance over both sets
            pooled, times ¼, ½, 1, 2 and 4, held constant under differentiation; above 256 rows a
            side it is taken from 256 evenly spaced ones.
        unbiased: U-statistic, without the kernels of points with themselves: zero in expectation
            for equal distributions, may be negative. By default the V-statistic: never negative,
            zero for identical sets, biased upwards by about Σ_b(1 − mean k)·(1/n + 1/m).
        x_sets: Set of each row of `x`, negative for none; the loss is then the mean over sets with
            two rows or more on each side of the loss inside the set. Integers, shape [n].
        y_sets: Set of each row of `y`. Shape [m].
        statistics: With sets, take the default bandwidths from the whole batch, or from each set.
            The median over a dozen rows is noisy and changes the loss from set to set; the
            batch's is the default.
        block: Side of a tile; memory is n·d + block².

    Returns:
        Scalar; float32 for half-precision input.

    Raises:
        TypeError: Not floating-point tensors; set ids that are not integers.
        ValueError: Fewer than two rows, differing widths, values that are not finite, a set
            without variance, a bandwidth of zero or less, no set to compare.

    Source:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), equations 3 and 5; as a term of
        Set-CLIP, arXiv 2406.05766.
    """
    x, y = two_sets(x, y)
    block_size(block)
    varied(x.detach().var(dim=0).sum(), x, "x")
    varied(y.detach().var(dim=0).sum(), y, "y")
    statistics_of(statistics)
    rates = None if bandwidths is None else _rates(x.new_tensor(widths(bandwidths, "bandwidths")))
    if x_sets is None and y_sets is None:
        return _whole(x, y, rates, unbiased, block)
    if rates is None and statistics == "batch":
        rates = _median_rates(x, y)
    sets = matched_sets(x, y, x_sets, y_sets, alone=block)
    return torch.cat([_inside_sets(x, y, some, rates, unbiased, block) for some in sets]).mean()


def median_distance(x: Tensor, y: Tensor) -> Tensor:
    """Median distance between distinct rows of both sets pooled, from at most 256 rows of each.

    Of an even number of distances the lower middle one is taken. Detached scalar.
    """
    pooled = torch.cat([_evenly(x.detach()), _evenly(y.detach())])
    return torch.pdist(pooled).median()


def _evenly(z: Tensor) -> Tensor:
    if len(z) <= MEDIAN_ROWS:
        return z
    return z[torch.linspace(0, len(z) - 1, MEDIAN_ROWS, device=z.device).long()]


def _median_rates(x: Tensor, y: Tensor) -> Tensor:
    median = median_distance(x, y)
    if not median > 0:
        raise ValueError(
            f"the median distance over x and y is {float(median):g}: most rows are copies of one "
            "another. Remove duplicates, or pass bandwidths=(…) in units of distance."
        )
    return _rates(median * torch.tensor(MEDIAN_MULTIPLES, dtype=x.dtype, device=x.device))


def _rates(widths: Tensor) -> Tensor:
    """Exponent per unit of squared distance: 1 / (2 σ²)."""
    return 0.5 / widths.square()


def _whole(x: Tensor, y: Tensor, rates: Tensor | None, unbiased: bool, block: int) -> Tensor:
    if rates is None:
        rates = _median_rates(x, y)
    result: Tensor = _BlockwiseMMD.apply(x, y, rates.tolist(), unbiased, block)
    return result


class _BlockwiseMMD(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, rates: list[float], unbiased: bool, block: int
    ) -> Tensor:
        comparison = compare(x, y)
        ctx.save_for_backward(x, y)
        ctx.comparison = None if comparison[-1].kept is None else comparison
        ctx.options = (rates, unbiased, block)
        # Three means near one another are subtracted, so their sums want more digits than float32.
        # (Apple's GPUs have no float64.)
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        value = torch.zeros((), dtype=wide, device=x.device)
        for distances, share in zip(comparison, _shares(x, y, unbiased), strict=True):
            for rows, columns, tile in distances.tiles(block):
                kernel = _kernel(tile, rates)
                if unbiased and distances.on_diagonal(rows, columns):
                    kernel.fill_diagonal_(0.0)
                value += (
                    _occurrences(distances, rows, columns) * share * kernel.sum(1).to(wide).sum()
                )
        return value.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        rates, unbiased, block = ctx.options
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        ends = ((grad_x, grad_x), (grad_y, grad_y), (grad_x, grad_y))
        with torch.autocast(x.device.type, enabled=False):
            comparison = ctx.comparison or compare(x, y)
            for distances, share, (grad_rows, grad_columns) in zip(
                comparison, _shares(x, y, unbiased), ends, strict=True
            ):
                for rows, columns, tile in distances.tiles(block):
                    weights = _kernel_slope(tile, rates)
                    weights *= _occurrences(distances, rows, columns) * share
                    distances.add_gradient(weights, rows, columns, grad_rows, grad_columns)
        return grad * grad_x, grad * grad_y, None, None, None


def _shares(x: Tensor, y: Tensor, unbiased: bool) -> tuple[float, float, float]:
    """Weight in MMD² of one kernel within x, within y, and between them."""
    n, m = len(x), len(y)
    if unbiased:
        return 1 / (n * (n - 1)), 1 / (m * (m - 1)), -2 / (n * m)
    return 1 / n**2, 1 / m**2, -2 / (n * m)


def _occurrences(distances: SquaredDistances, rows: slice, columns: slice) -> int:
    """How often a tile stands in the full matrix: twice when its mirror image is left out."""
    return 2 if distances.one_cloud and rows != columns else 1


def _kernel(distances: Tensor, rates: list[float]) -> Tensor:
    """Sum of the kernels at each distance."""
    floor = exponent_floor(distances.dtype)
    total = torch.zeros_like(distances)
    for rate in rates:
        total += torch.mul(distances, -rate).clamp_min_(floor).exp_()
    return total


def _kernel_slope(distances: Tensor, rates: list[float]) -> Tensor:
    """Derivative of the sum of kernels by the squared distance."""
    floor = exponent_floor(distances.dtype)
    slope = torch.zeros_like(distances)
    for rate in rates:
        slope.sub_(torch.mul(distances, -rate).clamp_min_(floor).exp_(), alpha=rate)
    return slope


def _inside_sets(
    x: Tensor, y: Tensor, sets: MatchedSets, rates: Tensor | None, unbiased: bool, block: int
) -> Tensor:
    """MMD² inside each set of a padded batch. Shape [s]."""
    x, y = sets.x.of(x), sets.y.of(y)
    if len(sets) == 1:
        return _whole(x[0], y[0], rates, unbiased, block)[None]
    if rates is None:
        rates = _median_rates_of_sets(x, y, sets)
    within_x = _mean_kernel(x, x, sets.x, sets.x, rates, hollow=unbiased)
    within_y = _mean_kernel(y, y, sets.y, sets.y, rates, hollow=unbiased)
    across = _mean_kernel(x, y, sets.x, sets.y, rates, hollow=False)
    return within_x + within_y - 2 * across


def _mean_kernel(
    u: Tensor, z: Tensor, u_side: Side, z_side: Side, rates: Tensor, *, hollow: bool
) -> Tensor:
    """Mean kernel inside each set, optionally without those of points with themselves."""
    distances = padded_squared_distances(u, z)
    kernel = torch.zeros_like(distances)
    for rate in rates.unbind(-1):
        kernel = kernel + torch.exp(-rate[..., None, None] * distances)
    counted = u_side.real[:, :, None] & z_side.real[:, None, :]
    if hollow:
        counted = counted & ~torch.eye(counted.shape[1], dtype=torch.bool, device=u.device)
    return torch.where(counted, kernel, 0.0).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))


def _median_rates_of_sets(x: Tensor, y: Tensor, sets: MatchedSets) -> Tensor:
    """As :func:`_median_rates`, of each set by itself. Shape [s, b]."""
    pooled = torch.cat([x.detach(), y.detach()], dim=1)
    real = torch.cat([sets.x.real, sets.y.real], dim=1)
    distances = padded_squared_distances(pooled, pooled)
    distinct = (real[:, :, None] & real[:, None, :]).triu(1)
    medians = distances.masked_fill(~distinct, math.nan).flatten(1).nanmedian(dim=1).values.sqrt()
    if not (medians > 0).all():
        culprit = int(sets.ids[medians.argmin()])
        raise ValueError(
            f"the median distance inside set {culprit} is 0: most of its rows are copies of one "
            'another. Use statistics="batch", or pass bandwidths=(…) in units of distance.'
        )
    multiples = torch.tensor(MEDIAN_MULTIPLES, dtype=x.dtype, device=x.device)
    return _rates(medians[:, None] * multiples)
