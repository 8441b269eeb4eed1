"""Pins the promise of a run folder: killed with SIGKILL at any moment, it ends with the same bytes.

A process of its own is killed when its log has reached a random length, started again, killed
again; in the end every file must be that of a process that nobody killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from training.forked import forked
from training.killed_fit import fit, fit_towers

Fit = Callable[[Path], None]


def start(folder: Path, target: Fit) -> BaseProcess:
    process = forked().Process(target=target, args=(folder,))
    process.start()
    return process


def logged(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/log.jsonl"))


def kill_at(size: int, folder: Path, pause: float, target: Fit) -> bool:
    """Kill a fit once its logs are this long and a moment has passed; False if it ended before."""
    process = start(folder, target)
    while process.is_alive() and logged(folder) < size:
        time.sleep(0.002)
    time.sleep(pause)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def finish(folder: Path, target: Fit) -> None:
    process = start(folder, target)
    process.join()
    assert process.exitcode == 0


def files(folder: Path) -> dict[str, bytes]:
    """All but what a killed write left aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(("target", "models"), [(fit, {"random", "cca"}), (fit_towers, {"towers"})])
def test_a_killed_fit_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Fit, models: set[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole, target)
    moments = np.random.default_rng()  # others every time; printed if the test fails
    shares = [0.0, *np.sort(moments.uniform(0.05, 0.9, 3))]
    pauses = moments.uniform(0, 0.03, 4)
    deaths = [
        kill_at(int(share * logged(whole)) + 1, killed, float(pause), target)
        for share, pause in zip(shares, pauses, strict=True)
    ]
    print(f"killed at {shares} of the log, {pauses} s later: {deaths}")
    assert sum(deaths) >= 2
    finish(killed, target)
    expected, found = files(whole), files(killed)
    assert found.keys() == expected.keys()
    assert {f"{name}/model.safetensors" for name in models} <= found.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
