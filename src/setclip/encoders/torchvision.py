"""Image networks of torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import nn

from setclip.encoders.assembly import assembled
from setclip.encoders.backbone import Backbone
from setclip.encoders.blocks import trunk
from setclip.encoders.hub import PYTORCH, asking
from setclip.encoders.images import Geometry, MeanOfMaps, Normalised, stacked
from setclip.encoders.options import EncoderOptions, Name
from setclip.suggest import nearest

_HEADS = ("fc", "heads", "head", "classifier")


class Torchvision(EncoderOptions):
    """An image classifier of torchvision without its last layer."""

    kind: Literal["torchvision"]
    model: Name
    """Name in torchvision: resnet50, vit_b_16."""
    weights: Name | None
    """Name of its weights (DEFAULT, IMAGENET1K_V2); null for random ones."""
    size: PositiveInt | None = None
    """Side of the images; by default the one that the weights were tested at."""

    @property
    def reads(self) -> Literal["image"]:
        """Images."""
        return "image"

    @property
    def label(self) -> str:
        """Library and model."""
        return f"torchvision/{self.model}"

    def open(self) -> Backbone:
        """The network up to the input of its last linear layer."""

        try:
            from torchvision import models
        except ImportError as error:
            raise ImportError(
                'encoders of torchvision need it: pip install "setclip[torchvision]"'
            ) from error
        cut = self._weights(models, self.weights or "DEFAULT").transforms()
        size = self.size or cut.crop_size[0]
        resize = round(size * cut.resize_size[0] / cut.crop_size[0])
        geometry = Geometry(size, "crop", resize, cut.interpolation.value)
        network = _without_head(self._model(models))
        return assembled(
            self,
            Normalised(network, cut.mean, cut.std),
            trunk(network),
            prepare=geometry,
            collate=stacked,
            size=size,
            preprocessing=f"{geometry} {cut.mean} {cut.std}",
        )

    def _weights(self, models: Any, name: str) -> Any:
        """The entry of torchvision's list; nothing is loaded."""
        if self.model not in models.list_models(module=models):
            raise ValueError(
                f"torchvision knows no classifier {self.model!r}."
                f"{nearest(self.model, models.list_models(module=models))}"
            )
        kinds = models.get_model_weights(self.model)
        if name not in kinds.__members__:
            raise ValueError(
                f"torchvision has no weights {name!r} of {self.model}; choose one of: "
                f"{', '.join(kinds.__members__)}."
            )
        return kinds[name]

    def _model(self, models: Any) -> nn.Module:

        # Sizes of a vision transformer are built in.
        extra = {"image_size": self.size} if self.size and self.model.startswith("vit_") else {}
        if self.weights is None:
            model: nn.Module = models.get_model(self.model, weights=None, **extra)
            return model
        weights = self._weights(models, self.weights)
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        with asking(
            f"torchvision's {self.model}, {self.weights}",
            address=PYTORCH,
            local=kept.is_file(),
            remedy=" (here weights: null)",
        ):
            model = models.get_model(self.model, weights=weights, **extra)
        return model


def _without_head(model: Any) -> nn.Module:
    """The network up to the input of its last linear layer, or to the mean of its maps."""

    name = next(name for name in _HEADS if hasattr(model, name))
    head = getattr(model, name)
    if isinstance(head, nn.Linear):
        setattr(model, name, nn.Identity())
    elif isinstance(head[-1], nn.Linear):
        head[-1] = nn.Identity()
    else:
        return MeanOfMaps(model.features)
    network: nn.Module = model
    return network
