"""How the weights of a training lie on its processes, and how gradients of all come together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from setclip.training.distributed import world_size

# Flat pieces in which gradients are summed over processes.
BUCKET = 8_000_000


class Weights(Protocol):
    """What the loop has to know of how weights lie; it works on this process's parts of them."""

    @property
    def scale(self) -> float:
        """What the gradients of towers are to be multiplied by before :meth:`settle`."""
        ...

    def part(self, p: Tensor) -> Tensor:
        """What this process holds of a parameter: no copy, no gradient."""
        ...

    def whole(self, t: Tensor, like: Tensor) -> Tensor:
        """All of a tensor of which this process holds what it holds of a parameter.

        Every process calls it.
        """
        ...

    def divided(self, t: Tensor, like: Tensor) -> Tensor:
        """A whole tensor laid out as a parameter is."""
        ...

    def settle(
        self, towers: Sequence[nn.Parameter], learned: Sequence[nn.Parameter], max_norm: float
    ) -> Tensor:
        """Make the gradients those of all processes, at most this long; returns their length.

        Args:
            towers: Parameters of which every process has a share of the gradient.
            learned: Parameters whose gradient is whole on every process.
            max_norm: Longer gradients are shortened to it, all together.
        """
        ...

    def end(self) -> None:
        """Leave the towers with whole weights, as they were given."""
        ...


class Whole:
    """Every process holds all weights."""

    scale = 1.0

    def part(self, p: Tensor) -> Tensor:
        """The parameter."""
        return p.detach()

    def whole(self, t: Tensor, like: Tensor) -> Tensor:
        """The tensor."""
        return t

    def divided(self, t: Tensor, like: Tensor) -> Tensor:
        """The tensor."""
        return t

    def settle(
        self, towers: Sequence[nn.Parameter], learned: Sequence[nn.Parameter], max_norm: float
    ) -> Tensor:
        """Sum the shares, then clip."""
        sum_gradients(towers)
        return nn.utils.clip_grad_norm_([*towers, *learned], max_norm)

    def end(self) -> None:
        """There is nothing to do."""


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over processes, in a few large pieces; one without a gradient counts as zero.

    Not `DistributedDataParallel`: a step has several forward and backward passes of two towers, of
    which any may be missing on some process, and a mean where the sum is wanted.
    """
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        bucket.append(p.grad)
        if sum(g.numel() for g in bucket) >= BUCKET:
            _sum_bucket(bucket)
            bucket = []
    _sum_bucket(bucket)


def _sum_bucket(gradients: list[Tensor]) -> None:
    if not gradients:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    sizes = [g.numel() for g in gradients]
    for g, summed in zip(gradients, torch.split(flat, sizes), strict=True):
        g.copy_(summed.view_as(g))
