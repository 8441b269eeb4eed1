"""The last steps that all adapters share: where to pool, how wide it is, what identifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.blocks import Parts
from setclip.encoders.options import EncoderOptions
from setclip.encoders.pooling import AtBlock
from setclip.encoders.protocol import Item


def assembled(
    options: EncoderOptions,
    network: nn.Module,
    blocks: Sequence[nn.Module],
    *,
    prepare: Callable[[Item], Any],
    collate: Callable[[Sequence[Any]], Collated],
    size: int | None = None,
    preprocessing: str,
    pools: bool = False,
) -> Backbone:
    """A backbone of a library's network.

    Args:
        options: What was asked for.
        network: Collated items to features, pooled in its own way.
        blocks: Its trunk.
        prepare: As in :class:`Backbone`.
        collate: As in :class:`Backbone`.
        size: Side of the prepared images; None for texts.
        preprocessing: All that the library decides about it, for the fingerprint.
        pools: Whether `network` already pools as `options.pooling` says.

    Raises:
        ValueError: There is no such layer, or the network gives no row of features an item.
    """
    if options.layer is not None or (options.pooling != "own" and not pools):
        layer = len(blocks) - 1 if options.layer is None else options.layer
        network = _at_layer(options, network, blocks, layer)
        blocks = blocks[: layer + 1]
    network.eval()
    return Backbone(
        name=options.label,
        modality=options.reads,
        dim=_tried(options, network, collate, size),
        network=network,
        prepare=prepare,
        collate=collate,
        blocks=blocks,
        fingerprint=":".join(
            (options.label, state_hash(network), _hash(options.features, preprocessing))
        ),
        size=size,
    )


def relaid(options: EncoderOptions, backbone: Backbone) -> Backbone:
    """A ready backbone, pooled elsewhere if that was asked for."""
    if options.layer is None and options.pooling == "own":
        return backbone
    return assembled(
        options,
        backbone.network,
        backbone.blocks,
        prepare=backbone.prepare,
        collate=backbone.collate,
        size=backbone.size,
        preprocessing=backbone.fingerprint,
    )


def _at_layer(
    options: EncoderOptions,
    network: nn.Module,
    blocks: Sequence[nn.Module],
    layer: int,
) -> nn.Module:
    if layer >= len(blocks):
        raise ValueError(
            f"{options.label} has {len(blocks)} blocks: layer {layer} is none of 0 to "
            f"{len(blocks) - 1}."
        )
    if isinstance(blocks[layer], Parts):
        raise ValueError(
            f"{options.label}: block {layer} is its stem in several parts, which give nothing "
            "that can be pooled: choose a later layer."
        )
    how = "mean" if options.pooling == "own" else options.pooling
    return AtBlock(network, blocks[layer], how)


def _tried(
    options: EncoderOptions,
    network: nn.Module,
    collate: Callable[[Sequence[Any]], Collated],
    size: int | None,
) -> int:
    """Width of the features of one blank item; weights that no gradient reaches are frozen.

    Libraries tell the width in a dozen ways, and leave weights in a model that its features do not
    depend on: an optimiser, or a process that waits for every gradient, must not see them.
    """
    blank = "a" if size is None else torch.zeros(3, size, size, dtype=torch.uint8)
    with torch.enable_grad():
        features: Any = network(collate([blank]))
        total = features.sum() if isinstance(features, torch.Tensor) else None
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 1:
        shape = list(getattr(features, "shape", [])) or type(features).__name__
        raise ValueError(
            f"{options.label} gives {shape} for one item where features of shape [1, dim] were "
            "expected: choose a pooling or a layer."
        )
    learning = [p for p in network.parameters() if p.requires_grad]
    if total is not None and total.requires_grad:
        found = torch.autograd.grad(total, learning, allow_unused=True)
        for parameter, gradient in zip(learning, found, strict=True):
            parameter.requires_grad_(gradient is not None)
    return int(features.shape[1])


def state_hash(network: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 over all weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
