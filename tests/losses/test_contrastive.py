"""Pins: the formulas, their gradients, what counts as a negative and as a positive, errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import losses as reference
from torch import Tensor

from setclip.losses import clip_loss, siglip_loss


def unit_rows(seed: int, rows: int, dim: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(z, dim=1).to(dtype)


DUPLICATES = torch.tensor(
    [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]], dtype=torch.bool
)


@pytest.mark.parametrize("positives", [None, DUPLICATES], ids=["pairs", "duplicates"])
@pytest.mark.parametrize("extras", [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_clip_loss_is_its_formula(extras: tuple[int, int], positives: Tensor | None) -> None:
    x, y = unit_rows(0, 4), unit_rows(1, 4)
    extra_x, extra_y = unit_rows(2, extras[0]), unit_rows(3, extras[1])
    expected = reference.clip_loss(
        x,
        y,
        temperature=0.3,
        extra_x=extra_x,
        extra_y=extra_y,
        positives=None if positives is None else positives.tolist(),
    )
    value = clip_loss(
        x,
        y,
        temperature=0.3,
        extra_x=extra_x if extras[0] else None,
        extra_y=extra_y if extras[1] else None,
        positives=positives,
    )
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("positives", [None, DUPLICATES], ids=["pairs", "duplicates"])
def test_siglip_loss_is_its_formula(positives: Tensor | None) -> None:
    x, y = unit_rows(0, 4), unit_rows(1, 4)
    expected = reference.siglip_loss(
        x, y, scale=7.0, bias=-2.0, positives=None if positives is None else positives.tolist()
    )
    value = siglip_loss(x, y, scale=7.0, bias=-2.0, positives=positives)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


def test_gradients_reach_embeddings_extras_and_learned_scalars() -> None:
    x, y = unit_rows(0, 4).requires_grad_(), unit_rows(1, 4).requires_grad_()
    extra = unit_rows(2, 2).requires_grad_()
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, b, c, t: clip_loss(a, b, temperature=t, extra_y=c, positives=DUPLICATES),
        (x, y, extra, temperature),
    )
    assert torch.autograd.gradcheck(
        lambda a, b, t, c: siglip_loss(a, b, scale=t, bias=c, positives=DUPLICATES),
        (x, y, temperature, bias),
    )


def test_a_collapsed_space_costs_the_logarithm_of_the_choices() -> None:
    same = torch.ones(6, 3) / math.sqrt(3)
    assert clip_loss(same, same).item() == pytest.approx(math.log(6))
    assert clip_loss(same, same, extra_y=same, extra_x=same).item() == pytest.approx(math.log(12))
    assert siglip_loss(same, same, scale=1.0, bias=-1.0).item() == pytest.approx(math.log(2))


def test_orthogonal_pairs_have_a_closed_form() -> None:
    x = torch.eye(5, dtype=torch.float64)
    expected = math.log(1 + 4 * math.exp(-1 / 0.05))
    assert clip_loss(x, x).item() == pytest.approx(expected, rel=1e-6)


def test_positives_may_leave_the_diagonal_out() -> None:
    x, y = unit_rows(0, 4), unit_rows(1, 4)
    without = DUPLICATES & ~torch.eye(4, dtype=torch.bool)
    assert clip_loss(x, y, positives=without) == clip_loss(x, y, positives=DUPLICATES)


def test_a_duplicate_marked_as_positive_is_not_pushed_away() -> None:
    # Rows 0 and 1 are the same item on both sides: marked, their embeddings are at the optimum.
    x = torch.eye(4, dtype=torch.float64)[[0, 0, 1, 2]].requires_grad_()
    y = x.detach().clone()
    same_item = torch.zeros(4, 4, dtype=torch.bool)
    same_item[0, 1] = same_item[1, 0] = True
    (marked,) = torch.autograd.grad(clip_loss(x, y, positives=same_item), x)
    (unmarked,) = torch.autograd.grad(clip_loss(x, y, temperature=0.05), x)
    assert marked[0].abs().max() < 1e-6
    torch.testing.assert_close(unmarked[0], marked[0])  # identical copies pull and push alike
    apart = y.clone()
    apart[1] = torch.tensor([0.8, 0.6, 0, 0], dtype=torch.float64)
    (pulled,) = torch.autograd.grad(clip_loss(x, apart, positives=same_item), x)
    assert -pulled[0] @ apart[1] > 0.01  # the marked copy attracts


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 8))
def test_laws_of_clip_loss(seed: int, rows: int) -> None:
    x, y = unit_rows(seed, rows), unit_rows(seed + 1, rows)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(unit_rows(seed + 2, 4)).Q
    value = clip_loss(x, y, temperature=0.2)
    assert value > 0
    torch.testing.assert_close(clip_loss(y, x, temperature=0.2), value)
    torch.testing.assert_close(clip_loss(x[order], y[order], temperature=0.2), value)
    torch.testing.assert_close(clip_loss(x @ rotation, y @ rotation, temperature=0.2), value)
    more = clip_loss(x, y, temperature=0.2, extra_x=x[:1] * -1, extra_y=y[:1] * -1)
    assert more > value  # negatives only add to the choice


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, y = (unit_rows(s, 16, 8, dtype).requires_grad_() for s in (0, 1))
    value = clip_loss(x, y) + siglip_loss(x, y, scale=10.0, bias=-10.0)
    value.backward()
    exact_x, exact_y = x.detach().double(), y.detach().double()
    exact = clip_loss(exact_x, exact_y) + siglip_loss(exact_x, exact_y, scale=10.0, bias=-10.0)
    assert value.dtype is torch.float32
    assert x.grad is not None
    assert x.grad.dtype is dtype
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_autocast_does_not_lower_the_precision() -> None:
    x, y = unit_rows(0, 8, dtype=torch.float32), unit_rows(1, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = clip_loss(x=x, y=y)
    assert inside == clip_loss(x, y)


def test_bad_input_is_named() -> None:
    x, y = unit_rows(0, 4), unit_rows(1, 4)
    with pytest.raises(ValueError, match="x has 4 rows and y has 3"):
        clip_loss(x, y[:3])
    with pytest.raises(ValueError, match="x has 1 row; at least 2"):
        clip_loss(x[:1], y[:1])
    assert clip_loss(x[:1], y[:1], extra_y=y[1:]) > 0  # one pair will do beside negatives
    with pytest.raises(ValueError, match="temperature is 0;"):
        clip_loss(x, y, temperature=0.0)
    with pytest.raises(ValueError, match="scale is nan;"):
        siglip_loss(x, y, scale=torch.tensor(float("nan")), bias=0.0)
    with pytest.raises(ValueError, match=r"y has 4 columns and extra_y has 3"):
        clip_loss(x, y, extra_y=y[:, :3])
    with pytest.raises(ValueError, match=r"positives is torch.int64 of shape \[4, 4\]"):
        clip_loss(x, y, positives=DUPLICATES.long())
    with pytest.raises(ValueError, match=r"shape \[3, 3\]; give a bool matrix of shape \[4, 4\]"):
        siglip_loss(x, y, scale=1.0, bias=0.0, positives=DUPLICATES[:3, :3])


@pytest.mark.parametrize("name", ["extra_x", "extra_y"])
def test_further_rows_may_be_of_another_precision(name: str) -> None:
    x, y, extra = (unit_rows(seed, 4) for seed in range(3))
    expected = clip_loss(x, y, temperature=0.3, **{name: extra})
    mixed = clip_loss(x.float(), y.float(), temperature=0.3, **{name: extra})
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=0)
