"""Encoders of proteins as a config chooses them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from setclip.encoders.assembly import state_hash
from setclip.encoders.backbone import Backbone
from setclip.encoders.options import EncoderOptions, Name
from setclip.proteins.chains import UNKNOWN
from setclip.proteins.residues import StructureItem

Preset = Literal["small", "fold", "reaction", "go", "ec"]


class _OwnPooling(EncoderOptions):
    """An encoder whose residues are pooled in one way only."""

    @model_validator(mode="after")
    def _pools_its_own_way(self) -> _OwnPooling:
        if self.pooling != "own" or self.layer is not None:
            raise ValueError(f"{self.kind} pools in its own way; leave pooling and layer out")
        return self


class CompositionOptions(_OwnPooling):
    """Shares of the amino acids and log length: nothing to train."""

    kind: Literal["composition"]

    @property
    def reads(self) -> Literal["sequence"]:
        """Sequences."""
        return "sequence"

    def open(self) -> Backbone:
        """Refuse: there are no weights."""
        raise ValueError(
            "composition counts letters and has no weights to train: give the method an encoder "
            "of sequences, for instance `x: protein-transformer`."
        )


class ProteinMPNNOptions(_OwnPooling):
    """ProteinMPNN's encoder of backbones, frozen: it does not see what the residues are."""

    kind: Literal["proteinmpnn"]

    @property
    def reads(self) -> Literal["structure"]:
        """Structures."""
        return "structure"

    def open(self) -> Backbone:
        """Refuse: it is there for features."""
        raise ValueError(
            "proteinmpnn gives features and is not trained: give the method an encoder of "
            "structures that is, for instance `y: cdconv`."
        )


class _Filled(_OwnPooling):
    """An encoder of our own sizes, with weights from a file or random ones."""

    weights: Name | None = None
    """File that `save_weights` wrote, of the same sizes; random without."""

    def unfilled(self) -> Self:
        """With random weights."""
        return self.model_copy(update={"weights": None})


class ProteinTransformer(_Filled):
    """A small transformer of sequences, with weights of your own or random ones."""

    kind: Literal["protein-transformer"]
    width: PositiveInt = 64
    """Of the states and the features."""
    layers: PositiveInt = 3
    """How many."""
    heads: PositiveInt = 4
    """Of each attention."""
    max_residues: PositiveInt = 512
    """Longer sequences are cut at the end."""
    composition: bool = True
    """Whether the features end with the shares of the amino acids and the log length."""

    @property
    def reads(self) -> Literal["sequence"]:
        """Sequences."""
        return "sequence"

    def open(self) -> Backbone:
        """The network."""
        from setclip.encoders import protein_sequence

        config = protein_sequence.SequenceConfig(
            self.width,
            self.layers,
            self.heads,
            self.max_residues,
            composition=self.composition,
        )
        network = protein_sequence.SequenceTransformer(config)
        _fill(network, self.weights)
        return protein_sequence.backbone(network, fingerprint=state_hash(network))


class ESM2(_OwnPooling):
    """ESM-2 of any size from a folder; nothing is downloaded."""

    kind: Literal["esm2"]
    folder: Name
    """Holds config.json, model.safetensors and vocab.txt, as `save_pretrained` writes them."""
    max_tokens: Annotated[int, Field(ge=3)] = 1024
    """Longer sequences are cut, the tokens at both ends included."""

    @property
    def reads(self) -> Literal["sequence"]:
        """Sequences."""
        return "sequence"

    def open(self) -> Backbone:
        """The network with its weights."""
        from setclip.encoders import esm2

        return esm2.backbone(self.folder, max_tokens=self.max_tokens)


class CDConvOptions(_Filled):
    """CDConv of structures, with weights of your own or random ones."""

    kind: Literal["cdconv"]
    preset: Preset = "small"
    """One of the published sizes, by task, or small."""
    types: bool = True
    """Whether it sees what each residue is; without, a structure does not give away its
    sequence."""

    @property
    def reads(self) -> Literal["structure"]:
        """Structures."""
        return "structure"

    def open(self) -> Backbone:
        """The network."""
        from setclip.encoders import cdconv

        network = cdconv.CDConv(cdconv.PRESETS[self.preset])
        _fill(network, self.weights)
        seen = state_hash(network) + ("" if self.types else ":without types")
        backbone = cdconv.backbone(network, fingerprint=seen)
        return backbone if self.types else replace(backbone, prepare=_prepare_without_types)


def save_weights(backbone: Backbone, path: str | Path) -> None:
    """Write what `weights` of an option reads.

    Args:
        backbone: Its network was opened by options of this module and trained.
        path: A .safetensors file.
    """
    from safetensors.torch import save

    # Freezing and precision wrap the network that the options build.
    network = getattr(backbone.network, "network", backbone.network)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path = Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(save(tensors))
    aside.replace(path)


def _fill(network: nn.Module, path: str | None) -> None:
    """Load weights, all of them or none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: They are those of another network.
    """
    network.eval()
    if path is None:
        return
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"there are no weights at {path}: give a file that save_weights wrote, or leave "
            "weights out for random ones."
        )
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} holds weights of other sizes: {reason}") from error


def _prepare_without_types(item: object) -> StructureItem:
    from setclip.encoders.cdconv import prepare_structure

    prepared = prepare_structure(item)
    return {**prepared, "codes": torch.full_like(prepared["codes"], UNKNOWN)}
