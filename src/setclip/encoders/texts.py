"""Texts on their way into a network, and the tokens' states on their way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from setclip.encoders.backbone import Collated


def tokenized(
    tokenizer: Any, prepared: Sequence[str], *, max_tokens: int, padding: bool | str = True
) -> Collated:
    """Texts as `input_ids` and `attention_mask`, padded to the longest. Shape [n, t], t varies."""
    tokens = tokenizer(
        list(prepared),
        truncation=True,
        max_length=max_tokens,
        padding=padding,
        return_tensors="pt",
    )
    if "attention_mask" not in tokens:
        tokens["attention_mask"] = torch.ones_like(tokens["input_ids"])
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}


@dataclass(frozen=True, eq=False)
class TokenIds:
    """Texts as `input_ids` of one length, whatever their own. Shape [n, length].

    Attributes:
        tokenizer: From texts to ids of its own fixed length, at most `length`.
        length: What the network is built for.
        padding: The id that fills the rest.
    """

    tokenizer: Any
    length: int
    padding: int

    def __call__(self, prepared: Sequence[str]) -> Collated:
        """Collate cleaned texts."""
        ids: Tensor = self.tokenizer(list(prepared))
        ends = (0, self.length - ids.shape[1])
        return {"input_ids": nn.functional.pad(ids, ends, value=self.padding)}


class OnIds(nn.Module):
    """A network that takes token ids and nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, collated: Collated) -> Tensor:
        """What it makes of collated texts."""
        made: Tensor = self.network(collated["input_ids"])
        return made


def mean_of_tokens(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over the real tokens of each text. Shape [n, t, d] to [n, d]."""
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)


class SentenceNetwork(nn.Module):
    """The modules of a sentence-transformers model but its normalisation."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.steps = nn.ModuleList(m for m in model if type(m).__name__ != "Normalize")

    def forward(self, collated: Collated) -> Tensor:
        """Features of collated texts. Shape [n, dim]."""
        # The modules write into what they are given.
        found: dict[str, Any] = dict(collated)
        for step in self.steps:
            found = step(found)
        features: Tensor = found["sentence_embedding"]
        return features


def vocabulary(tokenizer: Any) -> str:
    """All that a fast tokenizer is made of; of a slow one its words."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        text: str = fast.to_str()
        return text
    return repr(sorted(tokenizer.get_vocab().items()))
