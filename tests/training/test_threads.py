"""Threads of a step: small ones get one, and the caller's number comes back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from setclip.training.loop import Schedule, train
from setclip.training.threads import MULTIPLICATIONS, WIDTH, at_most, worth

THREADS = 3


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (3, 3), (64, 3)])
def test_never_more_than_there_were(asked: int, given: int) -> None:
    with at_most(asked):
        assert torch.get_num_threads() == given
    assert torch.get_num_threads() == THREADS


def test_the_number_comes_back_after_an_error() -> None:
    with pytest.raises(KeyError), at_most(1):
        raise KeyError
    assert torch.get_num_threads() == THREADS


@pytest.mark.parametrize(("rows", "threads"), [(0, 1), (100, 1), (170, 1), (180, 2), (1000, 18)])
def test_threads_follow_what_parameters_and_losses_multiply(rows: int, threads: int) -> None:
    side = nn.Linear(1000, 300, bias=False, device="meta")
    assert (MULTIPLICATIONS, WIDTH) == (30_000_000, 256)
    assert worth(side, rows) == threads


@pytest.mark.parametrize(("rows", "threads"), [(8, 1), (10**9, THREADS), (None, THREADS)])
def test_small_steps_train_on_one_thread(rows: int | None, threads: int) -> None:
    head = nn.Linear(4, 2)
    seen: set[int] = set()

    def objective(rng: np.random.Generator) -> dict[str, Tensor]:
        seen.add(torch.get_num_threads())
        return {"norm": head(torch.ones(3, 4)).square().mean()}

    train(head, objective, Schedule(3, 1e-2), rows=rows)
    assert seen == {threads}
    assert torch.get_num_threads() == THREADS
