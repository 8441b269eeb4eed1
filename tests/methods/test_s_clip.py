"""Pins S-CLIP: its pseudo-labels against loops, its published constants, what the pool gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import linear as naive

from setclip.data.splits import draw_pools
from setclip.methods import SCLIP, make_method
from setclip.methods.s_clip import (
    TRANSPORT_ITERATIONS,
    caption_labels,
    keywords,
    partial_label_loss,
    soft_cross_entropy,
)
from setclip.training.journal import Journal

PLANTED = naive.rotated_cloud(200, 6, noise=0.1)


def cosines() -> torch.Tensor:
    return torch.rand(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def test_transport_labels_are_ten_sinkhorn_iterations() -> None:
    plan = np.exp(cosines().numpy() / 0.5)
    for _ in range(TRANSPORT_ITERATIONS):
        plan = plan / plan.sum(axis=1, keepdims=True) / 7
        plan = plan / plan.sum(axis=0) / 4
    found = caption_labels(cosines(), "ot", 0.5)
    np.testing.assert_allclose(found, plan / plan.sum(axis=1, keepdims=True), atol=1e-9)


def test_transport_uses_every_caption_where_a_softmax_uses_one() -> None:
    alike = torch.zeros(8, 2, dtype=torch.float64)
    alike[:, 0] = torch.linspace(0.5, 0.6, 8)
    used = {pseudo: caption_labels(alike, pseudo, 0.05).sum(dim=0) for pseudo in ("ot", "soft")}  # type: ignore[arg-type]
    assert float(used["ot"][1]) == pytest.approx(4, abs=0.5)
    assert float(used["soft"][1]) < 0.01


def test_soft_and_hard_labels() -> None:
    alike = cosines()
    weights = [[math.exp(c / 0.2) for c in row] for row in alike.tolist()]
    soft = [[w / sum(row) for w in row] for row in weights]
    np.testing.assert_allclose(caption_labels(alike, "soft", 0.2), soft)
    hard = caption_labels(alike, "hard", 0.2)
    assert hard.sum(dim=1).eq(1).all()
    assert torch.equal(hard.argmax(dim=1), alike.argmax(dim=1))


def test_partial_labels_trust_the_prediction_among_what_is_allowed() -> None:
    logits = torch.tensor([[2.0, 1.0, 5.0]], requires_grad=True)
    allowed = torch.tensor([[True, True, False]])
    e = [math.exp(v) for v in (2.0, 1.0, 5.0)]
    share = e[0] / (e[0] + e[1])
    loss = partial_label_loss(logits, allowed)
    expected = -share * math.log(e[0] / sum(e)) - (1 - share) * math.log(e[1] / sum(e))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    target = torch.tensor([[share, 1 - share, 0.0]])
    torch.testing.assert_close(logits.grad, logits.detach().softmax(dim=1) - target)


def test_a_label_that_is_the_prediction_costs_its_entropy() -> None:
    p = torch.tensor([[0.25, 0.75]])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert soft_cross_entropy(p.log(), p).item() == pytest.approx(entropy, rel=1e-6)


def test_keywords_are_the_nearest_clusters() -> None:
    rows = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    centres, candidates = keywords(rows, 3, 2, seed=0)
    order = centres[:, 0].argsort()
    torch.testing.assert_close(centres[order, 0], torch.tensor([0.05, 5.05, 9.05]))
    expected = [[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]]
    assert candidates[:, order].int().tolist() == expected
    centres, candidates = keywords(torch.zeros(4, 2), 3, 5, seed=0)
    assert len(centres) == 1
    assert candidates.all()


def test_published_constants() -> None:
    paper = SCLIP(recipe="paper")
    assert (paper.weight_caption, paper.weight_keyword, paper.pseudo) == (0.5, 0.5, "ot")
    assert TRANSPORT_ITERATIONS == 10
    assert (paper.rank, paper.folds) == (None, 1)
    assert SCLIP().weight_keyword == 0
    assert SCLIP(recipe="paper", weight_keyword=0.1).weight_keyword == 0.1


def test_learns_a_planted_rotation_no_worse_for_the_pool() -> None:
    data = draw_pools(PLANTED.x, PLANTED.y, np.arange(140), pairs=12)

    def recall(name: str, **options: object) -> float:
        short = {"steps": 60, "folds": 1, "lr": (0.03,), "dim": 8, **options}
        model = make_method(name, **short).fit(data)
        return naive.recall_at_1(model.encode_x(PLANTED.x[140:]), model.encode_y(PLANTED.y[140:]))

    learned = recall("s-clip", weight_keyword=0.5, keywords=6)
    assert learned > 0.25
    assert learned > recall("clip", steps=1, lr=(1e-9,)) + 0.15
    assert learned > recall("clip") - 0.1


def test_terms_and_what_is_left_without_a_pool_of_x() -> None:
    data = draw_pools(PLANTED.x, PLANTED.y, np.arange(140), pairs=12)
    journal = Journal()
    options = {"steps": 2, "folds": 1, "dim": 4}
    SCLIP(recipe="paper", **options).fit(data, journal=journal)
    assert set(journal.curves["final"]) == {"clip", "caption", "keyword", "loss"}
    alone = [make_method(n, **options).fit(data.without_pools()) for n in ("s-clip", "clip")]
    assert torch.equal(alone[0].x_tower.head.weight, alone[1].x_tower.head.weight)
