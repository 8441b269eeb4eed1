"""Every encoder that a config can choose, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter

from setclip.encoders.bge_small import BgeSmallOptions
from setclip.encoders.efficientnet_lite0 import EfficientNetLite0Options
from setclip.encoders.minilm import MiniLMOptions
from setclip.encoders.module import Module
from setclip.encoders.open_clip import OpenClip
from setclip.encoders.options import EncoderOptions
from setclip.encoders.protein_options import (
    ESM2,
    CDConvOptions,
    CompositionOptions,
    ProteinMPNNOptions,
    ProteinTransformer,
)
from setclip.encoders.sentence_transformers import SentenceTransformers
from setclip.encoders.timm import Timm
from setclip.encoders.torchvision import Torchvision
from setclip.encoders.transformers import Transformers

AnyOptions = Annotated[
    EfficientNetLite0Options
    | MiniLMOptions
    | BgeSmallOptions
    | Timm
    | OpenClip
    | Transformers
    | SentenceTransformers
    | Torchvision
    | Module
    | CompositionOptions
    | ProteinMPNNOptions
    | ProteinTransformer
    | ESM2
    | CDConvOptions,
    Field(discriminator="kind"),
]


def kind_of_name(value: Any) -> Any:
    """Let a bare name stand for the choice of that kind: `x: minilm-l6`, `method: cca`."""
    return {"kind": value} if isinstance(value, str) else value


EncoderChoice = Annotated[
    AnyOptions, BeforeValidator(kind_of_name, json_schema_input_type=str | AnyOptions)
]
"""Of a config: options, or the name of an encoder that needs none."""

DEFAULTS: dict[str, EncoderOptions] = {
    "image": EfficientNetLite0Options(kind="efficientnet-lite0"),
    "text": MiniLMOptions(kind="minilm-l6"),
}
"""The encoder of each modality where none was chosen."""

_READER: TypeAdapter[EncoderOptions] = TypeAdapter(EncoderChoice)


def parsed(described: str | dict[str, Any]) -> EncoderOptions:
    """Options as a config, a model card or :attr:`EncoderOptions.features` writes them.

    Raises:
        ValidationError: There are no such options (a ValueError).
    """
    return _READER.validate_python(described)
