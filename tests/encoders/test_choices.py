"""Choosing by options: what is refused and how, frozen and trainable, on cards, own modules."""

import numpy as np
import pytest
import torch
from encoders import own_encoders
from pydantic import ValidationError

from setclip import encoders
from setclip.encoders import adapt, from_card, get, minilm, open_backbone, open_encoder
from setclip.encoders.choices import DEFAULTS, parsed

OWN = {"kind": "module", "modality": "image", "target": "encoders.own_encoders:Pixels", "size": 16}


def test_bundled_encoders_by_name_are_the_quick_frozen_ones():
    for name in encoders.NAMES[:2]:
        assert open_encoder(parsed(name)) is get(name)
        assert open_encoder(parsed({"kind": name, "freeze": 3, "lora": {}})) is get(name)
        assert parsed(name).described == name
        assert parsed(name).reads == get(name).modality
    assert {modality: options.kind for modality, options in DEFAULTS.items()} == {
        "image": "efficientnet-lite0",
        "text": "minilm-l6",
    }


def test_bundled_encoders_with_options_are_others(pictures, texts):
    small = open_encoder(parsed({"kind": "efficientnet-lite0", "size": 64}))
    assert small.encode(pictures).shape == (4, 1280)
    assert small.fingerprint != get("efficientnet-lite0").fingerprint
    first = open_encoder(parsed({"kind": "minilm-l6", "pooling": "cls"}))
    assert np.abs(first.encode(texts) - get("minilm-l6").encode(texts)).max() > 0.1
    early = open_encoder(parsed({"kind": "minilm-l6", "layer": 3}))
    assert early.fingerprint != first.fingerprint
    assert early.encode([]).shape == (0, 384)


def test_a_quantised_network_does_not_train():
    with pytest.raises(ValueError, match="bge-small is a quantised ONNX network"):
        open_backbone(parsed("bge-small"))
    assert parsed("bge-small").reads == "text"


def test_options_reach_the_network(texts):
    options = {"kind": "minilm-l6", "freeze": 2, "dtype": "bfloat16", "checkpointing": True}
    backbone = open_backbone(parsed(options))
    assert isinstance(backbone.network, adapt.Adapted)
    assert not any(p.requires_grad for b in backbone.blocks[:2] for p in b.parameters())
    assert str(backbone.network.dtype) == "torch.bfloat16"
    assert backbone.fingerprint == f"{minilm.backbone().fingerprint}:bfloat16"
    backbone = open_backbone(parsed({"kind": "minilm-l6", "lora": {"targets": ["query"]}}))
    trained = {n for n, p in backbone.network.named_parameters() if p.requires_grad}
    assert len(trained) == 6 * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "minilm-l6", "size": 3}, "Extra inputs"),
        ({"kind": "minilm-l6", "checkpointing": True, "train_norms": True}, "count twice"),
        ({"kind": "minilm-l6", "lora": {}, "freeze": "all"}, "leave nothing to train"),
        ({"kind": "transformers", "model": "a", "size": 32}, "size says nothing of texts"),
        (
            {"kind": "transformers", "model": "a", "modality": "image", "max_tokens": 3},
            "max_tokens says nothing of images",
        ),
        ({"kind": "open-clip", "model": "RN50", "tower": "text"}, "pretrained is missing"),
        (
            {"kind": "open-clip", "model": "hf-hub:a/b", "tower": "text", "pretrained": "x"},
            "brings its own weights",
        ),
        ({"kind": "module", "modality": "text", "target": "no_colon"}, "match pattern"),
        ({"kind": "efficientnet"}, "expected tags"),
    ],
)
def test_options_that_say_nothing_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        parsed(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "timm", "model": "resnet10", "pretrained": False}, r"no model 'resnet10'"),
        (
            {"kind": "torchvision", "model": "resnet19", "weights": None},
            r"'resnet19'.* Did you mean 'resnet18'",
        ),
        (
            {"kind": "torchvision", "model": "resnet18", "weights": "BEST"},
            "choose one of: IMAGENET1K_V1",
        ),
        (
            {"kind": "open-clip", "model": "ViT-B-33", "pretrained": False, "tower": "image"},
            r"Did you mean 'ViT-B-32",
        ),
        (OWN | {"target": "encoders.own_encoders:absent"}, "cannot be imported"),
        (OWN | {"target": "encoders.own_encoders:nothing"}, r"returned str; return an nn\.Module"),
        (OWN | {"modality": "text"}, "has no method collate"),
        (OWN | {"target": "encoders.own_encoders:Maps"}, r"gives \[1, 3, 16, 16\] for one item"),
    ],
)
def test_models_that_are_not_there_say_which_are(options, message):
    with pytest.raises(ValueError, match=message):
        open_backbone(parsed(options))


def test_a_module_of_ones_own_may_be_a_backbone():
    options = {"kind": "module", "modality": "text", "target": "encoders.own_encoders:whole"}
    assert open_backbone(parsed(options)).name == "own"
    wide = open_backbone(parsed(OWN | {"arguments": {"width": 12}}))
    assert wide.dim == 12
    assert isinstance(adapt._inner(wide.network).network, own_encoders.Pixels)


def test_a_backbone_opened_where_only_features_are_wanted_can_be_trained():
    with torch.inference_mode():
        backbone = open_backbone(parsed(OWN))
    pixels = backbone.collate([torch.zeros(3, 16, 16, dtype=torch.uint8)])
    backbone.network(pixels).sum().backward()
    assert all(p.grad is not None for p in backbone.network.parameters())


def test_cards_name_encoders_but_run_no_code():
    assert from_card("minilm-l6") is get("minilm-l6")
    small = parsed({"kind": "efficientnet-lite0", "size": 64, "freeze": 2})
    assert small.described == {"kind": "efficientnet-lite0", "size": 64, "freeze": 2}
    assert from_card(small.described) is open_encoder(small)
    with pytest.raises(ValueError, match=r"module/encoders\.own_encoders:Pixels, which is not run"):
        from_card(parsed(OWN).described)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "timm", "model": "resnet18"},
        {"kind": "timm", "model": "resnet18", "file": "there.safetensors"},
        {"kind": "transformers", "model": "somebody/bert", "modality": "text"},
    ],
)
def test_a_model_that_holds_the_weights_fetches_none(options):
    unfilled = parsed(options).unfilled()
    plain = {name: value for name, value in options.items() if name != "file"}
    assert unfilled == parsed({**plain, "pretrained": False})
