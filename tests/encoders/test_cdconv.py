"""CDConv: equal to the naive reference, invariant, batches as each chain alone, published sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from proteins.backbones import chain
from proteins.files import atoms_of, write
from reference.cdconv import reference_convolution, reference_frames, reference_network

from setclip.downstream.finetune import Classifier
from setclip.encoders import residue_graph
from setclip.encoders.cdconv import (
    PRESETS,
    CDConv,
    CDConvConfig,
    Convolution,
    backbone,
    convolve,
)
from setclip.encoders.residue_graph import (
    Residues,
    build_graph,
    neighbours,
    pool,
)
from setclip.proteins.chains import letter_codes
from setclip.proteins.packed import pack_chain
from setclip.proteins.residues import PADDING, local_frames

TINY = CDConvConfig(
    kernel_length=5, kernel_channels=3, base_width=32, channels=(6, 8, 10), radii=(8, 12, 16)
)


def one(n, seed=0):
    made = chain(n, np.random.default_rng(seed))
    index = torch.arange(n)
    index[n // 2 :] += 3  # a break
    return torch.from_numpy(letter_codes(made.sequence)), torch.from_numpy(made.ca).double(), index


def batch_of(chains, dtype=torch.float64):
    size = max(len(codes) for codes, _, _ in chains)
    batch = {
        "codes": torch.full((len(chains), size), PADDING),
        "positions": torch.full((len(chains), size, 3), torch.nan, dtype=dtype),
        "frames": torch.full((len(chains), size, 3, 3), torch.nan, dtype=dtype),
        "index": torch.full((len(chains), size), -7),
    }
    for row, (codes, positions, index) in enumerate(chains):
        here = row, slice(len(codes))
        batch["codes"][here] = codes
        batch["positions"][here] = positions.to(dtype)
        batch["frames"][here] = local_frames(positions).to(dtype)
        batch["index"][here] = index
    return batch


@pytest.fixture
def network():
    """In float64 and evaluation mode, with batch statistics and biases off their first values."""
    torch.manual_seed(0)
    made = CDConv(TINY).double()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, Convolution):
            torch.nn.init.normal_(module.kernel_bias)
    return made.eval()


LENGTHS = (30, 1, 2, 3, 7, 41)
CHAINS = [one(n, seed=n) for n in LENGTHS]


def test_network_equals_the_naive_reference(network):
    expected = reference_network(network, CHAINS)
    torch.testing.assert_close(network(batch_of(CHAINS)), expected, rtol=1e-10, atol=1e-12)


def test_gradients_equal_those_of_the_reference(network):
    chains = [one(14, seed=1), one(9, seed=2)]
    for parameter in network.parameters():
        parameter.requires_grad_()
    network(batch_of(chains)).square().sum().backward()
    ours = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    reference_network(network, chains).square().sum().backward()
    for mine, parameter in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-8, atol=1e-12)


def residues_of(*lengths, dtype=torch.float64):
    chains = [one(n, seed=n) for n in lengths]
    return Residues(
        torch.cat([p for _, p, _ in chains]).to(dtype),
        torch.cat([local_frames(p) for _, p, _ in chains]).to(dtype),
        torch.cat([t for _, _, t in chains]),
        lengths,
    )


def test_gradcheck_of_the_hand_written_backward():
    residues = residues_of(7, 3)
    graph = build_graph(residues, radius=8.0, kernel_length=3)
    torch.manual_seed(0)
    x = torch.randn(10, 2, dtype=torch.float64, requires_grad=True)
    features = graph.features.clone().requires_grad_()
    fade = graph.fade.clone().requires_grad_()
    weight = torch.randn(3, 8, 3, dtype=torch.float64, requires_grad=True)

    def run(x, features, fade, weight):
        # The zero behind the fades is no input.
        closed = torch.cat([fade[:-1], fade.new_zeros(1, 1)])
        return convolve(x, features, closed, weight, graph)

    assert torch.autograd.gradcheck(run, (x, features, fade, weight))


def test_positions_have_a_gradient(network):
    codes, positions, index = one(9)
    batch = batch_of([(codes, positions, index)])
    frames = batch["frames"]

    def run(p):
        return network({**batch, "positions": p[None], "frames": frames})

    assert torch.autograd.gradcheck(run, (positions.requires_grad_(),), atol=1e-6)


def turned(chains, seed):
    rng = np.random.default_rng(seed)
    turns = []
    for codes, positions, index in chains:
        q = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3)))).Q
        q = q * q.det()  # no mirror
        turns.append((codes, positions @ q.T + torch.from_numpy(rng.normal(size=3)) * 50, index))
    return turns


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_rotation_and_shift_change_nothing(network, dtype, tolerance):
    network = network.to(dtype)
    before = network(batch_of(CHAINS, dtype)).detach()
    after = network(batch_of(turned(CHAINS, 3), dtype)).detach()
    assert float((after - before).abs().max() / before.abs().max()) < tolerance


def test_a_mirror_image_is_another_chain(network):
    mirrored = [
        (codes, positions * torch.tensor([-1.0, 1, 1]), t) for codes, positions, t in CHAINS
    ]
    before, after = network(batch_of(CHAINS)), network(batch_of(mirrored))
    # Chains of up to three residues lie in a plane and have no handedness.
    changed = (before - after).abs().amax(dim=1) > 1e-6
    assert changed.tolist() == [n > 3 for n in LENGTHS]


def test_a_batch_is_its_chains_one_by_one(network):
    together = network(batch_of(CHAINS))
    for row, made in enumerate(CHAINS):
        torch.testing.assert_close(together[row : row + 1], network(batch_of([made])))


def test_no_chain_at_all_has_features_and_a_path_for_gradients():
    """A process without rows takes part in every step; its batch norms learn nothing."""
    made = CDConv(TINY).train()
    before = {name: buffer.clone() for name, buffer in made.named_buffers()}
    none = {name: rows[:0] for name, rows in batch_of(CHAINS[:1]).items()}
    none = {n: r.float() if r.is_floating_point() else r for n, r in none.items()}
    found = made(none)
    assert found.shape == (0, made(to_single(batch_of(CHAINS))).shape[1])
    found.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in made.parameters())
    assert before.keys() == dict(made.named_buffers()).keys()
    assert made.training
    norms = [module for module in made.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.eval()
    made(none)
    assert not any(norm.training for norm in norms)  # what is held still stays so


def to_single(batch):
    return {n: r.float() if r.is_floating_point() else r for n, r in batch.items()}


def test_short_chains_do_not_merge():
    residues = residues_of(1, 2, 3, 1, 9)
    x = torch.arange(16.0, dtype=torch.float64)[:, None]
    seen = []
    for _ in range(4):
        residues, x = pool(residues, x)
        seen.append(residues.lengths)
    assert seen[-1] == (1, 1, 1, 1, 1)
    assert seen[0] == (1, 2, 2, 1, 5)
    assert x[:, 0].tolist()[:2] == [0.0, 1.5]


def test_pooling_means_and_directions():
    residues = residues_of(8)
    pooled, x = pool(residues, torch.arange(8.0)[:, None])
    assert residues.index.tolist() == [0, 1, 2, 3, 7, 8, 9, 10]
    assert pooled.index.tolist() == [0, 1, 3, 4, 5]
    assert x[:, 0].tolist() == [0.5, 2.5, 4.0, 5.5, 7.0]
    torch.testing.assert_close(pooled.positions[1], residues.positions[2:4].mean(dim=0))
    torch.testing.assert_close(pooled.frames.norm(dim=2), torch.ones(5, 3, dtype=torch.float64))


def test_frames_follow_their_definition_and_are_zero_for_two_residues():
    _, positions, _ = one(20)
    torch.testing.assert_close(local_frames(positions), reference_frames(positions))
    assert not local_frames(positions[:2]).any()
    straight = torch.arange(4.0)[:, None] * torch.ones(3)
    assert local_frames(straight).isfinite().all()


@pytest.mark.parametrize("block", [1, 50, 700, 1 << 20])
def test_neighbours_are_those_of_brute_force_in_any_block(block, monkeypatch):
    monkeypatch.setattr(residue_graph, "BLOCK", block)
    residues = residues_of(25, 1, 6, 40, 3)
    first, second = neighbours(residues.positions, residues.lengths, 9.0)
    owner = residues.chain
    near = torch.cdist(residues.positions, residues.positions) <= 9
    expected = (near & (owner[:, None] == owner)).nonzero()
    found = torch.stack([first, second], dim=1)
    assert sorted(found.tolist()) == expected.tolist()
    assert (first.diff() >= 0).all()


def test_memory_of_the_search_is_a_block_however_long_the_chain(monkeypatch):
    held = []
    cdist = torch.cdist

    def watched(*args, **options):
        distances = cdist(*args, **options)
        held.append(distances.numel())
        return distances

    monkeypatch.setattr(torch, "cdist", watched)
    monkeypatch.setattr(residue_graph, "BLOCK", 4096)
    positions = 3.8 * torch.arange(3000.0)[:, None] * torch.tensor([1.0, 0, 0])
    first, _ = neighbours(positions, [3000], 8.0)
    assert len(first) == 5 * 3000 - 6
    assert max(held) <= 4096


def test_edges_and_slots_speak_of_the_same_graph():
    residues = residues_of(30, 2, 12)
    graph = build_graph(residues, radius=10.0, kernel_length=5)
    first, second = neighbours(residues.positions, residues.lengths, 10.0)
    owner = torch.cat(
        [
            n.repeat_interleave(m)
            for n, (_, m) in zip(
                graph.order.split([count for count, _ in graph.slabs]), graph.slabs, strict=True
            )
        ]
    )
    filled = graph.edge_of_slot < len(first)
    pairs = torch.stack([owner, graph.neighbour], dim=1)[filled].tolist()
    assert sorted(pairs) == sorted(torch.stack([first, second], dim=1).tolist())
    # The reverse of i to j is j to i, and of an empty slot an empty one.
    assert (owner[graph.reverse] == graph.neighbour)[filled].all()
    assert not filled[graph.reverse[~filled]].any()
    assert (graph.place[graph.order] == torch.arange(44)).all()
    # Few slots stay empty.
    assert filled.float().mean() > 0.75


def test_hand_weights_match_one_layer_of_the_reference():
    residues = residues_of(25)
    torch.manual_seed(1)
    conv = Convolution(4, replace(TINY, kernel_length=7)).double()
    torch.nn.init.normal_(conv.kernel_bias)
    x = torch.randn(25, 4, dtype=torch.float64)
    graph = build_graph(residues, radius=8.0, kernel_length=7)
    expected = reference_convolution(
        x, residues.positions, residues.frames, residues.index, 8.0, conv
    )
    torch.testing.assert_close(conv(x, graph), expected)


def test_half_precision_features_run_and_train():
    network = CDConv(TINY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(batch_of(CHAINS, torch.float32)).float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("task", "classes", "millions"), [("fold", 1195, 296), ("reaction", 384, 84), ("ec", 538, 35)]
)
def test_published_sizes(task, classes, millions):
    with torch.device("meta"):
        network = CDConv(PRESETS[task])
        model = Classifier(network, network.dim, torch.full((classes,), 0.1), single=True)
    count = sum(p.numel() for p in model.parameters())
    assert count // 10**6 == millions
    assert PRESETS["go"] == PRESETS["reaction"]


def test_backbone_reads_chains_and_gives_features(tmp_path):
    made = [chain(n, np.random.default_rng(n)) for n in (20, 33)]
    encoder = backbone(CDConv(TINY), fingerprint="7")
    assert (encoder.modality, encoder.dim, len(encoder.blocks)) == ("structure", 10, 4)
    assert encoder.fingerprint.endswith(":7")
    items = [pack_chain(made[0]), write(tmp_path / "x.pdb", atoms_of(made[1]))]
    batch = encoder.collate([encoder.prepare(item) for item in items])
    assert batch["codes"].shape == (2, 33)
    assert (batch["codes"][0, 20:] == PADDING).all()
    features = encoder.network.eval()(batch)
    assert features.shape == (2, 10)
    alone = encoder.network(encoder.collate([encoder.prepare(items[0])]))
    torch.testing.assert_close(features[:1], alone, rtol=1e-4, atol=1e-5)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="kernel_length is 4"):
        CDConvConfig(kernel_length=4)
    with pytest.raises(ValueError, match="2 channels for 4 radii"):
        CDConvConfig(channels=(64, 64))
    with pytest.raises(ValueError, match="at least 2"):
        CDConvConfig(channels=(32,), radii=(8,), base_width=1)
