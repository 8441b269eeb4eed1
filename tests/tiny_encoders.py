"""Trainable encoders small enough for tests: 16-pixel pictures, texts as bags of letters."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.images import square_pixels, stacked
from setclip.modalities import BadItemError
from setclip.modalities.image import describe
from setclip.modalities.text import clean_text

SIZE = 16
X = {"kind": "module", "target": "tiny_encoders:pictures", "modality": "image", "size": SIZE}
Y = {"kind": "module", "target": "tiny_encoders:texts", "modality": "text"}


class Blocks(nn.Module):
    """Linear layers with dropout on one vector an item; `name` is the tensor it takes."""

    def __init__(self, name: str, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.name, self.layers = name, nn.ModuleList(layers)

    def forward(self, batch: Collated) -> Tensor:
        z = batch.get("state")
        if z is None:
            z = batch[self.name].flatten(1).float() / 255
        for layer in self.layers:
            z = layer(z)
        return z


class Beginning(Blocks):
    def forward(self, batch: Collated) -> Any:
        return {"state": super().forward(batch)}


def _backbone(name: str, modality: Any, width: int, **reading: Any) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(name))
        layers = [
            nn.Linear(width, 24),
            nn.Sequential(nn.Tanh(), nn.Dropout(0.1), nn.Linear(24, 24)),
            nn.Sequential(nn.Tanh(), nn.Linear(24, 12)),
        ]
    return Backbone(
        name=name,
        modality=modality,
        dim=12,
        network=Blocks(name, layers),
        blocks=layers,
        fingerprint=f"tiny {name}",
        split=lambda first: (Beginning(name, layers[:first]), Blocks(name, layers[first:])),
        **reading,
    )


def pictures() -> Backbone:
    prepare = partial(square_pixels, size=SIZE)
    return _backbone(
        "pixels", "image", 3 * SIZE * SIZE, prepare=prepare, collate=stacked, size=SIZE
    )


def dark_pictures() -> Backbone:
    """Pictures again, of which the bright cannot be read."""
    return _backbone(
        "pixels", "image", 3 * SIZE * SIZE, prepare=dark_pixels, collate=stacked, size=SIZE
    )


def dark_pixels(item: Any) -> Tensor:
    pixels: Tensor = square_pixels(item, size=SIZE)
    if pixels.min() > 199:
        raise BadItemError(describe(item), "too bright")
    return pixels


def texts() -> Backbone:
    return _backbone("letters", "text", 10, prepare=clean_text, collate=counted)


def counted(read: Sequence[str]) -> Collated:
    counts = [[255 * text.count(letter) for letter in "abcdefghij"] for text in read]
    return {"letters": torch.tensor(counts, dtype=torch.float32)}


def items(n: int, seed: int = 0) -> tuple[list[bytes], list[str]]:
    """Matched pictures and texts: brightness of two halves, and how often two letters stand."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    x, y = [], []
    for _ in range(n):
        left, right = rng.integers(0, 10, 2)
        pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
        pixels[:, : SIZE // 2], pixels[:, SIZE // 2 :] = 25 * left, 25 * right
        noise = rng.integers(0, 20, pixels.shape, dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels + noise).save(file, "PNG")
        x.append(file.getvalue())
        y.append(" ".join(["a"] * left + ["b"] * right + ["cdefghij"[rng.integers(8)]]))
    return x, y
