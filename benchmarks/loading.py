"""Pictures a second: batches of setclip against plain torchvision and DataLoader.

Both read the same JPEG files, decode them with Pillow, cut them to the same square and, in the
second row, draw views by the same operations of torchvision at the same strengths. Short rounds
alternate, and the median of their ratios counts: a machine's speed drifts by more than what is
measured. Without workers it is CPU time. The last row reads a copy of the files in which one in a
hundred is cut short, against the whole ones; only pictures that can be read count.

    python benchmarks/loading.py                       # two minutes
    python benchmarks/loading.py --rounds 3            # seconds
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from setclip.data.pools import make_pools
from setclip.encoders.images import Geometry, stacked
from setclip.modalities.views import BLUR, BLUR_SIZE, STRETCH, ImageViews, image_view
from setclip.training.batches import Composition, Sources, Steps, load_steps

BATCH = 50
CORRUPT = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", type=int, default=224, help="side of the square")
    parser.add_argument(
        "--rounds", type=int, default=25, help="passes over the files, of each side"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that load")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    cpus = os.cpu_count()
    console.print(f"{options.files:,} JPEG of 400 × 300, batches of {BATCH}, {cpus} CPUs")
    table = Table("views", "files", "torchvision / s", "setclip / s", "ratio (quartiles)")
    with tempfile.TemporaryDirectory() as folder:
        whole = write_files(Path(folder) / "whole", options.files, corrupt=0)
        broken = write_files(Path(folder) / "broken", options.files, corrupt=CORRUPT)
        for augment in (False, True):
            compared = compare(
                [
                    lambda a=augment: plainly(whole, a, options),
                    lambda a=augment: with_steps(whole, a, options),
                ],
                options.rounds,
            )
            table.add_row("yes" if augment else "no", "whole", *compared)
        sound, damaged, ratio = compare(
            [lambda: with_steps(whole, False, options), lambda: with_steps(broken, False, options)],
            options.rounds,
        )
        table.add_row(
            "no",
            f"{CORRUPT:.0%} corrupt",
            f"(setclip, whole) {sound}",
            damaged,
            ratio,
        )
    console.print(table)


def compare(sides: list[Callable[[], float]], rounds: int) -> tuple[str, str, str]:
    """Median rates of two sides taken in turns, and the median of the rounds' ratios."""
    one, other = np.array([[side() for side in sides] for _ in range(rounds)]).T
    ratios = np.sort(other / one)
    middle = f"{np.median(ratios):.3f} ({ratios[rounds // 4]:.3f} … {ratios[-1 - rounds // 4]:.3f})"
    return f"{np.median(one):,.0f}", f"{np.median(other):,.0f}", middle


def write_files(folder: Path, files: int, *, corrupt: float) -> list[Path]:
    """Smooth noise, which compresses like a photograph; every so many files are cut in half."""
    folder.mkdir()
    paths = []
    for i in range(files):
        small = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        content = buffer.getvalue()
        if corrupt and i % round(1 / corrupt) == 0:
            content = content[: len(content) // 2]
        paths.append(folder / f"{i:06d}.jpg")
        paths[-1].write_bytes(content)
    return paths


class PlainFiles(Dataset[tuple[Tensor, str]]):
    """What one writes by hand: open, cut, transform."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, str]:
        with Image.open(self.paths[row]) as image:
            return self.transform(image.convert("RGB")), f"caption {row}"


def plain_transform(size: int, augment: bool) -> Callable[[Image.Image], Tensor]:
    views, steps = ImageViews(), []
    if augment:
        sigma = tuple(s * size / BLUR_SIZE for s in BLUR)
        ratio = (float(np.exp(-STRETCH)), float(np.exp(STRETCH)))
        kernel = 2 * int(np.ceil(2 * sigma[1])) + 1
        steps = [
            v2.RandomResizedCrop(size, scale=(1 - views.crop, 1), ratio=ratio, antialias=True),
            v2.RandomHorizontalFlip(views.flip),
            v2.ColorJitter(views.jitter, views.jitter, views.jitter, views.hue),
            v2.RandomGrayscale(views.grey),
            v2.RandomApply([v2.GaussianBlur(kernel, sigma)], views.blur),
        ]
    bicubic = v2.InterpolationMode.BICUBIC
    return v2.Compose(
        [v2.Resize(size, interpolation=bicubic), v2.CenterCrop(size), v2.PILToTensor(), *steps]
    )


def plainly(paths: list[Path], augment: bool, options: argparse.Namespace) -> float:
    files = PlainFiles(paths, plain_transform(options.size, augment))
    loader = DataLoader(files, BATCH, shuffle=True, num_workers=options.workers)
    return rate((len(batch) for batch, _ in loader), options.workers)


class Pictures:
    """Files as a source of batches."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.geometry = paths, Geometry(size)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int, rng: np.random.Generator, *, view: bool) -> Tensor:
        image = self.geometry(self.paths[row])
        return image_view(image, rng) if view else image


class Captions:
    """A text for each file."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, row: int, rng: np.random.Generator, *, view: bool) -> str:
        return f"caption {row}"


def with_steps(paths: list[Path], augment: bool, options: argparse.Namespace) -> float:
    n = len(paths)
    none = Captions(0)
    sources = Sources(
        Pictures(paths, options.size),
        Captions(n),
        none,
        none,
        stacked,
        lambda texts: {"rows": torch.arange(len(texts))},
    )
    pools = make_pools(np.zeros((n, 1)), np.zeros((n, 1)))
    steps = Steps(sources, pools, Composition(BATCH, 0, augment), seed=0)
    batches = load_steps(steps, 0, n // BATCH, workers=options.workers)
    return rate((batch.pairs for batch in batches), options.workers)


def rate(sizes: Iterable[int], workers: int) -> float:
    """Items a second."""
    clock = time.perf_counter if workers else time.process_time
    started = clock()
    items = sum(sizes)
    return items / (clock() - started)


if __name__ == "__main__":
    main()
