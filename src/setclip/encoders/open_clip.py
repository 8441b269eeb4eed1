"""Both towers of the CLIP models of open_clip, each with its projection into their shared space."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt, model_validator

from setclip.encoders.assembly import assembled
from setclip.encoders.backbone import Backbone
from setclip.encoders.blocks import trunk
from setclip.encoders.hub import asking
from setclip.encoders.images import Geometry, Normalised, stacked
from setclip.encoders.options import EncoderOptions, Name
from setclip.encoders.texts import OnIds, TokenIds
from setclip.modalities.text import clean_text
from setclip.suggest import nearest

_FIT = {"shortest": "crop", "longest": "pad", "squash": "squash"}


class OpenClip(EncoderOptions):
    """One tower of a CLIP model of open_clip."""

    kind: Literal["open-clip"]
    model: Name
    """Name in open_clip (ViT-B-32), hf-hub:owner/name, or local-dir:folder."""
    tower: Literal["image", "text"]
    """Which side of it."""
    pretrained: Name | Literal[False] | None = None
    """Tag of its weights (laion2b_s34b_b79k) or a local file; false for random ones. Models from
    hf-hub: and local-dir: bring their own."""
    size: PositiveInt | None = None
    """Side of the images; by default the model's."""
    max_tokens: PositiveInt | None = None
    """Longer texts are cut; by default at the model's context length, which all are padded to."""

    @model_validator(mode="after")
    def _has_weights(self) -> OpenClip:
        bare = ":" not in self.model
        if bare and self.pretrained is None:
            raise ValueError(
                f"pretrained is missing: the tag or file of weights of {self.model}, or false for "
                "random ones"
            )
        if not bare and self.pretrained:
            raise ValueError(f"{self.model} brings its own weights; leave pretrained out")
        return self

    @property
    def reads(self) -> Literal["image", "text"]:
        """What the tower reads."""
        return self.tower

    @property
    def label(self) -> str:
        """Library, model and tower."""
        return f"open-clip/{self.model}/{self.tower}"

    def open(self) -> Backbone:
        """The tower, ending in its projection."""
        try:
            import open_clip
        except ImportError as error:
            raise ImportError(
                'encoders of open_clip need open_clip_torch: pip install "setclip[open-clip]"'
            ) from error
        model, tokenizer = self._loaded(open_clip)
        return self._image(model) if self.tower == "image" else self._text(model, tokenizer)

    def _loaded(self, open_clip: Any) -> tuple[Any, Any]:

        known = open_clip.list_models()
        if ":" not in self.model and self.model not in known:
            raise ValueError(
                f"open_clip {open_clip.__version__} knows no model {self.model!r}."
                f"{nearest(self.model, known)} open_clip.list_models() lists them."
            )
        local = (
            self.pretrained is False
            or self.model.startswith("local-dir:")
            or Path(self.pretrained or "").is_file()
        )
        with asking(f"open_clip's {self.model}, {self.pretrained}", local=local):
            model = open_clip.create_model(
                self.model,
                pretrained=self.pretrained or None,
                load_weights=self.pretrained is not False,
                require_pretrained=self.pretrained is not False,
                force_custom_text=True,
                force_image_size=self.size,
            )
            tokenizer = None
            if self.tower == "text":
                tokenizer = open_clip.get_tokenizer(self.model, context_length=self.max_tokens)
        return model, tokenizer

    def _image(self, model: Any) -> Backbone:

        tower, cut = model.visual, model.visual.preprocess_cfg
        size = cut["size"] if isinstance(cut["size"], int) else cut["size"][0]
        geometry = Geometry(size, _FIT[cut["resize_mode"]], size, cut["interpolation"])  # type: ignore[arg-type]
        return assembled(
            self,
            Normalised(tower, cut["mean"], cut["std"]),
            trunk(tower, end=("proj",)),
            prepare=geometry,
            collate=stacked,
            size=size,
            preprocessing=f"{geometry} {cut['mean']} {cut['std']}",
        )

    def _text(self, model: Any, tokenizer: Any) -> Backbone:

        text = model.text
        context = text.context_length
        if tokenizer.context_length > context:
            raise ValueError(
                f"max_tokens: {self.max_tokens} is more than {self.label} reads, {context}."
            )
        return assembled(
            self,
            OnIds(text),
            trunk(text, end=("text_projection",)),
            prepare=clean_text,
            collate=TokenIds(tokenizer, context, getattr(text, "pad_id", 0)),
            preprocessing=f"{type(tokenizer).__name__} {tokenizer.context_length}",
        )
