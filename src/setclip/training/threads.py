"""Threads that a step is worth: those of a small one wait for each other more than they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

MULTIPLICATIONS = 30_000_000
"""Of a forward pass that one thread is given: fewer gain nothing from a second, and up to twice as many
win or lose with it (docs/training.md)."""


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Torch computes with so many threads meanwhile, or with those it had if they are fewer."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def worth(module: nn.Module, rows: int) -> int:
    """Threads that pay for a step in which each parameter meets so many rows."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return max(1, rows * parameters // MULTIPLICATIONS)
