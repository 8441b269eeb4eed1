"""From what a block gives (tokens or maps) to one vector an item."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from setclip.encoders.backbone import Collated
from setclip.encoders.texts import mean_of_tokens


def pooled(
    states: Tensor,
    how: Literal["cls", "mean", "last"],
    *,
    mask: Tensor | None = None,
    prefix: int = 0,
) -> Tensor:
    """One vector an item.

    Args:
        states: Tokens [n, t, d], maps [n, d, s, s] or [n, s, s, d] of square pictures (always
            averaged), or vectors [n, d].
        how: The first token, the mean, or the last token.
        mask: Which tokens are real, in texts padded on the right. Shape [n, t].
        prefix: Tokens in front (class, registers) that the mean leaves out.
    """
    if states.ndim == 4:
        channels_last = states.shape[1] == states.shape[2] != states.shape[3]
        return states.mean(dim=(1, 2) if channels_last else (2, 3))
    if states.ndim == 2:
        return states
    if how == "cls":
        return states[:, 0]
    if mask is None:
        return states[:, -1] if how == "last" else states[:, prefix:].mean(dim=1)
    if how == "mean":
        return mean_of_tokens(states, mask)
    ends = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), ends]


class _Reached(Exception):  # noqa: N818, it ends a forward pass and is no error
    """The block has given its output; the rest of the network need not run."""


class AtBlock(nn.Module):
    """The pooled output of one block of a network, which runs no further than that."""

    def __init__(
        self,
        network: nn.Module,
        block: nn.Module,
        how: Literal["cls", "mean", "last"],
    ) -> None:
        super().__init__()
        self.network = network
        self.how: Literal["cls", "mean", "last"] = how
        # In a tuple: the block is registered once, under the network.
        self._block = (block,)

    def forward(self, collated: Collated) -> Tensor:
        """Features of collated items. Shape [n, dim]."""
        mask = collated.get("attention_mask")
        features: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            features.append(pooled(states_of(output), self.how, mask=mask))
            raise _Reached

        hook = self._block[0].register_forward_hook(keep)
        try:
            self.network(collated)
        except _Reached:
            pass
        finally:
            hook.remove()
        return features[0]


def states_of(output: Any) -> Tensor:
    """The states among what a block gives: some libraries' blocks give them first of a tuple."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states
