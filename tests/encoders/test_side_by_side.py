"""Batches side by side: the same results in the same order, one failure stops the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from setclip.data.datasets import load_dataset
from setclip.encoders import open_encoder
from setclip.encoders.choices import parsed
from setclip.encoders.protocol import encode_all
from setclip.encoders.side_by_side import AT_ONCE, side_by_side


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_results_keep_the_order_of_the_batches(concurrent: bool, count: int) -> None:
    found = list(side_by_side(lambda n: n * n, range(count), concurrent=concurrent))
    assert found == [n * n for n in range(count)]


@pytest.mark.usefixtures("two_cores")
def test_after_the_first_two_run_at_once_on_one_core_each() -> None:
    meet = threading.Barrier(2)
    main = threading.get_ident()

    def run(batch: int) -> int:
        assert threading.get_ident() != main
        if batch:
            meet.wait(timeout=30)  # nobody passes alone
        return torch.get_num_threads()

    assert list(side_by_side(run, range(5))) == [1] * 5
    assert torch.get_num_threads() == 2


def test_of_many_cores_each_batch_has_its_share_and_a_single_one_has_all() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2 * AT_ONCE)
    try:
        assert list(side_by_side(lambda _: torch.get_num_threads(), range(3))) == [2] * 3
        assert list(side_by_side(lambda _: torch.get_num_threads(), [0])) == [2 * AT_ONCE]
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("two_cores")
def test_a_failure_ends_it_and_leaves_the_rest_alone() -> None:
    begun = []

    def run(batch: int) -> int:
        begun.append(batch)
        if batch == 1:
            raise ValueError("batch 1")
        time.sleep(0.01)  # longer than it takes to hear of the failure
        return batch

    with pytest.raises(ValueError, match="batch 1"):
        list(side_by_side(run, range(500)))
    assert len(begun) < 500
    assert torch.get_num_threads() == 2


class Doubling:
    name, modality, dim, batch_size, fingerprint = "doubling", "image", 2, 3, "d"
    concurrent = True

    def prepare(self, item: bytes) -> int:
        return len(item)

    def embed(self, prepared: list[int]) -> np.ndarray:
        return np.array([[n, 2 * n] for n in prepared], dtype=np.float32)


@pytest.mark.usefixtures("two_cores")
def test_an_encoder_that_allows_it_gives_the_same_features() -> None:
    items = [b"a" * n for n in range(11)]
    features = encode_all(Doubling(), items, progress=False)  # type: ignore[arg-type]
    np.testing.assert_array_equal(features, [[n, 2 * n] for n in range(11)])
    assert encode_all(Doubling(), [], progress=False).shape == (0, 2)  # type: ignore[arg-type]


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("name", ["efficientnet-lite0", "minilm-l6"])
def test_bundled_networks_bear_it(name: str) -> None:
    pytest.importorskip("transformers")
    emoji = load_dataset("emoji")
    items = list(emoji.x_items if name == "efficientnet-lite0" else emoji.y_items)[:200:3]
    encoder = open_encoder(parsed(name))
    together = encoder.encode(items)
    alone = np.concatenate([encoder.encode([item]) for item in items])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
