"""A pretrained network that can be trained further: what every adapter of a library returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from setclip.encoders.protocol import Item, Modality

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Collated = dict[str, "Tensor"]
"""Tensors by name, each with one row an item: what a network takes."""


def on_device(collated: Collated, device: torch.device) -> Collated:
    """The same tensors where a network computes, those of pinned memory while it goes on."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in collated.items()}


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network from raw items of one modality to features, in three steps that can be split up.

    `prepare` and `collate` run in the workers of a loader, `network` where the training runs.

    Attributes:
        name: What it is called in messages and on model cards.
        modality: What it reads.
        dim: Width of the features.
        network: Collated items to features, shape [n, dim], not normalised. Normalisation of
            pixels and pooling of tokens are part of it.
        prepare: Reads one item. An image becomes a uint8 tensor [3, s, s], a text a cleaned
            string, so that views of them can still be drawn; so do a protein's letters and its
            :data:`setclip.proteins.residues.StructureItem`. Raises `BadItemError`.
        collate: Prepared items to tensors with one row an item.
        blocks: The trunk from input to output, for freezing its first part: block 0 is the stem
            or the embedding, the last one ends before the pooling. Parameters in no block (final
            norm, pooling) count as the end.
        fingerprint: Changes when weights or preprocessing do.
        size: Side of the images that `prepare` makes; None for texts.
        split: Cuts the network after its first n blocks, so that a frozen beginning runs once an
            item: see :func:`setclip.encoders.prefix.split`. None where it cannot be cut.
    """

    name: str
    modality: Modality
    dim: int
    network: nn.Module
    prepare: Callable[[Item], Any]
    collate: Callable[[Sequence[Any]], Collated]
    blocks: Sequence[nn.Module]
    fingerprint: str
    size: int | None = None
    split: Callable[[int], tuple[nn.Module, nn.Module]] | None = None
