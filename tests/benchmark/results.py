"""Results as run_cells returns them, made up."""

from __future__ import annotations

from typing import Any

import numpy as np

QUERIES = 50


def result(
    label: str,
    seed: int,
    hits: float,
    *,
    pairs: int | str = 50,
    condition: str = "disjoint",
    view: str = "",
    dataset: str = "emoji",
) -> dict[str, Any]:
    """A result in which each item is found with probability `hits`."""
    rng = np.random.default_rng([seed, len(label)])
    credits = {str(k): (100.0 * (rng.random(QUERIES) < hits)).tolist() for k in (1, 5, 10)}
    recalls = {f"recall@{k}": float(np.mean(credits[str(k)])) for k in (1, 5, 10)}
    return {
        "cell": {
            "dataset": dataset,
            "condition": condition,
            "view": view or condition,
            "pairs": pairs,
            "seed": seed,
            "label": label,
            "set_size": 16,
        },
        "gallery": QUERIES,
        "metrics": {"median_rank": 3.0 + seed} | recalls,
        "chance": {"median_rank": 25.5} | {f"recall@{k}": 2.0 * k for k in (1, 5, 10)},
        "credits": credits,
        "cost": {"seconds": 2.0, "cpu_seconds": 1.0, "peak_mb": 400.0},
    }


def failed(label: str, seed: int, **of: Any) -> dict[str, Any]:
    whole = result(label, seed, 0.5, **of)
    return {"cell": whole["cell"], "error": f"{label} cannot."}
