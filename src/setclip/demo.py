"""The demo: emoji and glosses, few pairs, none, and unpaired data, to a report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from setclip.benchmark.runner import run_cells
from setclip.benchmark.suites import cells_of, command
from setclip.benchmark.table import Block, MethodRow, by_block, summarise, to_result_table, to_rich
from setclip.config import parse_config
from setclip.run import run_fit
from setclip.run.report import run_report

SHOWN = "auto"
PAIRS = 50


def run_demo(
    output: Path, *, seeds: int, workers: int, fresh: bool = False, console: Console
) -> Path:
    """Compare the methods of the demo suite, fit one run to look into, write the report.

    Args:
        output: Folder of the demo; results that are there already are kept.
        seeds: Seeds of the comparison.
        workers: Processes.
        fresh: Compute again what is already there.
        console: Where tables are printed.

    Returns:
        Path of the report.
    """
    results = run_cells(
        cells_of("demo", seeds=seeds), output / "benchmark", workers=workers, fresh=fresh
    )
    rows = summarise(results, suite="demo")
    for table in to_rich(rows):
        console.print(table)
    config = parse_config(
        {
            "data": {
                "kind": "bundled",
                "name": "emoji",
                "pairs": 0,
                "condition": "sets",
                "test_fraction": 0.25,
            },
            "method": "auto",
            "output": str(output),
        }
    )
    run_fit(config, command="setclip demo", progress=True, say=console.print)
    blocks = by_block(rows)
    return run_report(
        output,
        tables=[
            to_result_table(
                rows,
                command=command("demo", seeds=seeds),
                this_run=SHOWN if _is_of_run(block) else "",
            )
            for block, rows in blocks.items()
        ],
        title="Few pairs, sets, or two piles",
        verdict=_verdict(blocks),
    )


def _is_of_run(block: Block) -> bool:
    return (block.dataset, block.condition, block.pairs) == ("emoji", "sets", 0)


def _verdict(blocks: dict[Block, list[MethodRow]]) -> str:
    """What unpaired data bought where geometry is shared, and where it is not."""
    at = {(block.dataset, block.condition, block.pairs): rows for block, rows in blocks.items()}
    found = {
        place: {row.method: row.recall[10].mean for row in rows if row.recall}
        for place, rows in at.items()
    }
    emoji, glosses = found["emoji", "disjoint", PAIRS], found["glosses", "disjoint", PAIRS]
    alone = max(
        emoji[row.method]
        for row in at["emoji", "disjoint", PAIRS]
        if row.alone and row.role != "reference"
    )
    return (
        f"Two text encoders share their geometry: with {PAIRS} pairs a CLIP-trained head finds the "
        f"right partner of a gloss among the first ten for {glosses['clip']:.0f} %, `auto` with "
        f"unpaired glosses and no pair at all for {found['glosses', 'disjoint', 0][SHOWN]:.0f} %. "
        f"Emoji images and their names share little: there the best map of {PAIRS} pairs finds "
        f"{alone:.0f} %, unpaired items bring it to {emoji[SHOWN]:.0f} %, and knowing which "
        f"sixteen images go with which sixteen names, without a pair, to "
        f"{found['emoji', 'sets', 0][SHOWN]:.0f} %."
    )
