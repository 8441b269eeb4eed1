"""What of a backbone learns, and at what precision: freezing, LoRA, checkpointing, bfloat16.

Each function takes a backbone and returns one; the modules underneath are changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from setclip.encoders.backbone import Backbone, Collated


class Adapted(nn.Module):
    """A network with parts that stay in evaluation mode, whatever `train()` is called.

    Attributes:
        network: The network itself.
        still: Modules without dropout and with fixed running statistics.
        dtype: What it computes in; features come out in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        still: Sequence[nn.Module] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.network = network
        # A tuple is no module list: the parts are registered once, under the network.
        self.still = tuple(still)
        self.dtype = dtype
        self.train(network.training)

    def train(self, mode: bool = True) -> Adapted:
        """Put all but the still parts into training mode."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def forward(self, collated: Collated) -> Tensor:
        """Features of collated items. Shape [n, dim]."""
        features: Tensor
        with self._precision(collated):
            features = self.network(collated)
        return features.float()

    def _precision(self, collated: Collated) -> Any:
        if self.dtype == torch.float32:
            return nullcontext()
        device = next(iter(collated.values())).device.type
        return torch.autocast(device, dtype=self.dtype)


def freeze(
    backbone: Backbone, first: int | Literal["all"], *, train_norms: bool = False
) -> Backbone:
    """Keep the first blocks, or everything, as they are.

    Frozen blocks have no dropout, so that their output is a fixed function of the item. Batch
    norms of the other blocks use the running statistics they came with unless `train_norms`: small
    batches of another domain would spoil them. Their scale and shift learn either way.

    Args:
        backbone: Its network is changed in place.
        first: How many blocks, from the input; "all" for these and whatever is in no block.
        train_norms: Whether batch norms of trained blocks take their statistics from batches.

    Raises:
        ValueError: There are not that many blocks.
    """
    if first == "all":
        frozen: Sequence[nn.Module] = [_inner(backbone.network)]
    elif 0 <= first <= len(backbone.blocks):
        frozen = backbone.blocks[:first]
    else:
        raise ValueError(
            f"{backbone.name} cannot freeze its first {first} blocks, it has "
            f"{len(backbone.blocks)}: give 0 to {len(backbone.blocks)}, or all."
        )
    for block in frozen:
        block.requires_grad_(False)
    still = list(frozen)
    if not train_norms:
        still += [m for m in backbone.network.modules() if isinstance(m, _BatchNorm)]
    return replace(backbone, network=_adapted(backbone, still=still))


def compute_in(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """Compute in that type where it is safe (autocast); weights and features stay float32.

    Raises:
        ValueError: Neither float32 nor bfloat16; float16 would need a scaled loss.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"encoders compute in float32 or bfloat16, not {dtype}.")
    fingerprint = backbone.fingerprint
    if dtype != torch.float32:  # features in another precision are others
        fingerprint = f"{fingerprint}:{str(dtype).removeprefix('torch.')}"
    return replace(backbone, network=_adapted(backbone, dtype=dtype), fingerprint=fingerprint)


def _adapted(
    backbone: Backbone,
    *,
    still: Sequence[nn.Module] | None = None,
    dtype: torch.dtype | None = None,
) -> Adapted:
    """The network with these settings and, where none is given, those that it had."""
    network = backbone.network
    had = network if isinstance(network, Adapted) else Adapted(network)
    return Adapted(
        had.network, had.still if still is None else still, had.dtype if dtype is None else dtype
    )


def _inner(network: nn.Module) -> nn.Module:
    return network.network if isinstance(network, Adapted) else network


def checkpoint_activations(backbone: Backbone) -> Backbone:
    """Keep only each block's input for the backward pass, which computes the block again.

    Memory falls to about one block's activations, a step takes about a third longer; gradients are
    the same, dropout included. Not for batch norms that learn from batches: they would count each
    batch twice.

    Raises:
        ValueError: A batch norm is in training mode.
    """
    norms = [m for b in backbone.blocks for m in b.modules() if isinstance(m, _BatchNorm)]
    still = still_modules(backbone.network)
    if any(norm not in still for norm in norms):
        raise ValueError(
            f"{backbone.name} has batch norms, which would see each batch twice: freeze(...) it "
            "first, with train_norms left false."
        )
    for block in backbone.blocks:
        # On the instance, for a wrapper would change the names of the weights.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return backbone


def still_modules(network: nn.Module) -> set[nn.Module]:
    """Modules of a network that stay in evaluation mode."""
    still = network.still if isinstance(network, Adapted) else ()
    return {inner for module in still for inner in module.modules()}


def add_lora(
    backbone: Backbone,
    *,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
    first: int = 0,
) -> Backbone:
    """Freeze the network and learn low-rank additions to its weights, zero at first.

    Args:
        backbone: Its network is changed in place.
        rank: Of each addition.
        alpha: Additions are scaled by alpha / rank.
        dropout: On the input of each addition.
        targets: Ends of names of linear layers or convolutions, such as "query"; None for every
            linear layer of the blocks or, in a network without, every 1 × 1 convolution.
        first: So many blocks from the input get none.

    Raises:
        ImportError: peft is not installed.
        ValueError: No layer has such a name.

    Source:
        LoRA, arXiv 2106.09685.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError('LoRA needs peft: pip install "setclip[lora]"') from error
    names = _lora_targets(backbone, targets, first)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)
    inner = _inner(backbone.network)
    inner.requires_grad_(False)
    inject_adapter_in_model(config, inner)
    return freeze(backbone, first)


def _lora_targets(backbone: Backbone, targets: Sequence[str] | None, first: int) -> list[str]:
    """Full names of the layers that get additions."""
    open_blocks = {m for block in backbone.blocks[first:] for m in block.modules()}
    modules = dict(_inner(backbone.network).named_modules())
    # Attention of PyTorch's own reads its output layer's weight without calling the layer.
    linear = [
        name
        for name, module in modules.items()
        if isinstance(module, nn.Linear)
        and module in open_blocks
        and not isinstance(modules[name.rpartition(".")[0]], nn.MultiheadAttention)
    ]
    pointwise = [
        name
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d)
        and module in open_blocks
        and module.kernel_size == (1, 1)
        and module.groups == 1
    ]
    if targets is None:
        found = linear or pointwise
    else:
        ends = tuple(targets)
        found = [n for n in linear + pointwise if any(f".{n}".endswith(f".{e}") for e in ends)]
    if not found:
        wanted = "" if targets is None else f" called {' or '.join(targets)}"
        some = ", ".join((linear + pointwise)[-3:]) or "none"
        raise ValueError(
            f"{backbone.name} has no linear layer or 1 × 1 convolution{wanted} after its first "
            f"{first} blocks to add LoRA to; layers that could take it: {some}."
        )
    return found
