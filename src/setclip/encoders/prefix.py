"""A frozen beginning of a network run once an item, its end trained on what came out."""

from __future__ import annotations

import torch
from torch import nn

from setclip.encoders.adapt import Adapted, still_modules
from setclip.encoders.backbone import Backbone, Collated


class Prefix(nn.Module):
    """The first blocks, in evaluation mode and without gradient: a fixed function of an item.

    Takes collated items, gives tensors with one row an item that the rest of the network takes.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network.eval()
        self.dtype = dtype

    def train(self, mode: bool = True) -> Prefix:
        """Stays in evaluation mode."""
        return self

    def forward(self, collated: Collated) -> Collated:
        """What the first blocks make of items."""
        device = next(iter(collated.values())).device.type
        reduced = self.dtype != torch.float32
        with torch.no_grad(), torch.autocast(device, dtype=self.dtype, enabled=reduced):
            made: Collated = self.network(collated)
        return made


def split(backbone: Backbone, first: int) -> tuple[Prefix, nn.Module]:
    """Cut a network after its first blocks, so that their output can be kept.

    `suffix(prefix(collated))` is `network(collated)`, and trains the same weights in place. Rows
    of texts are padded to the longest of their batch: `attention_mask` says what is padding.

    Args:
        backbone: With its first blocks frozen, by :func:`setclip.encoders.adapt.freeze`.
        first: How many blocks to run once; at least 1, at least one is left.

    Returns:
        Collated items to tensors with one row an item; and from these to features [n, dim].

    Raises:
        ValueError: The network cannot be cut there, or a block in question is still trained.
    """
    if backbone.split is None:
        raise ValueError(f"{backbone.name} cannot be cut in two: train it without a kept prefix.")
    if not 1 <= first < len(backbone.blocks):
        raise ValueError(
            f"{backbone.name} cannot be cut after {first} blocks, it has {len(backbone.blocks)}: "
            f"give 1 to {len(backbone.blocks) - 1}."
        )
    for number, block in enumerate(backbone.blocks[:first]):
        if any(parameter.requires_grad for parameter in block.parameters()):
            raise ValueError(
                f"block {number} of {backbone.name} is trained, what it gives cannot be kept: "
                f"freeze the first {first} blocks before cutting."
            )
    network = backbone.network
    dtype = network.dtype if isinstance(network, Adapted) else torch.float32
    prefix, suffix = backbone.split(first)
    suffix.train(network.training)
    still = still_modules(network) & set(suffix.modules())
    return Prefix(prefix, dtype), Adapted(suffix, list(still), dtype)
