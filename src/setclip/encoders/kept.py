"""What a frozen beginning of a network makes of items, as rows that the feature cache can keep.

While only the last blocks of an encoder learn, its first ones would compute the same tensors in
every epoch. Kept, they cost one pass; a step then costs what its trained blocks do. Views are kept
too, a fixed number of them an item.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.prefix import split
from setclip.encoders.protocol import FloatArray, Item, encode_all

View = Callable[[Any, np.random.Generator], Any]
MASK = "attention_mask"
TOKENS = 48
"""Tokens of a text that are kept: longer texts are cut."""


@dataclass(frozen=True)
class Layout:
    """How the tensors of an item lie in a flat row.

    Attributes:
        shapes: Shape of each tensor by name, without the axis of items.
    """

    shapes: dict[str, tuple[int, ...]]

    @property
    def dim(self) -> int:
        """Length of a row."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def full_texts(self, rows: FloatArray) -> int:
        """How many flat rows are of texts that fill all the tokens kept, and may have been cut."""
        if MASK not in self.shapes:
            return 0
        names = list(self.shapes)
        at = sum(math.prod(self.shapes[name]) for name in names[: names.index(MASK)])
        kept = math.prod(self.shapes[MASK])
        return int((rows[:, at : at + kept] > 0).all(axis=1).sum())

    def flat(self, made: Collated) -> FloatArray:
        """Tensors with one row an item as flat rows; texts are padded or cut. Shape [n, dim]."""
        parts = []
        for name, t in made.items():
            rows = torch.zeros(len(t), *self.shapes[name])
            kept = t[:, : rows.shape[1]] if MASK in self.shapes else t
            rows[(slice(None), *map(slice, kept.shape[1:]))] = kept.float()
            parts.append(rows.flatten(1))
        return torch.cat(parts, dim=1).numpy()

    def collate(self, rows: Sequence[FloatArray]) -> Collated:
        """What `suffix` takes, from flat rows; texts are cut to the longest of these."""
        whole = torch.from_numpy(np.stack(rows))
        tensors, at = {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            tensors[name] = whole[:, at : at + size].reshape(len(whole), *shape)
            at += size
        if MASK in tensors:
            longest = int(tensors[MASK].sum(dim=1).max())
            tensors = {name: t[:, :longest] for name, t in tensors.items()}
            tensors[MASK] = tensors[MASK].long()
        return tensors


class KeptPrefix:
    """The first blocks of a backbone as an encoder whose features are the tensors behind them.

    Args:
        backbone: With these blocks frozen.
        first: How many blocks.
        variant: 0 for the items themselves, else the number of a view of each.
        view: Draws a view of a prepared item; needed where `variant` is not 0.

    Raises:
        ValueError: The network cannot be cut there.
    """

    batch_size = 32

    def __init__(
        self, backbone: Backbone, first: int, *, variant: int = 0, view: View | None = None
    ) -> None:
        self._prefix, self.suffix = split(backbone, first)
        self._backbone, self._variant, self._view = backbone, variant, view
        self.name = f"{backbone.name}-first-{first}"
        self.modality = backbone.modality
        self.fingerprint = f"{backbone.fingerprint}:first {first}:variant {variant}:{TOKENS}"
        size = backbone.size
        made = self._run(["a"] if size is None else [torch.zeros(3, size, size, dtype=torch.uint8)])
        # Only in texts does the second axis differ from item to item.
        self.layout = Layout(
            {
                name: (TOKENS, *t.shape[2:]) if MASK in made else tuple(t.shape[1:])
                for name, t in made.items()
            }
        )
        self.dim = self.layout.dim

    def prepare(self, item: Item) -> Any:
        """Read one item, or the view of it that this variant stands for."""
        prepared = self._backbone.prepare(item)
        if not self._variant or self._view is None:
            return prepared
        content = prepared.numpy().tobytes() if isinstance(prepared, Tensor) else prepared.encode()
        digest = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
        return self._view(prepared, np.random.default_rng([digest, self._variant]))

    def embed(self, prepared: Sequence[Any]) -> FloatArray:
        """The tensors of prepared items, flat. Shape [n, dim]."""
        if not prepared:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self.layout.flat(self._run(prepared))

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """The tensors of items, flat. Shape [n, dim]."""
        return encode_all(self, items, progress=progress)

    def _run(self, prepared: Sequence[Any]) -> Collated:
        made: Collated = self._prefix(self._backbone.collate(prepared))
        return made
