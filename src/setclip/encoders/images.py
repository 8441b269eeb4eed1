"""Pictures on their way into a network: read safely, cut as its library does, stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from setclip.encoders.backbone import Collated
from setclip.encoders.protocol import Item
from setclip.modalities.image import read_image, read_square, square

if TYPE_CHECKING:
    from PIL.Image import Image

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Fit = Literal["crop", "squash", "pad"]
_LONGEST_TO_SHORTEST = 16
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Geometry:
    """How a picture of any shape becomes a square.

    Attributes:
        size: Side of the square.
        fit: `crop` scales the shorter side to `resize` and keeps the middle, `squash` scales both
            sides, `pad` scales the longer side and centres on white.
        resize: Length of the shorter side before cropping.
        interpolation: Of the scaling.
    """

    size: int
    fit: Fit = "crop"
    resize: int = 0
    interpolation: Interpolation = "bicubic"

    def __call__(self, item: Item) -> Tensor:
        """One picture. Shape [3, size, size], uint8."""
        pixels = np.array(self._fitted(read_image(item)), dtype=np.uint8)
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _fitted(self, image: Image) -> Image:
        from PIL import Image as Pillow

        if self.fit == "pad":
            return square(image, self.size)
        filter_ = Pillow.Resampling[self.interpolation.upper()]
        if self.fit == "squash":
            return image.resize((self.size, self.size), filter_)
        image = _not_too_long(image)
        short = max(self.resize, self.size)
        scale = short / min(image.size)
        # Rounded as torchvision does, which libraries cut with.
        width, height = (short if s == min(image.size) else int(s * scale) for s in image.size)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        scaled = image.resize((width, height), filter_)
        return scaled.crop((left, top, left + self.size, top + self.size))


def _not_too_long(image: Image) -> Image:
    """The middle of a strip: scaling all of it to a sensible width could fill the memory."""
    bound = _LONGEST_TO_SHORTEST * min(image.size)
    if max(image.size) <= bound:
        return image
    width, height = (min(side, bound) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def square_pixels(item: Item, *, size: int) -> Tensor:
    """One picture, square on white. Shape [3, size, size], uint8."""
    return torch.tensor(read_square(item, size)).permute(2, 0, 1)


def stacked(prepared: Sequence[Tensor]) -> Collated:
    """Prepared pictures of one size as a batch: `pixels`, shape [n, 3, s, s], uint8."""
    return {"pixels": torch.stack(list(prepared))}


class Normalised(nn.Module):
    """A network of normalised floats, fed with uint8 pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, collated: Collated) -> Tensor:
        """What the network makes of pixels in [0, 255]."""
        made: Tensor = self.network((collated["pixels"].float() / 255 - self.mean) / self.std)
        return made


class MeanOfMaps(nn.Module):
    """The mean over the maps that convolutions give. Shape [n, d]."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, pixels: Tensor) -> Tensor:
        """Features of normalised pixels."""
        maps: Tensor = self.features(pixels)
        return maps.mean(dim=(2, 3))
