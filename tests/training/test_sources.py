"""Kept views: each is drawn, and a second one is another than the first."""

from __future__ import annotations

import numpy as np
import pytest
from training.streams import collate

from setclip.data.pools import make_pools
from setclip.training.batches import Composition, Sources, Steps
from setclip.training.sources import KeptSource


def kept(views: int, items: int = 5) -> KeptSource:
    """Rows that say which variant they are of."""
    variants = [np.full((items, 2), v, dtype=np.float32) for v in range(views + 1)]
    return KeptSource(variants, [np.array([i]) for i in range(items)], {})


def drawn(source: KeptSource, seed: int, **options: object) -> int:
    return int(source.read(0, np.random.default_rng(seed), **options)[0])  # type: ignore[arg-type]


def test_the_item_itself_and_every_view_of_it() -> None:
    source = kept(3)
    assert {drawn(source, seed, view=False) for seed in range(20)} == {0}
    assert {drawn(source, seed, view=True) for seed in range(20)} == {1, 2, 3}


@pytest.mark.parametrize(("views", "seconds"), [(0, {0}), (1, {0}), (2, {1, 2}), (4, {1, 2, 3, 4})])
def test_a_second_view_is_unlike_the_first(views: int, seconds: set[int]) -> None:
    source = kept(views)
    found = set()
    for seed in range(40):
        first = drawn(source, seed, view=True)
        again = drawn(source, 1000 + seed, view=True, unlike=np.random.default_rng(seed))
        assert (again != first) == (views > 0)
        found.add(again)
    assert found == seconds


@pytest.mark.parametrize("augment", [True, False])
def test_a_step_shows_two_different_views(augment: bool) -> None:
    sources = Sources(kept(2), kept(2), kept(2), kept(2), collate, collate)
    rows = np.zeros((5, 2), dtype=np.float32)
    pools = make_pools(rows, rows, x_pool=rows, y_pool=rows)
    composition = Composition(4, 4, augment=augment, second_views=8, pairs_together=True)
    steps = Steps(sources, pools, composition, seed=0)
    for batch in (steps[i] for i in range(10)):
        for side in "xy":
            first = getattr(batch, side)["v"][getattr(batch, f"{side}_seen")]
            again = getattr(batch, f"{side}_again")["v"]
            assert len(again) > 4  # an epoch that ends in a batch makes it shorter
            assert (again[:, 0] > 0).all()
            assert (first != again).all()
