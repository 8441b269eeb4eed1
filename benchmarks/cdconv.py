"""CDConv forward and backward: ours against torch-geometric, and memory against length.

The torch-geometric network has the same parameters and gives the same numbers, which is checked
first. Its message passing is that of the authors' release: for each edge its offset's kernel is
picked and applied, kernel ⊗ feature is the message, messages are added up. It gets edges from our
search, and their geometry once a stage as ours does, so that only the convolutions differ.
Both run in turns in one process.

    pip install torch-geometric
    python benchmarks/cdconv.py                       # small preset, 16 chains of 150 residues
    python benchmarks/cdconv.py --repeats 5 --lengths 500,1000      # seconds
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from setclip.encoders.cdconv import PRESETS, CDConv, chain_means
from setclip.encoders.residue_graph import (
    Residues,
    describe_edges,
    neighbours,
    pool,
)
from setclip.proteins.residues import local_frames

Batch = dict[str, Tensor]


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(peak_of_graph(options.memory))
        return
    console = Console()
    compare(options, console)
    if options.lengths:
        grow(options.lengths, console)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--residues", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", type=sizes, default=[2000, 4000, 8000, 16000])
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",") if size]


def globule(n: int, rng: np.random.Generator) -> Tensor:
    """A walk in steps of 3.8 A inside a ball as dense as a protein (about 135 A³ a residue)."""
    radius = (135 * n * 3 / (4 * np.pi)) ** (1 / 3)
    points = np.zeros((n, 3))
    for i in range(1, n):
        recent = points[max(0, i - 400) : i - 1]
        for _ in range(30):
            step = rng.normal(size=3)
            points[i] = points[i - 1] + 3.8 * step / np.linalg.norm(step)
            apart = np.linalg.norm(recent - points[i], axis=1).min(initial=9.0) > 4
            if np.linalg.norm(points[i]) < radius and apart:
                break
    return torch.tensor(points, dtype=torch.float32)


def make_batch(chains: int, n: int) -> Batch:
    rng = np.random.default_rng(0)
    positions = torch.stack([globule(n, rng) for _ in range(chains)])
    return {
        "codes": torch.from_numpy(rng.integers(20, size=(chains, n))),
        "positions": positions,
        "frames": torch.stack([local_frames(p) for p in positions]),
        "index": torch.arange(n).expand(chains, n),
    }


def compare(options: argparse.Namespace, console: Console) -> None:
    torch.manual_seed(0)
    ours = CDConv(PRESETS[options.preset])
    networks = {"setclip": ours, "torch-geometric": geometric(ours)}
    batch = make_batch(options.chains, options.residues)
    check_equal(networks, batch)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for repeat in range(options.repeats + 1):
        for name, network in networks.items():
            taken = step(network, batch)
            if repeat:  # the first warms up
                seconds[name].append(taken)
    table = Table(
        title=f"{options.preset} preset, {options.chains} chains of {options.residues}, "
        f"forward + backward, {options.threads} thread, {options.repeats} runs in turns"
    )
    for heading in ("network", "median, ms", "fastest, ms"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name, taken in seconds.items():
        table.add_row(name, f"{statistics.median(taken) * 1e3:.1f}", f"{min(taken) * 1e3:.1f}")
    console.print(table)
    a, b = (statistics.median(seconds[name]) for name in networks)
    verdict = "at least as fast" if a <= b else "slower"
    console.print(f"setclip is {verdict}: torch-geometric takes {b / a:.2f} times as long")


def step(network: nn.Module, batch: Batch) -> float:
    network.zero_grad()
    began = time.perf_counter()
    network(batch).square().mean().backward()
    return time.perf_counter() - began


def check_equal(networks: dict[str, nn.Module], batch: Batch) -> None:
    """Both in evaluation mode, where nothing is random: features and gradients agree."""
    results = []
    for network in networks.values():
        network.eval()
        network.zero_grad()
        features = network(batch)
        features.square().mean().backward()
        results.append([features.detach(), *(p.grad for p in network.parameters())])
        network.train()
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(ours.abs().max()))


def geometric(ours: CDConv) -> nn.Module:
    """The same network on torch_geometric's message passing, with copies of the parameters."""
    from torch_geometric.nn import MessagePassing

    class MessageConvolution(MessagePassing):
        def __init__(self, width: int) -> None:
            super().__init__(aggr="add", node_dim=0)
            self.width = width

        def forward(self, x: Tensor, edges: dict[str, Tensor]) -> Tensor:
            summed = self.propagate(
                edges["index"],
                x=x,
                features=edges["features"],
                bucket=edges["bucket"],
                fade=edges["fade"],
            )
            return summed @ self.mix

        def message(self, x_j: Tensor, features: Tensor, bucket: Tensor, fade: Tensor) -> Tensor:
            kernels = self.kernel.index_select(0, bucket)
            biases = self.kernel_bias.index_select(0, bucket)
            kernel = torch.bmm(features[:, None], kernels)[:, 0] + biases
            kernel = functional.leaky_relu(kernel, 0.2) * fade
            return torch.matmul(kernel[:, :, None], x_j[:, None]).flatten(start_dim=1)

    class MessageCDConv(CDConv):
        def forward(self, batch: Batch) -> Tensor:
            lengths = (batch["codes"] >= 0).sum(dim=1).tolist()
            residues = Residues(
                batch["positions"].flatten(0, 1),
                batch["frames"].flatten(0, 1),
                batch["index"].flatten(),
                tuple(lengths),
            )
            x = self.embedding(batch["codes"].flatten())
            for number, stage in enumerate(self.stages):
                if number:
                    residues, x = pool(residues, x)
                edges = describe(residues, self.config.radii[number], self.config.kernel_length)
                for block in stage:
                    x = block(x, edges)
            return chain_means(x, residues)

    network = MessageCDConv(ours.config)
    for stage in network.stages:
        for block in stage:
            weights: Any = block.convolve
            block.convolve = MessageConvolution(weights.mix.shape[1])
            for name, parameter in weights.named_parameters():
                block.convolve.register_parameter(name, parameter)
    network.load_state_dict(ours.state_dict())
    return network


def describe(residues: Residues, radius: float, length: int) -> dict[str, Tensor]:
    """Edges from j to i in torch_geometric's order, with their features."""
    first, second = neighbours(residues.positions, residues.lengths, radius)
    half = length // 2
    offset = (residues.index[second] - residues.index[first]).clamp(-half, half)
    features, fade = describe_edges(residues, first, second, radius=radius, half=half)
    return {
        "index": torch.stack([second, first]),
        "features": features[:, :-1],
        "bucket": offset + half,
        "fade": fade,
    }


def grow(lengths: list[int], console: Console) -> None:
    """Peak memory of a step on one chain, each length in a process of its own."""
    table = Table(title="one chain, small preset, forward + backward: peak memory of the process")
    for heading in ("residues", "peak, MB", "above start, MB", "kB a residue"):
        table.add_column(heading, justify="right")
    for n in lengths:
        command = [sys.executable, __file__, "--memory", str(n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        start, peak = (float(word) for word in done.stdout.split())
        above = peak - start
        table.add_row(f"{n:,}", f"{peak:.0f}", f"{above:.0f}", f"{above * 1024 / n:.0f}")
    console.print(table)


def peak_of_graph(n: int) -> str:
    network = CDConv()
    step(network, make_batch(1, 100))
    batch = make_batch(1, n)
    start = peak_mb()
    step(network, batch)
    return f"{start} {peak_mb()}"


def peak_mb() -> float:
    """Of this program alone; getrusage would count what started it too."""
    status = Path("/proc/self/status")
    if not status.is_file():
        raise SystemExit("peak memory is read from /proc, which only Linux has; give --lengths ''")
    line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
