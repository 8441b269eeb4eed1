"""Which items to label next: those that stand for as many others as possible."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from setclip.data.atomic import write_text
from setclip.data.material import Shown, load_material
from setclip.data.pools import FloatArray, IntArray, unit_rows
from setclip.run import run_config

Side = Literal["x", "y"]
CAP = 5_000
"""Pool items that are represented and chosen from; a larger pool is sampled."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Items to label, the most useful first.

    Attributes:
        rows: Of the pool. Shape [n].
        coverage: Mean similarity of a pool item to its nearest labelled one, -1 to 1: before the
            first item, then with each. Shape [n + 1].
    """

    rows: IntArray
    coverage: npt.NDArray[np.float64]


def choose_items(
    pool: FloatArray, labelled: FloatArray, n: int, *, cap: int = CAP, seed: int = 0
) -> Choice:
    """Choose pool items so that every item of the pool has a labelled one nearby.

    Facility location, greedily: each step takes the item that most raises the sum over the pool of
    the cosine to the nearest labelled item, features centred. Any beginning of the list is the
    greedy choice of that length, at least 63 % as good as the best, of the items looked at.

    Args:
        pool: Features of the unlabelled items. Shape [m, d].
        labelled: Features of the items whose partner is known already. Shape [p, d].
        n: How many, at most m.
        cap: Items of the pool to look at; more are sampled.
        seed: Of the sample.

    Source:
        Nemhauser, Wolsey & Fisher, Mathematical Programming 14, 1978 (the greedy bound); measured
        against other strategies in docs/advice.md.
    """
    rows = np.arange(len(pool))
    if len(rows) > cap:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max(cap, n), replace=False))
    mean = pool[rows].mean(axis=0)
    items, known = unit_rows(pool[rows] - mean), unit_rows(labelled - mean)
    similarity = items @ items.T
    nearest = np.full(len(rows), -1.0, dtype=np.float32)
    if len(known):
        nearest = (items @ known.T).max(axis=1)
    free, chosen, coverage = np.ones(len(rows), dtype=bool), [], [float(nearest.mean())]
    for _ in range(n):
        gain = np.where(free, np.maximum(similarity, nearest).sum(axis=1), -np.inf)
        best = int(gain.argmax())
        free[best] = False
        chosen.append(best)
        nearest = np.maximum(nearest, similarity[best])
        coverage.append(float(nearest.mean()))
    return Choice(rows[chosen], np.asarray(coverage))


def suggest_run(
    folder: Path, *, n: int, side: Side = "x", progress: bool = False
) -> tuple[Path, Choice]:
    """Write ``to_label_x.csv`` or ``to_label_y.csv`` into a run: items whose partner to find next.

    Args:
        folder: A folder of a run; its model is not needed.
        n: How many items.
        side: Which pool the items are from.
        progress: Show progress bars while data are read.

    Returns:
        The file, and the choice.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The pool has fewer than `n` items, or `side` is neither x nor y.
    """
    if side not in ("x", "y"):
        raise ValueError(f"side is {side!r}: give x or y.")
    config = run_config(folder)
    material = load_material(config, progress=progress)
    pools = material.pools
    pool, labelled, shown = (
        (pools.x_pool, pools.x_pairs, material.x_shown)
        if side == "x"
        else (pools.y_pool, pools.y_pairs, material.y_shown)
    )
    if not 1 <= n <= len(pool):
        raise ValueError(f"{n} items asked of a {side} pool of {len(pool):,}: ask for 1 to that.")
    choice = choose_items(pool, labelled, n, seed=config.seed)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((f"{side}_row", side))
    for row in choice.rows.tolist():
        name = item_name(shown[pools.n_pairs + row])
        writer.writerow((material.row_of(f"{side} pool", row), name))
    path = folder / f"to_label_{side}.csv"
    write_text(path, buffer.getvalue())
    return path, choice


def item_name(item: Shown) -> str:
    """What finds an item again: its path, or its text, letters or number."""
    path = str(item.picture) if isinstance(item.picture, Path) else ""
    return item.found_by or path or item.caption or item.sequence
