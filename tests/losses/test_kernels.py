"""Pins: distances and their gradient by tiles, sums that do not underflow, flat memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import Tensor

from setclip.losses.kernels import (
    LogKernelSums,
    distances_between,
    distances_within,
    exponent_floor,
    kth_neighbour,
    log_kernel_sums,
)


def cloud(seed: int, rows: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("block", [1, 2, 5, 100])
@pytest.mark.parametrize("within", [True, False])
def test_tiles_cover_every_distance_and_pull_every_point(within: bool, block: int) -> None:
    x = (cloud(0, 7) + 50).requires_grad_()
    y = x if within else cloud(1, 4).requires_grad_()
    expected = (x[:, None] - y[None, :]).square().sum(dim=2)
    upstream = cloud(2, 7) @ cloud(3, len(y)).T  # any weights
    distances = distances_within(x.detach()) if within else distances_between(x, y)
    found = torch.full_like(expected, torch.nan)
    grad_x = torch.zeros_like(x)
    grad_y = grad_x if within else torch.zeros_like(y)
    for rows, columns, tile in distances.tiles(block):
        found[rows, columns] = tile.detach()
        weights = upstream[rows, columns]
        if within and rows != columns:
            found[columns, rows] = tile.T
            weights = weights + upstream[columns, rows].T
        distances.add_gradient(weights, rows, columns, grad_x, grad_y)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad((upstream * expected).sum(), (x,) if within else (x, y))
    torch.testing.assert_close(grad_x, wanted[0])
    torch.testing.assert_close(grad_y, wanted[-1])


def test_a_point_is_at_no_distance_from_itself_however_far_the_cloud() -> None:
    x = cloud(0, 6).float() * 1e-3 + 1e3
    ((_, _, tile),) = distances_within(x).tiles(10)
    assert (tile.diagonal() == 0).all()
    assert (tile >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_sums_survive_where_the_kernels_underflow(dtype: torch.dtype) -> None:
    points, centres = cloud(0, 5, dtype), cloud(1, 6, dtype) + 1e3
    rates = torch.full((2, 6), 3.0, dtype=dtype)
    rates[1] = 0.01
    sums = LogKernelSums(5, rates, (0.5, -20.0))
    for rows, columns, tile in distances_between(points, centres).tiles(2):
        sums.add(tile, rows, columns, hollow=False)
    squared = torch.cdist(points.double(), centres.double()).square()
    terms = torch.cat([0.5 - 3.0 * squared, -20.0 - 0.01 * squared], dim=1)
    assert (terms < -1000).all()  # exp() of any of them is 0 in either precision
    torch.testing.assert_close(sums.value().double(), terms.logsumexp(dim=1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("block", [1, 4, 100])
def test_log_sums_of_fixed_centres_pull_points_and_rates(block: int) -> None:
    points, centres = cloud(0, 5).requires_grad_(), cloud(1, 6)
    rates = cloud(2, 6).square().T[:2].clone().requires_grad_()
    value = log_kernel_sums(points, centres, rates, (0.5, -1.0), block=block)
    squared = (points[:, None] - centres).square().sum(dim=2)
    weights = torch.tensor([0.5, -1.0], dtype=torch.float64)[:, None, None]
    expected = (weights - rates[:, None, :] * squared).logsumexp(dim=(0, 2))
    torch.testing.assert_close(value, expected)
    upstream = cloud(3, 5)[:, 0]
    found = torch.autograd.grad(value, (points, rates), upstream)
    torch.testing.assert_close(found, torch.autograd.grad(expected, (points, rates), upstream))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_floor_is_a_normal_number(dtype: torch.dtype) -> None:
    smallest = torch.tensor(exponent_floor(dtype), dtype=dtype).exp()
    assert torch.finfo(dtype).tiny < smallest < torch.finfo(dtype).eps ** 4


@pytest.mark.parametrize("block", [1, 4, 100])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_kth_neighbour(k: int, block: int) -> None:
    x = cloud(0, 11)
    ranked = torch.cdist(x, x).argsort(dim=1)  # a point itself comes first
    assert kth_neighbour(x, k, block=block).tolist() == ranked[:, k].tolist()


MEMORY = """
    import resource, torch
    from setclip.losses import mk_mmd, sdd

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def step(rows):
        x, y = torch.randn(2, rows, 4).requires_grad_().unbind()
        (sdd(x, y, adaptive=3, block=256) + mk_mmd(x, y, block=256)).backward()

    step(64)
    start = peak()
    step(4096)
    print(peak() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_no_matrix_of_all_pairs_is_ever_held() -> None:
    """One such matrix at 4,096 rows is 67 MB; plain autograd keeps several of them."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 33
