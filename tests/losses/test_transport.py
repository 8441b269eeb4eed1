"""Pins: the plan (POT, loops, marginals), blocks and held kernel alike, KLOT's closed gradient."""

from __future__ import annotations

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import transport as reference
from torch import Tensor
from torch.nn.functional import normalize

from setclip.losses.transport import Products, Transport, klot, sinkhorn

MODULE = "setclip.losses.transport"


def unit(seed: int, rows: int, dim: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1)


def marginal(seed: int, n: int) -> Tensor:
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (weights + 0.2) / (weights + 0.2).sum()


def pot(scores: Tensor, a: Tensor, b: Tensor, epsilon: float) -> Tensor:
    plan = ot.sinkhorn(
        a.double(),
        b.double(),
        -scores.double(),
        epsilon,
        method="sinkhorn_log",
        numItermax=20_000,
        stopThr=1e-12,
    )
    return torch.as_tensor(plan)


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given_marginals", [False, True])
def test_plan_is_pots_log_domain_plan(
    epsilon: float, dtype: torch.dtype, given_marginals: bool
) -> None:
    x, y = unit(0, 30), unit(1, 44)
    a = marginal(2, 30) if given_marginals else torch.full((30,), 1 / 30, dtype=torch.float64)
    b = marginal(3, 44) if given_marginals else torch.full((44,), 1 / 44, dtype=torch.float64)
    found = sinkhorn(
        Products(x.to(dtype), y.to(dtype)),
        epsilon=epsilon,
        row_marginal=a if given_marginals else None,
        column_marginal=b if given_marginals else None,
        tolerance=1e-6 if dtype == torch.float32 else 1e-10,
        max_iterations=20_000,
    )
    assert found.converged
    assert found.plan().dtype == dtype
    # Relative to the entry an independent plan would have, so that small batches prove as much.
    difference = (found.plan().double() - pot(x @ y.T, a, b, epsilon)).abs()
    assert (difference / (a[:, None] * b)).max() < (1e-3 if dtype == torch.float32 else 1e-5)
    assert difference.max() < 1e-5


def test_plan_is_the_definition() -> None:
    scores = unit(0, 4) @ unit(1, 6).T
    a, b = marginal(2, 4), marginal(3, 6)
    found = sinkhorn(scores, epsilon=0.3, row_marginal=a, column_marginal=b, tolerance=1e-12)
    expected = reference.sinkhorn_plan(
        scores, epsilon=0.3, row_marginal=a.tolist(), column_marginal=b.tolist(), iterations=100
    )
    torch.testing.assert_close(found.plan(), expected, rtol=1e-8, atol=0)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    epsilon=st.floats(0.02, 2),
    seed=st.integers(0, 100),
)
def test_marginals_hold_and_duals_rebuild_the_plan(
    n: int, m: int, epsilon: float, seed: int
) -> None:
    a, b = marginal(seed, n), marginal(seed + 1, m)
    scores = 2 * unit(seed, n) @ unit(seed + 1, m).T
    found = sinkhorn(
        scores,
        epsilon=epsilon,
        row_marginal=a,
        column_marginal=b,
        tolerance=1e-9,
        max_iterations=50_000,
    )
    assert found.converged
    plan = found.plan()
    torch.testing.assert_close(plan.sum(dim=1), a, rtol=0, atol=1e-8)
    torch.testing.assert_close(plan.sum(dim=0), b, rtol=1e-9, atol=0)
    torch.testing.assert_close(
        plan.log(), (scores + found.f[:, None] + found.g) / epsilon, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("epsilon", [0.005, 0.05])
def test_blocks_and_held_kernel_give_the_same_iterations(
    epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = unit(0, 33), unit(1, 21)
    held = sinkhorn(x @ y.T, epsilon=epsilon, tolerance=0, max_iterations=40)
    monkeypatch.setattr(f"{MODULE}.HELD_ELEMENTS", 0)
    monkeypatch.setattr(f"{MODULE}.BLOCK_ELEMENTS", 50)
    blockwise = sinkhorn(Products(x, y), epsilon=epsilon, tolerance=0, max_iterations=40)
    assert held.iterations == blockwise.iterations == 40
    torch.testing.assert_close(held.plan(), blockwise.plan(), rtol=1e-7, atol=1e-12)
    assert held.error == pytest.approx(blockwise.error, rel=1e-5, abs=1e-12)


def test_error_is_that_of_the_rows_before_the_last_iteration() -> None:
    scores = unit(0, 20) @ unit(1, 15).T
    for iterations in (1, 2, 3, 7):
        before = sinkhorn(scores, epsilon=0.03, tolerance=0, max_iterations=iterations)
        after = sinkhorn(scores, epsilon=0.03, tolerance=0, max_iterations=iterations + 1)
        rows = before.plan().sum(dim=1)
        assert after.error == pytest.approx(float((rows - 1 / 20).abs().sum()), rel=1e-6)


def test_a_column_far_from_every_rows_best() -> None:
    # In float32 exp(-120 / 0.5) is zero: without the fallback this column would get no mass.
    scores = torch.tensor([[60.0, 60.0, -60.0], [60.0, 59.0, -60.0], [59.0, 60.0, -60.0]])
    found = sinkhorn(scores, epsilon=0.5, tolerance=1e-5)
    assert found.converged
    torch.testing.assert_close(found.plan().sum(dim=0), torch.full((3,), 1 / 3))


def test_starting_from_the_result_is_done_at_once() -> None:
    x, y = unit(0, 40), unit(1, 40)
    cold = sinkhorn(x @ y.T, epsilon=0.02, tolerance=1e-8, max_iterations=5000)
    again = sinkhorn(x @ y.T, epsilon=0.02, start=cold, tolerance=1e-7)
    assert cold.iterations > 50
    assert again.iterations <= 2
    near = normalize(x + 0.005 * unit(2, 40), dim=1)
    warm = sinkhorn(near @ y.T, epsilon=0.02, start=cold, tolerance=1e-6, max_iterations=5000)
    fresh = sinkhorn(near @ y.T, epsilon=0.02, tolerance=1e-6, max_iterations=5000)
    assert warm.iterations < fresh.iterations


def test_float32_holds_at_small_epsilon() -> None:
    x = unit(0, 200, 16, torch.float32)
    found = sinkhorn(Products(x, x), epsilon=0.01, tolerance=1e-4, max_iterations=2000)
    assert found.converged
    assert found.plan().diagonal().sum() > 0.95


def test_half_precision_and_autocast_compute_in_float32() -> None:
    x, y = unit(0, 12, dtype=torch.float32), unit(1, 12, dtype=torch.float32)
    plain = sinkhorn(Products(x, y), epsilon=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = sinkhorn(Products(x, y), epsilon=0.05)
    assert torch.equal(plain.plan(), inside.plan())
    half = sinkhorn(Products(x.bfloat16(), y.bfloat16()), epsilon=0.05)
    assert half.plan().dtype == torch.float32
    target = sinkhorn(Products(y, x), epsilon=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside_loss = klot(x, y, target)
    assert torch.equal(inside_loss, klot(x, y, target))
    assert klot(x.bfloat16(), y.bfloat16(), target).dtype == torch.bfloat16


def test_threads_do_not_change_the_plan() -> None:
    x, y = unit(0, 300, 16), unit(1, 257, 16)
    threads = torch.get_num_threads()
    plans = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            plans.append(sinkhorn(Products(x, y), epsilon=0.05, tolerance=1e-9).plan())
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(plans[0], plans[1], rtol=1e-9, atol=0)


def test_bad_arguments() -> None:
    scores = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="epsilon is 0"):
        sinkhorn(scores, epsilon=0.0)
    with pytest.raises(ValueError, match="max_iterations is 0"):
        sinkhorn(scores, epsilon=1.0, max_iterations=0)
    with pytest.raises(ValueError, match=r"row_marginal .* sum 1.5.*3 positive weights"):
        sinkhorn(scores, epsilon=1.0, row_marginal=torch.full((3,), 0.5))
    with pytest.raises(ValueError, match=r"column_marginal has shape \[3\]"):
        sinkhorn(scores, epsilon=1.0, column_marginal=torch.full((3,), 1 / 3))
    with pytest.raises(ValueError, match="start is a plan of 3 by 2, the scores are 2 by 2"):
        sinkhorn(scores[:2], epsilon=1.0, start=sinkhorn(scores, epsilon=1.0))
    with pytest.raises(ValueError, match="scores has 0 rows"):
        sinkhorn(scores[:0], epsilon=1.0)
    scores[1, 1] = float("nan")
    with pytest.raises(ValueError, match="row 1, column 1: nan"):
        sinkhorn(scores, epsilon=1.0)


def teacher(n: int, m: int, epsilon: float = 0.1) -> Transport:
    return sinkhorn(
        Products(unit(7, n), unit(8, m)), epsilon=epsilon, tolerance=1e-12, max_iterations=5000
    )


def test_klot_is_the_divergence_of_the_plans() -> None:
    x, y, target = unit(0, 5), unit(1, 4), teacher(5, 4)
    plan = reference.sinkhorn_plan(x @ y.T, epsilon=0.2, iterations=200)
    found = klot(x, y, target, epsilon=0.2, iterations=500)
    torch.testing.assert_close(found, reference.kl(target.plan(), plan), rtol=1e-6, atol=1e-9)


def test_klot_gradient_is_autograd_through_many_unrolled_iterations() -> None:
    x, y, target = unit(0, 5).requires_grad_(), unit(1, 4).requires_grad_(), teacher(5, 4)
    klot(x, y, target, epsilon=0.2, iterations=500).backward()
    unrolled = [unit(0, 5).requires_grad_(), unit(1, 4).requires_grad_()]
    plan = reference.sinkhorn_plan(unrolled[0] @ unrolled[1].T, epsilon=0.2, iterations=200)
    reference.kl(target.plan(), plan).backward()
    torch.testing.assert_close(x.grad, unrolled[0].grad, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(y.grad, unrolled[1].grad, rtol=1e-4, atol=1e-7)


def test_klot_gradient_is_that_of_differences() -> None:
    x, y, target = unit(0, 5), unit(1, 4), teacher(5, 4)
    given = [z.clone().requires_grad_() for z in (x, y)]
    klot(*given, target, epsilon=0.2, iterations=500).backward()
    for side, z in enumerate(given):
        for i, k in ((0, 0), (1, 3), (3, 2)):
            values = []
            for step in (1e-3, -1e-3):
                moved = [x.clone(), y.clone()]
                moved[side][i, k] += step
                values.append(float(klot(*moved, target, epsilon=0.2, iterations=500)))
            assert (values[0] - values[1]) / 2e-3 == pytest.approx(float(z.grad[i, k]), rel=1e-3)


def test_klot_gradient_by_score_is_the_closed_form() -> None:
    # With y the identity, x is the score matrix itself.
    scores, target = (unit(0, 6) @ unit(1, 5).T).requires_grad_(), teacher(6, 5)
    klot(
        scores, torch.eye(5, dtype=torch.float64), target, epsilon=0.05, iterations=5000
    ).backward()
    plan = sinkhorn(scores.detach(), epsilon=0.05, max_iterations=5000).plan()
    expected = (plan - target.plan()) / 0.05
    torch.testing.assert_close(scores.grad, expected, rtol=1e-4, atol=1e-5)


def test_klot_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, target = unit(0, 17).requires_grad_(), unit(1, 13).requires_grad_(), teacher(17, 13)
    whole = torch.autograd.grad(klot(x, y, target), (x, y))
    monkeypatch.setattr(f"{MODULE}.BLOCK_ELEMENTS", 40)
    parts = torch.autograd.grad(klot(x, y, target), (x, y))
    torch.testing.assert_close(parts, whole, rtol=1e-7, atol=1e-10)


def test_klot_descends_to_zero_at_the_teacher() -> None:
    x, y = unit(7, 8), unit(8, 8)
    target = sinkhorn(Products(x, y), epsilon=0.2, tolerance=1e-12, max_iterations=5000)
    assert abs(float(klot(x, y, target, epsilon=0.2, iterations=5000))) < 1e-8
    moving = normalize(x + 0.5 * unit(3, 8), dim=1).requires_grad_()
    losses = []
    for _ in range(40):
        loss = klot(normalize(moving, dim=1), y, target, epsilon=0.2, iterations=30)
        (gradient,) = torch.autograd.grad(loss, moving)
        moving = (moving - 0.2 * gradient).detach().requires_grad_()
        losses.append(loss.item())
    assert losses[0] > 0.02
    assert losses[-1] < 0.1 * losses[0]


def test_klot_refuses_a_target_of_another_batch() -> None:
    with pytest.raises(ValueError, match="target plan is 5 by 4, the embeddings have 4 and 4 rows"):
        klot(unit(0, 4), unit(1, 4), teacher(5, 4))
