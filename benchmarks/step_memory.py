"""Memory of one training step on cached features, with all losses, as the batch grows.

Linear heads of both modalities, CLIP, NT-Xent, SDD and MK-MMD on the same rows, forward and
backward. Each size runs in a process of its own, so that its peak memory is its own. Beside it
stands what a single copy of the largest matrix of logits would take.

    python benchmarks/step_memory.py                            # 2,048 to 8,192 rows: a minute
    python benchmarks/step_memory.py --rows 8192,16384,32768    # time goes as n²
    python benchmarks/step_memory.py --rows 65536 --terms clip
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

# torch is imported by the measured processes alone: the memory of the process that starts them
# would count into theirs.
WARM_UP_ROWS = 64
# Linear: a row of the last batch takes no more than this times what one of the first takes.
LINEAR = 1.1
TERMS = ("clip", "nt_xent", "sdd", "mk_mmd")


def main() -> None:
    options = arguments()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    console = Console()
    title = f"one step of {', '.join(options.terms)}; features {options.width} wide"
    table = Table(title=f"{title}, heads to {options.dim}, {options.threads} threads")
    for heading in ("rows a side", "seconds", "above start, MB", "KB a row", "logits, MB"):
        table.add_column(heading, justify="right")
    per_row: list[float] = []
    for rows in options.rows:
        with console.status(f"{rows:,} rows"):
            found = run(rows, options)
        per_row.append(1024 * found["mb"] / rows)
        side = 2 * rows if "nt_xent" in options.terms else rows
        table.add_row(
            f"{rows:,}",
            f"{found['seconds']:.1f}",
            f"{found['mb']:.0f}",
            f"{per_row[-1]:.1f}",
            f"{side**2 * 4 / 2**20:,.0f}",
        )
    console.print(table)
    if len(per_row) > 1:
        verdict = "holds" if per_row[-1] <= LINEAR * per_row[0] else "FAILS"
        console.print(f"linear: {verdict} ({per_row[0]:.1f} KB a row, then {per_row[-1]:.1f})")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=sizes, default=[2048, 4096, 8192], help="rows a side")
    parser.add_argument("--width", type=int, default=256, help="of the features")
    parser.add_argument("--dim", type=int, default=256, help="of the embeddings")
    parser.add_argument("--terms", type=names, default=list(TERMS), help="comma-separated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    return parser.parse_args()


def sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


def names(text: str) -> list[str]:
    return text.split(",")


def run(rows: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--measure", str(rows)]
    command += ["--width", str(options.width), "--dim", str(options.dim)]
    command += ["--threads", str(options.threads), "--terms", ",".join(options.terms)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Time of one step, and what it needs above a process that has done a tiny one."""
    import torch

    torch.set_num_threads(options.threads)
    step(WARM_UP_ROWS, options)
    start = peak_mb()
    began = time.perf_counter()
    step(options.measure, options)
    return {"seconds": time.perf_counter() - began, "mb": peak_mb() - start}


def step(rows: int, options: argparse.Namespace) -> None:
    """Features, heads, losses and gradients: everything that a step holds."""
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import normalize

    from setclip.losses import clip_loss, mk_mmd, nt_xent, sdd
    from setclip.training.cached_gradients import Call, accumulate

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout, self.map = nn.Dropout(0.1), nn.Linear(options.width, options.dim)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return normalize(self.map(self.dropout(batch["features"])), dim=1)

    losses = {
        "clip": lambda z: clip_loss(z["x"], z["y"]),
        "nt_xent": lambda z: nt_xent(z["x"], z["x again"]),
        "sdd": lambda z: 1e-3 * sdd(z["x"], z["y"]),
        "mk_mmd": lambda z: mk_mmd(z["x"], z["y"]),
    }
    torch.manual_seed(0)
    x, y = (torch.randn(rows, options.width) for _ in range(2))
    head_x, head_y = Head(), Head()
    calls = {
        "x": Call(head_x, {"features": x}),
        "x again": Call(head_x, {"features": x}),
        "y": Call(head_y, {"features": y}),
    }
    accumulate(
        calls, lambda z: {name: losses[name](z) for name in options.terms}, chunk=None, seed=(0,)
    )


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
