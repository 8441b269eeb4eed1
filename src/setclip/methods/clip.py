"""CLIP on the pairs alone: the baseline that every semi-supervised method must beat."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor, nn

from setclip.losses import clip_loss
from setclip.methods.pair_heads import PairHeads


class CLIP(PairHeads):
    """Two heads trained with symmetric InfoNCE on the pairs."""

    kind: Literal["clip"] = "clip"
    temperature: PositiveFloat = 0.05
    """Fixed temperature."""

    def pair_loss(self, n: int) -> nn.Module:
        """Symmetric InfoNCE at the fixed temperature."""
        return InfoNCE(self.temperature)


class InfoNCE(nn.Module):
    """`clip_loss` at a fixed temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, zx: Tensor, zy: Tensor) -> Tensor:
        """Shapes [n, d]."""
        return clip_loss(zx, zy, temperature=self.temperature)
