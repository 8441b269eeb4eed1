"""Pins: methods that lay pools onto each other find planted maps, and say what they saw."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference.planted import Planted, rotated_clouds

from setclip.data.pools import Pools, make_pools
from setclip.linear.transport_procrustes import transport_procrustes
from setclip.methods import (
    SUE,
    Method,
    MiniVec2Vec,
    TransportProcrustes,
    WassersteinProcrustes,
    make_method,
)
from setclip.model import AlignedModel
from setclip.training.journal import Journal

FEW: dict[str, Any] = {"restarts": 6, "centres": 15}
ZERO_PAIRS = [
    WassersteinProcrustes(**FEW, refinements=15),
    MiniVec2Vec(**FEW, k=10, refinements=25, sample=100),
    TransportProcrustes(restarts=6, centres=(15,), candidates=4, steps=20),
]
each = pytest.mark.parametrize("method", ZERO_PAIRS, ids=lambda method: method.kind)


def recall(made: Planted, model: AlignedModel) -> float:
    return made.recall(model.encode_x(made.x_test), model.encode_y(made.y_test))


def with_pairs(made: Planted, pairs: int) -> Pools:
    """The first test rows as pairs."""
    return make_pools(made.x_test[:pairs], made.y_test[:pairs], x_pool=made.x, y_pool=made.y)


@each
@pytest.mark.parametrize("seed", range(2))
def test_planted_rotation_from_zero_pairs(method: Method, seed: int) -> None:
    made = rotated_clouds(seed, d=12)
    journal = Journal()
    model = method.fit(make_pools(x_pool=made.x, y_pool=made.y), seed=seed, journal=journal)
    assert recall(made, model) > 0.7
    assert journal.warnings == []
    (curve,) = (values for terms in journal.curves.values() for values in terms.values())
    assert [step for step, _ in curve] == list(range(1, len(curve) + 1))


@pytest.mark.parametrize("name", ["wasserstein-procrustes", "transport-procrustes"])
def test_start_from_pairs(name: str) -> None:
    made = rotated_clouds(0, d=12)
    data = with_pairs(made, 8)
    options = {"refinements": 15} if name.startswith("w") else {"steps": 20}
    journal = Journal()
    model = make_method(name, start="pairs", **options).fit(data, journal=journal)
    assert recall(made, model) > 0.95
    assert journal.notes[0].startswith("cca took penalty")
    with pytest.raises(ValueError, match=r"`start: pairs` was given 1 pairs.*`start: geometric`"):
        make_method(name, start="pairs").fit(with_pairs(made, 1))


def test_pairs_change_what_uses_them() -> None:
    made = rotated_clouds(1, n=60, m=60)
    none, some = (with_pairs(made, pairs) for pairs in (0, 10))
    for method in ZERO_PAIRS:
        a, b = (method.fit(data).encode_x(made.x_test) for data in (none, some))
        assert np.array_equal(a, b) == (method.uses == {"pools"})


def test_mini_vec2vec_says_that_it_ignores_pairs() -> None:
    made = rotated_clouds(1, n=60, m=60)
    journal = Journal()
    MiniVec2Vec(restarts=2, centres=5, refinements=2).fit(with_pairs(made, 10), journal=journal)
    assert "the 10 pairs were ignored" in journal.notes[0]


def test_transport_warns_where_two_starts_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    def disagreeing(*args: Any, **options: Any) -> Any:
        return replace(transport_procrustes(*args, **options), agreement=0.02)

    monkeypatch.setattr("setclip.methods.transport_procrustes.transport_procrustes", disagreeing)
    journal = Journal()
    data = with_pairs(rotated_clouds(0, n=40, m=40), 0)
    model = TransportProcrustes(restarts=3, centres=(5,), steps=2).fit(data, journal=journal)
    assert model.card.warnings[0].startswith("no shared geometry: two starts agree on ")
    assert "Two starts agree on the nearest item of 2% of the rows" in journal.notes[0]


def test_recipes() -> None:
    paper = WassersteinProcrustes(recipe="paper", restarts=5)
    assert (paper.refinements, paper.batch, paper.restarts) == (100, 10_000, 5)
    assert WassersteinProcrustes().batch == 2000


def test_progress_comes_in_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    @contextmanager
    def bar(self: Journal, phase: str, total: int):
        told.append((phase, total))
        yield lambda step, shown: told.append(step)
        told.append("done")

    monkeypatch.setattr(Journal, "bar", bar)
    made = rotated_clouds(0, n=40, m=40)
    WassersteinProcrustes(restarts=2, centres=5, refinements=3).fit(with_pairs(made, 0))
    assert told == [("starts", 2), 1, 2, "done", ("refinements", 3), 1, 2, 3, "done"]


def test_sue_finds_the_place_of_new_items_on_a_curve_wound_in_two_ways() -> None:
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 1, 900)
    x = np.stack([np.cos(9 * place), np.sin(9 * place), 2 * place], axis=1)
    y = np.stack([np.cos(5 * place), np.sin(5 * place), np.cos(11 * place), place], axis=1)
    data = make_pools(x[:15], y[:15], x_pool=x[15:400], y_pool=y[400:800])
    model = SUE(coordinates=6, neighbours=12).fit(data)
    nearest = model.similarity(x[800:], y[800:]).argmax(axis=1)
    # A random partner is a third of the curve away.
    assert np.abs(place[800:] - place[800:][nearest]).mean() < 0.06


def test_sue_tells_what_the_graphs_look_like() -> None:
    made = rotated_clouds(0, n=60, m=60)
    journal = Journal()
    SUE(mmd_steps=2, head_steps=2).fit(with_pairs(made, 10), journal=journal)
    assert journal.notes[0].startswith("x: 17 spectral coordinates, eigenvalues")
    assert set(journal.curves) == {"mmd", "heads"}
    with pytest.raises(ValueError, match="`wasserstein-procrustes` without pairs"):
        SUE().fit(with_pairs(made, 1))
