"""A network of your own, by import path."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from torch import nn

from setclip.encoders.assembly import assembled
from setclip.encoders.backbone import Backbone
from setclip.encoders.blocks import trunk
from setclip.encoders.images import IMAGENET_MEAN, IMAGENET_STD, Geometry, Normalised, stacked
from setclip.encoders.options import EncoderOptions
from setclip.encoders.protocol import file_hash
from setclip.modalities.text import clean_text

Three = tuple[float, float, float]


class Module(EncoderOptions):
    """What a function or class of yours returns.

    A `Backbone` is taken as it is. An `nn.Module` of images gets normalised pixels [n, 3, size,
    size]; one of texts has a method `collate(texts) -> dict of tensors`, one row a text, and gets
    that dict. Both return features [n, dim]. `blocks`, if the module has such a list, is its
    trunk for freezing; else it is guessed.
    """

    kind: Literal["module"]
    target: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """Where it is, as package.module:function."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function."""
    modality: Literal["image", "text"]
    """What it reads."""
    size: PositiveInt = 224
    """Side of the images."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    """How pictures become square: the middle, squashed, or on white."""
    mean: Three = IMAGENET_MEAN
    """Taken from the colours, which run from 0 to 1; by default ImageNet's."""
    std: Three = IMAGENET_STD
    """What the colours are divided by."""

    @property
    def reads(self) -> Literal["image", "text"]:
        """What it reads."""
        return self.modality

    @property
    def label(self) -> str:
        """Where it is."""
        return f"module/{self.target}"

    def open(self) -> Backbone:
        """Import and call it: this runs code of yours."""
        maker = self._maker()
        made = maker(**self.arguments)
        if isinstance(made, Backbone):
            return made
        if not isinstance(made, nn.Module):
            raise ValueError(
                f"{self.target} returned {type(made).__name__}; return an nn.Module or a "
                "setclip.encoders.backbone.Backbone."
            )
        blocks = list(getattr(made, "blocks", None) or trunk(made))
        if self.modality == "image":
            geometry = Geometry(self.size, self.fit, self.size)
            return assembled(
                self,
                Normalised(made, self.mean, self.std),
                blocks,
                prepare=geometry,
                collate=stacked,
                size=self.size,
                preprocessing=_code(maker),
            )
        collate: Any = getattr(made, "collate", None)
        if not callable(collate):
            raise ValueError(
                f"{self.target} has no method collate: a module of texts needs collate(texts), "
                "which returns a dict of tensors with one row a text."
            )
        return assembled(
            self, made, blocks, prepare=clean_text, collate=collate, preprocessing=_code(maker)
        )

    def _maker(self) -> Callable[..., Any]:
        path, name = self.target.split(":")
        try:
            maker: Callable[..., Any] = getattr(importlib.import_module(path), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{self.target} cannot be imported ({error}): put the folder of its package on "
                "PYTHONPATH, and name it package.module:function."
            ) from error
        return maker


def _code(maker: Callable[..., Any]) -> str:
    """Of the file that says what a module does: once it is edited, features are made anew."""
    try:
        path = inspect.getsourcefile(maker)
    except TypeError:  # no function or class of Python
        path = None
    return file_hash(Path(path)) if path else ""
