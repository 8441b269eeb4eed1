"""Text networks of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt
from torch import Tensor

from setclip.encoders.assembly import assembled
from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.blocks import trunk
from setclip.encoders.hub import asking
from setclip.encoders.options import EncoderOptions, Name
from setclip.encoders.texts import SentenceNetwork, vocabulary
from setclip.modalities.text import clean_text


class SentenceTransformers(EncoderOptions):
    """A model of sentence-transformers, pooled as it says, not normalised."""

    kind: Literal["sentence-transformers"]
    model: Name
    """Name on the hub, or a local folder."""
    max_tokens: PositiveInt | None = None
    """Longer texts are cut; by default at the model's own length."""
    prompt: str = ""
    """Put before every text, for models that were trained with one ("query: ")."""

    @property
    def reads(self) -> Literal["text"]:
        """Texts."""
        return "text"

    @property
    def label(self) -> str:
        """Library and model."""
        return f"sentence-transformers/{self.model}"

    def open(self) -> Backbone:
        """The network without a final normalisation."""

        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError(
                "encoders of sentence-transformers need it: "
                'pip install "setclip[sentence-transformers]"'
            ) from error
        with asking(f"sentence-transformers' {self.model}", local=Path(self.model).is_dir()):
            model = SentenceTransformer(self.model, device="cpu", trust_remote_code=False)
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        network = SentenceNetwork(model)
        return assembled(
            self,
            network,
            trunk(network.steps[0]),
            prepare=clean_text,
            collate=_Collate(model, self.prompt),
            preprocessing=f"{model.max_seq_length} {vocabulary(model.tokenizer)}",
        )


@dataclass(frozen=True, eq=False)
class _Collate:
    model: Any
    prompt: str

    def __call__(self, prepared: Sequence[str]) -> Collated:

        # Renamed in version 5.
        tokens = getattr(self.model, "preprocess", None) or self.model.tokenize
        made = tokens([f"{self.prompt}{text}" for text in prepared])
        return {name: value for name, value in made.items() if isinstance(value, Tensor)}
