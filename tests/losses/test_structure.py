"""Pins: the formula in both forms and its gradient, blocks, invariances, bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import structure as reference
from torch import Tensor

from setclip.losses.structure import structure_loss

FORMS = [{}, {"levels": 3}, {"swapped_kl": True}, {"levels": 2, "swapped_kl": True}]
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


def cloud(seed: int, rows: int, dim: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64)


@every_form
@pytest.mark.parametrize("block", [10, 1 << 22], ids=["blocks", "whole"])
def test_value_and_gradient_are_the_formula(
    form: dict[str, object], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setclip.losses.structure.BLOCK_ELEMENTS", block)
    before, after = cloud(0, 6, 4).requires_grad_(), cloud(1, 6, 3).requires_grad_()
    full = {"levels": 1, "temperature": 0.2, "swapped_kl": False, **form}
    value = structure_loss(before, after, **full)
    expected = reference.structure_loss(before, after, **full)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    found = torch.autograd.grad(value, (before, after))
    wanted = torch.autograd.grad(expected, (before, after))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12)


@every_form
def test_gradcheck(form: dict[str, object]) -> None:
    before, after = cloud(0, 5, 3), cloud(1, 5, 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: structure_loss(before, z, temperature=0.3, **form), after
    )


@every_form
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_unchanged_by_rotation_scale_and_order(
    form: dict[str, object], seed: int, scale: float
) -> None:
    before, after = cloud(seed, 7, 4), cloud(seed + 1, 7, 3)
    rotation, _ = torch.linalg.qr(cloud(seed + 2, 3, 3))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    value = structure_loss(before, after, **form)
    moved = structure_loss(before[order], scale * after[order] @ rotation, **form)
    torch.testing.assert_close(moved, value, rtol=1e-8, atol=1e-12)


@every_form
def test_zero_when_the_head_is_a_rotation_and_positive_otherwise(form: dict[str, object]) -> None:
    before = cloud(0, 8, 3)
    rotation, _ = torch.linalg.qr(cloud(1, 3, 3))
    assert abs(float(structure_loss(before, 2 * before @ rotation, **form))) < 1e-12
    assert float(structure_loss(before, cloud(2, 8, 3), **form)) > 1e-3


def test_true_form_is_bounded_and_symmetric_and_the_published_one_is_neither() -> None:
    before, after = cloud(0, 8, 3), cloud(1, 8, 3)
    true = structure_loss(before, after, temperature=0.01)
    swapped = structure_loss(before, after, temperature=0.01, swapped_kl=True)
    assert float(true) <= reference.MOST < float(swapped)
    torch.testing.assert_close(true, structure_loss(after, before, temperature=0.01))


def test_sharp_neighbourhoods_stay_finite_in_float32_and_half() -> None:
    before = cloud(0, 300, 8)
    after = cloud(1, 300, 4).float().requires_grad_()
    value = structure_loss(before.float(), after, temperature=0.01, levels=3)
    expected = structure_loss(before, after.detach().double(), temperature=0.01, levels=3)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    value.backward()
    assert torch.isfinite(after.grad).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = structure_loss(before.float(), after, temperature=0.01, levels=3)
    assert torch.equal(inside, value)


def test_bad_arguments() -> None:
    z = cloud(0, 5, 3)
    with pytest.raises(ValueError, match="before has 5 rows, after 4"):
        structure_loss(z, z[:4])
    with pytest.raises(ValueError, match="levels is 0"):
        structure_loss(z, z, levels=0)
    with pytest.raises(ValueError, match="temperature is -1"):
        structure_loss(z, z, temperature=-1.0)
    with pytest.raises(ValueError, match="after holds 3 values that are not finite"):
        structure_loss(z, torch.where(torch.arange(5)[:, None] == 2, torch.nan, z))
