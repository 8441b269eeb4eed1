"""Kept beginnings: the rest gives the network's features, views are fixed, texts ragged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tiny_encoders as tiny
import torch

from setclip.encoders import minilm
from setclip.encoders.adapt import freeze
from setclip.encoders.kept import TOKENS, KeptPrefix
from setclip.modalities.views import text_view

X, Y = tiny.items(6)


def test_suffix_of_kept_rows_is_the_network() -> None:
    backbone = freeze(tiny.pictures(), 2)
    kept = KeptPrefix(backbone, 2)
    rows = kept.encode(X)
    assert rows.shape == (6, kept.dim) == (6, 24)
    collated = backbone.collate([backbone.prepare(item) for item in X])
    with torch.no_grad():
        expected = backbone.network(collated)
        found = kept.suffix(kept.layout.collate(list(rows)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert kept.embed([]).shape == (0, 24)


def test_texts_are_padded_to_keep_and_cut_to_the_longest_of_a_batch() -> None:
    backbone = freeze(minilm.backbone(), 6)
    kept = KeptPrefix(backbone, 6)
    texts = ["a red apple", "a dog", "an owl that sits on a branch at night and looks at the moon"]
    rows = kept.encode(texts)
    assert kept.dim == TOKENS * (384 + 1)
    collated = kept.layout.collate(list(rows[:2]))
    assert collated["states"].shape == (2, 5, 384)
    assert collated["attention_mask"].sum(dim=1).tolist() == [5, 4]
    with torch.no_grad():
        found = kept.suffix.eval()(kept.layout.collate(list(rows)))
        whole = backbone.network.eval()
        expected = whole(backbone.collate([backbone.prepare(text) for text in texts]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_text_that_is_too_long_is_cut() -> None:
    kept = KeptPrefix(freeze(minilm.backbone(), 6), 6)
    collated = kept.layout.collate(list(kept.encode(["owl " * 200])))
    assert collated["attention_mask"].shape == (1, TOKENS)


def test_texts_that_fill_what_is_kept_are_counted() -> None:
    kept = KeptPrefix(freeze(minilm.backbone(), 6), 6)
    texts = ["owl " * 200, "owl " * (TOKENS - 3), "owl " * (TOKENS - 2), ""]
    assert kept.layout.full_texts(kept.encode(texts[:3])) == 2
    pictures = KeptPrefix(freeze(tiny.pictures(), 1), 1)
    assert pictures.layout.full_texts(pictures.encode(X)) == 0


def test_a_variant_is_one_view_of_an_item_and_always_the_same() -> None:
    backbone = freeze(tiny.texts(), 1)

    def variant(number: int) -> np.ndarray:
        return KeptPrefix(backbone, 1, variant=number, view=text_view).encode(Y)

    assert np.array_equal(variant(1), variant(1))
    assert not np.array_equal(variant(1), variant(2))
    assert not np.array_equal(variant(1), variant(0))


def test_fingerprints_tell_blocks_and_variants_apart() -> None:
    backbone = freeze(tiny.texts(), 2)
    prints = {
        KeptPrefix(backbone, first, variant=variant, view=text_view).fingerprint
        for first in (1, 2)
        for variant in (0, 1)
    }
    assert len(prints) == 4


def test_a_layout_goes_to_loader_processes() -> None:
    layout = KeptPrefix(freeze(tiny.pictures(), 1), 1).layout
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_a_block_that_learns_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="is trained"):
        KeptPrefix(tiny.pictures(), 2)
