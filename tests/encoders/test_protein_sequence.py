"""The small transformer: padding and masks, what it learns, the contract of a backbone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from setclip.encoders import protein_sequence
from setclip.encoders.composition import Composition
from setclip.encoders.protein_sequence import (
    IGNORED,
    MASK,
    PAD,
    SequenceConfig,
    SequenceTransformer,
    backbone,
    collate_sequences,
    mask_residues,
    masked_loss,
    train_masked,
)

TINY = SequenceConfig(width=32, layers=2, heads=2, max_residues=64, dropout=0.0)


def network(config=TINY):
    torch.manual_seed(0)
    return SequenceTransformer(config)


def test_padding_changes_nothing():
    net = network().double().eval()
    sequences = ["ACDEFGHIK", "A", "WYV" * 10]
    together = net(collate_sequences(sequences))
    for row, sequence in enumerate(sequences):
        torch.testing.assert_close(together[row : row + 1], net(collate_sequences([sequence])))


@pytest.mark.parametrize("rows", [0, 1, 5, 40])
def test_rows_keep_their_order_however_many_go_together(rows):
    net = network().double().eval()
    rng = np.random.default_rng(rows)
    sequences = ["".join(rng.choice([*"ACDEFGHIKL"], rng.integers(1, 60))) for _ in range(rows)]
    alone = [net(collate_sequences([sequence])) for sequence in sequences]
    expected = torch.cat(alone) if alone else torch.zeros(0, net.config.dim).double()
    codes = collate_sequences([*sequences, "A"])["codes"][:rows]
    torch.testing.assert_close(net({"codes": codes}), expected)


def test_the_features_end_with_the_composition():
    net = network(replace(TINY, composition=True)).double().eval()
    sequences = ["ACDEFGHIKX", "A", "WYV" * 10]
    features = net(collate_sequences(sequences))
    assert features.shape == (3, net.config.dim) == (3, 32 + 21)
    expected = torch.from_numpy(Composition().encode(sequences)).double()
    torch.testing.assert_close(features[:, 32:], expected)
    plain = network().double().eval()(collate_sequences(sequences))
    torch.testing.assert_close(features[:, :32], plain)


def test_the_order_of_residues_counts():
    net = network().eval()
    a, b = net(collate_sequences(["ACDEFG", "GFEDCA"]))
    assert (a - b).abs().max() > 1e-4


def test_attention_depends_on_relative_places_alone():
    """A stretch that repeats without end looks the same wherever one stands in it."""
    net = network().double().eval()
    states = net.states(collate_sequences(["A" * 40])["codes"])
    torch.testing.assert_close(states[0, 5], states[0, 30])


def test_masks_hide_exchange_and_spare():
    codes = collate_sequences(["ACDEFGHIKLMNPQRSTVWYX" * 20, "ACDX"], max_residues=999)["codes"]
    seen, target = mask_residues(codes, np.random.default_rng(0), share=0.5)
    chosen = target != IGNORED
    assert not chosen[(codes == PAD) | (codes == 20)].any()
    assert torch.equal(target[chosen], codes[chosen])
    assert torch.equal(seen[~chosen], codes[~chosen])
    assert chosen[0].float().mean() == pytest.approx(0.5 * 20 / 21, abs=0.07)
    assert (seen[chosen] == MASK).float().mean() == pytest.approx(0.8, abs=0.1)
    assert (seen[chosen] == codes[chosen]).float().mean() == pytest.approx(0.105, abs=0.07)


def test_nothing_to_guess_is_a_loss_of_zero():
    net = network()
    loss = masked_loss(net, collate_sequences(["XXX"])["codes"], np.random.default_rng(0))
    loss.backward()
    assert loss.item() == 0


def test_training_learns_what_follows_what():
    """In a cycle of letters each one is told by its neighbours; chance is log 20 = 3.0."""
    cycle = "ACDEFGHIKLMNPQRSTVWY" * 4
    sequences = [cycle[i : i + 30 + i] for i in range(20)]
    torch.manual_seed(1)
    losses = train_masked(network(), sequences, steps=150, residues=600, lr=5e-3, seed=0)
    assert len(losses) == 150
    assert np.mean(losses[:5]) > 2.8
    assert np.mean(losses[-10:]) < 1.0


def test_training_is_a_function_of_its_seed():
    sequences = ["ACDEFGHIKL" * k for k in (1, 3, 9)]
    first, again, other = (
        train_masked(network(), sequences, steps=4, residues=128, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other
    with pytest.raises(ValueError, match="no sequences"):
        train_masked(network(), [], steps=1)


def test_batches_hold_each_sequence_once_an_epoch_within_their_bound():
    sequences = ["ACDEFGHIKLMNPQRSTVWY"[:k] for k in range(1, 21)] + ["W" * 200]
    batches = protein_sequence._batches(sequences, np.random.default_rng(0), 60, 64)
    seen = 0
    while seen < len(sequences):
        batch = next(batches)
        assert batch.numel() <= 60 or len(batch) == 1
        assert batch.shape[1] <= 64
        seen += len(batch)
    assert seen == len(sequences)


def test_backbone():
    made = backbone(network(), fingerprint="3")
    assert (made.modality, made.dim, len(made.blocks)) == ("sequence", 32, 3)
    assert made.fingerprint.endswith(":3")
    batch = made.collate([made.prepare(" acd-ef* "), "A" * 99])
    assert batch["codes"].shape == (2, 64)
    assert made.network(batch).shape == (2, 32)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 30 for 4 heads"):
        SequenceConfig(width=30, heads=4)
