"""Processes that start within milliseconds: forked from one that has loaded PyTorch once."""

from __future__ import annotations

import multiprocessing
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

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


def meet(number: int, folder: Path) -> None:
    """Make this process, with one thread, a member of a group of two."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=number,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
