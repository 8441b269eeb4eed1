"""Pretrained encoders, one adapter a file: bundled ones, those of libraries, and your own.

An encoder is named by a bundled name or by options (kind and settings). :func:`open_encoder` gives
it frozen, for features; :func:`open_backbone` gives it as a network to be trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from setclip.encoders.protocol import Encoder, Item
from setclip.suggest import nearest

if TYPE_CHECKING:
    from setclip.encoders.backbone import Backbone
    from setclip.encoders.options import EncoderOptions

__all__ = [
    "NAMES",
    "Encoder",
    "Item",
    "backbone_from_card",
    "from_card",
    "get",
    "open_backbone",
    "open_encoder",
]


def _efficientnet_lite0() -> Encoder:
    from setclip.encoders.efficientnet_lite0 import EfficientNetLite0

    return EfficientNetLite0()


def _minilm() -> Encoder:
    from setclip.encoders.minilm import MiniLM

    return MiniLM()


def _bge_small() -> Encoder:
    from setclip.encoders.bge_small import BgeSmall

    return BgeSmall()


def _composition() -> Encoder:
    from setclip.encoders.composition import Composition

    return Composition()


def _proteinmpnn() -> Encoder:
    from setclip.encoders.proteinmpnn import ProteinMPNN

    return ProteinMPNN()


_MAKERS: dict[str, Callable[[], Encoder]] = {
    "efficientnet-lite0": _efficientnet_lite0,
    "minilm-l6": _minilm,
    "bge-small": _bge_small,
    "composition": _composition,
    "proteinmpnn": _proteinmpnn,
}
NAMES = tuple(_MAKERS)


@cache
def get(name: str) -> Encoder:
    """Return the one encoder of that name; its weights load when it first encodes.

    Raises:
        ValueError: No encoder has that name.
        ImportError: The package that carries its weights is not installed.
    """
    if name not in _MAKERS:
        raise ValueError(
            f"no encoder is called {name!r}.{nearest(name, NAMES)} Choose one of: "
            f"{', '.join(NAMES)}."
        )
    return _MAKERS[name]()


def open_backbone(options: EncoderOptions, *, seed: int = 0) -> Backbone:
    """Return a fresh network to be trained as the options say: frozen blocks, LoRA, precision.

    Args:
        options: Of the encoder.
        seed: Of whatever weights are not pretrained; torch's own generator is left alone.

    Raises:
        ImportError: A library is missing; says what brings it.
        WeightsUnavailableError: Weights are neither on this machine nor to be had.
        ValueError: There is no such model, layer or block, or it cannot be trained.
    """
    import torch

    from setclip.encoders import adapt

    # Also where a caller only infers: weights made in inference mode could never be trained.
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = options.open()
        if options.lora is None:
            backbone = adapt.freeze(backbone, options.freeze, train_norms=options.train_norms)
        else:
            additions = options.lora.model_dump()
            first = 0 if options.freeze == "all" else options.freeze
            backbone = adapt.add_lora(backbone, **additions, first=first)
    backbone = adapt.compute_in(backbone, getattr(torch, options.dtype))
    return adapt.checkpoint_activations(backbone) if options.checkpointing else backbone


def open_encoder(options: EncoderOptions) -> Encoder:
    """Return the frozen encoder of these options; the last few are kept open.

    Options of training (freeze, LoRA, checkpointing) say nothing of a frozen encoder.

    Raises:
        ImportError: A library is missing; says what brings it.
        WeightsUnavailableError: Weights are neither on this machine nor to be had.
        ValueError: There is no such model or layer.
    """
    paths = [Path(value) for value in options.model_dump().values() if isinstance(value, str)]
    # Weights may be written anew under one name.
    stamps = tuple(path.stat().st_mtime_ns for path in paths if path.is_file())
    return _opened(options.features, stamps)


@lru_cache(maxsize=4)
def _opened(features: str, stamps: tuple[int, ...]) -> Encoder:
    from setclip.encoders.choices import parsed

    options = parsed(json.loads(features))
    if options.kind in NAMES and options.described == options.kind:
        return get(options.kind)
    from setclip.encoders.frozen import Frozen

    return Frozen(open_backbone(options))


def from_card(described: str | dict[str, Any]) -> Encoder:
    """Return the frozen encoder that a model card names.

    Raises:
        ValueError: There is no such encoder, or it is code of somebody's: a model file must not
            run any.
    """
    return get(described) if isinstance(described, str) else open_encoder(_of_card(described))


def backbone_from_card(described: str | dict[str, Any], *, trust: bool = False) -> Backbone:
    """Return the network that a model card names, to be filled with the weights of the model.

    Args:
        described: What the card says of the encoder.
        trust: Import and call what it names, where that is somebody's own code.

    Raises:
        ValueError: As :func:`from_card`.
    """
    return open_backbone(_of_card(described, trust=trust).unfilled())


def _of_card(described: str | dict[str, Any], *, trust: bool = False) -> EncoderOptions:
    from setclip.encoders.choices import parsed

    options = parsed(described)
    if options.kind == "module" and not trust:
        raise ValueError(
            f"this model takes features of {options.label}, which is not run because a file says "
            "so: open that encoder yourself and pass its features. If the model holds the encoder "
            "too, and you trust who wrote it: setclip.load(folder, trust=True)."
        )
    return options
