"""Frozen protein encoders through the feature cache: items of both modalities, bad ones listed."""

import numpy as np
import pytest
import torch
from proteins.backbones import chain
from proteins.files import atoms_of, write

from setclip.data.cache import cached_features
from setclip.encoders import cdconv, protein_sequence
from setclip.encoders.frozen import Frozen
from setclip.proteins.packed import pack_chain

MADE = [chain(n, np.random.default_rng(n)) for n in (20, 31)]


@pytest.fixture
def encoders():
    torch.manual_seed(0)
    config = cdconv.CDConvConfig(kernel_channels=2, channels=(8, 8), radii=(8, 12))
    small = protein_sequence.SequenceConfig(width=16, layers=1, heads=2)
    return (
        Frozen(cdconv.backbone(cdconv.CDConv(config))),
        Frozen(protein_sequence.backbone(protein_sequence.SequenceTransformer(small))),
    )


def test_structures(encoders, tmp_path):
    path = write(tmp_path / "x.pdb", atoms_of(MADE[1]))
    items = [pack_chain(MADE[0]), path, f"{path}#A", tmp_path / "none.pdb", b"no chain"]
    features, bad = cached_features(
        encoders[0], items, directory=tmp_path / "cache", progress=False
    )
    assert [(b.row, b.value, b.reason[:12]) for b in bad] == [
        (3, str(items[3]), "there is no "),
        (4, "chain of 8 bytes", "not what pac"),
    ]
    expected = encoders[0].encode([*items[:3]])
    np.testing.assert_allclose(features[:3], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features[1], features[2])
    again, _ = cached_features(encoders[0], items, directory=tmp_path / "cache", progress=False)
    np.testing.assert_array_equal(again, features)


def test_sequences(encoders, tmp_path):
    items = [MADE[0].sequence, "AC1", MADE[1].sequence.lower()]
    features, bad = cached_features(
        encoders[1], items, directory=tmp_path / "cache", progress=False
    )
    assert [(b.row, b.field, b.value) for b in bad] == [(1, "sequence", "'AC1'")]
    expected = encoders[1].encode([items[0], items[2]])
    np.testing.assert_allclose(features[[0, 2]], expected, rtol=1e-4, atol=1e-5)
