"""ESM-2 through transformers, on a tiny one with random weights."""

import sys

import pytest
import torch
from transformers import EsmConfig, EsmModel

from setclip.encoders import esm2

LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO.-"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("esm2")
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        position_embedding_type="rotary",
        pad_token_id=1,
        mask_token_id=32,
        token_dropout=True,
    )
    EsmModel(config, add_pooling_layer=False).save_pretrained(path)
    (path / "vocab.txt").write_text(
        "\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *LETTERS, "<null_1>", "<mask>"])
    )
    return path


def test_features_are_the_mean_over_residues(folder):
    made = esm2.backbone(folder, max_tokens=20)
    assert (made.modality, made.dim, len(made.blocks)) == ("sequence", 16, 3)
    made.network.eval()
    sequences = [made.prepare(s) for s in ("ACDEF", "W", "ACDEFGHIKLMNPQRSTVWYA")]
    batch = made.collate(sequences)
    assert batch["input_ids"].shape == (3, 20)
    features = made.network(batch)
    for row, sequence in enumerate(sequences):
        alone = made.collate([sequence])
        torch.testing.assert_close(features[row : row + 1], made.network(alone))
        states = made.network.model(**alone).last_hidden_state
        torch.testing.assert_close(features[row], states[0, 1:-1].mean(dim=0))


def test_weights_and_length_decide_the_fingerprint(folder):
    a, b = (esm2.backbone(folder, max_tokens=n).fingerprint for n in (20, 30))
    assert a != b
    assert a == esm2.backbone(folder, max_tokens=20).fingerprint


def test_what_is_missing_is_named(folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        esm2.backbone(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'pip install "setclip\[bundled\]"'):
        esm2.backbone(folder)
