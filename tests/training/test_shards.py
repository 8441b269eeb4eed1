"""Pins: two processes that divide the weights between them train those of one that holds all, and
either goes on from the other's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from training.forked import forked
from training.sharded_run import (
    CASES,
    POOLS,
    RESUMED,
    STOP,
    StoppedError,
    collate,
    member,
    state,
    train,
)

TOLERANCE = 1e-10  # of float64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left what they found, and one process a run that was stopped."""
    path: Path = tmp_path_factory.mktemp("sharded")
    with pytest.raises(StoppedError):
        train(RESUMED, folder=path / "whole", stop=STOP)
    processes = [forked().Process(target=member, args=(number, path)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    return path


def found(folder: Path, key: str, number: int = 0) -> dict[str, Tensor]:
    tensors = load_file(folder / f"{number}.safetensors")
    return {n.split("/", 1)[1]: t for n, t in tensors.items() if n.startswith(f"{key}/")}


def close(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_divided_weights_become_those_of_one_process(folder: Path, case: str) -> None:
    towers, scale, trained = train(case)
    expected = {**towers.state_dict(), "temperature": scale}
    with torch.no_grad():
        expected["embedded"] = towers["x"](collate(list(POOLS.x_pairs)))
    for number in range(2):
        close(found(folder, case, number), expected)
        told = json.loads((folder / f"{case} {number}.json").read_text())
        assert told["step"] == trained.best_step
        # Each process met one of them, and knows of both.
        assert sorted(item["row"] for item in told["bad"]) == [3, 20]


def test_one_process_goes_on_from_what_two_divided(folder: Path) -> None:
    close(state(RESUMED, folder=folder / "sharded"), state(RESUMED))


def test_two_that_divide_go_on_from_what_one_left(folder: Path) -> None:
    close(found(folder, "resumed"), state(RESUMED))


def test_one_process_has_nothing_to_divide() -> None:
    ours, expected = state("lion", shard=True), state("lion")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.items())
