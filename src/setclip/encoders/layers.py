"""Features of every block of a network at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from setclip.encoders.backbone import Backbone
from setclip.encoders.pooling import pooled, states_of
from setclip.encoders.protocol import FloatArray, Item


def block_features(
    backbone: Backbone,
    items: Sequence[Item],
    *,
    pooling: Literal["cls", "mean", "last"] = "mean",
    batch_size: int = 32,
) -> dict[int, FloatArray]:
    """Pooled outputs of the blocks, from one pass over the items, in evaluation mode.

    Row for row they are the features of the option `layer` with that pooling.

    Args:
        backbone: Whose blocks.
        items: What it reads.
        pooling: How tokens become one vector; maps are averaged.
        batch_size: Items at once.

    Returns:
        By number of the block, shape [n, width of the block]. A stem that is no module of its own
        has no output and is missing.

    Raises:
        BadItemError: The first item that cannot be used.
    """
    device = next(backbone.network.parameters()).device
    found: dict[int, list[FloatArray]] = {}
    training = backbone.network.training
    backbone.network.eval()
    for start in range(0, len(items), batch_size):
        batch = [backbone.prepare(item) for item in items[start : start + batch_size]]
        collated = {name: t.to(device) for name, t in backbone.collate(batch).items()}
        mask = collated.get("attention_mask")

        def keep(number: int, output: Any, mask: torch.Tensor | None = mask) -> None:
            rows = pooled(states_of(output), pooling, mask=mask)
            found.setdefault(number, []).append(rows.float().cpu().numpy())

        hooks = [_on_output(block, number, keep) for number, block in enumerate(backbone.blocks)]
        try:
            with torch.inference_mode():
                backbone.network(collated)
        finally:
            for hook in hooks:
                hook.remove()
    backbone.network.train(training)
    return {number: np.concatenate(parts) for number, parts in found.items()}


def _on_output(block: nn.Module, number: int, keep: Any) -> Any:
    return block.register_forward_hook(lambda module, inputs, output: keep(number, output))
