"""The demo on proteins: sequences and structures, few pairs, pools and superfamilies, to a report.

Both encoders begin with random weights. That of structures sees what the residues are, as
published: counting letters on both sides already finds some partners, which the frozen rows show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from setclip.benchmark.cells import TEST_FRACTION, Cell, Condition
from setclip.benchmark.runner import run_cells
from setclip.benchmark.table import Block, MethodRow, by_block, summarise, to_result_table, to_rich
from setclip.config import parse_config
from setclip.data.datasets import TYPED_PROTEINS, load_dataset
from setclip.data.pools import FloatArray, IntArray
from setclip.data.splits import split_by_group
from setclip.evaluation import knn_probe, linear_probe
from setclip.methods import CCA, Ridge, make_method
from setclip.methods.towers import CLIPTowers, Towers
from setclip.model import AlignedModel
from setclip.report import Column, ResultTable, Row
from setclip.run import run_fit
from setclip.run.report import run_report
from setclip.training.threads import at_most

SETTINGS: tuple[tuple[Condition, float], ...] = (
    ("disjoint", 0.05),
    ("disjoint", 0.2),
    ("concept-sets", 0.05),
)
"""Conditions with the share of the training chains that are known pairs."""
SHOWN: tuple[Condition, float] = ("concept-sets", 0.05)
"""The one whose model is kept and looked into."""
TOWERS, FROZEN, CLIP = "Set-CLIP end to end", "auto, frozen encoders", "CLIP end to end"
RIDGE, CCA_ROW, AUTO = "ridge, composition", "cca, composition", "auto, composition"


@dataclass(frozen=True)
class Sizes:
    """How much is trained.

    Attributes:
        steps: Of both encoders.
        batch_pairs: Pairs a step.
        batch: Rows of either pool a step.
        batch_views: Rows of either side a step of which there is a second view.
        lr: Of the encoders.
    """

    steps: int = 200
    batch_pairs: int = 32
    batch: int = 64
    batch_views: int = 32
    lr: float = 1e-3


def run_protein_demo(
    output: Path,
    *,
    seeds: int,
    workers: int,
    fresh: bool = False,
    console: Console,
    sizes: Sizes = Sizes(),
) -> Path:
    """Compare, fit one run to look into, write the report.

    Args:
        output: Folder of the demo; what is there already is kept.
        seeds: Seeds of the comparison: of splits, pairs and batches.
        workers: Processes.
        fresh: Compute again what is already there.
        console: Where tables are printed.
        sizes: How much is trained.

    Returns:
        Path of the report.
    """
    cells = [cell for seed in range(seeds) for cell in _cells(seed, sizes)]
    rows = summarise(
        run_cells(cells, output / "benchmark", workers=workers, fresh=fresh), baseline=CLIP
    )
    for table in to_rich(rows, baseline=CLIP):
        console.print(table)
    condition, share = SHOWN
    method = _towers(sizes)
    config = parse_config(
        {
            "data": {
                "kind": "bundled",
                "name": TYPED_PROTEINS,
                "pairs": _pairs(share),
                "condition": condition,
                "test_fraction": TEST_FRACTION,
            },
            "method": method.model_dump(mode="json"),
            "output": str(output),
        }
    )
    with at_most(1):  # as a cell has: sums in another order would end in another row
        run_fit(config, command="setclip demo-protein", progress=True, say=console.print)
    blocks = by_block(rows)
    kept = downstream(AlignedModel.load(output))
    return run_report(
        output,
        tables=[
            *(
                to_result_table(
                    found,
                    command=f"setclip demo-protein --seeds {seeds}",
                    this_run=TOWERS if _is_shown(block) else "",
                    baseline=CLIP,
                )
                for block, found in blocks.items()
            ),
            kept,
        ],
        title="Sequences and structures of proteins",
        verdict=_verdict(blocks),
    )


def _pairs(share: float) -> int:
    return int(share * (1 - TEST_FRACTION) * len(load_dataset(TYPED_PROTEINS)))


def _common(sizes: Sizes) -> dict[str, Any]:
    return {
        "x": {"kind": "protein-transformer"},
        "y": {"kind": "cdconv"},
        "x_blocks": "all",
        "y_blocks": "all",
        "steps": sizes.steps,
        "lr": sizes.lr,
        "batch_pairs": sizes.batch_pairs,
        # Half way back to weights that know little would be half the training.
        "wise": 1.0,
        # Landmarks of encoders with random weights would go stale.
        "sharpness": 0.0,
    }


def _towers(sizes: Sizes, **changed: Any) -> Towers:
    # Rows of the pools as negatives of the pairs lost 12 points of R@10 on 4,844 chains.
    pools = {"batch": sizes.batch, "batch_views": sizes.batch_views, "extra_negatives": False}
    return Towers(**_common(sizes) | pools | changed)


def _cells(seed: int, sizes: Sizes) -> Iterator[Cell]:
    methods = {
        TOWERS: _towers(sizes),
        FROZEN: _towers(sizes, steps=0),
        CLIP: CLIPTowers(**_common(sizes)),
        AUTO: make_method("auto"),
        CCA_ROW: CCA(),
        RIDGE: Ridge(),
    }
    for condition, share in SETTINGS:
        for label, method in methods.items():
            yield Cell(TYPED_PROTEINS, condition, _pairs(share), seed, method, label)  # type: ignore[arg-type]


def _is_shown(block: Block) -> bool:
    return (block.condition, block.pairs) == (SHOWN[0], _pairs(SHOWN[1]))


def downstream(model: AlignedModel) -> ResultTable:
    """What each embedding says of the topology of chains whose superfamily it has not seen.

    Args:
        model: The aligned one, with its encoders.
    """
    dataset = load_dataset(TYPED_PROTEINS)
    train, test = split_by_group(
        dataset.concepts, test_fraction=TEST_FRACTION, seed=model.card.seed
    )
    labels = np.asarray(dataset.labels)
    known = test[np.isin(labels[test], labels[train])]
    x, y = (
        [items[row] for row in range(len(dataset))] for items in (dataset.x_items, dataset.y_items)
    )
    composition, untrained = dataset.features(progress=False)
    embeddings = {
        "sequence: composition": composition,
        "sequence: aligned": model.encode_x(x),
        "structure: untrained": untrained,
        "structure: aligned": model.encode_y(y),
    }
    rows = [
        Row(name, _probes(z, labels, dataset.concepts, train, known))
        for name, z in embeddings.items()
    ]
    return ResultTable(
        "Topology from one modality",
        (Column("linear probe", "%", "higher", main=True), Column("k-NN", "%", "higher")),
        tuple(rows),
        f"{len(known)} test chains whose topology other superfamilies of the training part have; "
        f"always naming the most frequent one: {_majority(labels, train, known):.1f} %. Probes see "
        "the labels of the whole training part.",
    )


def _probes(
    z: FloatArray,
    labels: np.ndarray[Any, Any],
    groups: IntArray,
    train: IntArray,
    test: IntArray,
) -> tuple[float, float]:
    linear = linear_probe(
        z[train],
        labels[train],
        z[test],
        labels[test],
        train_groups=groups[train],
        strengths=(1e-2, 1e-1),
    )
    near = knn_probe(z[train], labels[train], z[test], labels[test], k=10)
    return linear.accuracy, near.accuracy


def _majority(labels: np.ndarray[Any, Any], train: IntArray, test: IntArray) -> float:
    names, counts = np.unique(labels[train], return_counts=True)
    return 100.0 * float(np.mean(labels[test] == names[counts.argmax()]))


def _verdict(blocks: dict[Block, list[MethodRow]]) -> str:
    """What Set-CLIP reached against CLIP on the same pairs, whatever it was."""
    parts = []
    for block, rows in blocks.items():
        found = {row.method: row.recall[10].mean for row in rows if row.recall}
        best = max((value, name) for name, value in found.items() if name in (AUTO, CCA_ROW, RIDGE))
        parts.append(
            f"{block.pairs} pairs, {block.kind}: {found[TOWERS]:.0f} % (CLIP on the same pairs "
            f"{found[CLIP]:.0f} %, frozen encoders {found[FROZEN]:.0f} %, best from composition "
            f"{best[0]:.0f} %)"
        )
    return (
        "How often Set-CLIP finds the partner among the first ten, sequence and structure of "
        f"superfamilies that it has not seen: {'; '.join(parts)}."
    )
