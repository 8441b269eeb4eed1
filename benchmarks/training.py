"""Time of a training step: our engine against a minimal PyTorch loop and open_clip's trainer.

The same small CLIP, the same batches, optimiser, gradient clipping and thread; the contenders take
turns in one process, a few steps each, so that a busy machine is busy for all of them. A step is
the time between two requests for a batch: everything that a loop does in a step counts, its log
included. Two more contenders train on pairs and pools with CLIP, SDD and MK-MMD, the hand-written
ones with `torch.cdist`.

    python benchmarks/training.py                    # trained and frozen towers, some minutes
    python benchmarks/training.py --clock cpu        # on a machine that has other work
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import open_clip
import torch
from open_clip.loss import ClipLoss
from open_clip_train.train import train_one_epoch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from setclip.losses import clip_loss, mk_mmd, sdd
from setclip.training.batches import Batch
from setclip.training.cached_gradients import Call
from setclip.training.engine import Engine, train_towers
from setclip.training.journal import Journal
from setclip.training.loop import Schedule

VISION = {"layers": 2, "width": 128, "head_width": 32, "patch_size": 8, "image_size": 64}
TEXT = {"layers": 2, "width": 128, "heads": 4, "context_length": 32, "vocab_size": 2000}
EMBEDDING = 128
LR, WEIGHT_DECAY, MAX_NORM = 1e-4, 0.1, 1.0
# The loop and losses of ours may cost so much more than those written by hand; in open_clip's
# case, than its trainer.
ALLOWED = 1.05
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TOWERS = ("trained", "frozen")
WEIGHTS = {"sdd": 0.1, "mk_mmd": 1.0}

Images, Texts = Tensor, Tensor
Step = tuple[Images, Texts]


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    console = Console()
    console.print(
        f"open_clip CLIP, vision {VISION['width']} × {VISION['layers']}, text {TEXT['width']} × "
        f"{TEXT['layers']}; {options.threads} threads; "
        f"{options.rounds} rounds of {options.steps} steps, {options.clock} time"
    )
    for towers in options.towers:
        for recipe in options.recipes:
            compare(recipe, RECIPES[recipe], towers == "trained", options, console)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--towers", nargs="+", choices=TOWERS, default=TOWERS)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--batch", type=int, default=32, help="pairs a step")
    parser.add_argument("--pool", type=int, default=32, help="pool items a side and step")
    parser.add_argument(
        "--steps", type=int, default=8, help="steps of a turn; the first is not counted"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu leaves out what others compute"
    )
    return parser.parse_args()


class Clock:
    """Batches to a loop, and the time between its requests for them."""

    def __init__(self, batches: Iterable[object], now: Callable[[], float]) -> None:
        self.batches, self.now = batches, now
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[object]:
        asked = self.now()
        for i, batch in enumerate(self.batches):
            if i:
                self.seconds.append(self.now() - asked)
            asked = self.now()
            yield batch
        self.seconds.append(self.now() - asked)


def compare(
    recipe: str,
    contenders: Mapping[str, Callable[..., None]],
    trained: bool,
    options: argparse.Namespace,
    console: Console,
) -> None:
    """Let contenders take turns and print the median step of each and what ours costs more."""
    models = {name: model(trained) for name in contenders}
    batches = data(options, pool=options.pool if recipe == "pairs and pools" else 0)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(options.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            clock = Clock(batches, CLOCKS[options.clock])
            contenders[name](models[name], clock, options)
            seconds[name] += clock.seconds[1:]
    title = f"{recipe}, {'trained' if trained else 'frozen'} towers, {options.batch} pairs"
    table = Table(title=title)
    for heading in ("loop", "ms a step", "ours takes", ""):
        table.add_column(heading, justify="left" if heading in ("loop", "") else "right")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        row = [name, f"{1e3 * median:.1f}"]
        if name != "setclip":
            ratio = medians["setclip"] / median
            row += [f"× {ratio:.3f}", "holds" if ratio <= ALLOWED else f"FAILS (> {ALLOWED})"]
        table.add_row(*row)
    console.print(table)


def model(trained: bool) -> nn.Module:
    """A small CLIP; frozen ones learn the two projections and the temperature alone."""
    torch.manual_seed(0)
    clip = open_clip.CLIP(EMBEDDING, VISION, TEXT, output_dict=True)
    if not trained:
        clip.requires_grad_(False)
        for parameter in (clip.visual.proj, clip.text_projection, clip.logit_scale):
            parameter.requires_grad_(True)
    return clip


def data(options: argparse.Namespace, *, pool: int) -> list[Step]:
    """Images and tokens, the first `batch` rows of each step paired."""
    generator = torch.Generator().manual_seed(0)
    rows, size = options.batch + pool, VISION["image_size"]
    shape = rows, TEXT["context_length"]
    return [
        (
            torch.randn(rows, 3, size, size, generator=generator),
            torch.randint(1, TEXT["vocab_size"], shape, generator=generator),
        )
        for _ in range(options.steps)
    ]


class Tower(nn.Module):
    def __init__(self, encode: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.encode = encode

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encode(batch["input"], normalize=True)


class Losses:
    """CLIP with a learned temperature, and on pools SDD and MK-MMD, for our engine."""

    def __init__(self, clip: nn.Module) -> None:
        # The model as one part: its parameters are towers and projections of both sides.
        self.clip = clip
        self.x, self.y = Tower(clip.encode_image, clip), Tower(clip.encode_text, clip)

    def calls(self, batch: Batch) -> dict[str, Call]:
        return {"x": Call(self.x, batch.x), "y": Call(self.y, batch.y)}

    def prepare(self, batch: Batch) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        def terms(z: dict[str, Tensor]) -> dict[str, Tensor]:
            x, y, n = z["x"], z["y"], batch.pairs
            temperature = (-self.clip.logit_scale).exp()
            if len(x) == n:
                return {"clip": clip_loss(x, y, temperature=temperature)}
            clip = clip_loss(x[:n], y[:n], temperature=temperature, extra_x=x[n:], extra_y=y[n:])
            return {
                "clip": clip,
                "sdd": WEIGHTS["sdd"] * sdd(x, y),
                "mk_mmd": WEIGHTS["mk_mmd"] * mk_mmd(x, y),
            }

        return terms

    def parameters(self) -> list[nn.Parameter]:
        return [self.clip.logit_scale]

    def clamp(self) -> None:
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, math.log(100))


class Towers(nn.Module):
    """What is trained but the temperature."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        for name, parameter in clip.named_parameters():
            if name != "logit_scale":
                self.register_parameter(name.replace(".", "_"), parameter)


def ours(clip: nn.Module, clock: Clock, options: argparse.Namespace) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    given = clock.batches
    clock.batches = (Batch({"input": x}, {"input": y}, options.batch, none, none) for x, y in given)
    schedule = Schedule(
        steps=options.steps,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        max_norm=MAX_NORM,
        check_every=options.steps + 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        train_towers(
            Towers(clip),
            Losses(clip),
            lambda first, last: clock,
            schedule,
            engine=Engine(device="cpu"),
            journal=Journal(Path(folder), checkpoint_every=options.steps + 1),
        )


def optimiser_of(clip: nn.Module) -> torch.optim.Optimizer:
    trained = [p for p in clip.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LR)


def by_hand(clip: nn.Module, clock: Clock, options: argparse.Namespace) -> None:
    """The loop that one writes in an afternoon."""
    optimiser = optimiser_of(clip)
    trained = [p for p in clip.parameters() if p.requires_grad]
    n = options.batch
    clip.train()
    for step, (images, texts) in enumerate(clock):
        for group in optimiser.param_groups:
            group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        optimiser.zero_grad()
        x = clip.encode_image(images, normalize=True)
        y = clip.encode_text(texts, normalize=True)
        scale, labels = clip.logit_scale.exp(), torch.arange(n)
        loss = (
            functional.cross_entropy(scale * x[:n] @ y.T, labels)
            + functional.cross_entropy(scale * y[:n] @ x.T, labels)
        ) / 2
        if len(x) > n:
            loss = loss + WEIGHTS["sdd"] * plain_sdd(x, y) + WEIGHTS["mk_mmd"] * plain_mmd(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimiser.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(100))
        loss.item()


def plain_sdd(x: Tensor, y: Tensor) -> Tensor:
    def log_density(points: Tensor, z: Tensor) -> Tensor:
        exponents = -torch.cdist(points, z).square() / z.var(dim=0).sum()
        return exponents.logsumexp(dim=1) + math.log(3 / (32 * math.pi * 0.25))

    def divergence(points: Tensor) -> Tensor:
        p, q = log_density(points, x), log_density(points, y)
        return ((p.exp() - q.exp()) * (p - q)).sum()

    x_range, y_range = (z.amax(dim=0) - z.amin(dim=0) for z in (x, y))
    spread = 1 / x_range.square().sum() + 1 / y_range.square().sum()
    return (divergence(x) + divergence(y)) * spread


def plain_mmd(x: Tensor, y: Tensor) -> Tensor:
    xx, yy, xy = (torch.cdist(a, b).square() for a, b in ((x, x), (y, y), (x, y)))
    with torch.no_grad():
        median = torch.pdist(torch.cat([x, y])).median().square()
    widths = [2 * median * factor**2 for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]
    return torch.stack(
        [
            (-xx / w).exp().mean() + (-yy / w).exp().mean() - 2 * (-xy / w).exp().mean()
            for w in widths
        ]
    ).sum()


class OpenClipLoader:
    """What open_clip's trainer asks of its data."""

    def __init__(self, clock: Clock, options: argparse.Namespace) -> None:
        self.clock = clock
        self.num_batches = options.steps
        self.num_samples = options.steps * options.batch

    def __iter__(self) -> Iterator[object]:
        return iter(self.clock)


def by_open_clip(clip: nn.Module, clock: Clock, options: argparse.Namespace) -> None:
    """`open_clip_train.train.train_one_epoch`, one epoch a turn."""
    optimiser = optimiser_of(clip)
    arguments = SimpleNamespace(
        accum_freq=1,
        batch_size=options.batch,
        device="cpu",
        distill=False,
        grad_clip_norm=MAX_NORM,
        horovod=False,
        log_every_n_steps=100,
        precision="fp32",
        rank=0,
        skip_scheduler=False,
        wandb=False,
        world_size=1,
    )
    loader = OpenClipLoader(clock, options)
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    rates = open_clip_train_rates(optimiser, options.steps)
    train_one_epoch(clip, data, ClipLoss(), 0, optimiser, None, rates, None, arguments)


def open_clip_train_rates(optimiser: torch.optim.Optimizer, steps: int) -> Callable[[int], float]:
    from open_clip_train.scheduler import cosine_lr

    return cosine_lr(optimiser, LR, 0, steps)


RECIPES = {
    "pairs": {"setclip": ours, "by hand": by_hand, "open_clip": by_open_clip},
    "pairs and pools": {"setclip": ours, "by hand, cdist": by_hand},
}


if __name__ == "__main__":
    main()
