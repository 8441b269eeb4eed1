"""The benchmark: methods compared on the same splits, draws and queries.

if __name__ == "__main__":  # workers are processes that import this file
    rows = summarise(run_cells(cells_of("demo"), "runs/bench"), suite="demo")
    print(to_markdown(rows, command="setclip bench demo"))
"""

from __future__ import annotations

from setclip.benchmark.archive import Archive, archives
from setclip.benchmark.cells import ALL, Cell, Condition, PairCount
from setclip.benchmark.curves import curves_page
from setclip.benchmark.data import BenchmarkData, load_data
from setclip.benchmark.glance import at_a_glance
from setclip.benchmark.measure import Result, run_cell
from setclip.benchmark.plan import Planned, plan
from setclip.benchmark.replaced import Replaced, pairs_replaced
from setclip.benchmark.rivals import BestRival, best_rivals
from setclip.benchmark.runner import read_results, run_cells
from setclip.benchmark.suites import NAMED, SUITES, Fewer, Setting, Suite, cells_of, command
from setclip.benchmark.table import (
    Block,
    MethodRow,
    by_block,
    summarise,
    to_csv,
    to_markdown,
    to_result_table,
    to_rich,
)

__all__ = [
    "ALL",
    "NAMED",
    "SUITES",
    "Archive",
    "BenchmarkData",
    "BestRival",
    "Block",
    "Cell",
    "Condition",
    "Fewer",
    "MethodRow",
    "PairCount",
    "Planned",
    "Replaced",
    "Result",
    "Setting",
    "Suite",
    "archives",
    "at_a_glance",
    "best_rivals",
    "by_block",
    "cells_of",
    "command",
    "curves_page",
    "load_data",
    "pairs_replaced",
    "plan",
    "read_results",
    "run_cell",
    "run_cells",
    "summarise",
    "to_csv",
    "to_markdown",
    "to_result_table",
    "to_rich",
]
