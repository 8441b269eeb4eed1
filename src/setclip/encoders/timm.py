"""Image networks of timm."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import PositiveInt
from torch import nn

from setclip.encoders.assembly import assembled
from setclip.encoders.backbone import Backbone
from setclip.encoders.blocks import from_names, trunk
from setclip.encoders.hub import asking
from setclip.encoders.images import Geometry, Normalised, stacked
from setclip.encoders.options import EncoderOptions, Name
from setclip.suggest import nearest

_POOLS = {"cls": "token", "mean": "avg"}
# How timm's matchers attach a final norm to the last block; here it counts as the end.
_WITH_THE_BLOCK_BEFORE = (99999,)


class Timm(EncoderOptions):
    """An image network of timm without its classifier."""

    kind: Literal["timm"]
    model: Name
    """Name in timm, with the tag of its weights if there are several: vit_small_patch14_dinov2."""
    pretrained: bool = True
    """Whether to load its weights; without, they are random."""
    file: Name | None = None
    """Weights on this machine (.safetensors), in place of those of the hub."""
    size: PositiveInt | None = None
    """Side of the images; by default the one that the weights were tested at."""
    fit: Literal["own", "crop", "squash", "pad"] = "own"
    """How pictures become square: the model's own way, the middle, squashed, or on white."""

    @property
    def reads(self) -> Literal["image"]:
        """Images."""
        return "image"

    @property
    def label(self) -> str:
        """Library and model."""
        return f"timm/{self.model}"

    def unfilled(self) -> Self:
        """With random weights."""
        return self.model_copy(update={"pretrained": False, "file": None})

    def open(self) -> Backbone:
        """The network, its last pooling part of it."""

        try:
            import timm as library
        except ImportError as error:
            raise ImportError(
                'encoders of timm need timm and Pillow: pip install "setclip[timm]"'
            ) from error
        timm: Any = library
        model = self._model(timm)
        settings = timm.data.resolve_model_data_config(model)
        geometry = self._geometry(settings)
        mean, std = settings["mean"], settings["std"]
        return assembled(
            self,
            Normalised(model, mean, std),
            _blocks(timm, model),
            prepare=geometry,
            collate=stacked,
            size=geometry.size,
            preprocessing=f"{geometry} {mean} {std}",
            pools=self.pooling in _POOLS and self.layer is None and hasattr(model, "blocks"),
        )

    def _model(self, timm: Any) -> nn.Module:

        base = self.model.partition(".")[0]
        if ":" not in self.model and not timm.is_model(base):
            close = timm.list_models(f"{base.split('_')[0]}*")
            raise ValueError(
                f"timm {timm.__version__} knows no model {self.model!r}.{nearest(base, close)} "
                "timm.list_models() lists them."
            )
        extra: dict[str, Any] = {}
        known = timm.models.get_pretrained_cfg(self.model)
        if self.size is not None and known is not None and known.fixed_input_size:
            extra["img_size"] = self.size
        if (
            self.pooling in _POOLS
            and known is not None
            and base.startswith(("vit_", "deit", "eva"))
        ):
            extra["global_pool"] = _POOLS[self.pooling]
        if self.file is not None:
            extra["pretrained_cfg_overlay"] = {"file": self.file}
        local = self.file is not None or not self.pretrained
        with asking(f"timm's {self.model}", local=local, remedy=" (or file: its weights)"):
            model: nn.Module = timm.create_model(
                self.model,
                pretrained=self.pretrained or self.file is not None,
                num_classes=0,
                **extra,
            )
        return model

    def _geometry(self, settings: dict[str, Any]) -> Geometry:

        size = self.size or settings["input_size"][-1]
        own = {"squash": "squash", "border": "pad"}.get(settings["crop_mode"], "crop")
        interpolation = settings["interpolation"]
        return Geometry(
            size=size,
            fit=own if self.fit == "own" else self.fit,  # type: ignore[arg-type]
            resize=int(size / settings["crop_pct"]),
            interpolation="bicubic" if interpolation == "random" else interpolation,
        )


def _blocks(timm: Any, model: Any) -> list[nn.Module]:
    """By timm's own grouping of layers; what follows the last one (norm, pooling) is in none."""

    matcher = model.group_matcher(coarse=False) if hasattr(model, "group_matcher") else None
    if not isinstance(matcher, dict):
        return trunk(model)
    patterns = {
        name: [entry for entry in spec if entry[1] != _WITH_THE_BLOCK_BEFORE]
        if isinstance(spec, list | tuple)
        else spec
        for name, spec in matcher.items()
    }
    groups = timm.models.group_parameters(model, patterns)
    lists = [names for _, names in sorted(groups.items())]
    expressions = [
        expression
        for spec in patterns.values()
        for expression in ([spec] if isinstance(spec, str) else [entry[0] for entry in spec])
    ]
    # What no expression matches comes last, in a group of its own.
    matched = any(re.match(expression, lists[-1][0]) for expression in expressions)
    return from_names(model, lists if matched else lists[:-1])
