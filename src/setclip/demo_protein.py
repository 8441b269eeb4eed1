"""The demo on proteins: sequences and structures, few pairs, pools and superfamilies, to a report.

Both encoders begin with random weights. They are trained on one modality alone first, then with
Set-CLIP; the structure encoder does not see what the residues are, so that no structure gives away
the sequence that is looked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from setclip.benchmark.cells import TEST_FRACTION, Cell, Condition
from setclip.benchmark.runner import run_cells
from setclip.benchmark.table import Block, MethodRow, by_block, summarise, to_result_table, to_rich
from setclip.config import parse_config
from setclip.data.atomic import replacing
from setclip.data.datasets import STRUCTURE_ALONE, load_dataset
from setclip.data.material import Material, load_material
from setclip.data.pools import FloatArray, IntArray
from setclip.data.splits import split_by_group
from setclip.encoders import from_card, open_backbone
from setclip.encoders.choices import parsed
from setclip.encoders.pretraining import train_on_views
from setclip.encoders.protein_options import save_weights
from setclip.encoders.protein_sequence import train_masked
from setclip.evaluation import knn_probe, linear_probe
from setclip.methods import CCA, Ridge, make_method
from setclip.methods.towers import CLIPTowers, Towers
from setclip.model import AlignedModel
from setclip.proteins.views import structure_view
from setclip.report import Column, ResultTable, Row
from setclip.run import run_fit
from setclip.run_report import run_report

DATASET = "proteins"
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

Encoder = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is trained.

    Attributes:
        masked_steps: Of the sequence encoder, guessing hidden residues.
        view_steps: Of the structure encoder, telling apart views.
        steps: Of both with Set-CLIP or CLIP.
        batch_pairs: Pairs a step.
        batch: Rows of either pool a step.
        batch_views: Rows of either side a step of which there is a second view.
        lr: Of the encoders.
    """

    masked_steps: int = 150
    view_steps: int = 60
    steps: int = 60
    batch_pairs: int = 32
    batch: int = 64
    batch_views: int = 32
    lr: float = 3e-4


def run_protein_demo(
    output: Path,
    *,
    seeds: int,
    workers: int,
    fresh: bool = False,
    console: Console,
    sizes: Sizes = Sizes(),
) -> Path:
    """Train both encoders, compare, fit one run to look into, write the report.

    Args:
        output: Folder of the demo; what is there already is kept.
        seeds: Seeds of the comparison: of splits, pairs and weights.
        workers: Processes.
        fresh: Compute again what is already there.
        console: Where tables are printed.
        sizes: How much is trained.

    Returns:
        Path of the report.
    """
    encoders = [
        pretrained(output / "encoders", seed, sizes, fresh=fresh, console=console)
        for seed in range(seeds)
    ]
    cells = [cell for seed, pair in enumerate(encoders) for cell in _cells(seed, pair, sizes)]
    rows = summarise(
        run_cells(cells, output / "benchmark", workers=workers, fresh=fresh), baseline=CLIP
    )
    for table in to_rich(rows, baseline=CLIP):
        console.print(table)
    condition, share = SHOWN
    method = _towers(encoders[0], sizes)
    config = parse_config(
        {
            "data": {
                "kind": "bundled",
                "name": DATASET,
                "pairs": _pairs(share),
                "condition": condition,
                "test_fraction": TEST_FRACTION,
            },
            "method": method.model_dump(mode="json"),
            "output": str(output),
        }
    )
    with _one_thread():  # as a cell has: sums in another order would end in another row
        run_fit(config, command="setclip demo-protein", progress=True, say=console.print)
    blocks = by_block(rows)
    kept = downstream(AlignedModel.load(output), load_material(config), encoders[0])
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


def pretrained(
    folder: Path, seed: int, sizes: Sizes, *, fresh: bool = False, console: Console
) -> tuple[Encoder, Encoder]:
    """Encoders of sequences and structures, each trained on its own modality of the training part.

    Args:
        folder: Where the weights are kept; those that are there are not trained again.
        seed: Of the split that leaves out the test, and of the training.
        sizes: How long.
        fresh: Train again.
        console: Where progress is shown.

    Returns:
        Options of both.
    """
    dataset = load_dataset(DATASET)
    train, _ = split_by_group(dataset.concepts, test_fraction=TEST_FRACTION, seed=seed)
    facts = json.dumps([asdict(sizes), seed, hashlib.sha256(train.tobytes()).hexdigest()])
    name = hashlib.sha256(facts.encode()).hexdigest()[:12]
    x, y = ({"kind": "protein-transformer"}, STRUCTURE_ALONE)

    def masked(advance: Callable[[], None]) -> Any:
        backbone = open_backbone(parsed(x), seed=seed)
        network: Any = getattr(backbone.network, "network", backbone.network)
        sequences = [dataset.x_items[row] for row in train]
        train_masked(
            network,
            [str(sequence) for sequence in sequences],
            steps=sizes.masked_steps,
            residues=4096,
            seed=seed,
            advance=advance,
        )
        return backbone

    def viewed(advance: Callable[[], None]) -> Any:
        options = parsed({**y, "train_norms": True})
        backbone = open_backbone(options, seed=seed)
        items = [backbone.prepare(dataset.y_items[row]) for row in train]
        train_on_views(
            backbone, items, structure_view, steps=sizes.view_steps, seed=seed, advance=advance
        )
        return backbone

    found: list[Encoder] = []
    for options, side, steps, trained in (
        (x, "sequence", sizes.masked_steps, masked),
        (y, "structure", sizes.view_steps, viewed),
    ):
        path = folder / f"{side}-{name}.safetensors"
        if fresh or not path.is_file():
            with _bar(f"{side} encoder, seed {seed}", steps, console) as advance:
                backbone = trained(advance)
            with replacing(path) as aside:
                save_weights(backbone, aside)
        found.append({**options, "weights": str(path)})
    return found[0], found[1]


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _bar(what: str, steps: int, console: Console) -> Iterator[Callable[[], None]]:
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda: bar.advance(task)


def _pairs(share: float) -> int:
    return int(share * (1 - TEST_FRACTION) * len(load_dataset(DATASET)))


def _common(encoders: tuple[Encoder, Encoder], sizes: Sizes) -> dict[str, Any]:
    return {
        "x": encoders[0],
        "y": encoders[1],
        "x_blocks": "all",
        "y_blocks": "all",
        "steps": sizes.steps,
        "lr": sizes.lr,
        "batch_pairs": sizes.batch_pairs,
        # Half way back to weights that know little would be half the training.
        "wise": 1.0,
    }


def _towers(encoders: tuple[Encoder, Encoder], sizes: Sizes, **changed: Any) -> Towers:
    pools = {"batch": sizes.batch, "batch_views": sizes.batch_views}
    return Towers(**_common(encoders, sizes) | pools | changed)


def _cells(seed: int, encoders: tuple[Encoder, Encoder], sizes: Sizes) -> Iterator[Cell]:
    methods = {
        TOWERS: _towers(encoders, sizes),
        FROZEN: _towers(encoders, sizes, steps=0),
        CLIP: CLIPTowers(**_common(encoders, sizes)),
        AUTO: make_method("auto"),
        CCA_ROW: CCA(),
        RIDGE: Ridge(),
    }
    for condition, share in SETTINGS:
        for label, method in methods.items():
            yield Cell(DATASET, condition, _pairs(share), seed, method, label)  # type: ignore[arg-type]


def _is_shown(block: Block) -> bool:
    return (block.condition, block.pairs) == (SHOWN[0], _pairs(SHOWN[1]))


def downstream(
    model: AlignedModel, material: Material, encoders: tuple[Encoder, Encoder]
) -> ResultTable:
    """What each embedding says of the topology of chains whose superfamily it has not seen.

    Args:
        model: The aligned one, with its encoders.
        material: Of its run: its test part is asked about.
        encoders: Before they were aligned.
    """
    dataset = load_dataset(DATASET)
    train, test = split_by_group(
        dataset.concepts, test_fraction=TEST_FRACTION, seed=model.card.seed
    )
    labels = np.asarray(dataset.labels)
    known = test[np.isin(labels[test], labels[train])]
    x, y = (
        [items[row] for row in range(len(dataset))] for items in (dataset.x_items, dataset.y_items)
    )
    embeddings = {
        "sequence: composition": from_card("composition").encode(x),
        "sequence: before": from_card(encoders[0]).encode(x),
        "sequence: aligned": model.encode_x(x),
        "structure: untrained": dataset.features(progress=False)[1],
        "structure: before": from_card(encoders[1]).encode(y),
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
        "the labels of the whole training part; before: trained on this modality alone.",
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
