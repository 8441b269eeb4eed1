"""The encoders that are asked: of an aligned run, of options with weights, or with random ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import ValidationError

from setclip.data.cache import cached_features
from setclip.data.pools import FloatArray
from setclip.encoders import get, open_backbone
from setclip.encoders.assembly import state_hash
from setclip.encoders.backbone import Backbone
from setclip.encoders.choices import parsed
from setclip.encoders.frozen import Frozen
from setclip.encoders.options import EncoderOptions
from setclip.encoders.protocol import Encoder
from setclip.model import AlignedModel, Tower

Reads = Literal["sequence", "structure"]


@dataclass(frozen=True, eq=False)
class Asked:
    """One encoder, ready to be asked.

    Attributes:
        reads: Sequences or structures.
        encoder: It, frozen.
        fingerprint: Changes when weights or preprocessing do.
        fresh: A copy to train, batch norms and all; None where there is nothing to train.
        tower: From its features into the shared space of its run; None without a run.
        partner: The encoder of the other modality in the same run; None without.
        aligned_on: Data set, seed and test fraction of the run, whose training part it has seen;
            None without.
    """

    reads: Reads
    encoder: Encoder
    fingerprint: str
    fresh: Callable[[], Backbone] | None
    tower: Tower | None = None
    partner: Asked | None = None
    aligned_on: tuple[str, int, float] | None = None

    def features(self, items: Sequence[Any], *, progress: bool = False) -> FloatArray:
        """Features of items through the feature cache. Shape [n, dim].

        Raises:
            ValueError: An item cannot be read.
        """
        features, bad = cached_features(self.encoder, items, progress=progress)
        if bad:
            raise ValueError(
                f"{self.encoder.name} cannot read {len(bad):,} of {len(items):,} chains, the first "
                f"is {bad[0]}"
            )
        return features

    def embeddings(self, items: Sequence[Any], *, progress: bool = False) -> FloatArray:
        """Unit rows in the shared space of the run. Shape [n, dim]."""
        assert self.tower is not None
        with torch.inference_mode():
            features = self.features(items, progress=progress)
            z: FloatArray = self.tower(torch.from_numpy(features)).numpy()
        return z


def open_model(described: str, *, seed: int = 0) -> Asked:
    """Open what a user names.

    Args:
        described: The folder of a run, of which the encoder of structures is taken, or with
            #sequence behind it that of sequences; or an encoder as configs write it, a name or
            `{kind: …}`. "{seed}" in it becomes the seed.
        seed: Of weights that are random.

    Raises:
        ValueError: There is no such run, encoder or modality.
        FileNotFoundError: Weights or files of a run are missing.
        ImportError: A library is missing; says what brings it.
    """
    text = described.replace("{seed}", str(seed)).strip()
    folder, _, side = text.partition("#")
    if (Path(folder) / "model.json").is_file():
        return _of_run(Path(folder), side or "structure")
    try:
        chosen: Any = yaml.safe_load(text)
        options = parsed(chosen)
    except (yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{text!r} is neither the folder of a run (no model.json in it) nor an encoder: give "
            f"for instance runs/protein, runs/protein#sequence or '{{kind: cdconv}}' ({reason})."
        ) from error
    return _of_options(options, seed=seed)


def _of_options(options: EncoderOptions, *, seed: int) -> Asked:
    reads = _reads(options)
    if options.kind in NOTHING_TO_TRAIN:
        encoder = get(options.kind)
        return Asked(reads, encoder, encoder.fingerprint, None)
    trained = _trainable(options)

    def fresh() -> Backbone:
        return open_backbone(trained, seed=seed)

    return _asked(reads, trained, fresh)


def _of_run(folder: Path, side: str) -> Asked:
    """One side of a run with the other as its partner."""
    model = AlignedModel.load(folder)
    sides = [
        _side(model.card.x_encoder, model.x_tower, model.x_backbone, folder),
        _side(model.card.y_encoder, model.y_tower, model.y_backbone, folder),
    ]
    found = {asked.reads: asked for asked in sides}
    if side not in found:
        raise ValueError(
            f"{folder} has no encoder of {side}s: it reads {' and '.join(found)}. Choose one with "
            f"{folder}#{next(iter(found))}."
        )
    own = sides[0] if sides[0].reads == side else sides[1]
    partner = sides[1] if own is sides[0] else sides[0]
    return replace(own, partner=partner, aligned_on=_data_of(folder))


def _side(
    described: str | dict[str, Any], tower: Tower, backbone: Backbone | None, folder: Path
) -> Asked:
    if not described:
        raise ValueError(
            f"{folder} was fitted on ready features and knows no encoder: give the folder of a run "
            "whose data are sequences and structures."
        )
    options = parsed(described)
    reads = _reads(options)
    if options.kind in NOTHING_TO_TRAIN:
        return replace(_of_options(options, seed=0), tower=tower)
    state = None if backbone is None else backbone.network.state_dict()
    trained = _trainable(options if state is None else options.unfilled())

    def fresh() -> Backbone:
        opened = open_backbone(trained)
        if state is not None:
            opened.network.load_state_dict(state)
        return opened

    return replace(_asked(reads, trained, fresh), tower=tower)


def _asked(reads: Reads, options: EncoderOptions, fresh: Callable[[], Backbone]) -> Asked:
    backbone = fresh()
    # Weights loaded after opening are not in the fingerprint that the options gave.
    fingerprint = f"{options.features}:{state_hash(backbone.network)}"
    encoder = Frozen(replace(backbone, fingerprint=fingerprint))
    return Asked(reads, encoder, fingerprint, fresh)


def _reads(options: EncoderOptions) -> Reads:
    if options.reads == "sequence" or options.reads == "structure":
        return options.reads
    raise ValueError(
        f"{options.label} reads {options.reads}s: give an encoder of sequences or structures."
    )


def _trainable(options: EncoderOptions) -> EncoderOptions:
    """All blocks learn, batch norms with statistics of their batches, as the networks were made."""
    return parsed({**options.model_dump(), "train_norms": True})


def _data_of(folder: Path) -> tuple[str, int, float] | None:
    """Data set, seed and test fraction of a run, where its config is there."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    data = config["data"]
    name = str(data.get("name", data["kind"]))
    return name, int(config["seed"]), float(data.get("test_fraction") or 0)


NOTHING_TO_TRAIN = frozenset({"composition", "proteinmpnn"})
"""Encoders that are counted or frozen for good."""
