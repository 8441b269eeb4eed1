"""What a busy machine costs: all threads at every operation, or batches side by side, or one.

Other processes compute without end while pictures and names of the bundled emoji are encoded and
small maps are fitted. The ways alternate; medians of the rounds count.

    python benchmarks/busy.py                # beside as many processes as there are cores; minutes
    python benchmarks/busy.py --busy 0       # on a quiet machine
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from setclip.data.datasets import load_dataset
from setclip.data.pools import Pools, make_pools
from setclip.encoders import minilm, protocol
from setclip.encoders.efficientnet_lite0 import EfficientNetLite0
from setclip.methods import make_method

Way = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="other processes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    emoji = load_dataset("emoji")
    pictures, names = list(emoji.x_items)[:100], list(emoji.y_items)[:300]
    images, texts, pools = EfficientNetLite0(), minilm.MiniLM(), clouds()
    transport = make_method("transport-cca")
    heads = make_method("setclip", steps=40, folds=2)
    ways: dict[str, tuple[Way, Way]] = {
        "100 pictures": serial_and_not(lambda: images.encode(pictures)),
        "300 names": serial_and_not(lambda: texts.encode(names)),
        "transport-cca, 100 pairs": all_cores_and_one(lambda: transport.fit(pools)),
        "setclip, 40 steps": all_cores_and_one(lambda: heads.fit(pools)),
    }
    others = f"{options.busy} busy process{'' if options.busy == 1 else 'es'}"
    table = Table(title=f"seconds beside {others}, {torch.get_num_threads()} threads")
    for heading in ("", "all threads", "side by side, or one thread"):
        table.add_column(heading, justify="right" if heading else "left")
    with busy(options.busy):
        for name, (together, apart) in ways.items():
            apart()  # weights are loaded
            rounds = [(seconds(together), seconds(apart)) for _ in range(options.rounds)]
            table.add_row(name, *(f"{median(times):.2f}" for times in zip(*rounds, strict=True)))
    Console().print(table)


def serial_and_not(encode: Way) -> tuple[Way, Way]:
    """Batch after batch on all cores; and as it is."""

    def serial() -> None:
        def one_by_one(run: Callable[[Any], Any], batches: Sequence[Any], **_: Any) -> Any:
            return map(run, batches)

        with (
            patch.object(protocol, "side_by_side", one_by_one),
            patch.object(minilm, "side_by_side", one_by_one),
        ):
            encode()

    return serial, encode


def all_cores_and_one(fit: Way) -> tuple[Way, Way]:
    """As it is; and on one core, as with OMP_NUM_THREADS=1."""

    def on_one() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with threadpool_limits(1):
            fit()
        torch.set_num_threads(threads)

    return fit, on_one


def clouds() -> Pools:
    """100 pairs and pools of 700, linear views of one cloud."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1500, 64))
    x, y = (z @ rng.normal(size=(64, width)) for width in (384, 256))
    return make_pools(x[:100], y[:100], x_pool=x[100:800], y_pool=y[800:])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute until the end."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=compute, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    time.sleep(3.0 if count else 0.0)  # until they are there
    try:
        yield
    finally:
        for process in processes:
            process.terminate()


def compute() -> None:
    """Without end."""
    while True:
        sum(range(1_000_000))


def seconds(way: Way) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
