"""One cell: draw, fit, score, and what it cost."""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from setclip.benchmark.cells import Cell
from setclip.benchmark.conditions import Draw, draw
from setclip.benchmark.data import BenchmarkData
from setclip.data.pools import FloatArray
from setclip.evaluation import retrieval
from setclip.evaluation.rows import lost_apart
from setclip.model import AlignedModel
from setclip.training.journal import Journal

Result = dict[str, Any]

FORMAT = 1
"""Version of the results: others are computed again."""
KS = (1, 5, 10)


def run_cell(cell: Cell, data: BenchmarkData) -> Result:
    """Fit and measure one cell in this process.

    Args:
        cell: What to measure.
        data: The data that it names.

    Returns:
        JSON values. ``cell`` says what decided the result, ``cost`` what it cost; a fitted method
        also has ``metrics`` (means of both ``directions``), ``credits`` (per test item, in percent,
        by k: what intervals are made from), ``notes`` and ``warnings``. A method that cannot work
        from this supervision has ``error``, the reason, instead.
    """
    started = time.perf_counter()
    result: Result = {"format": FORMAT, "cell": cell.decisive(), "versions": versions()}
    journal = Journal()
    try:
        drawn = draw(cell, data)
        with _measured() as cost:
            model = cell.method.fit(drawn.pools, seed=cell.seed, journal=journal)
    except ValueError as error:
        return result | {"error": str(error), "cost": _nothing(started)}
    return result | {
        "supervision": drawn.pools.describe(),
        "gallery": len(drawn.test),
        **_score(model, drawn, data.x, data.y),
        "cost": vars(cost),
        "notes": journal.notes,
        "warnings": journal.warnings,
    }


def _score(model: AlignedModel, drawn: Draw, x: FloatArray, y: FloatArray) -> Result:
    # Rows in one order on both sides are safe: ties are settled by expectation.
    trained = model.trained_encoders
    zx = model.encode_x(drawn.x_items if trained else x[drawn.test])
    zy = model.encode_y(drawn.y_items if trained else y[drawn.test])
    found = retrieval(*lost_apart(zx, zy), ks=KS)
    return {
        "metrics": {f"recall@{k}": found.recall[k] for k in KS}
        | {"median_rank": found.median_rank, "foscttm": found.foscttm},
        "chance": {f"recall@{k}": found.chance[k] for k in KS}
        | {"median_rank": (len(drawn.test) + 1) / 2, "foscttm": 0.5},
        "directions": {
            "x to y": {f"recall@{k}": found.x_to_y.recall[k] for k in KS},
            "y to x": {f"recall@{k}": found.y_to_x.recall[k] for k in KS},
        },
        "credits": {str(k): np.round(found.per_item(k), 4).tolist() for k in KS},
    }


def versions() -> dict[str, str]:
    """Versions that may change a number."""
    packages = ("setclip", "numpy", "scipy", "scikit-learn", "torch")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


@dataclass
class Cost:
    """What a fit cost, tuning included.

    Attributes:
        seconds: Time on the clock.
        cpu_seconds: Time of all threads.
        peak_mb: Largest memory of the process during the fit, libraries included.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


def _nothing(started: float) -> dict[str, float]:
    return vars(Cost(seconds=time.perf_counter() - started))


@contextmanager
def _measured() -> Iterator[Cost]:
    cost = Cost()
    gc.collect()
    _reset_peak()
    clock, cpu = time.perf_counter(), time.process_time()
    yield cost
    cost.seconds = time.perf_counter() - clock
    cost.cpu_seconds = time.process_time() - cpu
    cost.peak_mb = _peak_mb()


def _reset_peak() -> None:
    # Linux alone can forget a peak; elsewhere it is that of all cells of the process so far.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return _lifetime_peak_mb()


def _lifetime_peak_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
