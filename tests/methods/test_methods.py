"""Pins the protocol: whatever its name, a method takes any mixture or says what would work."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from reference import linear as naive

from setclip.data.pools import Pools, make_pools
from setclip.data.splits import draw_pools
from setclip.methods import METHODS, AnyMethod, Method, make_method
from setclip.model import AlignedModel
from setclip.training.journal import Journal

PLANTED = naive.rotated_cloud(160, 6, noise=0.2)
SHORT = {"steps": 4, "folds": 2, "batch": 24, "dim": 4}
FEW = {"restarts": 3, "centres": 6}
OPTIONS: dict[str, dict[str, Any]] = {
    "clip": SHORT,
    "siglip": SHORT,
    "s-clip": {**SHORT, "weight_keyword": 0.5, "keywords": 4},
    "structure": SHORT,
    "sotalign": {"steps": 4, "folds": 2, "batch": 24},
    "setclip": {**SHORT, "weight_ssl": 0.1, "weight_mmd": 0.1},
    "gentle-clip": {**SHORT, "recipe": "paper", "folds": 2},
    "wasserstein-procrustes": {**FEW, "refinements": 3},
    "mini-vec2vec": {**FEW, "refinements": 3, "k": 3},
    "sue": {"mmd_steps": 3, "head_steps": 3, "batch": 24},
    "transport-procrustes": {"restarts": 3, "centres": [6], "candidates": 3, "steps": 4},
}
POOLS_ONLY = ["wasserstein-procrustes", "mini-vec2vec", "transport-procrustes"]
PAIRS_ONLY = ["ridge", "clip", "siglip"]
NEED_PAIRS = [*PAIRS_ONLY, "s-clip", "structure", "sotalign", "transport-cca"]
CLOSED = ["ridge", "procrustes", "cca"]

OF_ITEMS = ["towers", "clip-towers"]
every_method = pytest.mark.parametrize("name", [n for n in METHODS if n not in OF_ITEMS])


def method(name: str, **options: Any) -> Method:
    return make_method(name, **{**OPTIONS.get(name, {}), **options})


def drawn(pairs: int = 20, condition: Any = "disjoint") -> Pools:
    train = np.arange(100)
    return draw_pools(PLANTED.x, PLANTED.y, train, pairs=pairs, condition=condition, set_size=4)


def cosines(model: AlignedModel) -> np.ndarray:
    return model.similarity(PLANTED.x[100:], PLANTED.y[100:])


def weights(model: AlignedModel) -> list[torch.Tensor]:
    return [*model.x_tower.state_dict().values(), *model.y_tower.state_dict().values()]


def same(a: AlignedModel, b: AlignedModel) -> bool:
    return all(torch.equal(s, t) for s, t in zip(weights(a), weights(b), strict=True))


@every_method
@pytest.mark.parametrize("condition", ["disjoint", "sets"])
def test_a_fit_gives_a_model_with_unit_rows_and_a_card(name: str, condition: str) -> None:
    data = drawn(condition=condition)
    before = [array.copy() for array in data.arrays]
    journal = Journal()
    chosen = method(name)
    model = chosen.fit(data, seed=3, journal=journal)
    for z in (model.encode_x(PLANTED.x), model.encode_y(PLANTED.y)):
        assert z.dtype == np.float32
        assert z.shape == (160, model.dim)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    for array, then in zip(data.arrays, before, strict=True):
        np.testing.assert_array_equal(array, then)
    assert model.card.method == json.loads(chosen.model_dump_json())
    assert model.card.seed == 3
    assert model.card.data.startswith("20 pairs;")
    assert model.card.notes == journal.notes
    assert model.card.warnings == journal.warnings == []


@every_method
def test_same_seed_same_model(name: str) -> None:
    """Twice from one object, once from another; the callers' generators stay as they were."""
    data, chosen = drawn(condition="sets"), method(name)
    torch.manual_seed(8)
    np.random.seed(8)
    expected = torch.rand(2), np.random.random(2)
    torch.manual_seed(8)
    np.random.seed(8)
    models = [m.fit(data, seed=1) for m in (chosen, chosen, method(name))]
    assert torch.equal(torch.rand(2), expected[0])
    np.testing.assert_array_equal(np.random.random(2), expected[1])
    assert same(models[0], models[1])
    assert same(models[0], models[2])


@every_method
def test_a_configuration_is_plain_json_and_does_not_change(name: str) -> None:
    chosen = method(name)
    assert chosen.kind == name
    assert chosen.uses <= {"pairs", "sets", "pools"}
    again = TypeAdapter(AnyMethod).validate_json(chosen.model_dump_json())
    assert again == chosen
    with pytest.raises(ValidationError, match="frozen"):
        chosen.kind = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        method(name, no_such_option=1)


@every_method
@pytest.mark.parametrize("given", ["pairs", "pools", "sets", "pairs, pools"])
def test_what_is_enough_is_what_a_fit_takes(name: str, given: str) -> None:
    data = drawn(0 if "pairs" not in given else 20, "sets" if given == "sets" else "disjoint")
    data = data if given != "pairs" else data.without_pools()
    # Items of sets are in the pools.
    kinds = {"sets", "pools"} if given == "sets" else set(given.split(", "))
    chosen = method(name)
    if any(enough <= kinds for enough in chosen.enough):
        assert chosen.fit(data).dim
    else:
        with pytest.raises(ValueError, match=r"[Gg]ive at least 2|was given"):
            chosen.fit(data)


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no method is called 'pca'; there are ridge, procrustes,"):
        make_method("pca")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ridge", {"penalty": 3.0}),
        ("procrustes", {}),
        ("cca", {"penalty": 3.0, "power": 0.5, "covariances": "pairs"}),
        ("cca", {"penalty": 3.0, "power": 0.5, "covariances": "all"}),
    ],
)
@pytest.mark.parametrize("condition", ["disjoint", "sets"])
def test_the_order_of_rows_does_not_change_closed_forms(
    name: str, options: dict[str, Any], condition: str
) -> None:
    data = drawn(condition=condition)
    rng = np.random.default_rng(0)
    pairs, x, y = (rng.permutation(n) for n in (20, len(data.x_pool), len(data.y_pool)))
    shuffled = Pools(
        data.x_pairs[pairs],
        data.y_pairs[pairs],
        data.x_pool[x],
        data.y_pool[y],
        data.x_sets[x],
        data.y_sets[y],
    )
    first, second = (cosines(method(name, **options).fit(d)) for d in (data, shuffled))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS_ONLY)
def test_methods_of_pairs_alone_are_deaf_to_the_rest(name: str) -> None:
    models = [method(name).fit(d) for d in (drawn(condition="sets"), drawn().without_pools())]
    assert same(*models)
    assert models[0].card == models[1].card


def test_procrustes_is_deaf_to_pools_without_sets() -> None:
    assert same(*(method("procrustes").fit(d) for d in (drawn(), drawn().without_pools())))


@pytest.mark.parametrize("name", ["cca", "setclip"])
@pytest.mark.parametrize("condition", ["disjoint", "sets"])
def test_the_others_listen(name: str, condition: str) -> None:
    data = drawn(condition=condition)
    options = {"covariances": "all"} if name == "cca" else {"start": "random", "folds": 1}
    models = [method(name, **options).fit(d) for d in (data, data.without_pools())]
    assert not same(*models)


def mixture(pairs: int, rest: str) -> Pools:
    """`pairs` pairs and, of other items, x alone, y alone, both, sets of four or one set."""
    x, y = PLANTED.x[:pairs], PLANTED.y[:pairs]
    rows = np.arange(40, 64)
    ids = {"sets": (rows - 40) // 4, "one set": np.zeros(24, dtype=np.int64)}.get(rest)
    return make_pools(
        x,
        y,
        x_pool=None if rest in ("nothing", "y only") else PLANTED.x[rows],
        y_pool=None if rest in ("nothing", "x only") else PLANTED.y[rows],
        x_sets=ids,
        y_sets=None if ids is None else ids[::-1],
    )


def enough(name: str, pairs: int, rest: str) -> bool:
    """Whether a method can work from a mixture."""
    if name in NEED_PAIRS:
        return pairs >= 2
    if name in CLOSED:
        return pairs >= 2 or rest == "sets"
    pools = rest in ("both", "sets", "one set")
    if name in POOLS_ONLY:
        return pools
    if name == "sue":
        return pools and pairs >= 2
    return pairs >= 2 or pools


@every_method
@pytest.mark.parametrize("rest", ["nothing", "x only", "y only", "both", "one set", "sets"])
@pytest.mark.parametrize("pairs", [0, 1, 2, 3, 12])
@pytest.mark.filterwarnings("ignore:std:UserWarning")
def test_every_mixture_works_or_names_what_would(name: str, pairs: int, rest: str) -> None:
    data = mixture(pairs, rest)
    if enough(name, pairs, rest):
        model = method(name).fit(data)
        z = model.encode_x(PLANTED.x)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-4)
        return
    with pytest.raises(ValueError, match=r"at least 2 pairs|give at least 2") as raised:
        method(name).fit(data)
    others = {other for other in METHODS if f"`{other}`" in str(raised.value)}
    if any(enough(other, pairs, rest) for other in METHODS):
        assert any(enough(other, pairs, rest) for other in others)


@every_method
def test_more_features_than_rows(name: str) -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((40, 3))
    x = shared @ rng.standard_normal((3, 90)) + 0.1 * rng.standard_normal((40, 90))
    y = shared @ rng.standard_normal((3, 70)) + 0.1 * rng.standard_normal((40, 70))
    data = make_pools(x[:10], y[:10], x_pool=x[10:25], y_pool=y[25:])
    model = method(name).fit(data)
    assert np.isfinite(model.similarity(x, y)).all()
    if name in CLOSED:
        assert naive.recall_at_1(model.encode_x(x[10:]), model.encode_y(y[10:])) > 0.3


@every_method
def test_dead_and_repeated_features_and_repeated_items(name: str) -> None:
    x = np.concatenate([PLANTED.x, np.full((160, 2), 0.1), PLANTED.x[:, :3]], axis=1)
    y = np.concatenate([PLANTED.y, np.zeros((160, 1))], axis=1)
    twice = np.tile(np.arange(15), 2)
    data = make_pools(x[twice], y[twice], x_pool=x[twice], y_pool=y[twice])
    assert np.isfinite(method(name).fit(data).similarity(x, y)).all()


@pytest.mark.parametrize("name", CLOSED)
def test_units_of_the_features_do_not_matter(name: str) -> None:
    data = drawn()
    scaled = make_pools(
        1e3 * data.x_pairs, 1e-3 * data.y_pairs, x_pool=1e3 * data.x_pool, y_pool=1e-3 * data.y_pool
    )
    model = method(name).fit(scaled)
    found = model.similarity(1e3 * PLANTED.x[100:], 1e-3 * PLANTED.y[100:])
    np.testing.assert_allclose(found, cosines(method(name).fit(data)), rtol=0, atol=1e-4)


def wide() -> tuple[naive.Planted, Pools]:
    planted = naive.rotated_cloud(440, 20, noise=0.7)
    data = draw_pools(planted.x, planted.y, np.arange(340), pairs=30, condition="sets", set_size=6)
    return planted, data


def test_sets_retrieve_well_above_the_pairs_alone() -> None:
    """Thirty pairs in twenty dimensions; with sets of six, two methods come near the truth."""
    planted, data = wide()

    def recall(name: str, **options: Any) -> float:
        model = make_method(name, **options).fit(data)
        return naive.recall_at_1(model.encode_x(planted.x[340:]), model.encode_y(planted.y[340:]))

    alone = recall("ridge")
    assert recall("cca") > alone + 0.2
    assert recall("setclip", batch=60, steps=40, folds=2) > alone + 0.2
    assert recall("procrustes") > alone + 0.2


def test_pools_help_cca_with_few_pairs() -> None:
    """Covariances of all data whiten better than those of thirty pairs."""
    planted, data = wide()
    recalls = [
        naive.recall_at_1(model.encode_x(planted.x[340:]), model.encode_y(planted.y[340:]))
        for model in (
            make_method("cca", penalty=1.0, power=0.0, covariances=source).fit(data.without_sets())
            for source in ("pairs", "all")
        )
    ]
    assert recalls[1] > recalls[0] + 0.05


@pytest.mark.parametrize("name", CLOSED)
def test_planted_truth_from_pairs(name: str) -> None:
    planted = naive.rotated_cloud(200, 6, noise=0.02)
    data = make_pools(planted.x[:100], planted.y[:100])
    model = make_method(name).fit(data)
    assert naive.recall_at_1(model.encode_x(planted.x[100:]), model.encode_y(planted.y[100:])) > 0.9


def test_settings_are_chosen_on_held_out_pairs_and_said() -> None:
    journal = Journal()
    model = make_method("ridge").fit(drawn(), journal=journal)
    assert len(journal.notes) == 1
    assert journal.notes[0].startswith("ridge took penalty ")
    assert "of 6 settings" in journal.notes[0]
    fixed = make_method("ridge", penalty=float(journal.notes[0].split()[3].rstrip(":")))
    assert same(model, fixed.fit(drawn()))
    journal = Journal()
    make_method("cca").fit(drawn(), journal=journal)
    assert "of 30 settings" in journal.notes[0]
    journal = Journal()
    make_method("cca", penalty=1.0, power=0.0, covariances="all").fit(drawn(), journal=journal)
    assert journal.notes == []
