"""Small random models of each library: its own features, gradients where they should be, errors."""

import importlib
import inspect
import io
import json
import sys

import numpy as np
import pytest
import torch
from encoders import own_encoders, tiny_models
from PIL import Image
from torch.nn.modules.batchnorm import _BatchNorm

from setclip.data.cache import cached_features
from setclip.encoders import open_backbone, open_encoder
from setclip.encoders.blocks import Parts
from setclip.encoders.choices import parsed
from setclip.modalities import BadItemError, image

NAMES = (
    "timm-resnet",
    "timm-vit",
    "torchvision",
    "transformers-text",
    "transformers-image",
    "transformers-protein",
    "clip-image",
    "clip-text",
    "siglip-image",
    "siglip-text",
    "open-clip-image",
    "open-clip-text",
    "sentence-transformers",
    "module-image",
    "module-text",
)
ONE_EACH = (
    "timm-resnet",
    "torchvision",
    "transformers-text",
    "clip-image",
    "siglip-text",
    "open-clip-text",
    "sentence-transformers",
    "module-image",
)
"""For what hangs on the library and not on the architecture."""


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Options of one small model each."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    clip = tiny_models.open_clip_folder(root / "open_clip")
    vit = {"model": "test_vit", "pretrained": False, "size": 64}
    return {
        "timm-resnet": {"kind": "timm", "model": "resnet10t", "pretrained": False, "size": 32},
        "timm-vit": {"kind": "timm", **vit},
        "torchvision": {
            "kind": "torchvision",
            "model": "squeezenet1_1",
            "weights": None,
            "size": 32,
        },
        "transformers-text": saved(tiny_models.bert(root / "bert")),
        "transformers-image": saved(tiny_models.vit(root / "vit"), "image"),
        "transformers-protein": saved(tiny_models.esm(root / "esm")),
        "clip-image": saved(tiny_models.clip(root / "clip"), "image"),
        "clip-text": saved(root / "clip"),
        "siglip-image": saved(tiny_models.clip(root / "siglip", "siglip"), "image"),
        "siglip-text": saved(root / "siglip"),
        "open-clip-image": {"kind": "open-clip", "model": clip, "tower": "image"},
        "open-clip-text": {"kind": "open-clip", "model": clip, "tower": "text"},
        "sentence-transformers": {
            "kind": "sentence-transformers",
            "model": str(tiny_models.sentence_model(root / "sentence")),
        },
        "module-image": {
            "kind": "module",
            "target": "encoders.own_encoders:Pixels",
            "modality": "image",
            "size": 16,
        },
        "module-text": {
            "kind": "module",
            "target": "encoders.own_encoders:letters",
            "modality": "text",
        },
    }


def saved(folder, modality="text"):
    return {"kind": "transformers", "model": str(folder), "modality": modality}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def opened(options, **more):
    return open_backbone(parsed(options | more))


def items_of(name, pictures, texts):
    if name == "transformers-protein":
        return ["MKTAYIAKQR", "GAVLI", "MK", "WWWHHHCCCYYY"]
    return pictures if name.endswith(("image", "resnet", "vit", "torchvision")) else texts


@pytest.fixture
def items(name, pictures, texts):
    return items_of(name, pictures, texts)


def batch(backbone, items):
    return backbone.collate([backbone.prepare(item) for item in items])


def gradients(backbone, items):
    torch.manual_seed(1)
    backbone.network.zero_grad()
    features = backbone.network(batch(backbone, items))
    features.square().sum().backward()
    found = {
        n: p.grad.clone() for n, p in backbone.network.named_parameters() if p.grad is not None
    }
    return features.detach(), found


def test_features_are_one_row_an_item_whatever_is_beside_it(models, name, items):
    backbone = opened(models[name])
    backbone.network.eval()
    with torch.no_grad():
        features = backbone.network(batch(backbone, items))
        alone = backbone.network(batch(backbone, items[:1]))
    assert features.shape == (len(items), backbone.dim)
    assert features.dtype == torch.float32
    assert (torch.pdist(features) > 1e-4).all()
    torch.testing.assert_close(features[:1], alone, rtol=1e-3, atol=1e-4)
    assert backbone.modality == ("text" if backbone.size is None else "image")


def test_gradients_reach_what_is_trained_and_nothing_else(models, name, items):
    everything = opened(models[name])
    _, reached = gradients(everything, items)
    assert reached.keys() == {
        n for n, p in everything.network.named_parameters() if p.requires_grad
    }
    frozen = opened(models[name], freeze=2)
    frozen.network.train()
    before = {n: t.clone() for n, t in frozen.network.state_dict().items()}
    _, found = gradients(frozen, items)
    early = {id(p) for block in frozen.blocks[:2] for p in block.parameters()}
    named = dict(frozen.network.named_parameters())
    assert found.keys() == {n for n in reached if id(named[n]) not in early}
    assert 0 < len(found) < len(reached)
    assert all(torch.equal(before[n], t) for n, t in frozen.network.state_dict().items())
    still = [m for m in frozen.network.modules() if isinstance(m, _BatchNorm)]
    assert not any(module.training for module in still)


@pytest.mark.parametrize("name", ONE_EACH)
def test_lora_trains_its_additions_alone(models, name, items):
    backbone = opened(models[name], lora={"rank": 2})
    backbone.network.train()
    _, found = gradients(backbone, items)
    assert found
    assert all("lora_" in n for n in found)
    assert all(g.abs().sum() > 0 for n, g in found.items() if "lora_B" in n)


@pytest.mark.parametrize("name", ONE_EACH)
def test_checkpointing_gives_the_same_gradients(models, name, items):
    plain, checkpointed = (opened(models[name], checkpointing=c) for c in (False, True))
    for backbone in (plain, checkpointed):
        backbone.network.train()
    features, expected = gradients(plain, items)
    again, found = gradients(checkpointed, items)
    torch.testing.assert_close(again, features)
    assert found.keys() == expected.keys()
    for n, gradient in expected.items():
        torch.testing.assert_close(found[n], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ONE_EACH)
def test_bfloat16_gives_about_the_same_features(models, name, items):
    exact, coarse = (opened(models[name], dtype=d) for d in ("float32", "bfloat16"))
    features, _ = gradients(exact, items)
    rounded, found = gradients(coarse, items)
    assert rounded.dtype == torch.float32
    assert torch.cosine_similarity(features, rounded).min() > 0.97
    assert all(g.isfinite().all() for g in found.values())


def test_bad_items_are_named(models, name):
    backbone = opened(models[name])
    with pytest.raises(BadItemError):
        backbone.prepare(b"nothing" if backbone.modality == "image" else " ")


@pytest.mark.parametrize("name", ONE_EACH)
def test_fingerprints_tell_models_apart_and_no_more(models, name):
    first, again = opened(models[name]), opened(models[name], freeze=1)
    assert first.fingerprint == again.fingerprint
    other = opened(models[name], layer=len(first.blocks) - 1)
    assert other.fingerprint != first.fingerprint
    weights = first.fingerprint.split(":")[-2]
    assert weights == again.fingerprint.split(":")[-2]


def test_any_layer_can_be_pooled(models, name, items):
    last = len(opened(models[name]).blocks) - 1
    backbone = opened(models[name], layer=last - 1)
    features, found = gradients(backbone, items)
    assert features.shape == (len(items), backbone.dim)
    assert len(backbone.blocks) == last
    trained = {n for n, p in backbone.network.named_parameters() if p.requires_grad}
    assert found.keys() == trained
    with pytest.raises(ValueError, match=f"layer {last + 1} is none of 0 to {last}"):
        opened(models[name], layer=last + 1)


@pytest.mark.parametrize("name", ONE_EACH)
def test_frozen_features_are_cached(models, name, items, tmp_path):
    encoder = open_encoder(parsed(models[name]))
    assert open_encoder(parsed(models[name] | {"freeze": 1})) is encoder
    features, bad = cached_features(encoder, [*items, b"?"], directory=tmp_path, progress=False)
    assert [item.row for item in bad] == [len(items)]
    np.testing.assert_allclose(features[:-1], encoder.encode(items), rtol=1e-3, atol=1e-4)
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_timm_gives_its_own_features(models, pictures):
    import timm

    for name in ("timm-resnet", "timm-vit"):
        backbone = opened(models[name])
        model = backbone.network.network.network
        settings = timm.data.resolve_model_data_config(model) | {
            "input_size": (3, backbone.size) * 2
        }
        settings["input_size"] = (3, backbone.size, backbone.size)
        transform = timm.data.create_transform(**settings)
        check(backbone, model.eval(), transform, pictures)


def test_torchvision_gives_its_own_features(pictures):
    from torchvision import models as library

    backbone = opened({"kind": "torchvision", "model": "resnet18", "weights": None})
    transform = library.ResNet18_Weights.DEFAULT.transforms()
    check(backbone, backbone.network.network.network, transform, pictures)


def test_open_clip_gives_its_own_features(models, pictures, texts):
    import open_clip

    name = models["open-clip-image"]["model"]
    model, _, transform = open_clip.create_model_and_transforms(name)
    check(opened(models["open-clip-image"]), model.eval().encode_image, transform, pictures)
    backbone = opened(models["open-clip-text"])
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(name)(texts))
        found = backbone.network.eval()(batch(backbone, texts))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_tower_of_transformers_gives_its_own_features(models, texts, pictures):
    import transformers

    for kind in ("clip", "siglip"):
        folder = models[f"{kind}-text"]["model"]
        model = transformers.AutoModel.from_pretrained(folder).eval()
        words = transformers.AutoTokenizer.from_pretrained(folder)
        whole = "max_length" if kind == "siglip" else True
        tokens = words(texts, padding=whole, max_length=16, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        towers = {side: opened(models[f"{kind}-{side}"]) for side in ("text", "image")}
        with torch.no_grad():
            expected = model.get_text_features(**tokens).pooler_output
            found = towers["text"].network.eval()(batch(towers["text"], texts))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            pixels = batch(towers["image"], pictures)
            scaled = (pixels["pixels"] / 255 - 0.5) / 0.5
            expected = model.get_image_features(scaled).pooler_output
            found = towers["image"].network.eval()(pixels)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_features_of_edited_code_are_made_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    options = {"kind": "module", "target": "edited_encoders:Pixels", "modality": "image"}
    code = inspect.getsource(own_encoders)
    prints = []
    for edited in (code, code + "# Other means may follow.\n"):
        (tmp_path / "edited_encoders.py").write_text(edited)
        monkeypatch.delitem(sys.modules, "edited_encoders", raising=False)
        importlib.invalidate_caches()
        torch.manual_seed(0)
        prints.append(opened(options, size=16).fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.parametrize(
    ("make", "pooled", "size", "resize"),
    [("swin", True, 32, None), ("dinov2", False, 32, 40), ("convnext", False, 64, 73)],
)
def test_pictures_are_cut_and_pooled_as_their_model_does(
    make, pooled, size, resize, pictures, tmp_path
):
    import transformers

    folder = getattr(tiny_models, make)(tmp_path)
    backbone = opened(saved(folder, "image"))
    pixels = batch(backbone, pictures)
    assert pixels["pixels"].shape[-1] == size
    if resize is not None:
        assert backbone.prepare.resize == resize
    model = transformers.AutoModel.from_pretrained(folder).eval()
    config = {"interpolate_pos_encoding": True} if make == "dinov2" else {}
    with torch.no_grad():
        states = model((pixels["pixels"] / 255 - 0.5) / 0.5, **config)
        found = backbone.network.eval()(pixels)
    last = states.last_hidden_state
    expected = last.mean(1) if pooled else last[:, 0] if make == "dinov2" else last.mean((2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_pooling_of_hidden_states(models, texts):
    import transformers

    folder = models["transformers-text"]["model"]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(texts):
        tokens = words(text, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        with torch.no_grad():
            states = model(**tokens).last_hidden_state[0]
        expected = {"own": states.mean(0), "cls": states[0], "last": states[-1]}
        for pooling, features in expected.items():
            backbone = opened(models["transformers-text"], pooling=pooling)
            with torch.no_grad():
                found = backbone.network.eval()(batch(backbone, texts))[row]
            torch.testing.assert_close(found, features, rtol=1e-4, atol=1e-5)


def test_sentence_transformers_gives_its_own_features_before_normalising(models, texts):
    from sentence_transformers import SentenceTransformer

    backbone = opened(models["sentence-transformers"])
    model = SentenceTransformer(models["sentence-transformers"]["model"], device="cpu")
    with torch.no_grad():
        found = backbone.network.eval()(batch(backbone, texts))
    assert (found.norm(dim=1) - 1).abs().min() > 1e-2
    unit = torch.nn.functional.normalize(found)
    np.testing.assert_allclose(unit, model.encode(texts), rtol=1e-4, atol=1e-5)


def check(backbone, model, transform, pictures):
    """The features are those of the library's own transform and model."""
    pixels = [transform(image.read_image(picture)) for picture in pictures]
    with torch.no_grad():
        expected = model(torch.stack(pixels))
        found = backbone.network.eval()(batch(backbone, pictures))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_sizes_other_than_the_models_own(models, pictures, tmp_path):
    for name, size in (("transformers-image", 48), ("timm-vit", 32), ("open-clip-image", 48)):
        backbone = opened(models[name], size=size)
        pixels = batch(backbone, pictures)
        assert pixels["pixels"].shape == (4, 3, size, size)
        assert backbone.network(pixels).shape == (4, backbone.dim)


def test_timm_reads_weights_from_a_file_and_pools_as_told(models, pictures, tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(5)
    model = timm.create_model("test_vit", pretrained=False, img_size=64).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    saved_vit = models["timm-vit"] | {"file": str(tmp_path / "weights.safetensors")}
    backbone = opened(saved_vit, pooling="mean", fit="pad")
    pixels = batch(backbone, [pictures[0]])
    # Wider than high: white above and below.
    assert (pixels["pixels"][0, :, :2] == 255).all()
    first = opened(saved_vit, pooling="cls", fit="pad").network.network.network
    assert torch.equal(first.state_dict()["cls_token"], model.state_dict()["cls_token"])
    scaled = (pixels["pixels"] / 255 - torch.tensor([0.5])) / 0.5
    with torch.no_grad():
        assert backbone.network.eval()(pixels).shape == (1, backbone.dim)
        torch.testing.assert_close(first(scaled), model.forward_features(scaled)[:, 0])


def test_a_processor_that_does_not_normalise_is_obeyed(tmp_path, pictures):
    folder = tiny_models.vit(tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": False}))
    scaled = opened(saved(folder, "image")).network.network
    assert scaled.mean.flatten().tolist() == [0.0, 0.0, 0.0]
    assert scaled.std.flatten().tolist() == [1.0, 1.0, 1.0]


def test_texts_are_cut_where_asked(models, texts):
    for name in ("transformers-text", "sentence-transformers", "open-clip-text"):
        ids = batch(opened(models[name], max_tokens=4), texts)["input_ids"]
        assert (ids != 0).sum(dim=1).max() == 4
    with pytest.raises(ValueError, match=r"max_tokens: 17 is more than .* reads, 16"):
        opened(models["open-clip-text"], max_tokens=17)


def test_blocks_follow_the_network(models):
    for name, number in (("timm-resnet", 5), ("torchvision", 9), ("siglip-text", 4)):
        assert len(opened(models[name]).blocks) == number
    stem = opened(models["timm-vit"]).blocks[0]
    assert isinstance(stem, Parts)
    with pytest.raises(ValueError, match="block 0 is its stem in several parts"):
        opened(models["timm-vit"], layer=0)


def test_the_same_seed_gives_the_same_random_weights(models):
    state = torch.random.get_rng_state()
    first, again = (opened(models["timm-resnet"]) for _ in range(2))
    other = open_backbone(parsed(models["timm-resnet"]), seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_strip_is_cut_before_it_is_scaled(models):
    backbone = opened(models["timm-resnet"])
    file = io.BytesIO()
    Image.new("RGB", (60_000, 2), "red").save(file, "PNG")
    pixels = backbone.prepare(file.getvalue())
    assert pixels.shape == (3, 32, 32)
    assert (pixels[0] == 255).all()


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("timm-resnet", "timm"),
        ("torchvision", "torchvision"),
        ("transformers-text", "transformers"),
        ("open-clip-text", "open_clip"),
        ("sentence-transformers", "sentence_transformers"),
    ],
)
def test_a_missing_library_says_which_extra_brings_it(models, name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    extra = package.replace("_", "-")
    with pytest.raises(ImportError, match=rf"setclip\[{extra}\]"):
        opened(models[name])
