"""Write the learning curves that `setclip diagnose` compares with, from tables of `setclip bench`.

    setclip bench glosses --conditions disjoint; setclip bench emoji --conditions disjoint; …
    python scripts/build_curves.py runs/bench/glosses.csv runs/bench/emoji.csv …

A table of several data sets, as of `setclip bench full`, serves too; synthetic clouds are left out,
and numbers of pairs, but for none, at which `auto` or the pairs alone were not measured.
Shared geometry is measured on 1,000 pairs of each data set, as users measure it on theirs.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from setclip.benchmark.data import load_data
from setclip.benchmark.planted import PLANTED
from setclip.data.atomic import write_text
from setclip.evaluation import alignability

HERE = Path(__file__).parents[1] / "src" / "setclip" / "diagnosis" / "curves.json"
ALIGNED_ON = 1000
TRAIN_SHARE = 0.75


def read_rows(paths: list[str]) -> list[dict[str, str]]:
    rows = []
    for path in paths:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    return [
        row
        for row in rows
        if row["role"] == "method"
        and row["condition"] == "disjoint"
        and row["recall@10"]
        and row["dataset"] not in PLANTED
        and row["pairs"].isdecimal()
    ]


def curve(name: str, rows: list[dict[str, str]]) -> dict[str, object]:
    best: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        recall, found = float(row["recall@10"]), best[int(row["pairs"])]
        if row["method"] == "auto":
            found[1] = recall
        if row["alone"] == "1":
            found[0] = max(found[0], recall)
    data = load_data(name)
    sample = np.random.default_rng(0).permutation(len(data.x))[:ALIGNED_ON]
    shared = alignability(data.x[sample], data.y[sample]).shared
    assert shared is not None
    counts = sorted(pairs for pairs, found in best.items() if all(found))
    return {
        "suite": name,
        "shared": round(shared, 2),
        "pool": round(TRAIN_SHARE * len(data.x) / 2),
        "gallery": round(next(float(r["gallery"]) for r in rows if r["method"] == "auto")),
        "pairs": counts,
        "pairs_only": [round(best[n][0], 1) for n in counts],
        "with_pools": [round(best[n][1], 1) for n in counts],
        "without_pairs": round(best[0][1], 1),
    }


def main() -> None:
    by_suite = defaultdict(list)
    for row in read_rows(sys.argv[1:]):
        by_suite[row["dataset"]].append(row)
    curves = [curve(name, rows) for name, rows in by_suite.items()]
    source = "setclip bench, disjoint pools: best method of the pairs alone, and auto"
    text = json.dumps({"source": source, "curves": curves}, indent=1)
    write_text(HERE, text + "\n")


if __name__ == "__main__":
    main()
