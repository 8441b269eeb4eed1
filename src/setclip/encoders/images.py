"""Pictures on their way into a network: uint8 tensors, stacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from setclip.encoders.backbone import Collated
from setclip.encoders.protocol import Item
from setclip.modalities.image import read_square


def square_pixels(item: Item, *, size: int) -> Tensor:
    """One picture, square on white. Shape [3, size, size], uint8."""
    return torch.tensor(read_square(item, size)).permute(2, 0, 1)


def stacked(prepared: Sequence[Tensor]) -> Collated:
    """Prepared pictures of one size as a batch: `pixels`, shape [n, 3, s, s], uint8."""
    return {"pixels": torch.stack(list(prepared))}
