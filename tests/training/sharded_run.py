"""Training of two small towers, whole on one process or divided between two.

It stands in a module of its own because the processes have to import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize
from training.forked import meet
from training.streams import Numbers, planted

from setclip.data.atomic import write_json
from setclip.losses import clip_loss
from setclip.training.batches import Batch, Composition, Sources, Steps, load_steps
from setclip.training.cached_gradients import Call
from setclip.training.distributed import rank, world_size
from setclip.training.engine import Averaging, Engine, Trained, train_towers
from setclip.training.journal import Journal
from setclip.training.loop import Schedule

POOLS = planted(pairs=24, pool=1)
STEPS = 6
PAIRS = 7  # four on one process, three on the other
CASES: dict[str, dict[str, Any]] = {
    "averaged": {"ema": 0.8, "wise": 0.7},
    "averaged, chunks": {"ema": 0.8, "wise": 0.7, "chunk": 2},
    "best step": {"ema": 0.5, "criterion": True, "chunk": 3},
    "lion": {"optimiser": "lion"},
}
RESUMED = "averaged, chunks"
STOP = 4


class Tower(nn.Module):
    """Blocks whose widths no two processes can share evenly, a frozen one, and a single number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        blocks = [nn.Linear(width, 7), nn.Linear(7, 7), nn.Sequential(nn.GELU(), nn.Linear(7, 7))]
        self.blocks = nn.ModuleList(blocks)
        self.blocks[0].requires_grad_(False)
        self.blocks[1].bias.requires_grad_(False)
        self.norm, self.head = nn.LayerNorm(7), nn.Linear(7, 1)
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        z = batch["v"]
        for block in self.blocks:
            z = block(z)
        z = self.norm(z)
        return normalize(torch.cat([self.gain * z, self.head(z)], dim=1), dim=1)


class Clip:
    """CLIP on pairs alone, with a learned temperature."""

    def __init__(self, towers: nn.ModuleDict) -> None:
        self.towers = towers
        self.log_scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def calls(self, batch: Batch) -> Mapping[str, Call]:
        return {name: Call(self.towers[name], getattr(batch, name)) for name in ("x", "y")}

    def prepare(self, batch: Batch) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        return lambda z: {"clip": clip_loss(z["x"], z["y"], temperature=1 / self.log_scale.exp())}

    def parameters(self) -> Iterable[nn.Parameter]:
        return [self.log_scale]

    def clamp(self) -> None:
        """Nothing is out of bounds."""


class StoppedError(Exception):
    """As if killed."""


def made() -> nn.ModuleDict:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.ModuleDict({"x": Tower(6), "y": Tower(5)}).double()


def collate(rows: Any) -> dict[str, Tensor]:
    return {"v": torch.from_numpy(np.stack(rows).astype(np.float64))}


def train(
    case: str, *, folder: Path | None = None, stop: int | None = None, shard: bool = False
) -> tuple[nn.ModuleDict, Tensor, Trained]:
    """Train; with `stop`, leave a folder as a killed run would.

    Raises:
        StoppedError: At `stop`.
    """
    options = CASES[case]
    towers = made()
    objective = Clip(towers)
    broken = frozenset({3, 20})
    pairs = Numbers(POOLS.x_pairs, broken), Numbers(POOLS.y_pairs)
    pools = Numbers(POOLS.x_pool), Numbers(POOLS.y_pool)
    steps = Steps(
        Sources(*pairs, *pools, collate, collate),
        POOLS,
        Composition(PAIRS, 0),
        seed=1,
        rank=rank(),
        world=world_size(),
    )

    def criterion() -> float:
        x, y = (towers[n](collate(list(p.array))) for n, p in zip("xy", pairs, strict=True))
        return -float((x * y).sum())

    journal = Journal(folder, checkpoint_every=2)
    log = journal.log

    def interrupt(phase: str, step: int, values: dict[str, float]) -> None:
        if step == stop:
            raise StoppedError
        log(phase, step, values)

    journal.log = interrupt  # type: ignore[method-assign]
    trained = train_towers(
        towers,
        objective,
        partial(load_steps, steps),
        Schedule(
            STEPS,
            lr=3e-2,
            weight_decay=1e-2,
            warmup=2,
            check_every=2,
            max_norm=0.1,
            optimiser=options.get("optimiser", "adamw"),
        ),
        rates={"x.head": 2.0},
        averaging=Averaging(options.get("ema", 0.0), options.get("wise", 1.0)),
        engine=Engine(device="cpu", chunk=options.get("chunk"), shard=shard),
        criterion=criterion if options.get("criterion") else None,
        seed=5,
        journal=journal,
        blocks=[block for tower in towers.values() for block in [*tower.blocks, nn.Linear(2, 2)]],
    )
    return towers, objective.log_scale.detach(), trained


def state(case: str, **options: Any) -> dict[str, Tensor]:
    """Weights after training, and the temperature."""
    towers, scale, _ = train(case, **options)
    return {**towers.state_dict(), "temperature": scale}


def member(number: int, folder: Path) -> None:
    """What each of two processes runs."""
    meet(number, folder)
    found: dict[str, Tensor] = {}
    for case in CASES:
        towers, scale, trained = train(case, shard=True)
        found |= {f"{case}/{name}": t for name, t in towers.state_dict().items()}
        found[f"{case}/temperature"] = scale
        assert world_size() == 2  # still together
        # Plain modules again, which any code may take.
        assert {type(p) for p in towers.parameters()} == {nn.Parameter}
        assert [type(m) for m in towers.modules()] == [type(m) for m in made().modules()]
        assert [p.requires_grad for p in towers.parameters()] == [
            p.requires_grad for p in made().parameters()
        ]
        with torch.no_grad():
            found[f"{case}/embedded"] = towers["x"](collate(list(POOLS.x_pairs)))
        write_json(
            folder / f"{case} {number}.json",
            {"bad": [asdict(item) for item in trained.bad], "step": trained.best_step},
        )
    try:
        train(RESUMED, folder=folder / "sharded", stop=STOP, shard=True)
    except StoppedError:
        found |= {
            f"resumed/{name}": t
            for name, t in state(RESUMED, folder=folder / "whole", shard=True).items()
        }
    save_file({n: t.contiguous() for n, t in found.items()}, folder / f"{number}.safetensors")
    torch.distributed.destroy_process_group()
