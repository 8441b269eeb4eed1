"""Texts on their way into a network, and the tokens' states on their way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from setclip.encoders.backbone import Collated


def tokenized(tokenizer: Any, prepared: Sequence[str], *, max_tokens: int) -> Collated:
    """Texts as `input_ids` and `attention_mask`, padded to the longest. Shape [n, t], t varies."""
    tokens = tokenizer(
        list(prepared), truncation=True, max_length=max_tokens, padding=True, return_tensors="pt"
    )
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}


def mean_of_tokens(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over the real tokens of each text. Shape [n, t, d] to [n, d]."""
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)
