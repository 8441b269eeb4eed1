"""Pins: the published formula and each option against slow loops, gradients, laws, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import losses as reference
from torch import Tensor

from setclip.losses import log_density, sdd

FORMS = [
    {},
    {"bandwidth": 0.25},
    {"bandwidth": (0.2, 0.5, 1.0)},
    {"normalise": True},
    {"leave_one_out": True},
    {"adaptive": 2},
    {"bandwidth": [0.3, 0.6], "normalise": True, "leave_one_out": True, "adaptive": 1},
]
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


def cloud(seed: int, rows: int, dim: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return (z * (1 + 0.2 * seed) + 0.3 * seed).to(dtype)


def assert_same_value_and_gradient(
    value: Tensor, expected: Tensor, inputs: Sequence[Tensor], rtol: float = 1e-9
) -> None:
    torch.testing.assert_close(value, expected, rtol=rtol, atol=0)
    gradients = torch.autograd.grad(value, inputs)
    for got, wanted in zip(gradients, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(got, wanted, rtol=rtol, atol=rtol * float(wanted.abs().max()))


@every_form
@pytest.mark.parametrize("block", [1, 4, 1024])
@pytest.mark.parametrize("kept_rows", [0, 100], ids=["tiles recomputed", "tiles kept"])
def test_value_and_gradient_are_the_formula(
    form: dict[str, object], block: int, kept_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setclip.losses.kernels.KEPT_ROWS", kept_rows)
    x, y = cloud(0, 9).requires_grad_(), cloud(1, 7).requires_grad_()
    assert_same_value_and_gradient(
        sdd(x, y, **form, block=block), reference.sdd(x, y, **form), (x, y)
    )


def test_the_formula_holds_far_from_the_origin() -> None:
    x, y = (cloud(0, 9) + 1e4).requires_grad_(), (cloud(1, 7) + 1e4).requires_grad_()
    assert_same_value_and_gradient(sdd(x, y), reference.sdd(x, y), (x, y), rtol=1e-6)


@every_form
def test_gradcheck(form: dict[str, object]) -> None:
    x, y = cloud(0, 5).requires_grad_(), cloud(1, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: sdd(a, b, **form, block=3), (x, y))


def test_one_side_may_be_fixed() -> None:
    x, y = cloud(0, 6), cloud(1, 5)
    both = torch.autograd.grad(sdd(x.requires_grad_(), y.requires_grad_()), (x, y))
    (x_alone,) = torch.autograd.grad(sdd(x, y.detach()), x)
    (y_alone,) = torch.autograd.grad(sdd(x.detach(), y), y)
    torch.testing.assert_close((x_alone, y_alone), both)


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    x = cloud(0, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(sdd(x, cloud(1, 6)), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@every_form
@pytest.mark.parametrize("block", [1, 4, 1024])
@pytest.mark.parametrize("kept_rows", [0, 100], ids=["tiles recomputed", "tiles kept"])
def test_with_a_memory_it_is_the_formula(
    form: dict[str, object], block: int, kept_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setclip.losses.kernels.KEPT_ROWS", kept_rows)
    x, y = cloud(0, 6).requires_grad_(), cloud(1, 5).requires_grad_()
    memory = {"memory_x": cloud(2, 4), "memory_y": cloud(3, 6)}
    value = sdd(x, y, **memory, **form, block=block)
    assert_same_value_and_gradient(value, reference.sdd(x, y, **memory, **form), (x, y))


@every_form
def test_gradcheck_with_a_memory(form: dict[str, object]) -> None:
    x, y, memory = cloud(0, 4).requires_grad_(), cloud(1, 3).requires_grad_(), cloud(2, 5)
    assert torch.autograd.gradcheck(
        lambda a, b: sdd(a, b, memory_x=memory, memory_y=-memory, **form, block=3), (x, y)
    )


def test_a_memory_is_not_pulled_and_may_be_one_sided_or_empty() -> None:
    x, y = cloud(0, 6).requires_grad_(), cloud(1, 5)
    memory = cloud(2, 4).requires_grad_()
    value = sdd(x, y, memory_x=memory)
    torch.testing.assert_close(value, reference.sdd(x, y, memory_x=memory.detach()))
    value.backward()
    assert memory.grad is None
    assert sdd(x, y, memory_x=cloud(2, 0), memory_y=cloud(2, 0)) == sdd(x, y)


def test_a_memory_of_the_whole_pool_takes_the_noise_of_the_batch_away() -> None:
    """The law that the memory is for: two draws from one distribution, compared more fairly."""
    with_memory, without = [], []
    for seed in range(4):
        x, y, memory_x, memory_y = torch.randn(
            4, 1000, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        batch = x[:50], y[:50]
        without.append(sdd(*batch, normalise=True))
        with_memory.append(sdd(*batch, normalise=True, memory_x=memory_x, memory_y=memory_y))
    assert sum(with_memory) < 0.3 * sum(without)


def test_a_memory_belongs_to_no_set() -> None:
    x, sets = cloud(0, 4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match="memory_x and memory_y belong to no set"):
        sdd(x, cloud(1, 4), x_sets=sets, y_sets=sets, memory_y=cloud(2, 3))


def test_a_memory_of_another_width_is_named() -> None:
    with pytest.raises(ValueError, match="x has 3 columns and memory_x has 2"):
        sdd(cloud(0, 4), cloud(1, 4), memory_x=cloud(2, 3, 2))


IN_SETS = (
    [0] * 3 + [1] * 2 + [2] * 4 + [-1] * 3 + [4] + [7] * 4,
    [7] * 3 + [1] * 3 + [2] * 3 + [-1] * 2 + [0] * 3 + [4] * 3,
)


@every_form
@pytest.mark.parametrize("statistics", ["batch", "set"])
def test_in_sets_it_is_the_mean_of_the_formula(form: dict[str, object], statistics: str) -> None:
    if statistics == "set" and "adaptive" in form:
        form = {**form, "adaptive": 1}  # the smallest set has two rows
    x, y = cloud(0, 17).requires_grad_(), cloud(1, 17).requires_grad_()
    x_sets, y_sets = IN_SETS
    value = sdd(
        x,
        y,
        **form,
        x_sets=torch.tensor(x_sets),
        y_sets=torch.tensor(y_sets),
        statistics=statistics,
    )
    if statistics == "batch":
        expected = reference.sdd_in_sets(x, y, x_sets, y_sets, **form)
    else:
        expected = reference.mean_over_sets(
            lambda a, b: reference.sdd(a, b, **form), x, y, x_sets, y_sets
        )
    assert_same_value_and_gradient(value, expected, (x, y))


def test_adaptive_widths_in_small_sets_reach_to_the_farthest_neighbour() -> None:
    # The pairs of sets share a padded batch, the set of nine has one to itself.
    x, y = cloud(0, 15), cloud(1, 15)
    ids = torch.tensor([0] * 3 + [1] * 3 + [2] * 9)
    value = sdd(x, y, adaptive=8, x_sets=ids, y_sets=ids, statistics="set")
    expected = [
        reference.sdd(x[ids == s], y[ids == s], adaptive=rank) for s, rank in enumerate((2, 2, 8))
    ]
    torch.testing.assert_close(value, sum(expected) / 3, rtol=1e-9, atol=0)
    ids = torch.tensor([0] * 6 + [1] * 6 + [2] * 3)
    value = sdd(x, y, adaptive=5, x_sets=ids, y_sets=ids, statistics="set")
    expected = [
        reference.sdd(x[ids == s], y[ids == s], adaptive=rank) for s, rank in enumerate((5, 5, 2))
    ]
    torch.testing.assert_close(value, sum(expected) / 3, rtol=1e-9, atol=0)


def test_two_points_against_two_points_has_a_closed_form() -> None:
    # V = 2 a² for the points ±a; the exponent of a distance r is −r² / V at h = ½.
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    y = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    c = 3 / (2 * math.pi * 0.25 * 16)
    x_on_x, y_on_y = c * (1 + math.exp(-4 / 2)), c * (1 + math.exp(-16 / 8))
    y_on_x = c * (math.exp(-1 / 8) + math.exp(-9 / 8))
    x_on_y = c * (math.exp(-1 / 2) + math.exp(-9 / 2))
    one_way = 2 * (x_on_x - y_on_x) * math.log(x_on_x / y_on_x)
    other_way = 2 * (x_on_y - y_on_y) * math.log(x_on_y / y_on_y)
    expected = (one_way + other_way) * (1 / 4 + 1 / 16)
    assert sdd(x, y).item() == pytest.approx(expected, rel=1e-12)
    # Two points and their mirror images: each probability is ½ under both.
    assert sdd(x, y, normalise=True).item() == pytest.approx(0, abs=1e-15)


def per_spread(x: Tensor, y: Tensor) -> float:
    return (1 / reference.spread(x) + 1 / reference.spread(y)).item()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 9),
    m=st.integers(3, 9),
    form=st.sampled_from(FORMS),
)
def test_laws(seed: int, n: int, m: int, form: dict[str, object]) -> None:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.randn(m, 3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(cloud(0, 3)).Q
    value = sdd(x, y, **form)
    assert value >= 0
    for same in (
        sdd(y, x, **form),
        sdd(x[order], y, **form),
        sdd(x + 5, y + 5, **form),
        sdd(3 * x, 3 * y, **form) * 9,  # densities do not change, squared ranges do
        sdd(x @ rotation, y @ rotation, **form)
        * per_spread(x, y)
        / per_spread(x @ rotation, y @ rotation),  # only the ranges see the axes
    ):
        torch.testing.assert_close(same, value, rtol=1e-7, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 8))
def test_repeating_every_row(seed: int, n: int) -> None:
    """Four times the published loss, once the normalised one, but for n − 1 in the variance."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    twice = torch.cat([x, x]), torch.cat([y, y])
    # The unbiased variance of the doubled set is a little smaller: a narrower bandwidth.
    shrink = 2 * (n - 1) / (2 * n - 1)
    narrower = 0.5 * math.sqrt(shrink)
    expected = 4 * shrink * sdd(x, y, bandwidth=narrower)  # c goes as 1 / h²
    torch.testing.assert_close(sdd(*twice), expected, rtol=1e-9, atol=1e-14)
    normalised = sdd(x, y, bandwidth=narrower, normalise=True)
    torch.testing.assert_close(sdd(*twice, normalise=True), normalised, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("form", [f for f in FORMS if "leave_one_out" not in f], ids=str)
def test_identical_sets_cost_nothing_and_pull_nowhere(form: dict[str, object]) -> None:
    x = cloud(0, 40, 8).requires_grad_()
    value = sdd(x, x.detach(), **form)
    (gradient,) = torch.autograd.grad(value, x)
    assert 0 <= value < 1e-20
    assert gradient.abs().max() < 1e-12
    assert 0 <= sdd(x.float(), x.float(), **form) < 1e-8


def test_left_out_points_make_identical_sets_differ() -> None:
    x = cloud(0, 40, 8)
    assert sdd(x, x, leave_one_out=True) > 1e-3


@every_form
def test_far_apart_sets_in_float32(form: dict[str, object]) -> None:
    # Exponents reach −1,000 and more: every density of the other set underflows.
    x, y = cloud(0, 12), cloud(1, 12) + 50
    lower = [z.float().requires_grad_() for z in (x, y)]
    exact = [z.detach().double().requires_grad_() for z in lower]
    value, wanted = sdd(*lower, **form), sdd(*exact, **form)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-3)
    for got, full in zip(
        torch.autograd.grad(value, lower), torch.autograd.grad(wanted, exact), strict=True
    ):
        torch.testing.assert_close(
            got.double(), full, rtol=1e-2, atol=1e-2 * float(full.abs().max())
        )


@every_form
@pytest.mark.parametrize("distance", [1e4, 1e6])
def test_absurdly_far_apart_sets_still_attract(form: dict[str, object], distance: float) -> None:
    # Here float32 rounds the exponents themselves by more than 1.
    x, y = cloud(0, 12).float().requires_grad_(), (cloud(1, 12) + distance).float()
    value = sdd(x, y, **form)
    (gradient,) = torch.autograd.grad(value, x)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if not form.get("normalise"):
        assert gradient.sum() < 0  # downhill is towards y, which lies in the positive direction


@pytest.mark.parametrize("bandwidth", [1e-3, 1e-2, 30.0])
def test_extreme_bandwidths_are_finite_in_float32(bandwidth: float) -> None:
    x, y = cloud(0, 20, 64).float().requires_grad_(), cloud(1, 20, 64).float()
    for options in ({}, {"normalise": True}, {"leave_one_out": True}):
        value = sdd(x, y, bandwidth=bandwidth, **options)
        (gradient,) = torch.autograd.grad(value, x)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_copies_of_a_point_do_not_break_adaptive_widths() -> None:
    x = torch.cat([cloud(0, 6), cloud(0, 1).expand(5, -1)]).requires_grad_()
    value = sdd(x, cloud(1, 8), adaptive=2)
    torch.testing.assert_close(value, reference.sdd(x, cloud(1, 8), adaptive=2), rtol=1e-9, atol=0)
    assert torch.autograd.grad(value, x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, y = cloud(0, 60, 16, dtype).requires_grad_(), cloud(1, 50, 16, dtype).requires_grad_()
    value = sdd(x, y)
    gradients = torch.autograd.grad(value, (x, y))
    exact_x, exact_y = (z.detach().double().requires_grad_() for z in (x, y))
    exact = sdd(exact_x, exact_y)
    assert value.dtype is torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    for lower, full in zip(gradients, torch.autograd.grad(exact, (exact_x, exact_y)), strict=True):
        assert lower.dtype is dtype
        error = (lower.double() - full).abs().max() / full.abs().max()
        assert error < max(torch.finfo(dtype).eps, 1e-5)


def test_mixed_precision_meets_in_the_higher_one() -> None:
    x, y = cloud(0, 6, dtype=torch.bfloat16), cloud(1, 6)
    assert sdd(x, y) == sdd(x.double(), y)


def test_autocast_does_not_lower_the_precision() -> None:
    x, y = cloud(0, 20, dtype=torch.float32).requires_grad_(), cloud(1, 20, dtype=torch.float32)
    (outside,) = torch.autograd.grad(sdd(x, y), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (inside,) = torch.autograd.grad(sdd(x, y), x)
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"bandwidth": (0.3, 0.6)}, {"adaptive": 2}], ids=str)
def test_log_density_is_the_formula(options: dict[str, object]) -> None:
    points, under = cloud(0, 5), cloud(1, 7)
    scales = reference.kernel_scales(under, options.get("adaptive"))
    widths = options.get("bandwidth", (0.5,))
    value = log_density(points.requires_grad_(), under, **options, block=3)
    assert not value.requires_grad
    for u, log_p in zip(points.detach(), value, strict=True):
        p = reference.density(u, under, scales, bandwidths=widths)
        assert log_p.item() == pytest.approx(math.log(p), rel=1e-9)


def test_log_density_without_the_point_itself() -> None:
    under = cloud(1, 7)
    scales = reference.kernel_scales(under, None)
    for block in (1, 3, 1024):
        value = log_density(under, under, leave_one_out=True, block=block)
        for i, log_p in enumerate(value):
            p = reference.density(under[i], under, scales, leave_out=i)
            assert log_p.item() == pytest.approx(math.log(p), rel=1e-9)
    with pytest.raises(ValueError, match="there are 5 points and 7 rows"):
        log_density(cloud(0, 5), under, leave_one_out=True)


def test_log_density_takes_a_single_point() -> None:
    assert log_density(cloud(0, 1), cloud(1, 7)).shape == (1,)


def test_bad_options_are_named() -> None:
    x, y = cloud(0, 4), cloud(1, 6)
    with pytest.raises(ValueError, match="bandwidth is 0;"):
        sdd(x, y, bandwidth=0.0)
    with pytest.raises(ValueError, match="bandwidth is empty"):
        sdd(x, y, bandwidth=())
    with pytest.raises(ValueError, match="bandwidth is inf;"):
        sdd(x, y, bandwidth=(0.5, float("inf")))
    with pytest.raises(ValueError, match=r"adaptive is 4 but x has 4 rows; .* 1 to 3"):
        sdd(x, y, adaptive=4)
    with pytest.raises(ValueError, match="adaptive is 0; give the rank of a neighbour from 1"):
        sdd(x, y, adaptive=0)


def test_a_set_without_variance_is_named_by_its_id() -> None:
    x = torch.cat([cloud(0, 2), cloud(0, 1).expand(2, -1)])
    sets = torch.tensor([4, 4, 9, 9])
    with pytest.raises(ValueError, match="set 9 has total variance"):
        sdd(x, cloud(1, 4), x_sets=sets, y_sets=sets, statistics="set")
    assert sdd(x, cloud(1, 4), x_sets=sets, y_sets=sets).isfinite()


def test_a_batch_that_collapsed_is_named_whatever_the_memory_holds() -> None:
    x = cloud(0, 1).expand(6, -1)
    with pytest.raises(ValueError, match="x has total variance"):
        sdd(x, cloud(1, 6), memory_x=cloud(2, 8), memory_y=cloud(3, 8))


@pytest.mark.parametrize("form", ["adaptive", "sets", "statistics of sets"])
def test_gradients_do_not_depend_on_how_threads_take_turns(form: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(512, 128), torch.randn(512, 128)
    ids = torch.arange(512) // 8
    options: dict[str, Any] = {
        "adaptive": {"adaptive": 10},
        "sets": {"x_sets": ids, "y_sets": ids},
        "statistics of sets": {"x_sets": ids, "y_sets": ids, "statistics": "set"},
    }[form]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(4):
            z = x.clone().requires_grad_()
            sdd(z, y, **options).backward()
            assert z.grad is not None
            found.append(z.grad)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found)
