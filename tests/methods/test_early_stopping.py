"""Pins the choice of schedule and step on folds, its caution, and the problems it names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import linear as naive
from torch import Tensor, nn

from setclip.data.pools import FloatArray, Pools
from setclip.data.splits import draw_pools
from setclip.methods.early_stopping import (
    Trainable,
    _Check,
    _gain,
    digest,
    fit_stopped,
)
from setclip.methods.tuning import log_ranks, make_folds
from setclip.training.journal import Journal
from setclip.training.loop import Schedule, train

PLANTED = naive.rotated_cloud(60, 2, noise=0.0)


def pools(pairs: int = 20) -> Pools:
    return draw_pools(PLANTED.x, PLANTED.x.copy(), np.arange(60), pairs=pairs)


class Dial(nn.Module):
    """One parameter: y is seen turned by the angle between it and `goal`, in right angles."""

    def __init__(self, goal: float, at: float = 0.0) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))
        self.goal = goal

    def embed(self, features: FloatArray) -> FloatArray:
        angle = (float(self.at.detach()) - self.goal) * np.pi / 2
        turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return ((features - PLANTED.x.mean(axis=0)) @ np.array(turn)).astype(np.float32)


def centred(features: FloatArray) -> FloatArray:
    return features - PLANTED.x.mean(axis=0)


def builder(
    goal: float, *, at: float = 0.0, built: list[Pools] | None = None
) -> Callable[[Pools], Trainable]:
    """Training turns the dial on and on, through the goal and past it."""

    def build(data: Pools) -> Trainable:
        if built is not None:
            built.append(data)
        dial = Dial(goal, at)
        return Trainable(dial, lambda rng: {"turn": -dial.at}, centred, dial.embed)

    return build


def schedule(lr: float = 0.1, steps: int = 40) -> Schedule:
    return Schedule(steps=steps, lr=lr, check_every=4)


def fit(
    build: Callable[[Pools], Trainable], data: Pools | None = None, **options: Any
) -> tuple[Any, Journal]:
    journal = options.pop("journal", None) or Journal()
    given = {"schedules": [schedule()], "folds": 4, "seed": 0, "fingerprint": "f", **options}
    data = pools() if data is None else data
    return fit_stopped(build, data, journal=journal, **given).module, journal


def test_stops_where_held_out_items_rank_best() -> None:
    built: list[Pools] = []
    dial, journal = fit(builder(1.0, built=built))
    assert float(dial.at.detach()) == pytest.approx(1.0, abs=0.2)  # two checks are 0.4 apart
    assert len(built) == 5
    assert [data.n_pairs for data in built] == [15] * 4 + [20]
    step = len(journal.curves["final"]["loss"])
    assert step % 4 == 0
    assert 0 < step < 40
    curves = [journal.curves[f"fold {i} of schedule 0"]["criterion"] for i in range(4)]
    means = np.mean([[value for _, value in curve] for curve in curves], axis=0)
    assert step == 4 * means.argmin()
    assert journal.notes == [
        f"Held-out items: mean log2 rank {means[0]:.2f} at the start, {means.min():.2f} at best in "
        f"4 folds (a pair or set gains {means[0] - means.min():.2f} ± "
        f"{error_by_hand(1.0, at=step):.2f}); trained {step} steps at rate 0.1."
    ]


def error_by_hand(goal: float, *, at: int) -> float:
    """Standard error over all held-out pairs of what they gain in `at` steps of the dial."""
    gains: list[float] = []
    for fold in make_folds(pools(), 4, seed=0):
        start, then = (
            log_ranks(fold, centred, Dial(goal, angle).embed) for angle in (0.0, turned(at))
        )
        n = len(start) // 2
        gains += [(s + t) / 2 for s, t in zip((start - then)[:n], (start - then)[n:], strict=True)]
    assert len(gains) == 20
    return float(np.std(gains, ddof=1) / np.sqrt(20))


def turned(steps: int) -> float:
    """Where the dial stands after so many steps of the schedule."""
    dial = Dial(1.0)
    rates = schedule(steps=40)
    train(dial, lambda rng: {"turn": -dial.at}, replace(rates, stop=steps))
    return float(dial.at.detach())


def test_the_schedule_that_gets_nearest_wins() -> None:
    """The first never arrives, the third steps over the goal; the order does not decide."""
    rates = [0.001, 0.05, 3.0]
    for order in (rates, rates[::-1]):
        dial, journal = fit(builder(1.0), schedules=[schedule(lr) for lr in order])
        assert float(dial.at.detach()) == pytest.approx(1.0, abs=0.1)
        assert "at rate 0.05" in journal.notes[0]
        assert len([phase for phase in journal.curves if phase.startswith("fold")]) == 12


def test_the_last_step_counts_where_checks_do_not_divide_the_steps() -> None:
    once = Schedule(steps=10, lr=0.05, check_every=100)
    _, journal = fit(builder(0.5), schedules=[once])
    assert len(journal.curves["final"]["loss"]) == 10
    assert "trained 10 steps" in journal.notes[0]


@pytest.mark.parametrize("cautious", [False, True])
def test_a_start_that_is_best_is_kept(cautious: bool) -> None:
    dial, journal = fit(builder(0.0), cautious=cautious)
    assert float(dial.at.detach()) == 0.0
    assert "kept the start." in journal.notes[0]
    assert "final" not in journal.curves


def lottery(lucky: float, gain: float, loss: float) -> Callable[[Pools], Trainable]:
    """Training takes `gain` of its error from a share `lucky` of the items, and adds to others."""

    def build(data: Pools) -> Trainable:
        dial = Dial(0.0, at=1.0)

        def embed(features: FloatArray) -> FloatArray:
            moved = float(dial.at.detach()) != 1.0
            # Who is lucky hangs on the item alone, and not on the fold that holds it out.
            luck = np.modf(np.abs(features[:, :1]) * 1e3)[0] < lucky
            scrambled = np.random.default_rng(0).standard_normal(features.shape)
            change = np.where(luck, 1 - gain, 1 + loss) if moved else 1.0
            return (centred(features) + 1.5 * scrambled * change).astype(np.float32)

        return Trainable(dial, lambda rng: {"turn": -dial.at}, centred, embed)

    return build


def test_caution_wants_a_gain_above_its_standard_error() -> None:
    """A few lucky items raise the mean but convince nobody who is cautious."""
    once = [schedule(steps=4)]
    for (lucky, gain, loss), bold, careful in (
        ((0.05, 1.0, 0.3), 4, 0),
        ((1.0, 0.9, 0.0), 4, 4),
        ((0.0, 0.0, 1.0), 0, 0),
    ):
        for cautious, expected in ((False, bold), (True, careful)):
            build = lottery(lucky, gain, loss)
            _, journal = fit(build, schedules=once, cautious=cautious)
            trained = len(journal.curves.get("final", {}).get("loss", []))
            assert trained == expected, (lucky, cautious, journal.notes)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_gain_of_all_folds_is_that_of_their_pairs_and_sets(folds: list[list[float]]) -> None:
    checks = [
        _Check(0.0, np.mean(f), np.std(f, ddof=1) / np.sqrt(len(f)) if len(f) > 1 else 0.0, len(f))
        for f in folds
    ]
    gains = np.concatenate(folds)
    expected = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
    assert _gain(checks) == pytest.approx((gains.mean(), expected), abs=1e-9)


def test_sets_of_many_items_do_not_outvote_pairs() -> None:
    """Their 48 items gain less than 12 pairs lose: in a count of items training would pay."""
    paired, pool = PLANTED.x[:12], PLANTED.x[12:]
    sets = np.arange(48) // 3
    data = Pools(paired, paired.copy(), pool, pool.copy(), sets, sets.copy())
    in_set = {row.tobytes() for row in data.x_pool}

    def build(_: Pools) -> Trainable:
        dial = Dial(0.0, at=1.0)

        def embed(features: FloatArray) -> FloatArray:
            moved = float(dial.at.detach()) != 1.0
            gaining = np.array([row.tobytes() in in_set for row in features])[:, None]
            turned = centred(features) @ np.array([[0.0, -1.0], [1.0, 0.0]])
            return np.where(gaining == moved, centred(features), turned).astype(np.float32)

        return Trainable(dial, lambda rng: {"turn": -dial.at}, centred, embed)

    for cautious, steps in ((False, 4), (True, 0)):
        _, journal = fit(build, data, schedules=[schedule(steps=4)], cautious=cautious)
        assert len(journal.curves.get("final", {}).get("loss", [])) == steps, journal.notes


def test_one_fold_trains_to_the_end() -> None:
    for cautious in (False, True):
        dial, journal = fit(
            builder(1.0), schedules=[schedule(), schedule(9.0)], folds=1, cautious=cautious
        )
        assert float(dial.at.detach()) > 1.5
        assert journal.notes == []
        assert list(journal.curves) == ["final"]


def test_too_little_to_hold_out_trains_to_the_end_unless_cautious() -> None:
    dial, journal = fit(builder(1.0), pools(2))
    assert float(dial.at.detach()) > 1.5
    assert journal.notes == []
    dial, journal = fit(builder(1.0), pools(2), cautious=True)
    assert float(dial.at.detach()) == 0.0
    assert journal.notes == [
        "Kept the start: there is too little to hold out and see what training does."
    ]


def test_a_fold_that_diverges_counts_with_its_last_value() -> None:
    built = 0

    def build(data: Pools) -> Trainable:
        nonlocal built
        built += 1
        number, dial, calls = built, Dial(1.0), 0

        def objective(rng: np.random.Generator) -> dict[str, Tensor]:
            nonlocal calls
            calls += 1
            return {"turn": -dial.at * (math.nan if number == 2 and calls == 6 else 1.0)}

        return Trainable(dial, objective, centred, dial.embed)

    dial, journal = fit(build)
    assert float(dial.at.detach()) == pytest.approx(1.0, abs=0.3)
    assert [w.split(":")[0] for w in journal.warnings] == ["divergence"]
    assert "'fold 1 of schedule 0' stopped being finite at step 6" in journal.warnings[0]
    assert len(journal.curves["fold 1 of schedule 0"]["criterion"]) == 2


def collapsing(side: str, spread: float) -> Callable[[Pools], Trainable]:
    def build(data: Pools) -> Trainable:
        dial = Dial(0.0)

        def embed(features: FloatArray) -> FloatArray:
            offset = np.array([1.0, 0.0])
            return (offset + spread * centred(features)).astype(np.float32)

        x, y = (embed if side == s else centred for s in "xy")
        return Trainable(dial, lambda rng: {"turn": -dial.at}, x, y)

    return build


@pytest.mark.parametrize("side", ["x", "y"])
def test_collapse_is_named(side: str) -> None:
    _, journal = fit(collapsing(side, 1e-3), folds=1)
    (warning,) = journal.warnings
    assert warning.startswith(
        f"collapse: all {side} embeddings fell onto nearly one point (total variance "
    )
    assert "raise weight_ssl, lower weight_sdd and weight_mmd, or start from `cca`" in warning
    assert fit(collapsing(side, 1.0), folds=1)[1].warnings == []


def test_divergence_is_named_once() -> None:
    def build(data: Pools) -> Trainable:
        dial = Dial(0.0)
        embed = collapsing("x", 0.0)(data).embed_x
        return Trainable(dial, lambda rng: {"turn": dial.at * math.nan}, embed, embed)

    _, journal = fit(build, folds=1)
    (warning,) = journal.warnings
    assert warning.startswith("divergence: the loss of phase 'final'")


def test_a_folder_belongs_to_its_data(tmp_path: Path) -> None:
    first = fit(builder(1.0), journal=Journal(tmp_path))[0]
    again = fit(builder(1.0), journal=Journal(tmp_path))[0]
    assert torch.equal(first.at, again.at)
    for change in ({"data": pools(21)}, {"fingerprint": "g"}, {"seed": 1}):
        with pytest.raises(ValueError, match="made with other data, another seed or another conf"):
            fit(builder(1.0), journal=Journal(tmp_path), **change)


def test_digest_sees_every_array() -> None:
    data = draw_pools(PLANTED.x, PLANTED.y, np.arange(60), pairs=9, condition="sets", set_size=4)
    arrays = {name: array for name, array in vars(data).items() if array is not None}
    seen = {digest(data)}
    assert digest(Pools(**{name: array.copy() for name, array in arrays.items()})) in seen
    for name, array in arrays.items():
        changed = array.copy()
        changed.flat[3] += 1
        seen.add(digest(Pools(**{**arrays, name: changed})))
    seen.add(digest(data.without_sets()))
    assert len(seen) == 8
