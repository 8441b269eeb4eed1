"""Rows of all processes as one batch; a process without a process group is a group of one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=2)
"""How long processes wait for each other: the first reads and encodes all data."""


def join() -> None:
    """Join the processes that torchrun, accelerate or SLURM started together, if any.

    Raises:
        ImportError: There are several, and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _grouped():
        return
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ImportError(
            'several processes need accelerate: pip install "setclip[train]"'
        ) from error
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def wait() -> None:
    """Go on when all processes have come here."""
    if _grouped():
        dist.barrier()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _grouped() else 1


def gather_rows(t: Tensor) -> tuple[Tensor, slice]:
    """Rows of all processes in the order of their ranks, without gradient.

    Every process must call it, with as many rows as it has, none included.

    Args:
        t: This process's rows, of any dtype. Shape [n, ...], with the same dots everywhere.

    Returns:
        All rows, shape [sum of n, ...], and where among them this process's own are.

    Raises:
        ValueError: Rows of one process take other room than those of another.
    """
    t = t.detach()
    if world_size() == 1:
        return t, slice(0, len(t))
    # As bytes, since not every backend sends every dtype.
    width = math.prod(t.shape[1:])
    own = t.contiguous().reshape(len(t), width).view(torch.uint8)
    counts = _counts(own)
    padded = own.new_zeros(max(counts), own.shape[1])
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    rows = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
    start = sum(counts[: rank()])
    gathered = rows.view(t.dtype).reshape(-1, *t.shape[1:]) if width else t.new_empty(len(rows), 0)
    return gathered, slice(start, start + len(t))


def gather_lists(own: Sequence[T]) -> list[T]:
    """The small lists of all processes as one, in the order of ranks; every process calls it."""
    if world_size() == 1:
        return list(own)
    lists: list[list[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(lists, list(own))
    return [entry for entries in lists for entry in entries]


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def _counts(rows: Tensor) -> list[int]:
    """Rows of each process, after a check that all rows are of one width."""
    shape = torch.tensor(rows.shape, device=rows.device)
    shapes = [torch.empty_like(shape) for _ in range(world_size())]
    dist.all_gather(shapes, shape)
    counts: list[int]
    counts, widths = torch.stack(shapes).T.tolist()
    if len(set(widths)) > 1:
        raise ValueError(
            f"a row takes {', '.join(map(str, widths))} bytes on ranks 0 to {len(widths) - 1}: "
            "give tensors of one dtype and one width on every process, also where they are empty."
        )
    return counts
