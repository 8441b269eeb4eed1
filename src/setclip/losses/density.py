"""Semantic density distribution (SDD), the core of Set-CLIP: align two modalities without pairs.

The idea
    Put both modalities into one space, x and y. Lay a small Gaussian hill on every x: their sum is
    a landscape p_X that is high where x has many points. Do the same for y: p_Y. If the two
    modalities tell the same stories equally often, the landscapes should agree, whoever's partner
    is whose. SDD walks over all points of both sets and compares the two heights there:

        p_Z(u)    = c · Σ_j exp(−‖u − z_j‖² / (4 h² V_Z))             density of u under set Z
        D(X → Y)  = Σ_{u ∈ X} [p_X log(p_X / p_Y) + p_Y log(p_Y / p_X)](u)
        SDD(X, Y) = (D(X → Y) + D(Y → X)) · (1 / R_X + 1 / R_Y)

    V_Z, the total variance of Z (sum over columns, unbiased as in the release), makes the width of
    a hill relative to the spread of its set; h = ½ is the bandwidth. R_Z sums the squared ranges of
    the columns. Without it shrinking everything would cost nothing; with it a collapse is dear.

    The bracket is (p_X − p_Y)(log p_X − log p_Y), two factors of one sign: SDD is never negative,
    and zero only where the landscapes agree at every point. V_Z and R_Z depend on the embeddings
    and carry gradient.

Why logarithms throughout
    Between clouds that do not yet overlap every hill of the other set underflows: p = 0, log 0,
    NaN. So densities are log-sum-exps, and the largest exponent never leaves the logarithm. The
    pull between far clouds then grows with their distance, where that of an MMD dies away.

What it does not see
    * *Which* point is which. Exchange any two neighbourhoods of equal density and SDD stays the
      same. Pairs, sets or a start from a closed form have to say which is which.
    * How much data there is. p_Z is a sum over the set, and D a sum over points: on one
      distribution SDD grows with the batch (0.2 at 64 rows, 7 at 1,024), and between sets of
      different sizes even equal distributions differ. `normalise` turns the densities into
      probabilities over the points instead, which cures both.
    * Sparse points honestly. Each point stands on a hill of its own, so p_X is too high on X
      and p_Y on Y, most so in high dimension. `leave_one_out` removes that hill.
    * More than one scale, and that a wide one: at the typical distance of two points a hill still
      has e⁻² of its height. Give a smaller bandwidth, several, or `adaptive=k`: hills as wide as
      the way to the k-th neighbour, narrow in dense regions and wide in sparse ones.
    * Rotations of the axes, almost: R_Z, and only R_Z, depends on them.

When it pays
    In *matched sets*: the rows of x and y belong to the same items in unknown order, as do the
    figures and captions of one paper. There sampling noise is shared and the landscapes can truly
    agree. In first measurements (linear heads, batches of 256, one seed) half the published
    bandwidth beat MMD on two of three data sets in that regime, and the normalised forms did
    worse. With independently drawn batches the noise between the two draws swamps the loss, and it
    gave little or nothing. Pass `x_sets` and `y_sets` when the sets are known.

Source: Set-CLIP, arXiv 2406.05766 (version 1: Gentle-CLIP); constants from the authors' release,
which computes the same numbers in a Python loop over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from setclip.losses.kernels import (
    BLOCK,
    LogKernelSums,
    distances_between,
    kth_neighbour,
    log_kernel_sums,
    mutual_log_kernel_sums,
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

# Narrowest adaptive hill, relative to the total variance: a point with k copies of itself would
# otherwise stand on a spike of no width.
NARROWEST = 1e-3


@full_precision
def sdd(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float | Sequence[float] = 0.5,
    normalise: bool = False,
    leave_one_out: bool = False,
    adaptive: int | None = None,
    x_sets: Tensor | None = None,
    y_sets: Tensor | None = None,
    statistics: Literal["batch", "set"] = "batch",
    memory_x: Tensor | None = None,
    memory_y: Tensor | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Semantic density distribution loss: symmetric KL between the two sets' kernel densities.

    Small when every point is as likely under the other modality's density as under its own.
    Reach for `mk_mmd` for a coarse pull of two far-apart clouds, `sdd` once they overlap, and best
    inside matched sets. The defaults are the published form. The head of this file explains it.

    Args:
        x: Embeddings of the first modality, unit rows. Shape [n, d].
        y: Embeddings of the second. Shape [m, d]; n and m may differ.
        bandwidth: Kernel width h in units of the square root of each set's total variance; of
            several, the mean of the kernels (each with its own constant c) is taken.
        normalise: Compare log-softmaxes of the log densities over the evaluation points instead of
            raw densities: independent of the sizes of the sets.
        leave_one_out: Leave a point out of its own density. Identical sets then differ.
        adaptive: Width of each kernel from the distance r to the k-th neighbour of its centre in
            the same set: r²/2 (what V_Z would be if all points lay at r) in the place of V_Z,
            but no less than 0.001 V_Z. In sets of k rows or fewer, with statistics="set", the
            farthest neighbour.
        x_sets: Set of each row of `x`, negative for none; the loss is then the mean over sets with
            two rows or more on each side of the loss inside the set. Integers, shape [n].
        y_sets: Set of each row of `y`. Shape [m].
        statistics: With sets, take V, R and neighbours from the whole batch, or from each set. A
            variance over a dozen rows is noisy, and its gradient more so; the batch's is default.
        memory_x: Further embeddings of the first modality that carry hills of p_X and count in its
            variance, but where nothing is compared and nothing is pulled; not with sets. Shape
            [k, d].
        memory_y: Of the second; give as many on both sides, or `normalise`. Shape [l, d].
        block: Side of a tile; memory is n·d + block².

    Returns:
        Scalar in nats (un-normalised: grows with n; see `normalise`); float32 for half-precision
        input.

    Raises:
        TypeError: Not floating-point tensors; set ids that are not integers.
        ValueError: Fewer than two rows, differing widths, values that are not finite, a set
            without variance, a bandwidth of zero or less, `adaptive` outside 1 … rows − 1, no set
            to compare, memory together with sets.

    Source:
        Set-CLIP, arXiv 2406.05766; constants from the authors' release.
    """
    x, y = two_sets(x, y)
    statistics_of(statistics)
    form = _Form(widths(bandwidth, "bandwidth"), normalise, leave_one_out, adaptive, block)
    sets = None
    if x_sets is not None or y_sets is not None:
        if memory_x is not None or memory_y is not None:
            raise ValueError(
                "memory_x and memory_y belong to no set: compare inside sets, or with a memory."
            )
        sets = matched_sets(x, y, x_sets, y_sets, alone=block)
        if statistics == "set":
            return torch.cat([_losses_by_set(x, y, some, form) for some in sets]).mean()
    if sets is None:
        for z, memory, name in ((x, memory_x, "x"), (y, memory_y, "y")):
            if memory is not None:  # which has a variance of its own
                varied(z.var(dim=0).sum(), z, name)
        x_all, y_all = _remembered(x, memory_x, "memory_x"), _remembered(y, memory_y, "memory_y")
        divergence = _divergence_with_memory(x, y, x_all, y_all, form)
    else:
        x_scales, y_scales = _scales(x, "x", form), _scales(y, "y", form)
        inside = [_divergences_by_set(x, y, some, x_scales, y_scales, form) for some in sets]
        divergence = torch.cat(inside).mean()
    return divergence * _per_spread(x, y)


@dataclass(frozen=True)
class _Form:
    """The options of `sdd`."""

    bandwidths: tuple[float, ...]
    normalise: bool
    leave_one_out: bool
    adaptive: int | None
    block: int

    def __post_init__(self) -> None:
        block_size(self.block)
        if self.adaptive is not None and self.adaptive < 1:
            raise ValueError(f"adaptive is {self.adaptive}; give the rank of a neighbour from 1.")

    @property
    def log_constants(self) -> tuple[float, ...]:
        """log(c / number of bandwidths) of each bandwidth; c = 3 / (2π h² · 16) in the release."""
        several = len(self.bandwidths)
        return tuple(math.log(3 / (32 * math.pi * h**2 * several)) for h in self.bandwidths)

    def in_set_of(self, rows: int) -> _Form:
        """The form inside a set: neighbours no farther than the set has them."""
        adaptive = None if self.adaptive is None else min(self.adaptive, rows - 1)
        return replace(self, adaptive=adaptive)

    def rates(self, scales: Tensor) -> Tensor:
        """Exponent per unit of squared distance: 1 / (4 h² V), a leading axis of bandwidths."""
        return torch.stack([1 / (4 * h**2 * scales) for h in self.bandwidths])


def _remembered(z: Tensor, memory: Tensor | None, name: str) -> Tensor:
    """Rows, then memory: the set whose density it is."""
    if memory is None:
        return z
    _, memory = two_sets(z.detach(), memory.detach(), names=(name[-1], name), rows=(2, 0))
    return torch.cat([z, memory.to(z.dtype)])


def _divergence_with_memory(
    x: Tensor, y: Tensor, x_all: Tensor, y_all: Tensor, form: _Form
) -> Tensor:
    """D(X → Y) + D(Y → X) at the rows of x and y, under densities that also have a memory."""
    x_scales, y_scales = _scales(x_all, "x", form), _scales(y_all, "y", form)
    n, m = len(x), len(y)
    rows = _log_densities(x, y, x_scales[:n], y_scales[:m], form)
    points = torch.cat([x, y])
    memories = [
        log_kernel_sums(
            points, z[k:].detach(), form.rates(scales[k:]), form.log_constants, block=form.block
        )
        if len(z) > k
        else points.new_full((n + m,), -math.inf)
        for z, k, scales in ((x_all, n, x_scales), (y_all, m, y_scales))
    ]
    under_memory = (memory[part] for part in (slice(n), slice(n, None)) for memory in memories)
    return _sum_of_divergences(
        [torch.logaddexp(a, b) for a, b in zip(rows, under_memory, strict=True)], form
    )


def _divergence(x: Tensor, y: Tensor, x_scales: Tensor, y_scales: Tensor, form: _Form) -> Tensor:
    """D(X → Y) + D(Y → X)."""
    return _sum_of_divergences(_log_densities(x, y, x_scales, y_scales, form), form)


def _log_densities(
    x: Tensor, y: Tensor, x_scales: Tensor, y_scales: Tensor, form: _Form
) -> Sequence[Tensor]:
    """At x under x and y, at y under x and y."""
    return mutual_log_kernel_sums(
        x,
        y,
        form.rates(x_scales),
        form.rates(y_scales),
        form.log_constants,
        leave_one_out=form.leave_one_out,
        block=form.block,
    )


def _sum_of_divergences(log_densities: Sequence[Tensor], form: _Form) -> Tensor:
    x_under_x, x_under_y, y_under_x, y_under_y = log_densities
    return _two_way_kl(x_under_x, x_under_y, form) + _two_way_kl(y_under_x, y_under_y, form)


def _two_way_kl(log_p: Tensor, log_q: Tensor, form: _Form, real: Tensor | None = None) -> Tensor:
    """Σ p log(p/q) + q log(q/p) over the last axis, but for padding, where `real` is false."""
    if form.normalise:
        if real is not None:
            log_p, log_q = (z.masked_fill(~real, -math.inf) for z in (log_p, log_q))
        log_p, log_q = log_p.log_softmax(dim=-1), log_q.log_softmax(dim=-1)
    if real is not None:
        log_p, log_q = (z.masked_fill(~real, 0.0) for z in (log_p, log_q))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)


def _per_spread(x: Tensor, y: Tensor) -> Tensor:
    """1 / R_X + 1 / R_Y, R the sum over columns of the squared range."""
    x_range, y_range = (z.amax(dim=-2) - z.amin(dim=-2) for z in (x, y))
    return 1 / x_range.square().sum(dim=-1) + 1 / y_range.square().sum(dim=-1)


def _scales(z: Tensor, name: str, form: _Form) -> Tensor:
    """Squared width of the hill on each row, before the bandwidth: V_Z, or r²/2. Shape [n]."""
    variance = z.var(dim=0).sum()
    varied(variance, z, name)
    if form.adaptive is None:
        return variance.expand(len(z)).contiguous()
    if form.adaptive >= len(z):
        raise ValueError(
            f"adaptive is {form.adaptive} but {name} has {len(z)} rows; give the rank of a "
            f"neighbour, 1 to {len(z) - 1}."
        )
    # The backward of z[...] adds in no fixed order where threads share the work; that of this does.
    neighbours = z.index_select(0, kth_neighbour(z, form.adaptive, block=form.block))
    return torch.maximum((z - neighbours).square().sum(dim=1) / 2, NARROWEST * variance)


def _divergences_by_set(
    x: Tensor, y: Tensor, sets: MatchedSets, x_scales: Tensor, y_scales: Tensor, form: _Form
) -> Tensor:
    """D(X → Y) + D(Y → X) inside each set, the scales given for all rows. Shape [s]."""
    x, y = sets.x.of(x), sets.y.of(y)
    x_scales, y_scales = sets.x.of(x_scales), sets.y.of(y_scales)
    if len(sets) == 1:  # nothing is padded
        return _divergence(x[0], y[0], x_scales[0], y_scales[0], form)[None]
    return _padded_divergence(x, y, x_scales, y_scales, sets, form)


def _losses_by_set(x: Tensor, y: Tensor, sets: MatchedSets, form: _Form) -> Tensor:
    """SDD inside each set, with the statistics of the set. Shape [s]."""
    x, y = sets.x.of(x), sets.y.of(y)
    if len(sets) == 1:
        name = f"set {int(sets.ids[0])}"
        x_scales, y_scales = (_scales(z[0], name, form.in_set_of(z.shape[1])) for z in (x, y))
        divergences = _divergence(x[0], y[0], x_scales, y_scales, form)[None]
    else:
        x_scales, y_scales = (
            _scales_by_set(z, side, sets.ids, form) for z, side in ((x, sets.x), (y, sets.y))
        )
        divergences = _padded_divergence(x, y, x_scales, y_scales, sets, form)
    return divergences * _per_spread(x, y)


def _padded_divergence(
    x: Tensor, y: Tensor, x_scales: Tensor, y_scales: Tensor, sets: MatchedSets, form: _Form
) -> Tensor:
    """D(X → Y) + D(Y → X) inside each set of a padded batch, by plain autograd. Shape [s]."""
    x_under_x = _padded_log_density(x, x, sets.x, x_scales, form, hollow=form.leave_one_out)
    x_under_y = _padded_log_density(x, y, sets.y, y_scales, form, hollow=False)
    y_under_x = _padded_log_density(y, x, sets.x, x_scales, form, hollow=False)
    y_under_y = _padded_log_density(y, y, sets.y, y_scales, form, hollow=form.leave_one_out)
    x_to_y = _two_way_kl(x_under_x, x_under_y, form, sets.x.real)
    y_to_x = _two_way_kl(y_under_x, y_under_y, form, sets.y.real)
    return x_to_y + y_to_x


def _padded_log_density(
    u: Tensor, z: Tensor, z_side: Side, z_scales: Tensor, form: _Form, *, hollow: bool
) -> Tensor:
    """Log density of each row of u under the same set's rows of z. Shape [s, l]."""
    distances = padded_squared_distances(u, z)
    absent = ~z_side.real[:, None, :]
    if hollow:
        absent = absent | torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
    log_constants = z.new_tensor(form.log_constants)[:, None, None, None]
    exponents = log_constants - form.rates(z_scales)[:, :, None, :] * distances
    return exponents.masked_fill(absent, -math.inf).logsumexp(dim=(0, 3))


def _scales_by_set(z: Tensor, side: Side, ids: Tensor, form: _Form) -> Tensor:
    """As :func:`_scales`, of each set of a padded batch by itself. Shape [s, l]."""
    real = side.real[:, :, None]
    mean = torch.where(real, z, 0.0).sum(dim=1, keepdim=True) / side.counts[:, None, None]
    offsets = torch.where(real, z - mean, 0.0)
    variances = offsets.square().sum(dim=(1, 2)) / (side.counts - 1)
    least = int(variances.argmin())
    varied(variances[least], z[least][side.real[least]], f"set {int(ids[least])}")
    scales = variances[:, None].expand(z.shape[:2])
    if form.adaptive is None:
        return scales
    distances = padded_squared_distances(z, z).masked_fill(~side.real[:, None, :], math.inf)
    # Place 0 of a sorted row is the point itself.
    place = (side.counts - 1).clamp(max=form.adaptive)[:, None, None].expand(*z.shape[:2], 1)
    radii = distances.sort(dim=2).values.gather(2, place)[:, :, 0]
    return torch.maximum(radii / 2, NARROWEST * scales)


@torch.no_grad()
@full_precision
def log_density(
    points: Tensor,
    under: Tensor,
    *,
    bandwidth: float | Sequence[float] = 0.5,
    leave_one_out: bool = False,
    adaptive: int | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Log density of each point under a set, as `sdd` sees it; for reports, without gradient.

    Args:
        points: Where to evaluate. Shape [n, d].
        under: The set whose density it is. Shape [m, d].
        bandwidth: As in `sdd`.
        leave_one_out: `points` are the rows of `under`; leave each out of its own density.
        adaptive: As in `sdd`.
        block: Side of a tile; memory is (n + m)·d + block².

    Returns:
        log p_under(point), un-normalised (grows as log m). Shape [n].

    Raises:
        TypeError: Not floating-point tensors.
        ValueError: As `sdd`; also `leave_one_out` with another number of points than rows.
    """
    points, under = two_sets(points, under, names=("points", "under"), rows=(1, 2))
    if leave_one_out and len(points) != len(under):
        raise ValueError(
            f"leave_one_out needs points to be the rows of under, but there are {len(points)} "
            f"points and {len(under)} rows; pass the same tensor twice."
        )
    form = _Form(widths(bandwidth, "bandwidth"), False, leave_one_out, adaptive, block)
    rates = form.rates(_scales(under, "under", form))
    sums = LogKernelSums(len(points), rates, form.log_constants)
    for rows, columns, tile in distances_between(points, under).tiles(block):
        sums.add(tile, rows, columns, hollow=leave_one_out and rows == columns)
    return sums.value()
