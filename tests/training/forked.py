"""Processes that start within milliseconds: forked from one that has loaded PyTorch once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

# All tests ask for the same, since the server that serves them is started once.
LOADED = [
    "setclip.methods.towers",
    "setclip.training.cached_gradients",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "setclip.training.engine",
]


def forked() -> ForkServerContext:
    """Where to make processes and locks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context
