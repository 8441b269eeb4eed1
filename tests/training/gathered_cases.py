"""Every loss on a batch that two processes hold: what they run, and what one process must find.

It stands in a module of its own because the processes have to import it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel
from training.forked import meet

from setclip.losses import (
    Products,
    clip_loss,
    klot,
    mk_mmd,
    nt_xent,
    sdd,
    siglip_loss,
    sinkhorn,
    structure_loss,
)
from setclip.training.cached_gradients import Call, Objective, accumulate
from setclip.training.distributed import gather_rows, rank, world_size

SEED = (3, 14)
WIDTHS = {"x": 6, "y": 5}
DTYPES = {"float64": torch.float64, "float32": torch.float32}


class Tower(nn.Module):
    """Features to unit rows, every row by itself."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 4)
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return normalize(self.layers(batch["features"]), dim=1)


@dataclass(frozen=True)
class Data:
    """A call's rows: features and set ids, of which each process holds some."""

    features: Tensor
    sets: Tensor


def data(name: str, rows: int, dtype: torch.dtype) -> Data:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    features = torch.randn(rows, WIDTHS[name[0]], generator=generator, dtype=torch.float64)
    return Data(features.to(dtype), torch.randint(0, 3, (rows,), generator=generator))


@dataclass(frozen=True)
class Case:
    """A loss, the rows of each call on each process, and numbers that are learned beside it.

    The towers are `x` and `y`; a call is embedded by the one whose letter its name begins with.
    """

    loss: Callable[[dict[str, Tensor], dict[str, Data], dict[str, Tensor]], Tensor]
    rows: dict[str, tuple[int, int]]
    learned: dict[str, float] = field(default_factory=dict)


def same_set(d: dict[str, Data]) -> Tensor:
    return d["x"].sets[:, None] == d["y"].sets


PAIRS = {"x": (5, 3), "y": (5, 3)}
POOLS = {"x": (7, 4), "y": (4, 8)}
CASES = {
    "clip": Case(lambda z, d, t: clip_loss(z["x"], z["y"]), PAIRS),
    "clip with extras": Case(
        lambda z, d, t: clip_loss(
            z["x"],
            z["y"],
            temperature=t["log temperature"].exp(),
            extra_x=z["x extra"],
            extra_y=z["y extra"],
            positives=same_set(d),
        ),
        PAIRS | {"x extra": (4, 0), "y extra": (1, 2)},
        {"log temperature": -1.5},
    ),
    "siglip": Case(
        lambda z, d, t: siglip_loss(
            z["x"], z["y"], scale=t["scale"], bias=t["bias"], positives=same_set(d)
        ),
        {"x": (0, 6), "y": (0, 6)},
        {"scale": 8.0, "bias": -2.0},
    ),
    "sdd": Case(lambda z, d, t: sdd(z["x"], z["y"]), {"x": (7, 4), "y": (0, 6)}),
    "sdd in sets": Case(
        lambda z, d, t: sdd(z["x"], z["y"], x_sets=d["x"].sets, y_sets=d["y"].sets), POOLS
    ),
    "sdd with memory": Case(
        lambda z, d, t: sdd(
            z["x"],
            z["y"],
            normalise=True,
            memory_x=normalize(d["x"].features[:, :4], dim=1),
            memory_y=normalize(d["y"].features[:, :4], dim=1),
        ),
        POOLS,
    ),
    "mk_mmd": Case(lambda z, d, t: mk_mmd(z["x"], z["y"]), {"x": (7, 4), "y": (6, 0)}),
    "mk_mmd in sets": Case(
        lambda z, d, t: mk_mmd(
            z["x"], z["y"], x_sets=d["x"].sets, y_sets=d["y"].sets, statistics="set"
        ),
        POOLS,
    ),
    "structure": Case(
        lambda z, d, t: structure_loss(d["x"].features, z["x"], levels=2), {"x": (7, 4)}
    ),
    "nt_xent": Case(
        lambda z, d, t: nt_xent(z["x one view"], z["x other view"]),
        {"x one view": (5, 3), "x other view": (5, 3)},
    ),
    "transport": Case(
        lambda z, d, t: klot(
            z["x"],
            z["y"],
            sinkhorn(Products(d["x"].features[:, :5], d["y"].features), epsilon=0.5),
            epsilon=0.3,
        ),
        POOLS,
    ),
}


def towers(dtype: torch.dtype) -> dict[str, Tower]:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return {name: Tower(width).to(dtype) for name, width in WIDTHS.items()}


def numbers(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: torch.tensor(value, dtype=dtype, requires_grad=True)
        for name, value in case.learned.items()
    }


def whole(gradient: Tensor) -> Tensor:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def gradients(modules: dict[str, nn.Module], learned: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {
        f"tower {name}.{key.removeprefix('module.')}": whole(p.grad)
        for name, module in modules.items()
        for key, p in module.named_parameters()
        if p.grad is not None
    }
    return found | {f"learned {name}": t.grad for name, t in learned.items() if t.grad is not None}


def alone(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Loss and gradients of one process with all rows, by plain autograd."""
    case, both = CASES[name], towers(dtype)
    all_data = {call: data(call, sum(rows), dtype) for call, rows in case.rows.items()}
    embedded = {call: both[call[0]]({"features": d.features}) for call, d in all_data.items()}
    learned = numbers(case, dtype)
    value = case.loss(embedded, all_data, learned)
    value.backward()
    return {"value": value.detach(), **gradients(dict(both), learned)}


def wrapped(module: Tower, wrapper: str | None) -> nn.Module:
    """The module with averaged gradients, or with its parameters divided among the processes."""
    if wrapper == "ddp":
        return DistributedDataParallel(module)
    if wrapper == "fsdp":
        mesh = init_device_mesh("cpu", (2,))
        fully_shard(module.layers[0], mesh=mesh)
        fully_shard(module, mesh=mesh)
    return module


def together(
    name: str, dtype: torch.dtype, chunk: int | None, wrapper: str | None
) -> dict[str, Tensor]:
    """The same with this process's part of the rows."""
    case = CASES[name]
    used = {call[0] for call in case.rows}
    modules = {n: wrapped(m, wrapper) for n, m in towers(dtype).items() if n in used}
    calls, all_data = {}, {}
    for call, rows in case.rows.items():
        start = sum(rows[: rank()])
        whole = data(call, sum(rows), dtype)
        own = whole.features[start : start + rows[rank()]]
        sets, _ = gather_rows(whole.sets[start : start + rows[rank()]])
        calls[call] = Call(modules[call[0]], {"features": own})
        all_data[call] = Data(gather_rows(own)[0], sets)
    learned = numbers(case, dtype)
    objective: Objective = lambda z: {"loss": case.loss(z, all_data, learned)}  # noqa: E731
    scale = float(world_size()) if wrapper else 1.0
    terms = accumulate(calls, objective, chunk=chunk, seed=SEED, scale=scale)
    return {
        "value": torch.tensor(terms["loss"], dtype=torch.float64),
        **gradients(modules, learned),
    }


def keys() -> list[tuple[str, str, int | None, str | None]]:
    return [
        (name, dtype, chunk, wrapper)
        for name in CASES
        for dtype in DTYPES
        for chunk in (None, 2)
        for wrapper in (None, "ddp", "fsdp")
        if wrapper is None or dtype == "float64"
    ]


def member(number: int, folder: Path) -> None:
    """What each of two processes runs: all cases, then exchanges of rows of several kinds."""
    meet(number, folder)
    found = {
        f"{key}/{entry}": tensor.contiguous()
        for key in keys()
        for entry, tensor in together(key[0], DTYPES[key[1]], *key[2:]).items()
    }
    save_file(found | exchanges(), folder / f"{number}.safetensors")
    torch.distributed.destroy_process_group()


def exchanges() -> dict[str, Tensor]:
    """Rows of several kinds that rank 0 has two of and rank 1 three, or none."""
    found = {}
    for name, rows in kinds().items():
        own = rows[:2] if rank() == 0 else rows[2:]
        gathered, place = gather_rows(own)
        found[f"gathered {name}"] = gathered
        assert gathered[place].equal(own)
    try:
        gather_rows(torch.zeros(2, 3 + rank()))
    except ValueError as error:
        found["refusal"] = torch.tensor(list(str(error).encode()))
    return found


def kinds() -> dict[str, Tensor]:
    many = torch.arange(30)
    return {
        "integers": many[:5] * 2**40,
        "bools": many[:5] % 2 == 0,
        "bfloat16": many.reshape(5, 6).to(torch.bfloat16),
        "transposed": many.reshape(6, 5).T.double(),
        "images": many.reshape(5, 3, 2, 1).to(torch.uint8),
        "none on the second": many[:2],
        "none at all": many[:0].float(),
        "no columns": torch.zeros(5, 0),
    }
