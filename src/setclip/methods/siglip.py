"""SigLIP on the pairs alone: a sigmoid for every cell of the similarity matrix."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from setclip.losses import siglip_loss
from setclip.methods.pair_heads import PairHeads


class SigLIP(PairHeads):
    """Two heads trained with the pairwise sigmoid loss; scale and bias are learned."""

    pair_term: ClassVar[str] = "siglip"

    kind: Literal["siglip"] = "siglip"
    lr: tuple[PositiveFloat, ...] = (1e-2, 3e-2, 1e-1)
    """Peak learning rates to choose from; a mean over n^2 cells has small gradients."""
    scale: PositiveFloat = 10.0
    """Scale at the start."""
    bias: float | None = None
    """Bias at the start; None takes log(p / (1 - p)), p = 1 / batch, right for small batches."""

    def pair_loss(self, n: int) -> nn.Module:
        """The sigmoid loss with its scale and bias."""
        bias = -math.log(max(n - 1, 1)) if self.bias is None else self.bias
        return Sigmoid(self.scale, bias)


class Sigmoid(nn.Module):
    """`siglip_loss` with a scale and a bias that are learned."""

    def __init__(self, scale: float, bias: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, zx: Tensor, zy: Tensor) -> Tensor:
        """Shapes [n, d]."""
        return siglip_loss(zx, zy, scale=self.log_scale.exp(), bias=self.bias)
