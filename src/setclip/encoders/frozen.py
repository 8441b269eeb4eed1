"""Any backbone as a frozen encoder: what the feature cache, models and checks work with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from setclip.encoders.backbone import Backbone, on_device
from setclip.encoders.protocol import FloatArray, Item, Modality, encode_all


class Frozen:
    """The network of a backbone in evaluation mode, on the GPU if there is one."""

    batch_size = 32

    def __init__(self, backbone: Backbone, *, device: str | None = None) -> None:
        self.backbone = backbone
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        backbone.network.eval().to(self.device)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.backbone.name

    @property
    def modality(self) -> Modality:
        """What it reads."""
        return self.backbone.modality

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.backbone.dim

    @property
    def fingerprint(self) -> str:
        """Weights, options and preprocessing."""
        return self.backbone.fingerprint

    def prepare(self, item: Item) -> Any:
        """Read one item."""
        return self.backbone.prepare(item)

    def embed(self, prepared: Sequence[Any]) -> FloatArray:
        """Features of prepared items, in order. Shape [n, dim]."""
        features = np.empty((len(prepared), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(prepared), self.batch_size):
                rows = slice(start, start + self.batch_size)
                collated = self.backbone.collate(prepared[rows])
                made = self.backbone.network(on_device(collated, self.device))
                features[rows] = made.float().cpu().numpy()
        return features

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of items, in order. Shape [n, dim]."""
        return encode_all(self, items, progress=progress)
