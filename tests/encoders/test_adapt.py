"""What learns and what stays: freezing, LoRA, checkpointing, bfloat16, on the bundled networks."""

import copy
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from setclip.encoders import adapt, efficientnet_lite0, minilm

NAMES = ("efficientnet-lite0", "minilm-l6")


@pytest.fixture(params=NAMES)
def backbone(request):
    return image() if request.param == NAMES[0] else minilm.backbone(16)


def image():
    return efficientnet_lite0.backbone(64)


@pytest.fixture
def items(backbone, pictures, texts):
    chosen = pictures if backbone.modality == "image" else texts
    return backbone.collate([backbone.prepare(item) for item in chosen])


def gradients(backbone, items, seed=0):
    torch.manual_seed(seed)
    backbone.network.zero_grad()
    features = backbone.network(items)
    features.square().mean().backward()
    return features, {
        name: p.grad.clone()
        for name, p in backbone.network.named_parameters()
        if p.grad is not None
    }


def trained(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_gradients_reach_all_but_the_frozen_blocks(backbone, items):
    frozen = adapt.freeze(backbone, 3)
    frozen.network.train()
    _, found = gradients(frozen, items)
    still = {id(p) for block in frozen.blocks[:3] for p in block.parameters()}
    expected = {n for n, p in frozen.network.named_parameters() if id(p) not in still}
    assert found.keys() == expected
    assert 0 < len(still) < len(list(frozen.network.parameters()))


def test_frozen_blocks_and_batch_norms_stay_still_in_training(backbone, items):
    frozen = adapt.freeze(backbone, 3)
    before = copy.deepcopy(frozen.network.state_dict())
    frozen.network.train()(items)
    for block in frozen.blocks[:3]:
        assert not any(module.training for module in block.modules())
    for block in frozen.blocks[3:]:
        loose = [m for m in block.modules() if not isinstance(m, _BatchNorm)]
        assert all(module.training for module in loose)
    assert all(torch.equal(before[name], v) for name, v in frozen.network.state_dict().items())
    assert not any(m.training for m in frozen.network.eval().modules())


def test_batch_norms_learn_from_batches_when_told(pictures):
    frozen = adapt.freeze(image(), 3, train_norms=True)
    pixels = frozen.collate([frozen.prepare(item) for item in pictures])
    before = copy.deepcopy(frozen.network.state_dict())
    frozen.network.train()(pixels)
    changed = {n for n, v in frozen.network.state_dict().items() if not torch.equal(before[n], v)}
    running = {n for n in before if "running_" in n or "num_batches" in n}
    assert changed == {n for n in running if int(n.split(".")[2]) >= 3}


def test_a_copy_keeps_its_own_parts_still(backbone):
    frozen = adapt.freeze(backbone, 2)
    twin = copy.deepcopy(frozen.network).train()
    assert {id(m) for part in twin.still for m in part.modules()} <= {id(m) for m in twin.modules()}
    assert not any(m.training for part in twin.still for m in part.modules())


def test_everything_frozen_has_nothing_to_learn_and_no_dropout(backbone, items):
    frozen = adapt.freeze(backbone, "all")
    network = frozen.network.train()
    assert trained(network) == set()
    assert torch.equal(network(items), network(items))
    with pytest.raises(ValueError, match=r"first 99 blocks, it has (7|18): give 0 to"):
        adapt.freeze(frozen, 99)


def test_lora_starts_at_the_network_and_trains_only_its_additions(backbone, items):
    with torch.no_grad():
        before = backbone.network.eval()(items)
    opened = adapt.add_lora(backbone, rank=2, first=3)
    opened.network.eval()
    torch.testing.assert_close(opened.network(items), before, rtol=1e-5, atol=1e-5)
    opened.network.train()
    _, found = gradients(opened, items)
    assert found.keys() == trained(opened.network)
    assert all("lora_" in name for name in found)
    assert all(g.abs().sum() > 0 for n, g in found.items() if "lora_B" in n)
    early = {id(p) for block in opened.blocks[:3] for p in block.parameters()}
    assert not any(id(p) in early for p in opened.network.parameters() if p.requires_grad)
    assert not any(m.training for m in opened.network.modules() if isinstance(m, _BatchNorm))


def test_lora_goes_where_it_is_sent():
    opened = adapt.add_lora(minilm.backbone(8), rank=2, targets=["query", "value"])
    assert len(trained(opened.network)) == 6 * 2 * 2
    with pytest.raises(ValueError, match=r"no linear layer .* called quarry .*output\.dense"):
        adapt.add_lora(minilm.backbone(8), targets=["quarry"])


def test_lora_passes_by_the_layer_that_attention_never_calls(backbone):
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    opened = replace(backbone, network=nn.Sequential(layer), blocks=[layer])
    assert adapt._lora_targets(opened, None, 0) == ["0.linear1", "0.linear2"]


def test_checkpointing_gives_the_same_gradients(backbone, items):
    opened = adapt.freeze(backbone, 1)
    opened.network.train()
    features, expected = gradients(opened, items)
    again = adapt.checkpoint_activations(opened)
    recomputed, found = gradients(again, items)
    assert torch.equal(recomputed, features)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


def test_checkpointing_keeps_less_for_the_backward_pass(backbone, items):
    def kept():
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.append(t.numel()), t)[1], id
        ):
            opened.network(items)
        return sum(sizes)

    opened = adapt.freeze(backbone, 0)
    everything = kept()
    adapt.checkpoint_activations(opened)
    assert kept() < everything / 2


def test_batch_norms_that_learn_from_batches_are_not_checkpointed():
    for opened in (image(), adapt.freeze(image(), 2, train_norms=True)):
        with pytest.raises(ValueError, match="see each batch twice"):
            adapt.checkpoint_activations(opened)


def test_bfloat16_computes_coarsely_and_learns_finely(backbone, items):
    with torch.no_grad():
        exact = backbone.network.eval()(items)
    opened = adapt.freeze(adapt.compute_in(backbone, torch.bfloat16), 2)
    assert opened.fingerprint != backbone.fingerprint  # its features are not those of float32
    assert adapt.compute_in(backbone, torch.float32).fingerprint == backbone.fingerprint
    opened.network.eval()
    features, found = gradients(opened, items)
    assert features.dtype == torch.float32
    assert not torch.equal(features, exact)
    assert torch.cosine_similarity(features, exact).min() > 0.99
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in found.values())
    with pytest.raises(ValueError, match=r"not torch\.float16"):
        adapt.compute_in(opened, torch.float16)


def test_lora_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"setclip\[lora\]"):
        adapt.add_lora(minilm.backbone(8))
