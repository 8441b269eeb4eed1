"""Time of `sinkhorn` against POT's log-domain solver, and of matchings of large pools.

Sinkhorn: both make the same iterations on the same batch, one after the other in one process, so
that their plans differ by rounding alone; the table gives the largest difference, relative to the
largest entry. Without a stop, since each solver measures its error in a way of its own.

Matchings: random rows with their noisy, shuffled partners, and how many find them.

    python benchmarks/transport.py                              # 4,096 a side; 5,000 and 100,000
    python benchmarks/transport.py --rows 512 --pools 1000      # seconds
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import ot
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from setclip.linear.assignment import Matching, block_hungarian, candidate_matching, hungarian
from setclip.losses import Products, sinkhorn

# Above this many rows the exact matching takes hours and memory for the whole score matrix.
EXACT_ROWS = 5000
# Above this many the candidates are also looked for in blocks, which is faster and finds fewer.
BLOCK = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4096, help="rows a side of the Sinkhorn batch")
    parser.add_argument("--dim", type=int, default=256, help="width of the embeddings")
    parser.add_argument("--epsilon", type=float, default=0.05)
    parser.add_argument("--iterations", type=int, default=50, help="of either solver")
    parser.add_argument("--pools", type=sizes, default=[5000, 100_000], help="rows a side")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    console.print(f"{options.threads} threads, width {options.dim}")
    if options.rows:
        compare_sinkhorn(options, console)
    if options.pools:
        compare_matchings(options, console)


def sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",") if size]


def compare_sinkhorn(options: argparse.Namespace, console: Console) -> None:
    rows = f"{options.rows:,}"
    table = Table(
        title=f"Sinkhorn, {rows} × {rows}, ε = {options.epsilon:g}, {options.iterations} iterations"
    )
    for heading in ("dtype", "solver", "seconds", "CPU seconds", "difference"):
        table.add_column(heading, justify="left" if heading in ("dtype", "solver") else "right")
    for dtype in (torch.float32, torch.float64):
        x, y = (z.to(dtype) for z in noisy_partners(options.rows, options.dim))
        # POT updates columns first, setclip rows.
        expected, *pot_seconds = timed(partial(pot_plan, y @ x.T, options))
        found, *seconds = timed(partial(our_plan, x, y, options))
        difference = float((found - expected.T).abs().max() / expected.max())
        name = str(dtype).removeprefix("torch.")
        table.add_row(name, "POT, sinkhorn_log", *(f"{s:.2f}" for s in pot_seconds), "")
        table.add_row(name, "setclip", *(f"{s:.2f}" for s in seconds), f"{difference:.1e}")
    console.print(table)


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, wall seconds, and seconds of all cores together."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def our_plan(x: Tensor, y: Tensor, options: argparse.Namespace) -> Tensor:
    return sinkhorn(
        Products(x, y), epsilon=options.epsilon, tolerance=0, max_iterations=options.iterations
    ).plan()


def pot_plan(scores: Tensor, options: argparse.Namespace) -> Tensor:
    uniform = scores.new_full((options.rows,), 1 / options.rows)
    plan: Tensor = ot.sinkhorn(
        uniform,
        uniform,
        -scores,
        options.epsilon,
        method="sinkhorn_log",
        numItermax=options.iterations,
        stopThr=0,
        warn=False,
    )
    return plan


def compare_matchings(options: argparse.Namespace, console: Console) -> None:
    table = Table(title="One-to-one matchings")
    for heading in ("rows a side", "matching", "CPU seconds", "mean score", "matched", "right"):
        table.add_column(heading, justify="left" if heading == "matching" else "right")
    for rows in options.pools:
        x, y = (z.numpy() for z in noisy_partners(rows, options.dim))
        order = np.random.default_rng(1).permutation(rows)
        runs: dict[str, Callable[..., Matching]] = {
            "Hungarian, blocks of 2,000": block_hungarian,
            "candidates, 20 a row": candidate_matching,
        }
        if rows > BLOCK:
            runs[f"the same, blocks of {BLOCK:,}"] = partial(candidate_matching, block=BLOCK)
        if rows <= EXACT_ROWS:
            runs = {"Hungarian, exact": lambda a, b: hungarian(a @ b.T), **runs}
        for name, match in runs.items():
            with console.status(f"{name}, {rows:,} a side"):
                found, _, seconds = timed(partial(match, x, y[order]))
            right = float((order[found.columns] == found.rows).mean())
            table.add_row(
                f"{rows:,}",
                name,
                f"{seconds:.1f}",
                f"{found.mean_score:.4f}",
                f"{len(found.rows) / rows:.1%}",
                f"{right:.1%}",
            )
    console.print(table)


def noisy_partners(rows: int, dim: int) -> tuple[Tensor, Tensor]:
    """Unit rows of decaying spectrum, and the same rows under noise."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, dim + 1).rsqrt()
    x = torch.randn(rows, dim, generator=generator) * spectrum
    y = x + torch.randn(rows, dim, generator=generator) * spectrum
    return normalize(x, dim=1), normalize(y, dim=1)


if __name__ == "__main__":
    main()
