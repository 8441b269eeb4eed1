"""Pins: contrastive losses by tiles are the losses on whole matrices, and hold no such matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from setclip.losses import clip_loss, mk_mmd, nt_xent, sdd, siglip_loss, similarities

ROWS, EXTRA_X, EXTRA_Y = 7, 3, 5


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes every loss go by tiles of three rows, or by whole matrices."""

    def by(cells: int) -> None:
        monkeypatch.setattr(similarities, "DENSE_CELLS", cells)
        monkeypatch.setattr(similarities, "BLOCK", 3)

    return by


def unit_rows(seed: int, rows: int, dim: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return normalize(z, dim=1).to(dtype)


def leaves(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    found = {
        "x": unit_rows(0, ROWS, dtype=dtype),
        "y": unit_rows(1, ROWS, dtype=dtype),
        "extra_x": unit_rows(2, EXTRA_X, dtype=dtype),
        "extra_y": unit_rows(3, EXTRA_Y, dtype=dtype),
        "number": torch.tensor(0.4, dtype=dtype),
        "bias": torch.tensor(-1.0, dtype=dtype),
    }
    return {name: tensor.requires_grad_() for name, tensor in found.items()}


# Row 2 is its own positive alone, row 4 is not even that.
POSITIVES = torch.rand(ROWS, ROWS, generator=torch.Generator().manual_seed(4)) < 0.3
POSITIVES[2] = torch.eye(ROWS, dtype=torch.bool)[2]
POSITIVES[4, 4] = False

LOSSES = {
    "clip": lambda t: clip_loss(t["x"], t["y"], temperature=t["number"]),
    "clip with extras": lambda t: clip_loss(
        t["x"], t["y"], extra_x=t["extra_x"], extra_y=t["extra_y"], temperature=0.1
    ),
    "clip with positives": lambda t: clip_loss(
        t["x"], t["y"], extra_y=t["extra_y"], positives=POSITIVES, temperature=t["number"]
    ),
    "clip of one set with itself": lambda t: clip_loss(t["x"], t["x"]),
    "siglip": lambda t: siglip_loss(t["x"], t["y"], scale=t["number"], bias=t["bias"]),
    "siglip with positives": lambda t: siglip_loss(
        t["x"], t["y"], scale=20.0, bias=t["bias"], positives=POSITIVES
    ),
    "nt_xent": lambda t: nt_xent(t["x"], t["y"], temperature=t["number"]),
    "nt_xent, cold": lambda t: nt_xent(t["x"], t["y"], temperature=1e-3),
}


def value_and_gradients(loss: Callable[[dict[str, Tensor]], Tensor]) -> dict[str, Tensor]:
    inputs = leaves()
    value = loss(inputs)
    value.backward()
    gradients = {name: t.grad for name, t in inputs.items() if t.grad is not None}
    return {"value": value.detach(), **gradients}


@pytest.mark.parametrize("name", LOSSES)
def test_tiles_give_value_and_gradients_of_the_whole(
    tiles: Callable[[int], None], name: str
) -> None:
    tiles(10**9)
    whole = value_and_gradients(LOSSES[name])
    tiles(0)
    by_tiles = value_and_gradients(LOSSES[name])
    assert by_tiles.keys() == whole.keys()
    for entry, expected in whole.items():
        torch.testing.assert_close(by_tiles[entry], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["clip with positives", "siglip with positives", "nt_xent"])
def test_gradient_of_tiles_is_that_of_differences(tiles: Callable[[int], None], name: str) -> None:
    tiles(0)
    inputs = leaves()

    def function(*tensors: Tensor) -> Tensor:
        return LOSSES[name](dict(zip(inputs, tensors, strict=True)))

    assert torch.autograd.gradcheck(function, tuple(inputs.values()))


@pytest.mark.parametrize("extra", [0, 500])
def test_float32_is_exact_to_a_millionth_at_size(extra: int) -> None:
    # Beyond the switch with several real tiles, the last one cut off.
    x, y, more = (unit_rows(s, n, 16, torch.float32) for s, n in enumerate((700, 700, 500)))

    def total(x: Tensor, y: Tensor, more: Tensor) -> Tensor:
        extras = {"extra_y": more} if extra else {}
        return clip_loss(x, y, **extras) + siglip_loss(x, y, scale=10.0, bias=-6.0) + nt_xent(x, y)

    single, double = x.clone().requires_grad_(), x.double().requires_grad_()
    found, expected = total(single, y, more), total(double, y.double(), more.double())
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert single.grad is not None
    assert double.grad is not None
    error = (single.grad - double.grad).abs().max() / double.grad.abs().max()
    assert error < 2e-6


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // 4)
        return result


@pytest.mark.parametrize(
    "loss",
    [
        clip_loss,
        nt_xent,
        sdd,
        mk_mmd,
        lambda x, y: siglip_loss(x, y, scale=10.0, bias=-6.0),
        lambda x, y: clip_loss(x, y, extra_x=y, extra_y=x),
    ],
    ids=["clip", "nt_xent", "sdd", "mk_mmd", "siglip", "clip with extras"],
)
def test_no_matrix_of_all_rows_is_ever_held(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    x, y = (unit_rows(s, 1200, 8, torch.float32).requires_grad_() for s in (0, 1))
    with Largest() as largest:
        loss(x, y).backward()
    assert 1200 * 8 < largest.elements <= 512 * 512
