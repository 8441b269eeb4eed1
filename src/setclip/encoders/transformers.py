"""Networks of transformers: texts, protein sequences, images, and the towers of CLIP and SigLIP."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from setclip.encoders.assembly import assembled
from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.blocks import trunk
from setclip.encoders.hub import asking
from setclip.encoders.images import Geometry, Normalised, stacked
from setclip.encoders.options import EncoderOptions, Name
from setclip.encoders.pooling import pooled
from setclip.encoders.texts import tokenized, vocabulary
from setclip.modalities.text import clean_text

# Longer than this and a model knows no bound of its own: tokenizers then say 10³⁰.
_LONGEST = 512
# Side of pictures from which models that crop a share were made of squashed ones.
SQUASHED_FROM = 384


class Transformers(EncoderOptions):
    """A model of transformers, or one tower of a dual encoder."""

    kind: Literal["transformers"]
    model: Name
    """Name on the hub, or a local folder that save_pretrained wrote."""
    modality: Literal["image", "text"] = "text"
    """What it reads, and which tower of a dual encoder: image or text. Protein sequences are
    text."""
    pretrained: bool = True
    """Whether to load its weights; without, they are random."""
    size: PositiveInt | None = None
    """Side of the images; by default the one in the model's config."""
    max_tokens: PositiveInt | None = None
    """Longer texts are cut; by default at the model's own bound, at most 512."""

    @model_validator(mode="after")
    def _of_its_modality(self) -> Transformers:
        foreign = "size" if self.modality == "text" else "max_tokens"
        if getattr(self, foreign) is not None:
            raise ValueError(f"{foreign} says nothing of {self.modality}s; leave it out")
        return self

    @property
    def reads(self) -> Literal["image", "text"]:
        """What it reads."""
        return self.modality

    @property
    def label(self) -> str:
        """Library and model."""
        return f"transformers/{self.model}"

    def unfilled(self) -> Self:
        """With random weights."""
        return self.model_copy(update={"pretrained": False})

    def open(self) -> Backbone:
        """The network. Its own pooling: a dual encoder's projection, else the class token of images
        where there is one, and a mean of the tokens or the map where there is none, or of texts.
        """
        try:
            import transformers
        except ImportError as error:
            raise ImportError(
                'encoders of transformers need it: pip install "setclip[transformers]"'
            ) from error

        local = Path(self.model).is_dir()
        with asking(f"transformers' {self.model}", local=local):
            model = self._model(transformers)
            if self.modality == "image":
                return self._image(transformers, model)
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.model)
        return self._text(model, tokenizer)

    def _model(self, transformers: Any) -> Any:
        config = transformers.AutoConfig.from_pretrained(self.model)
        if self.pretrained:
            model = transformers.AutoModel.from_pretrained(self.model, config=config)
        else:
            model = transformers.AutoModel.from_config(config)
        return model.float()

    def _text(self, model: Any, tokenizer: Any) -> Backbone:

        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "right"
        bound = min(tokenizer.model_max_length, _LONGEST)
        # SigLIP reads its feature off the last place of a text of full length.
        whole = "max_length" if model.config.model_type.startswith("siglip") else True
        network = _network(self, model)
        return assembled(
            self,
            network,
            network.trunk(),
            prepare=clean_text,
            collate=partial(
                tokenized, tokenizer, max_tokens=self.max_tokens or bound, padding=whole
            ),
            preprocessing=f"{bound} {vocabulary(tokenizer)} {model.config.to_json_string()}",
            pools=self.layer is None,
        )

    def _image(self, transformers: Any, model: Any) -> Backbone:

        cut = self._processor(transformers)
        vision = getattr(model.config, "vision_config", model.config)
        geometry = _geometry(cut, self.size or self._size(cut, vision))
        mean, std = (cut.get(f"image_{name}") or [0.5] * 3 for name in ("mean", "std"))
        if not cut.get("do_normalize", True):
            mean, std = [0.0] * 3, [1.0] * 3
        network = _network(self, model)
        return assembled(
            self,
            Normalised(network, mean, std),
            network.trunk(),
            prepare=geometry,
            collate=stacked,
            size=geometry.size,
            preprocessing=f"{geometry} {mean} {std} {model.config.to_json_string()}",
            pools=self.layer is None,
        )

    def _size(self, cut: dict[str, Any], vision: Any) -> int:
        """Side of the pictures: what the processor cuts, or else what the network was built for."""
        given = cut.get("crop_size") or cut.get("size") or getattr(vision, "image_size", None)
        side: Any = given
        if isinstance(given, dict):
            side = given.get("height") or given.get("shortest_edge")
        if not isinstance(side, int):
            raise ValueError(f"{self.model} does not say how large its pictures are: give `size`.")
        return side

    def _processor(self, transformers: Any) -> dict[str, Any]:
        """Settings of its image processor; none where a folder has only config and weights."""
        try:
            found = transformers.ImageProcessingMixin.get_image_processor_dict(self.model)
        except OSError:
            return {}
        settings: dict[str, Any] = found[0]
        return settings


def _network(options: Transformers, model: Any) -> HiddenStates:
    side = {"image": "vision", "text": "text"}[options.modality]
    how = options.pooling if options.layer is None else "own"
    tower = getattr(model, f"{side}_model", None)
    if tower is None:
        return HiddenStates(model, how=how, own="cls" if _has_class_token(model) else "mean")
    names = {"vision": "visual_projection", "text": "text_projection"}
    return HiddenStates(tower, how=how, own="pooler", projection=getattr(model, names[side], None))


def _geometry(cut: dict[str, Any], size: int) -> Geometry:

    given = cut.get("size") or {}
    given = {"height": given} if isinstance(given, int) else given
    kinds = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    interpolation: Any = kinds.get(cut.get("resample", 2), "bicubic")
    shortest = given.get("shortest_edge")
    if shortest is None:
        return Geometry(size, "squash", interpolation=interpolation)
    if "crop_pct" in cut:  # as ConvNeXt: small pictures are cut, large ones squashed
        if shortest >= SQUASHED_FROM:
            return Geometry(size, "squash", interpolation=interpolation)
        return Geometry(size, "crop", int(size / cut["crop_pct"]), interpolation)
    crop = cut.get("crop_size") or shortest
    crop = crop if isinstance(crop, int) else crop["height"]
    return Geometry(size, "crop", round(size * shortest / crop), interpolation)


def _has_class_token(model: Any) -> bool:
    """Whether a vision model puts a token of its own before those of the patches."""
    embeddings = getattr(model, "embeddings", model)
    return any(hasattr(embeddings, name) for name in ("cls_token", "class_embedding"))


class HiddenStates(nn.Module):
    """The last hidden states of a model, pooled.

    Args:
        model: Of transformers.
        how: Of :class:`EncoderOptions`.
        own: What its own pooling is; `pooler` is what the model itself offers.
        projection: Of a dual encoder, after its own pooling.
    """

    def __init__(
        self,
        model: Any,
        *,
        how: Literal["own", "cls", "mean", "last"],
        own: Literal["cls", "mean", "pooler"],
        projection: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.how = own if how == "own" else how
        self.model = model
        self.projection = projection if self.how == "pooler" else None

    def trunk(self) -> list[nn.Module]:
        """Blocks of the model."""
        return trunk(self.model)

    def prefix(self, size: int) -> int:
        """Tokens in front of the patches of an image of that side."""
        config = self.model.config
        if not hasattr(config, "patch_size") or not hasattr(config, "hidden_size"):
            return 0
        return int(_has_class_token(self.model)) + getattr(config, "num_register_tokens", 0)

    def forward(self, collated: Collated | Tensor) -> Tensor:
        """Features of collated texts, or of normalised pixels. Shape [n, dim]."""
        if isinstance(collated, Tensor):
            size = collated.shape[-1]
            found = self.model(pixel_values=collated, **self._other_size(size))
            mask, prefix = None, self.prefix(size)
        else:
            found = self.model(**collated)
            mask, prefix = collated["attention_mask"], 0
        if self.how != "pooler":
            return pooled(found.last_hidden_state, self.how, mask=mask, prefix=prefix)
        features: Tensor = found.pooler_output
        return features if self.projection is None else self.projection(features)

    def _other_size(self, size: int) -> dict[str, bool]:
        built = getattr(self.model.config, "image_size", size)
        takes = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        return {"interpolate_pos_encoding": True} if size != built and takes else {}
