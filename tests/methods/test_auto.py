"""Pins what `auto` chooses from each kind of supervision, what it says, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from reference import linear as naive
from reference.planted import Planted, rotated_clouds

from setclip.data.pools import Pools, make_pools
from setclip.data.splits import Condition, draw_pools
from setclip.linear.transport_procrustes import expected_seconds
from setclip.methods import CCA, Auto, tuning
from setclip.methods import auto as module
from setclip.model import AlignedModel
from setclip.training.journal import Journal

MADE = rotated_clouds(0, noise=0.03, n=260, m=260, test=150)
WIDE = {"folds": 3, "penalties": (1.0, 0.1), "rounds": 6}


def pools(made: Planted, pairs: int) -> Pools:
    return make_pools(made.x_test[:pairs], made.y_test[:pairs], x_pool=made.x, y_pool=made.y)


def fitted(data: Pools, **options: object) -> tuple[AlignedModel, str, Journal]:
    journal = Journal()
    model = Auto(**{**WIDE, **options}).fit(data, journal=journal)  # type: ignore[arg-type]
    assert len(journal.notes) == 1
    assert model.card.notes == journal.notes
    return model, journal.notes[0], journal


def recall(model: AlignedModel, made: Planted = MADE) -> float:
    x, y = made.x_test[-100:].astype(np.float32), made.y_test[-100:].astype(np.float32)
    return made.recall(model.encode_x(x), model.encode_y(y))


def unrelated() -> Planted:
    """Two clouds that know nothing of each other."""
    other = rotated_clouds(9, noise=0.03, n=260, m=260, d=12, test=150, clusters=30)
    return Planted(MADE.x, other.y, MADE.x_test, other.y_test)


def test_pools_alone_that_share_a_shape_are_aligned() -> None:
    model, said, journal = fitted(pools(MADE, 0))
    assert recall(model) > 0.7
    assert "Neither two pairs nor two sets were given." in said
    assert journal.warnings == []


def test_pools_alone_that_share_no_shape_are_warned_of() -> None:
    _, said, journal = fitted(pools(unrelated(), 0))
    assert "agree on" in said
    assert len(journal.warnings) == 1
    assert "zero pairs cannot work here" in journal.warnings[0]


@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_a_map_of_the_shape_is_judged_by_the_few_pairs(pairs: int) -> None:
    model, said, _ = fitted(pools(MADE, pairs))
    assert recall(model) > 0.7
    assert ("which saw no pair" in said) == (pairs > 1)


@pytest.mark.parametrize("settled", [0.0, 9.0])
def test_nothing_else_is_fitted_where_the_map_of_the_shape_ranks_all_pairs_at_once(
    monkeypatch: pytest.MonkeyPatch, settled: float
) -> None:
    fits: list[int] = []
    from_pairs = Auto._from_pairs

    def counted(self: Auto, data: Pools, seed: int) -> Any:
        fits.append(data.n_pairs)
        return from_pairs(self, data, seed)

    monkeypatch.setattr(Auto, "_from_pairs", counted)
    monkeypatch.setattr(module, "SETTLED", settled)
    _, said, _ = fitted(pools(MADE, 8))
    assert fits == ([] if settled else [8])
    assert ("leaves others nothing to win" in said) == (settled > 0)


def test_a_map_of_the_shape_that_misses_the_pairs_is_not_used() -> None:
    """The pairs follow another rotation than the pools: only they are to be believed."""
    turned = rotated_clouds(5, noise=0.03, n=10, m=10, test=150)
    data = make_pools(turned.x_test[:8], turned.y_test[:8], x_pool=MADE.x, y_pool=MADE.y)
    _, said, _ = fitted(data)
    assert "it was not used" in said


def test_a_map_of_the_shape_is_ranked_beside_the_items_that_its_rival_is_ranked_beside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were all pairs its gallery, it would look worse than maps that rank a fold's."""
    galleries: list[tuple[int, int]] = []
    from_tuning = module.ranks_going_on

    def seen(*args: Any, **options: Any) -> Any:
        ranks = from_tuning(*args, **options)
        held = tuning.make_folds(args[0], options["folds"], seed=options["seed"])
        galleries.extend((len(fold.x), len(ranks)) for fold in held)
        return ranks

    monkeypatch.setattr(module, "ranks_going_on", seen)
    monkeypatch.setattr(module, "SETTLED", 0.0)
    model, said, _ = fitted(pools(MADE, 40))
    found = re.search(r"the folds it is ([0-9.]+), against ([0-9.]+) for the best map", said)
    assert found is not None
    # Three folds of 40 pairs; all other pairs and both pools are among a fold's distractors.
    assert galleries == [(300, 40)] * 3
    assert ("it was taken" in said) == (float(found[1]) < float(found[2]))
    assert recall(model) > 0.7


@pytest.mark.parametrize("moved", [0.0, 1.5])
def test_pairs_that_are_no_sample_of_a_pool_are_said_to_be_none(moved: float) -> None:
    planted = naive.rotated_cloud(400, 6, noise=0.3)
    data = make_pools(
        planted.x[:60],
        planted.y[:60],
        x_pool=planted.x[60:200],
        y_pool=planted.y[200:400] + moved * planted.y.std(),
    )
    _, said, _ = fitted(data)
    assert ("The pairs are not a random sample of the pool in y (p = 0.005). " in said) == bool(
        moved
    )


def test_pools_that_were_not_given_are_not_said_to_be_ignored() -> None:
    planted = naive.rotated_cloud(40, 6, noise=0.3)
    _, said, _ = fitted(make_pools(planted.x, planted.y))
    assert "There were no pools of 4 items to learn from." in said
    assert "The pools were" not in said


def test_pools_are_ignored_where_they_do_not_help() -> None:
    """The y pool is noise: the map of the pairs alone is the better one, and is taken."""
    rng = np.random.default_rng(0)
    planted = naive.rotated_cloud(300, 6, noise=0.3)
    data = make_pools(
        planted.x[:60],
        planted.y[:60],
        x_pool=planted.x[60:200],
        y_pool=rng.standard_normal((140, 6)) * 40,
    )
    model, said, _ = fitted(data)
    assert "The pools were ignored" in said
    alone = CCA(penalty=1.0, power=0.5, covariances="pairs").fit(data)
    test = planted.x[200:], planted.y[200:]
    assert naive.recall_at_1(model.encode_x(test[0]), model.encode_y(test[1])) > (
        naive.recall_at_1(alone.encode_x(test[0]), alone.encode_y(test[1])) - 0.1
    )


@pytest.mark.parametrize("pairs", [0, 20])
def test_matched_sets_come_first(pairs: int) -> None:
    planted = naive.rotated_cloud(300, 6, noise=0.2)
    data = draw_pools(
        planted.x, planted.y, np.arange(200), pairs=pairs, condition="sets", set_size=5
    )
    model, said, _ = fitted(data, set_penalties=(0.1, 1.0))
    assert "matched sets were given" in said
    assert "auto took sets and pairs by" in said
    best = naive.recall_at_1((planted.x[200:] - 1) @ planted.rotation, planted.y[200:] + 2)
    found = naive.recall_at_1(model.encode_x(planted.x[200:]), model.encode_y(planted.y[200:]))
    assert found > best - 0.1


@pytest.mark.parametrize("condition", ["disjoint", "sets"])
def test_maps_bend_where_the_data_do(condition: Condition) -> None:
    x, y = naive.bent_cloud(700)
    data = draw_pools(x, y, np.arange(600), pairs=150, condition=condition, set_size=4)
    model, said, _ = fitted(data)
    assert "kernel CCA" in said
    linear = CCA().fit(data)
    recalls = [naive.recall_at_1(m.encode_x(x[600:]), m.encode_y(y[600:])) for m in (model, linear)]
    assert recalls[0] > recalls[1] + 0.2


def test_few_pairs_must_see_the_bend_before_it_is_believed() -> None:
    planted = naive.rotated_cloud(400, 6, noise=0.3)
    first = {}
    for pairs in (10, module.FEW, module.FEW + 1):
        data = draw_pools(planted.x, planted.y, np.arange(400), pairs=pairs)
        sharpness = [one.sharpness for one in Auto()._with_pools(data, 0)]
        assert len(set(sharpness)) == 2
        first[pairs] = sharpness[0]
    assert first == {10: 0.0, module.FEW: 0.0, module.FEW + 1: Auto().sharpness}


def test_neighbours_are_heard_only_where_maps_bend() -> None:
    x, y = naive.bent_cloud(300)
    data = draw_pools(x, y, np.arange(300), pairs=0, condition="sets", set_size=4)
    for sharpness, alike in ((0.0, True), (2.0, False)):
        options = {"sharpness": sharpness, "kernel_set_penalties": (5.0,)}
        deaf, hears = (fitted(data, neighbours=n, **options)[0] for n in (0.0, 30.0))
        assert np.array_equal(deaf.encode_x(x), hears.encode_x(x)) == alike


@pytest.mark.parametrize(("kind", "dim"), [("kernel CCA", 20), ("CCA", 3)])
def test_maps_of_sets_are_fitted_to_everything_at_a_lighter_ridge(kind: str, dim: int) -> None:
    x, y = naive.bent_cloud(300)
    data = draw_pools(x, y, np.arange(300), pairs=0, condition="sets", set_size=4)
    fields = ("kernel_set_penalties", "set_penalties")
    chosen, other = fields if kind == "kernel CCA" else fields[::-1]
    options = {other: (1000.0,), "set_rank": 20, "rank": 3}
    lighter, said, _ = fitted(data, **{chosen: (5.0,)}, lighter=0.6, **options)
    same, _, _ = fitted(data, **{chosen: (3.0,)}, lighter=1.0, **options)
    assert f"took sets and pairs by {kind}, penalty 5.0" in said
    assert "Fitted to everything at penalty 3." in said
    assert np.array_equal(lighter.encode_x(x), same.encode_x(x))
    assert lighter.dim == dim


def test_the_ridge_stays_where_no_set_could_be_held_out() -> None:
    x, y = naive.bent_cloud(8)
    data = draw_pools(x, y, np.arange(8), pairs=0, condition="sets", set_size=4)
    _, said, _ = fitted(data)
    assert "took sets and pairs by kernel CCA, penalty 5.0: there is too little" in said
    assert "Fitted to everything" not in said


def test_geometry_is_not_looked_for_beyond_the_budget() -> None:
    data = pools(MADE, 4)
    assert expected_seconds(len(data.x_pool), len(data.y_pool)) > 5
    _, said, _ = fitted(data, budget=5.0)
    assert "the budget is 5: it was not tried" in said
    with pytest.raises(ValueError, match="stand on both sides, or a larger `budget`"):
        fitted(pools(MADE, 0), budget=5.0)


def test_two_pairs_without_pools_are_enough_and_one_is_not() -> None:
    planted = naive.rotated_cloud(10, 4, noise=0.1)
    none = np.zeros((0, 4), dtype=np.float32)
    model, said, _ = fitted(make_pools(planted.x[:2], planted.y[:2], x_pool=none, y_pool=none))
    assert "there is too little to cross-validate" in said
    assert model.dim >= 1
    with pytest.raises(ValueError, match="too little to align anything"):
        Auto().fit(make_pools(planted.x[:1], planted.y[:1], x_pool=none, y_pool=none))


def test_rows_of_zeros_among_the_pairs_are_no_obstacle() -> None:
    planted = naive.rotated_cloud(60, 4, noise=0.1)
    x, y = planted.x.copy(), planted.y.copy()
    x[3] = 0
    y[5] = 0
    fitted(make_pools(x[:30], y[:30], x_pool=x[30:], y_pool=y[30:]))
    y[:] = 1
    y[0] = 2
    assert module._shared_geometry(make_pools(x[1:30], y[1:30])) is None


def test_few_pairs_of_one_item_do_not_stop_what_sets_give() -> None:
    x, y = naive.bent_cloud(28)
    pairs = x[:4].copy()
    pairs[1:3] = pairs[0]  # three captions of one picture
    sets = np.arange(24) // 4
    for seed in range(3):
        data = make_pools(pairs, y[:4], x_pool=x[4:], y_pool=y[4:], x_sets=sets, y_sets=sets)
        assert np.isfinite(Auto().fit(data, seed=seed).encode_x(x)).all()


def test_copies_of_pairs_are_no_shift() -> None:
    """Five captions of a picture are five pairs of one x, drawn once."""
    copies = np.repeat(np.arange(60), 5)
    told = []
    for seed in range(10):
        x, y = np.random.default_rng(seed).standard_normal((2, 400, 6))
        data = make_pools(x[copies], y[copies], x_pool=x[60:230], y_pool=y[230:])
        told.append(module._shift(data, 0))
    # One in twenty by chance; where copies count, all.
    assert sum(map(bool, told)) <= 2


def test_a_few_rows_in_sets_are_warned_of() -> None:
    sets = np.full(260, -1)
    sets[:2] = 0, 1
    data = make_pools(x_pool=MADE.x, y_pool=MADE.y, x_sets=sets, y_sets=sets)
    _, _, journal = fitted(data)
    (warning,) = journal.warnings
    assert warning.startswith("few rows in sets: 2 sets hold 0.8% of the items")


def test_several_captions_of_a_picture_are_no_shift() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(540, 6))
    x, y = z @ rng.normal(size=(6, 20)), z @ rng.normal(size=(6, 16))
    pictures = np.repeat(np.arange(40), 5)
    captions = y[pictures] + 0.5 * rng.normal(size=(200, 16))
    data = make_pools(x[pictures], captions, x_pool=x[40:], y_pool=y[40:])
    assert module._shift(data, 0) == ""
    moved = make_pools(x[pictures], captions, x_pool=x[40:] + 3, y_pool=y[40:])
    assert "sample of the pool in x" in module._shift(moved, 0)


def test_one_class_a_pair_is_no_reason_to_stop() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(20, 6))
    model = Auto(**WIDE).fit(make_pools(np.eye(20), y, x_pool=np.eye(20), y_pool=y))  # type: ignore[arg-type]
    assert np.isfinite(model.encode_x(np.eye(20))).all()
