"""What a draw may show, and what it must hide."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark.clouds import SMALL, small_data
from benchmark.odd_methods import OfPools, OfPoolsAndPairs
from numpy.typing import NDArray

from setclip.benchmark import BenchmarkData, Cell, conditions
from setclip.benchmark.cells import Condition
from setclip.benchmark.conditions import GALLERY, STRAYS, WRONG_IDS, draw
from setclip.data.splits import NEAR_DUPLICATE
from setclip.methods import CCA, Auto, Ridge
from setclip.methods.towers import CLIPTowers, Towers

DATA = small_data()
WITH_OWN = replace(
    DATA,
    x_pool=np.concatenate([DATA.x[:240], DATA.x[:200] + 9.0]),
    y_pool=DATA.y[::-1] + 9.0,
    x_sets=np.arange(440) // 10,
    y_sets=np.full(240, 3),
)
KINDS: tuple[Condition, ...] = ("disjoint", "overlapping", "sets", "damaged-sets", "shifted")


def rows_of(features: NDArray[np.float32], of: NDArray[np.float32]) -> list[int]:
    """Row numbers of features that are unique to their item."""
    place = {row.tobytes(): i for i, row in enumerate(of)}
    return [place[row.tobytes()] for row in features]


@pytest.mark.parametrize("kind", KINDS)
def test_no_group_of_a_test_item_is_seen(kind: Condition) -> None:
    drawn = draw(Cell("d", kind, 20, 3, CCA()), DATA)
    seen = rows_of(drawn.pools.all_x(), DATA.x) + rows_of(drawn.pools.all_y(), DATA.y)
    assert not set(DATA.groups[seen]) & set(DATA.groups[drawn.test])


def test_test_items_are_one_a_group() -> None:
    test = draw(Cell("d", "disjoint", 20, 0, CCA()), DATA).test
    assert len(set(DATA.groups[test])) == len(test)


def test_distinct_items_of_a_concept_all_stand_in_the_gallery_and_make_a_set() -> None:
    concepts = np.arange(len(DATA.x)) // 6
    data = replace(DATA, groups=concepts, concepts=concepts)
    drawn = draw(Cell("d", "concept-sets", 20, 0, CCA()), data)
    assert len(drawn.test) == 6 * len(set(concepts[drawn.test]))
    seen = concepts[rows_of(drawn.pools.x_pool, DATA.x)]
    sets = drawn.pools.x_sets
    np.testing.assert_array_equal(sets[:, None] == sets, seen[:, None] == seen)
    cell = Cell("d", "concept-sets", 20, 0, CCA())
    assert cell.decisive()["set_size"] is None
    with pytest.raises(ValueError, match="d has no concepts of several items: use the condition"):
        draw(cell, DATA)


def test_one_seed_gives_the_same_pairs_and_test_in_every_condition() -> None:
    draws = [draw(Cell("d", k, 20, 5, m), DATA) for k in KINDS for m in (CCA(), Ridge())]
    for other in draws[1:]:
        np.testing.assert_array_equal(other.pools.x_pairs, draws[0].pools.x_pairs)
        np.testing.assert_array_equal(other.pools.y_pairs, draws[0].pools.y_pairs)
        np.testing.assert_array_equal(other.test, draws[0].test)


def test_other_seeds_give_other_splits() -> None:
    first, second = (draw(Cell("d", "disjoint", 20, seed, CCA()), DATA).test for seed in (0, 1))
    assert set(first.tolist()) != set(second.tolist())


def test_pairs_are_pairs() -> None:
    pools = draw(Cell("d", "shifted", 20, 0, CCA()), DATA).pools
    assert rows_of(pools.x_pairs, DATA.x) == rows_of(pools.y_pairs, DATA.y)


@pytest.mark.parametrize("kind", ["disjoint", "shifted"])
def test_pools_share_no_item_with_each_other_nor_the_pairs(kind: Condition) -> None:
    pools = draw(Cell("d", kind, 20, 0, CCA()), DATA).pools
    x, y, pairs = (
        set(rows_of(features, of))
        for features, of in (
            (pools.x_pool, DATA.x),
            (pools.y_pool, DATA.y),
            (pools.x_pairs, DATA.x),
        )
    )
    assert x
    assert y
    assert not x & y
    assert not (x | y) & pairs


def test_shifted_pools_have_other_shares_of_classes() -> None:
    pools = draw(Cell("d", "shifted", 0, 0, CCA()), DATA).pools
    assert DATA.labels is not None
    counts = [
        np.bincount(DATA.labels[rows_of(features, of)], minlength=SMALL.classes)
        for features, of in ((pools.x_pool, DATA.x), (pools.y_pool, DATA.y))
    ]
    shares = np.sort(counts[0] / (counts[0] + counts[1]))
    assert (shares[:2] < 0.4).all()
    assert (shares[2:] > 0.6).all()


def test_damaged_sets_are_sets_with_strays_and_wrong_ids() -> None:
    clean, damaged = (
        draw(Cell("d", kind, 20, 4, CCA(), set_size=8), DATA).pools
        for kind in ("sets", "damaged-sets")
    )
    items = len(clean.x_pool)
    lost = 2 * items - len(damaged.x_pool) - len(damaged.y_pool)
    assert lost == round(STRAYS * items)
    for rows, before, ids, old, of in (
        (damaged.x_pool, clean.x_pool, damaged.x_sets, clean.x_sets, DATA.x),
        (damaged.y_pool, clean.y_pool, damaged.y_sets, clean.y_sets, DATA.y),
    ):
        true = dict(zip(rows_of(before, of), old.tolist(), strict=True))
        wrong = sum(true[r] != s for r, s in zip(rows_of(rows, of), ids.tolist(), strict=True))
        assert wrong == round(WRONG_IDS * len(rows))


def test_damaged_sets_that_are_not_looked_at_are_pools_with_strays() -> None:
    pools = draw(Cell("d", "damaged-sets", 20, 4, OfPoolsAndPairs()), DATA).pools
    sets = draw(Cell("d", "damaged-sets", 20, 4, CCA()), DATA).pools
    np.testing.assert_array_equal(pools.x_pool, sets.x_pool)
    assert not len(pools.shared_sets)
    assert len(sets.shared_sets)


def test_a_method_that_ignores_pairs_gets_every_training_item_in_its_pools() -> None:
    many, none = (draw(Cell("d", "disjoint", pairs, 4, OfPools()), DATA).pools for pairs in (50, 0))
    assert many.n_pairs == none.n_pairs == 0
    np.testing.assert_array_equal(many.x_pool, none.x_pool)
    assert len(many.x_pool) + len(many.y_pool) == 180


def test_own_pools_are_joined_by_what_is_hidden_and_never_resemble_the_test() -> None:
    drawn = draw(Cell("d", "own", 20, 0, CCA()), WITH_OWN)
    plain = draw(Cell("d", "disjoint", 20, 0, CCA()), DATA)
    np.testing.assert_array_equal(drawn.pools.x_pairs, plain.pools.x_pairs)
    hidden = len(plain.pools.x_pool)
    np.testing.assert_array_equal(drawn.pools.x_pool[:hidden], plain.pools.x_pool)
    added = drawn.pools.x_pool[hidden:]
    assert WITH_OWN.x_pool is not None
    assert 0 < len(added) < len(WITH_OWN.x_pool)
    held = DATA.x[np.isin(DATA.groups, DATA.groups[drawn.test])]
    unit, other = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (added, held))
    assert (unit @ other.T).max() <= NEAR_DUPLICATE
    kept = rows_of(added, WITH_OWN.x_pool)
    assert drawn.pools.x_sets.tolist() == [-1] * hidden + [row // 10 for row in kept]
    assert set(drawn.pools.y_sets.tolist()) == {-1, 3}


def test_own_pools_may_be_of_one_side() -> None:
    data = replace(DATA, x_pool=DATA.x[:5] + 9.0)
    plain = draw(Cell("d", "disjoint", 20, 0, CCA()), DATA).pools
    pools = draw(Cell("d", "own", 20, 0, CCA()), data).pools
    assert len(pools.x_pool) == len(plain.x_pool) + 5
    assert len(pools.y_pool) == len(plain.y_pool)


def test_own_pools_need_unpaired_items() -> None:
    with pytest.raises(ValueError, match="d brings no unpaired items of its own"):
        draw(Cell("d", "own", 20, 0, CCA()), DATA)


def test_a_method_of_pairs_is_shown_nothing_else() -> None:
    pools = draw(Cell("d", "sets", 20, 0, Ridge()), DATA).pools
    assert pools.n_pairs == 20
    assert not len(pools.x_pool)
    assert not len(pools.y_pool)


def test_all_pairs_are_all_training_items() -> None:
    drawn = draw(Cell("d", "sets", "all", 0, CCA()), DATA)
    held = np.isin(DATA.groups, DATA.groups[drawn.test]).sum()
    assert drawn.pools.n_pairs == len(DATA.x) - held


def test_galleries_are_capped() -> None:
    rng = np.random.default_rng(0)
    big = rng.standard_normal((8 * GALLERY, 3)).astype(np.float32)
    data = BenchmarkData(big, big, np.arange(len(big)))
    first, second = (draw(Cell("d", "disjoint", 5, seed, Ridge()), data).test for seed in (0, 1))
    assert len(first) == len(set(first.tolist())) == GALLERY
    assert set(first.tolist()) != set(second.tolist())


def test_shifted_pools_need_labels() -> None:
    data = BenchmarkData(DATA.x, DATA.y, DATA.groups)
    with pytest.raises(ValueError, match="no labels"):
        draw(Cell("d", "shifted", 20, 0, CCA()), data)


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="500 pairs asked of 180"):
        draw(Cell("d", "disjoint", 500, 0, CCA()), DATA)


def test_methods_that_train_encoders_get_raw_items_of_the_same_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"item {row}" for row in range(len(DATA.x))]
    raw_set = SimpleNamespace(x_items=names, y_items=names, x_encoder="a", y_encoder="b")
    monkeypatch.setattr(conditions, "load_dataset", lambda name: raw_set)
    for condition in ("disjoint", "sets"):
        raw = draw(Cell("d", condition, 20, 1, Towers()), DATA)
        plain = draw(Cell("d", condition, 20, 1, Auto()), DATA)
        for array, expected in zip(raw.pools.arrays, plain.pools.arrays, strict=True):
            np.testing.assert_array_equal(array, expected)
        assert plain.pools.items is None
        items = raw.pools.items
        assert items is not None
        assert (items.x_encoder, items.y_encoder) == ("a", "b")
        for shown, features, of in (
            (items.x_pairs, raw.pools.x_pairs, DATA.x),
            (items.y_pairs, raw.pools.y_pairs, DATA.y),
            (items.x_pool, raw.pools.x_pool, DATA.x),
            (items.y_pool, raw.pools.y_pool, DATA.y),
        ):
            assert shown == [names[row] for row in rows_of(features, of)]
        assert raw.x_items == raw.y_items == [names[row] for row in raw.test]
    alone = draw(Cell("d", "sets", 20, 1, CLIPTowers()), DATA).pools.items
    assert alone is not None
    assert (len(alone.x_pairs), len(alone.x_pool)) == (20, 0)
