"""Threads that a step is worth: those of a small one wait for each other more than they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

MULTIPLICATIONS = 30_000_000
"""Of a forward pass that one thread is given, by the table in docs/training.md."""

WIDTH = 256
"""Of the shared space in which a loss compares all rows: that of the heads' defaults."""


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
    """Threads that pay for a step in which parameters meet so many rows, and rows each other."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return max(1, rows * (parameters + rows * WIDTH) // MULTIPLICATIONS)
