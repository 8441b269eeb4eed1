"""Training an encoder on one modality alone, before anything is aligned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from setclip.encoders.backbone import Backbone
from setclip.losses import nt_xent

View = Callable[[Any, np.random.Generator], Any]


def train_on_views(
    backbone: Backbone,
    prepared: Sequence[Any],
    view: View,
    *,
    steps: int,
    batch: int = 48,
    lr: float = 1e-3,
    temperature: float = 0.1,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train a network so that two views of an item land on one spot; leaves it evaluating.

    Batch norms take their statistics from batches, and keep them: a network with random weights
    has none to begin with.

    Args:
        backbone: Trained in place.
        prepared: What `backbone.prepare` made of the items, two or more.
        view: Draws a view of a prepared item.
        steps: How many batches.
        batch: Items a step.
        lr: Highest learning rate of AdamW; falls along a cosine.
        temperature: Of the loss.
        seed: Decides items, views and dropout; torch's own generator is left alone.
        advance: Called after each step.

    Returns:
        The loss of each step, in nats.

    Raises:
        ValueError: Fewer than two items.

    Source:
        SimCLR, arXiv 2002.05709; of protein structures GearNet, arXiv 2203.06125.
    """
    if len(prepared) < 2:
        raise ValueError(f"{len(prepared)} items to train on: two views need others beside them.")
    rng = np.random.default_rng(seed)
    network = backbone.network
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    losses = []
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(steps):
            rows = rng.permutation(len(prepared))[:batch]
            both = [view(prepared[row], rng) for _ in range(2) for row in rows]
            z = torch.nn.functional.normalize(network(backbone.collate(both)), dim=1)
            loss = nt_xent(*z.chunk(2), temperature=temperature)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            advance()
    network.eval()
    return losses
