"""What can be said of every encoder, whichever library it comes from."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from setclip.encoders.protocol import Modality

if TYPE_CHECKING:
    from setclip.encoders.backbone import Backbone

Name = Annotated[str, Field(min_length=1)]
Pooling = Literal["own", "cls", "mean", "last"]

STRICT = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
_OF_TRAINING = frozenset({"freeze", "train_norms", "lora", "checkpointing"})


class Lora(BaseModel):
    """Low-rank additions that learn in place of the weights (arXiv 2106.09685)."""

    model_config = STRICT

    rank: PositiveInt = 8
    """Of each addition."""
    alpha: PositiveInt = 16
    """Additions are scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the input of each addition."""
    targets: tuple[Name, ...] | None = None
    """Ends of the names of layers that get one; by default every linear layer, or in a network
    without, every 1 × 1 convolution."""


class EncoderOptions(BaseModel, ABC):
    """An encoder: which network, how it is pooled, and what of it learns when it is trained."""

    model_config = STRICT

    kind: str
    """The library, or the name of a bundled encoder."""
    pooling: Pooling = "own"
    """How tokens become one vector: the model's own way, its first token, their mean, or the last
    token. Maps of convolutions are always averaged. Anything but own at the end of a network of
    open-clip, sentence-transformers, torchvision or module pools the output of its last block."""
    layer: NonNegativeInt | None = None
    """Block whose output is pooled, 0 the stem; by default the end of the network."""
    freeze: NonNegativeInt | Literal["all"] = 0
    """How many blocks from the input stay as they are; all for everything."""
    train_norms: bool = False
    """Whether batch norms take their statistics from batches while training."""
    lora: Lora | None = None
    """Train low-rank additions instead of the weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What it computes in where that is safe; weights and features stay float32."""
    checkpointing: bool = False
    """Keep only the blocks' inputs for the backward pass: less memory, a third more time."""

    @property
    @abstractmethod
    def reads(self) -> Modality:
        """What its items are."""

    @abstractmethod
    def open(self) -> Backbone:
        """The network as the library gives it, all of it trainable.

        Raises:
            ImportError: The library is not installed; says what brings it.
            WeightsUnavailableError: Pretrained weights are neither here nor to be had.
            ValueError: The library knows no such model, or it cannot be used so.
        """

    def unfilled(self) -> Self:
        """The same network without fetching or reading weights, for a model that holds them.

        As it is, where weights decide more than themselves, as how pictures are prepared.
        """
        return self

    @property
    def label(self) -> str:
        """What to call it in a sentence."""
        return self.kind

    @property
    def features(self) -> str:
        """All that decides the features, as JSON: options of training left out."""
        return json.dumps(self.model_dump(mode="json", exclude=set(_OF_TRAINING)), sort_keys=True)

    @property
    def described(self) -> str | dict[str, Any]:
        """What to write on a model card: a bare name, or kind and options that differ."""
        given = self.model_dump(mode="json", exclude_defaults=True) | {"kind": self.kind}
        return self.kind if len(given) == 1 else given

    @model_validator(mode="after")
    def _trains_as_one(self) -> EncoderOptions:
        if self.checkpointing and self.train_norms:
            raise ValueError(
                "checkpointing computes each batch twice, which train_norms would count twice; "
                "keep one"
            )
        if self.lora is not None and self.freeze == "all":
            raise ValueError(
                "lora freezes the weights already and freeze: all would leave nothing to train; "
                "leave freeze out, or give the number of blocks without additions"
            )
        return self
