"""The layer chosen by mutual k-NN: planted, tied, and of a real network."""

import numpy as np
import pytest
import torch

from setclip.diagnosis.layers import score_layers
from setclip.encoders import minilm, open_backbone
from setclip.encoders.choices import parsed
from setclip.encoders.layers import block_features

RNG = np.random.default_rng(0)


def noisy(z, noise):
    return (z + noise * RNG.normal(size=z.shape)).astype(np.float32)


def test_the_layer_that_shares_the_geometry_is_found():
    z = RNG.normal(size=(200, 6))
    layers = {0: noisy(z, 5), 2: noisy(z, 0.1), 5: noisy(z, 2)}
    scores = score_layers(layers, noisy(z, 0.1))
    assert scores.best == 2
    assert scores.by_layer[2].k == 10
    assert str(scores).endswith("take layer: 2")


def test_of_layers_alike_the_latest_is_taken():
    z = RNG.normal(size=(60, 6))
    same = noisy(z, 0.5)
    scores = score_layers({1: same, 4: same @ np.linalg.qr(RNG.normal(size=(6, 6)))[0]}, z)
    assert scores.best == 4


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no layer to score"):
        score_layers({}, np.zeros((20, 3)))
    with pytest.raises(ValueError, match="19"):
        score_layers({0: np.ones((20, 3), np.float32)}, np.ones((19, 3), np.float32))


def test_features_of_all_blocks_are_those_of_each_layer():
    texts = [f"a text about {word}" for word in ("cats", "red dogs", "fire and ice", "a")]
    backbone = minilm.backbone(16)
    backbone.network.train()
    found = block_features(backbone, texts, batch_size=3)
    assert backbone.network.training
    assert found.keys() == set(range(7))
    for layer in (0, 3, 6):
        single = open_backbone(parsed({"kind": "minilm-l6", "layer": layer, "max_tokens": 16}))
        with torch.inference_mode():
            expected = single.network.eval()(single.collate([single.prepare(t) for t in texts]))
        np.testing.assert_allclose(found[layer], expected, atol=1e-4)
