"""Weights divided among processes while towers train, whole before and after.

Of every parameter each process keeps a part, and PyTorch's FSDP2 brings a block's parts together
while the block computes. What the loop does to weights besides (averages, copies, mixtures) goes
number by number, so each process does it to its own part. Whole tensors are needed for checkpoints
and for the finished model alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from setclip.training.distributed import world_size
from setclip.training.weights import sum_gradients

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


class Shards:
    """Divides the weights of towers among the processes, in place, until :meth:`end`.

    Args:
        towers: Whose children are called as towers.
        blocks: Modules whose weights are brought together by themselves, those of the rest of a
            tower at once. What is no part of the towers or no module to call is passed over.
        device: Where this process computes.
    """

    def __init__(
        self, towers: nn.Module, blocks: Iterable[nn.Module], device: torch.device
    ) -> None:
        self.towers = towers
        self.scale = float(world_size())  # FSDP takes the mean where the sum is wanted
        self._before = {module: _Before(module) for module in towers.modules()}
        mesh = init_device_mesh(device.type, (world_size(),))
        # Weights are cut along their first axis, which single numbers do not have.
        single = {p for p in towers.parameters() if not p.ndim}
        inside = [b for b in blocks if b in self._before and not isinstance(b, _CONTAINERS)]
        for module in (*inside, *towers.children()):
            # Towers too go back to their parts after each pass: whole weights that stayed from
            # one would not see what is done to the parts before the next.
            fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=single)
        for p in single:
            p.data = p.data.to(device)

    def part(self, p: Tensor) -> Tensor:
        """What this process holds of a parameter: no copy, no gradient."""
        return _local(p.detach())

    def whole(self, t: Tensor, like: Tensor) -> Tensor:
        """All of a tensor of which this process holds what it holds of a parameter."""
        if isinstance(t, DTensor):
            return t.full_tensor()
        if not isinstance(like, DTensor):
            return t
        cut = DTensor.from_local(
            t,
            like.device_mesh,
            like.placements,
            run_check=False,
            shape=like.shape,
            stride=like.stride(),
        )
        full: Tensor = cut.full_tensor()
        return full

    def divided(self, t: Tensor, like: Tensor) -> Tensor:
        """A whole tensor laid out as a parameter is; one of another shape stays whole."""
        if not isinstance(like, DTensor) or t.shape != like.shape:
            return t
        # Every process has read all of it: none needs to send.
        own = t.to(like.device_mesh.device_type)
        return distribute_tensor(own, like.device_mesh, like.placements, src_data_rank=None)

    def settle(
        self, towers: Sequence[nn.Parameter], learned: Sequence[nn.Parameter], max_norm: float
    ) -> Tensor:
        """Clip what FSDP has brought together already, and sum what it does not know of."""
        cut = [p for p in towers if isinstance(p, DTensor)]
        single = [p for p in towers if not isinstance(p, DTensor)]
        sum_gradients(single)
        for p in single:
            assert p.grad is not None
            p.grad.div_(self.scale)
        lengths = []
        for kind in (cut, [*single, *learned]):
            length = nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])
            lengths.append(length.full_tensor() if isinstance(length, DTensor) else length)
        norm: Tensor = torch.linalg.vector_norm(torch.stack([n.to(lengths[0]) for n in lengths]))
        for kind in (cut, [*single, *learned]):
            nn.utils.clip_grads_with_norm_(kind, max_norm, norm)
        return norm

    def end(self) -> None:
        """Make the towers what they were, with whole weights in the memory of the host.

        Every process calls it.
        """
        whole = {
            p: nn.Parameter(self.whole(p.detach(), p).cpu(), requires_grad=p.requires_grad)
            for p in self.towers.parameters()
        }
        for module, before in self._before.items():
            before.restore(module, whole)


class _Before:
    """What a module was, but for its tensors: class, children, hooks, attributes."""

    def __init__(self, module: nn.Module) -> None:
        self.kind = type(module)
        self.values = {
            n: v for n, v in vars(module).items() if n not in ("_parameters", "_buffers")
        }
        self.entries = {n: v.copy() for n, v in self.values.items() if isinstance(v, dict)}

    def restore(self, module: nn.Module, whole: dict[nn.Parameter, nn.Parameter]) -> None:
        """Make a module that again, with these parameters in the place of its own."""
        for name, entries in self.entries.items():
            # Into the same dict, which the handle of a hook knows.
            self.values[name].clear()
            self.values[name].update(entries)
        tensors: dict[str, Any] = {
            "_parameters": {
                name: None if p is None else whole[p] for name, p in module._parameters.items()
            },
            "_buffers": {
                name: None if b is None else b.cpu() for name, b in module._buffers.items()
            },
        }
        module.__class__ = self.kind
        module.__dict__ = {**self.values, **tensors}


def _local(t: Tensor) -> Tensor:
    return t.to_local() if isinstance(t, DTensor) else t
