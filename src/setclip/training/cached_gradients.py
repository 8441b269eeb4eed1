"""Gradients of a loss on one batch that neither one process nor the memory of one forward holds.

A contrastive loss compares all rows of a batch, so it is no sum over parts of it: averaging the
gradients of smaller batches trains another loss, with fewer negatives. But the towers see each row
alone. So embed the rows wherever and in whatever chunks, gather the embeddings, small as they are,
take the gradient of the loss by the embeddings, and push each row's gradient through its tower.
The chain rule makes this exact. Where memory is short, the towers' activations are thrown away
after the first forward pass and each chunk is embedded a second time before its backward pass.

Exact means: for towers that treat rows by themselves. Batch normalisation in training mode does
not; there a chunk on a process is what it normalises over.

Source: GradCache, arXiv 2101.06983.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from setclip.training.distributed import gather_rows, rank, world_size

# Named terms of the loss on all rows of all processes, by the embeddings of each call.
Objective = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Call:
    """What one tower embeds in a step.

    Attributes:
        module: Takes the batch and returns one embedding a row, shape [n, d].
        batch: Tensors by name with one row an item each; n may be 0 on some processes.
    """

    module: nn.Module
    batch: dict[str, Tensor]

    @property
    def rows(self) -> int:
        """Number of items."""
        return len(next(iter(self.batch.values())))


def accumulate(
    calls: Mapping[str, Call],
    objective: Objective,
    *,
    chunk: int | None,
    seed: Sequence[int],
    scale: float = 1.0,
) -> dict[str, float]:
    """Add the gradient of a loss on the batch of all processes to the parameters.

    Every process calls it with calls of the same names in the same order. Afterwards the
    gradients of a tower, summed over processes, are those of one process with all rows; gradients
    of parameters inside the objective (a learned temperature) are whole on every process, and must
    not be summed. Modules that average over processes (`DistributedDataParallel`, FSDP) do so
    once, at their last backward pass: give `scale` the number of processes.

    Args:
        calls: What to embed. Several may share a module.
        objective: Loss terms of the embeddings of all processes, in the order of ranks. What it
            draws at random it must draw alike on every process.
        chunk: Rows embedded at a time, each twice; memory is then that of one chunk's
            activations. None embeds each call at once, and once.
        seed: Of dropout, with rank, call and chunk; a chunk meets the same masks both times.
            The global generators stay as they were.
        scale: Multiplies the gradients of the towers, not those inside the objective.

    Returns:
        The terms. One that is not finite leaves gradients that are not.

    Raises:
        ValueError: A chunk below 1, or an objective without terms.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; give the rows to embed at a time, or None for all.")
    runs = _runs(calls, chunk, (*seed, rank()))
    replayed = any(len(run.chunks) > 1 for run in runs.values())
    with torch.set_grad_enabled(not replayed):
        embedded = {name: run.embed() for name, run in runs.items()}
    if replayed:
        # Under autocast the weights cast without gradient would serve the replay too.
        torch.clear_autocast_cache()
    # Nothing to gather, nothing to embed again: the towers' graph may stay under the loss's.
    whole = not replayed and world_size() == 1 and scale == 1
    leaves, places = {}, {}
    for name, own in embedded.items():
        rows, places[name] = (own, slice(None)) if whole else gather_rows(own)
        # Gradients of several terms add up here: not in half precision.
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        leaves[name] = rows if whole else rows.requires_grad_(runs[name].trained)
    terms = objective(dict(leaves))
    if not terms:
        raise ValueError(
            "the objective has no term: give a weight above zero to a loss that takes what there "
            "is (pairs, or items on both sides)."
        )
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    values = {name: float(term.detach()) for name, term in terms.items()}
    trained = [] if whole else [name for name, run in runs.items() if run.trained]
    gradients = [_of_own_rows(leaves.pop(name), places[name], scale) for name in trained]
    if replayed:
        for name, gradient in zip(trained, gradients, strict=True):
            runs[name].push(gradient)
    elif trained:
        outputs = [embedded[name] for name in trained]
        torch.autograd.backward(
            outputs, [g.to(z.dtype) for g, z in zip(gradients, outputs, strict=True)]
        )
    return values


@dataclass(frozen=True, eq=False)
class _Run:
    """One call with its chunks, the seed of its dropout, and whether its module averages then."""

    call: Call
    chunks: list[slice]
    seed: tuple[int, ...]
    last: bool

    @property
    def trained(self) -> bool:
        return any(p.requires_grad for p in self.call.module.parameters())

    def embed(self) -> Tensor:
        """Embeddings of this process's rows. Shape [n, d]."""
        # A graph that is kept is the one that the module's averaging waits for.
        averaging = self.last and torch.is_grad_enabled()
        parts = [self._forward(i, averaging=averaging) for i in range(len(self.chunks))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def push(self, gradient: Tensor) -> None:
        """Embed each chunk again and send its gradient through the tower."""
        with _running_statistics_kept(self.call.module):
            for i, rows in enumerate(self.chunks):
                averaging = self.last and i == len(self.chunks) - 1
                with _averaging(self.call.module, averaging):
                    z = self._forward(i, averaging=averaging)
                    z.backward(gradient[rows].to(z.dtype))  # type: ignore[no-untyped-call]

    def _forward(self, i: int, *, averaging: bool) -> Tensor:
        part = self.call.batch
        if len(self.chunks) > 1:
            part = {name: tensor[self.chunks[i]] for name, tensor in part.items()}
        device = next(iter(part.values())).device
        with _averaging(self.call.module, averaging), seeded((*self.seed, i), device):
            z: Tensor = self.call.module(part)
        return z


def _runs(calls: Mapping[str, Call], chunk: int | None, seed: tuple[int, ...]) -> dict[str, _Run]:
    last = {id(call.module): name for name, call in calls.items()}
    return {
        name: _Run(call, _chunks(call, chunk), (*seed, place), last[id(call.module)] == name)
        for place, (name, call) in enumerate(calls.items())
    }


def _chunks(call: Call, chunk: int | None) -> list[slice]:
    """Near-equal parts of a call's rows, as many on every process: sharded modules meet in each."""
    if chunk is None:
        return [slice(0, call.rows)]
    device = next(iter(call.batch.values())).device
    most, _ = gather_rows(torch.tensor([call.rows], device=device))
    count = max(1, -(-int(most.max()) // chunk))
    edges = [call.rows * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _of_own_rows(leaf: Tensor, place: slice, scale: float) -> Tensor:
    # A call that no term uses still takes part, since its module may wait for other processes.
    whole = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return whole[place] if scale == 1 else whole[place] * scale


@contextlib.contextmanager
def seeded(seed: Sequence[int], device: torch.device) -> Iterator[None]:
    """Draw dropout on a device from a seed, and leave the global generators as they were."""
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    on_cpu = device.type == "cpu"
    kind = "cuda" if on_cpu else device.type
    with torch.random.fork_rng([] if on_cpu else [device], device_type=kind):
        torch.default_generator.manual_seed(state)
        if not on_cpu:
            torch.get_device_module(device).manual_seed(state)
        yield


@contextlib.contextmanager
def _averaging(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Let a module that averages gradients over processes do so, or keep it from it."""
    if hasattr(module, "set_requires_gradient_sync"):  # FSDP2
        module.set_requires_gradient_sync(wanted)  # type: ignore[operator]
        yield
    elif hasattr(module, "no_sync") and not wanted:  # DDP, FSDP1
        with module.no_sync():  # type: ignore[operator]
            yield
    else:
        yield


@contextlib.contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep a second forward pass from counting twice in running means and variances."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
