"""Pins towers in training: a refinement starts as its closed form and ends as one linear map."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import linear as naive

from setclip.data.pools import Pools
from setclip.data.splits import draw_pools
from setclip.linear.cca import cca
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.maps import Alignment, principal
from setclip.methods.heads import TwoTowers, random_towers, refined_towers, whitenings
from setclip.model import HeadKind, ModelCard, Tower

PLANTED = naive.rotated_cloud(80, 6, noise=0.3)
POOLS = draw_pools(PLANTED.x, PLANTED.y[:, :5].copy(), np.arange(80), pairs=30)


def closed_form(pools: Pools = POOLS) -> Alignment:
    x, y = principal(pools.x_pairs), principal(pools.y_pairs)
    return cca(x, y, from_pairs(x(pools.x_pairs), y(pools.y_pairs)), penalty=1.0)


def refined(*, rank: int = 50) -> TwoTowers:
    return refined_towers(POOLS, closed_form(), whitenings(POOLS, rank=rank, penalty=1.0))


def disturbed(towers: TwoTowers) -> TwoTowers:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return towers


def test_a_refinement_starts_as_its_closed_form() -> None:
    towers, start = refined(), closed_form()
    for found, expected in (
        (towers.embed_x(POOLS.x_pool), start.x(POOLS.x_pool)),
        (towers.embed_y(POOLS.y_pool), start.y(POOLS.y_pool)),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, naive.unit(expected), rtol=0, atol=1e-5)


def test_a_refinement_ends_as_one_linear_map() -> None:
    towers = disturbed(refined())
    model = towers.model(ModelCard(data="20 pairs"))
    assert model.card.data == "20 pairs"
    assert model.x_tower.spec.kind == model.y_tower.spec.kind == "linear"
    x, y = towers.embed_x(PLANTED.x), towers.embed_y(POOLS.y_pool)
    np.testing.assert_allclose(model.encode_x(PLANTED.x), x, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.encode_y(POOLS.y_pool), y, rtol=0, atol=1e-5)
    assert np.abs(x - refined().embed_x(PLANTED.x)).max() > 0.05  # the disturbance was one


def test_the_change_reads_directions_that_the_pairs_do_not_show() -> None:
    """Three pairs span two directions; the gradient must reach the others all the same."""
    few = replace(POOLS, x_pairs=POOLS.x_pairs[:3], y_pairs=POOLS.y_pairs[:3])
    towers = refined_towers(few, closed_form(few), whitenings(few, rank=50, penalty=1.0))
    assert towers.embed_x(few.x_pool).shape[1] == 2
    embedded = towers.x(towers.inputs(few).x_pool)
    (embedded * torch.randn(embedded.shape)).sum().backward()
    changes = [p.grad for p in towers.x.parameters() if p.grad is not None and p.grad.ndim == 2]
    assert max(int(torch.linalg.matrix_rank(g)) for g in changes) == 2
    reached = sum((g.norm(dim=1) > 1e-6).sum() for g in changes)
    assert reached >= 6


def test_training_moves_only_the_change() -> None:
    """With all changes zero it is the closed form again: weight decay pulls there, not to zero."""
    towers = disturbed(refined())
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(towers.embed_x(PLANTED.x), refined().embed_x(PLANTED.x))


def test_whitened_rows_have_length_one_and_even_directions() -> None:
    for whitening, rows in zip(
        whitenings(POOLS, rank=50, penalty=1e-6), (POOLS.all_x(), POOLS.all_y()), strict=True
    ):
        covariance = naive.covariance(whitening(rows), whitening(rows))
        d = rows.shape[1]
        np.testing.assert_allclose(covariance, np.eye(d) / d, rtol=0, atol=1e-4)


def test_rank_bounds_what_the_change_reads() -> None:
    narrow, wide = (sum(p.numel() for p in refined(rank=rank).parameters()) for rank in (2, 50))
    assert narrow < wide


@pytest.mark.parametrize("kind", ["linear", "projection"])
def test_random_heads_follow_their_seed_and_leave_the_callers(kind: str) -> None:
    def towers(seed: int) -> TwoTowers:
        return random_towers(POOLS, kind=kind, dim=3, dropout=0.2, seed=seed)  # type: ignore[arg-type]

    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    first, again, other = (towers(seed).embed_x(PLANTED.x) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(2), expected)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == (80, 3)


def test_random_heads_take_features_as_they_are_and_become_the_model() -> None:
    towers = random_towers(POOLS, kind="projection", dim=3, dropout=0.2, seed=0)
    inputs = towers.inputs(POOLS)
    for name in ("x_pairs", "y_pairs", "x_pool", "y_pool"):
        np.testing.assert_array_equal(getattr(inputs, name), getattr(POOLS, name))
    model = towers.model(ModelCard())
    assert isinstance(model.x_tower, Tower)
    np.testing.assert_allclose(
        model.encode_x(PLANTED.x), towers.embed_x(PLANTED.x), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["linear", "projection"])
def test_prepared_heads_become_heads_on_the_features(kind: HeadKind) -> None:
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    towers = random_towers(POOLS, kind=kind, dim=3, dropout=0.2, seed=0, rank=4)
    rows = towers.inputs(POOLS).x_pairs
    assert rows.shape == (30, 4)
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.square().sum(dim=1).mean(), torch.tensor(1.0))
    disturbed(towers)
    torch.manual_seed(9)
    model = towers.model(ModelCard())
    assert torch.equal(torch.rand(2), expected)
    assert model.x_tower.spec.kind == kind
    assert model.x_tower.spec.d_in == 6
    np.testing.assert_allclose(
        model.encode_x(PLANTED.x), towers.embed_x(PLANTED.x), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        model.encode_y(POOLS.y_pool), towers.embed_y(POOLS.y_pool), rtol=0, atol=1e-5
    )


def test_read_only_features_are_taken_without_a_warning() -> None:
    features = POOLS.x_pool.copy()
    features.flags.writeable = False
    towers = random_towers(POOLS, kind="linear", dim=3, dropout=0, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = towers.embed_x(features)
    np.testing.assert_array_equal(found, towers.embed_x(POOLS.x_pool))


def test_present_weights_count_also_for_features_seen_before() -> None:
    towers = refined()
    first = towers.embed_x(PLANTED.x)
    assert np.abs(disturbed(towers).embed_x(PLANTED.x) - first).max() > 0.05
    np.testing.assert_array_equal(towers.embed_x(PLANTED.x[:9]), towers.embed_x(PLANTED.x)[:9])


def test_embedding_uses_no_dropout_and_keeps_the_mode() -> None:
    towers = random_towers(POOLS, kind="projection", dim=3, dropout=0.5, seed=0)
    for training in (True, False):
        towers.train(training)
        first, second = (towers.embed_x(PLANTED.x) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert towers.x.training is training
    towers.train()
    rows = towers.inputs(POOLS).x_pool
    assert not torch.equal(towers.x(rows), towers.x(rows))


def test_no_rows_are_no_rows() -> None:
    for towers in (refined(), random_towers(POOLS, kind="linear", dim=3, dropout=0, seed=0)):
        assert len(towers.embed_y(POOLS.y_pool[:0])) == 0
