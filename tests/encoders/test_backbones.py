"""The bundled networks unfolded: features of the frozen encoders, blocks in order, cut in two."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from setclip.encoders import adapt, efficientnet_lite0, get, minilm, prefix
from setclip.modalities import BadItemError

NAMES = ("efficientnet-lite0", "minilm-l6")


@pytest.fixture(scope="module")
def opened():
    return {
        "efficientnet-lite0": efficientnet_lite0.backbone(224),
        "minilm-l6": minilm.backbone(32),
    }


@pytest.fixture
def backbone(request):
    """One whose modes and gradients a test may change."""
    return fresh(request.param)


def fresh(name):
    return efficientnet_lite0.backbone(64) if name == NAMES[0] else minilm.backbone(32)


def batch(backbone, pictures, texts):
    items = pictures if backbone.modality == "image" else texts
    return backbone.collate([backbone.prepare(item) for item in items])


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_the_frozen_encoder(opened, name, pictures, texts):
    unfolded, items = opened[name], pictures if name == NAMES[0] else texts
    with torch.inference_mode():
        features = unfolded.network.eval()(batch(unfolded, pictures, texts)).numpy()
    np.testing.assert_allclose(features, get(name).encode(items), atol=1e-4)
    assert unfolded.dim == features.shape[1]
    assert unfolded.fingerprint.split(":")[:2] == get(name).fingerprint.split(":")[:2]


def test_at_its_own_size_and_length_a_backbone_has_the_frozen_fingerprint():
    assert efficientnet_lite0.backbone(224).fingerprint == get(NAMES[0]).fingerprint
    assert minilm.backbone(256).fingerprint == get(NAMES[1]).fingerprint
    assert efficientnet_lite0.backbone(64).fingerprint != get(NAMES[0]).fingerprint


@pytest.mark.parametrize("backbone", NAMES, indirect=True)
def test_every_weight_is_in_a_block_and_learns(backbone, pictures, texts):
    backbone.network.train()(batch(backbone, pictures, texts)).square().sum().backward()
    in_blocks = [p for block in backbone.blocks for p in block.parameters()]
    assert len(in_blocks) == len(list(backbone.network.parameters()))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in in_blocks)
    assert len(backbone.blocks) == {"image": 18, "text": 7}[backbone.modality]


def test_prepared_pictures_can_still_be_drawn_and_bad_items_are_named(opened, pictures):
    image, text = opened[NAMES[0]], opened[NAMES[1]]
    prepared = image.prepare(pictures[0])
    assert prepared.dtype == torch.uint8
    assert prepared.shape == (3, image.size, image.size)
    assert text.prepare(" two \n cats") == "two cats"
    for backbone, item in ((image, b"nothing"), (text, " ")):
        with pytest.raises(BadItemError):
            backbone.prepare(item)


def test_texts_are_cut_at_max_tokens(texts):
    short = minilm.backbone(5)
    assert batch(short, [], texts)["input_ids"].shape == (4, 5)


@pytest.mark.parametrize("backbone", NAMES, indirect=True)
@pytest.mark.parametrize("first", [1, 4])
def test_a_cut_network_is_the_network_with_the_same_gradients(backbone, first, pictures, texts):
    torch.manual_seed(0)
    frozen = adapt.freeze(backbone, first)
    frozen.network.eval()
    items = batch(frozen, pictures, texts)
    begin, end = prefix.split(frozen, first)
    whole = frozen.network(items)
    whole.square().sum().backward()
    trained = [p for p in frozen.network.parameters() if p.requires_grad]
    expected = [p.grad.clone() for p in trained]
    for parameter in trained:
        parameter.grad = None
    kept = begin.train()(items)
    assert all(len(rows) == len(whole) and not rows.requires_grad for rows in kept.values())
    cut = end(kept)
    assert torch.equal(cut, whole)
    cut.square().sum().backward()
    for parameter, gradient in zip(trained, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-6)
    assert {id(p) for p in end.parameters()} == {id(p) for p in trained}


def test_the_end_of_a_cut_network_keeps_its_batch_norms_still(pictures):
    frozen = adapt.freeze(fresh(NAMES[0]), 2)
    before = copy.deepcopy(frozen.network.state_dict())
    begin, end = prefix.split(frozen, 2)
    end.train()(begin(batch(frozen, pictures, [])))
    assert all(torch.equal(before[k], v) for k, v in frozen.network.state_dict().items())


def test_what_cannot_be_cut_says_why(opened):
    backbone = opened[NAMES[1]]
    with pytest.raises(ValueError, match="cannot be cut in two"):
        prefix.split(replace(backbone, split=None), 1)
    with pytest.raises(ValueError, match="after 7 blocks, it has 7: give 1 to 6"):
        prefix.split(backbone, 7)
    with pytest.raises(ValueError, match="block 0 of minilm-l6 is trained"):
        prefix.split(backbone, 1)
