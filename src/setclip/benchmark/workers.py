"""Processes that run cells, one thread each, so that a cell's result does not depend on the others.

Each worker has its own pipe, so a worker that dies takes exactly one cell with it, and which one is
known; a shared pool of processes would lose all of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, cast

from setclip.benchmark.cells import Cell
from setclip.benchmark.data import BenchmarkData
from setclip.benchmark.measure import Result, run_cell

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}

_CONTEXT = multiprocessing.get_context("spawn")


class Done(NamedTuple):
    """A cell that came back; `failure` says what went wrong where there is no result."""

    cell: Cell
    result: Result | None
    failure: str = ""


def run_parallel(cells: Sequence[Cell], homes: Mapping[str, Path], workers: int) -> Iterator[Done]:
    """Run cells in worker processes, in the given order, and yield them as they finish.

    A worker that dies or raises is reported for its cell alone. However the iteration ends, no
    process is left behind.

    Args:
        cells: What to run.
        homes: Where the data of each name were written; see :meth:`BenchmarkData.write`.
        workers: Processes.
    """
    waiting = deque(cells)
    busy: dict[Connection, tuple[_Worker, Cell]] = {}
    try:
        for _ in range(min(workers, len(cells))):
            worker = _Worker(homes)
            busy[worker.pipe] = worker, worker.give(waiting.popleft())
        while busy:
            for pipe in wait(list(busy)):
                worker, cell = busy.pop(cast(Connection, pipe))
                yield worker.take(cell)
                if not waiting:
                    worker.stop()
                    continue
                if not worker.process.is_alive():
                    worker = _Worker(homes)
                busy[worker.pipe] = worker, worker.give(waiting.popleft())
    finally:
        for worker, _ in busy.values():
            worker.kill()


class _Worker:
    """A process with the pipe to it."""

    def __init__(self, homes: Mapping[str, Path]) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(theirs, dict(homes)), daemon=True)
        with _environment(ONE_THREAD):
            self.process.start()
        # With our copy of their end closed, their death is the end of the file.
        theirs.close()

    def give(self, cell: Cell) -> Cell:
        # A worker that died at its start is noticed when its answer is awaited.
        with suppress(OSError):
            self.pipe.send(cell)
        return cell

    def take(self, cell: Cell) -> Done:
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return Done(cell, None, _how_it_ended(self.process.exitcode or 0))
        if isinstance(answer, str):
            return Done(cell, None, answer)
        return Done(cell, answer)

    def stop(self) -> None:
        self.pipe.close()
        self.process.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed; there may be too little memory for so many workers"
    return f"its process ended with exit code {code}"


def _serve(pipe: Connection, homes: dict[str, Path]) -> None:
    """Run what comes through the pipe until it is closed."""
    import torch

    # The terminal sends Ctrl-C to all; the parent decides what becomes of a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Warnings of a fit are in its result; in the terminal they would tear the progress bar.
    logging.getLogger("setclip").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    data: dict[str, BenchmarkData] = {}
    while True:
        try:
            cell = pipe.recv()
        except EOFError:
            return
        try:
            if cell.dataset not in data:
                data[cell.dataset] = BenchmarkData.read(homes[cell.dataset])
            if hasattr(cell.method, "steps"):
                _warm_up()
            answer: Result | str = run_cell(cell, data[cell.dataset])
        except Exception:
            answer = traceback.format_exc().strip()
        pipe.send(answer)


def _end_with_parent() -> None:
    """Leave when a killed parent, which could stop nobody, is gone: nobody waits for the cell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _warm_up() -> None:
    """Let torch load its compiler, which the first optimiser of a process asks for.

    It takes seconds, once, and would be counted in the time of whichever fit comes first.
    """
    import torch

    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    # Numeric libraries read these when they load, so they must stand before the process starts.
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
