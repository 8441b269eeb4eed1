"""Encoders of proteins by options: seeded, saved and filled, frozen and trained on one modality."""

from functools import partial

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from setclip.data.cache import cached_features
from setclip.data.proteins import load_proteins
from setclip.encoders import backbone_from_card, from_card, get, open_backbone, open_encoder
from setclip.encoders.choices import parsed
from setclip.encoders.pretraining import train_on_views
from setclip.encoders.protein_options import save_weights
from setclip.methods.tower_data import VIEWS
from setclip.proteins.packed import pack_chain
from setclip.proteins.views import sequence_view, structure_view

TINY = {"kind": "protein-transformer", "width": 16, "layers": 1, "heads": 2}
KINDS = [TINY, {"kind": "cdconv"}]


@pytest.fixture(scope="module")
def chains():
    shortest = np.argsort(np.diff(load_proteins().starts), kind="stable")[:6]
    return load_proteins().take(shortest)


def items_of(options, chains):
    if parsed(options).reads == "sequence":
        return chains.sequences
    return [pack_chain(chains.chain(row)) for row in range(len(chains))]


@pytest.mark.parametrize("options", KINDS)
def test_random_weights_follow_the_seed_alone(options, chains):
    torch.manual_seed(5)
    first = open_encoder(parsed(options))
    torch.manual_seed(6)
    state = torch.get_rng_state()
    again, other = open_backbone(parsed(options)), open_backbone(parsed(options), seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert first.fingerprint == again.fingerprint != other.fingerprint
    items = items_of(options, chains)
    features = first.encode(items)
    assert features.shape == (6, first.dim)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("options", KINDS)
def test_saved_weights_are_those_that_are_read(options, chains, tmp_path):
    path = tmp_path / "weights.safetensors"
    trained = open_backbone(parsed(options), seed=3)
    save_weights(trained, path)
    read = open_encoder(parsed({**options, "weights": str(path)}))
    assert read.fingerprint == trained.fingerprint
    other = {**options, "weights": str(tmp_path / "none")}
    with pytest.raises(FileNotFoundError, match="no weights at"):
        open_backbone(parsed(other))
    foreign = {"kind": "protein-transformer", "width": 8, "heads": 1, "weights": str(path)}
    with pytest.raises(ValueError, match="holds weights of other sizes"):
        open_backbone(parsed(foreign))


def test_a_structure_without_types_does_not_give_away_its_sequence(chains):
    chain = chains.chain(0)
    other = type(chain)(chain.name, "A" * len(chain), chain.ca, chain.index, chain.backbone)
    items = [pack_chain(chain), pack_chain(other)]
    blind, seeing = (
        from_card({"kind": "cdconv", "types": types}).encode(items) for types in (False, True)
    )
    np.testing.assert_array_equal(blind[0], blind[1])
    assert np.abs(seeing[0] - seeing[1]).max() > 1e-3
    fingerprints = {from_card({"kind": "cdconv", "types": t}).fingerprint for t in (False, True)}
    assert len(fingerprints) == 2


def test_composition_is_frozen_alone(chains, tmp_path):
    encoder = from_card("composition")
    assert encoder is get("composition")
    assert open_encoder(parsed("composition")) is encoder
    found, bad = cached_features(encoder, chains.sequences, directory=tmp_path, progress=False)
    np.testing.assert_array_equal(found, encoder.encode(chains.sequences))
    assert not bad
    with pytest.raises(ValueError, match="has no weights to train"):
        open_backbone(parsed("composition"))


@pytest.mark.parametrize("kind", ["protein-transformer", "cdconv"])
def test_a_model_that_holds_the_weights_needs_no_file_of_them(kind):
    gone = {"kind": kind, "weights": "gone.safetensors"}
    assert backbone_from_card(gone).dim == backbone_from_card(kind).dim
    with pytest.raises(FileNotFoundError, match=r"no weights at gone\.safetensors"):
        from_card(gone)


def test_cards_and_refusals():
    assert parsed("cdconv").described == "cdconv"
    assert backbone_from_card("protein-transformer").dim == 64 + 21
    assert parsed({"kind": "esm2", "folder": "esm"}).reads == "sequence"
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        open_backbone(parsed({"kind": "esm2", "folder": "nowhere"}))
    with pytest.raises(ValidationError, match="cdconv pools in its own way"):
        parsed({"kind": "cdconv", "pooling": "mean"})


@pytest.mark.parametrize("options", KINDS)
def test_training_on_views_tells_items_apart_and_follows_its_seed(options, chains):
    view = VIEWS[parsed(options).reads]
    assert view in (sequence_view, structure_view)
    fingers = []
    for _ in range(2):
        backbone = open_backbone(parsed({**options, "train_norms": True}))
        prepared = [backbone.prepare(item) for item in items_of(options, chains)]
        called = []
        losses = train_on_views(
            backbone, prepared, view, steps=25, batch=6, advance=partial(called.append, 1)
        )
        assert len(losses) == len(called) == 25
        assert np.mean(losses[-8:]) < np.mean(losses[:8])
        fingers.append(losses)
    assert fingers[0] == fingers[1]
    with pytest.raises(ValueError, match="1 items to train on"):
        train_on_views(backbone, prepared[:1], view, steps=1)
