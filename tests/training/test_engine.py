"""The loop for towers: learning, resuming bit for bit, averaging, stopping, refusing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from training.streams import planted, sources

from setclip.losses import clip_loss
from setclip.training.batches import Batch, Composition, Steps, load_steps
from setclip.training.cached_gradients import Call
from setclip.training.engine import Averaging, Engine, Trained, train_towers
from setclip.training.journal import Journal
from setclip.training.loop import Schedule

POOLS = planted(pairs=24, pool=8)
SCHEDULE = Schedule(steps=12, lr=3e-2, weight_decay=1e-3, warmup=2, check_every=4)


class Towers(nn.Module):
    """Two small towers with dropout; the first layer of x is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.x = Tower(6)
        self.y = Tower(5)
        self.x.encoder.requires_grad_(False)


class Tower(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(width, 8), nn.Linear(8, 4)
        self.dropout = nn.Dropout(0.2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return normalize(self.head(self.dropout(self.encoder(batch["v"]))), dim=-1)


class Clip:
    """CLIP with a learned temperature."""

    def __init__(self, towers: Towers) -> None:
        self.towers = towers
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.poison_at: int | None = None
        self.calls_made = 0

    def calls(self, batch: Batch) -> Mapping[str, Call]:
        self.calls_made += 1
        return {"x": Call(self.towers.x, batch.x), "y": Call(self.towers.y, batch.y)}

    def prepare(self, batch: Batch) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        p = batch.pairs

        def terms(z: dict[str, Tensor]) -> dict[str, Tensor]:
            loss = clip_loss(z["x"][:p], z["y"][:p], temperature=1 / self.log_scale.exp())
            return {"clip": loss * math.nan if self.calls_made == self.poison_at else loss}

        return terms

    def parameters(self) -> Iterable[nn.Parameter]:
        return [self.log_scale]

    def clamp(self) -> None:
        with torch.no_grad():
            self.log_scale.clamp_(0.0, 4.6)


def made() -> tuple[Towers, Clip]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        towers = Towers()
    return towers, Clip(towers)


def run(
    journal: Journal | None = None,
    *,
    schedule: Schedule = SCHEDULE,
    workers: int = 0,
    towers: tuple[Towers, Clip] | None = None,
    **options: Any,
) -> tuple[dict[str, Tensor], Trained]:
    module, objective = towers or made()
    steps = Steps(sources(POOLS), POOLS, Composition(8, 0), seed=1)
    trained = train_towers(
        module,
        objective,
        partial(load_steps, steps, workers=workers),
        schedule,
        engine=options.pop("engine", Engine(device="cpu")),
        seed=5,
        journal=journal,
        **options,
    )
    state = {name: t.detach().clone() for name, t in module.state_dict().items()}
    return state | {"log_scale": objective.log_scale.detach().clone()}, trained


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_what_is_free_and_leaves_the_rest() -> None:
    before = {name: t.clone() for name, t in made()[0].state_dict().items()}
    journal = Journal()
    after, trained = run(journal, schedule=replace(SCHEDULE, steps=60))
    losses = [value for _, value in journal.curves["towers"]["loss"]]
    assert losses[-1] < losses[0] / 2
    assert torch.equal(after["x.encoder.weight"], before["x.encoder.weight"])
    assert not torch.equal(after["y.encoder.weight"], before["y.encoder.weight"])
    assert after["log_scale"] != 2.0
    assert trained.best_step == 60


def test_global_generators_do_not_matter_and_stay_as_they_were() -> None:
    first, _ = run(towers=made())
    module = made()
    torch.manual_seed(123)
    state = torch.get_rng_state()
    second, _ = run(towers=module)
    assert equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("stop", [1, 5, 6, 11])
def test_a_run_that_was_stopped_ends_bit_for_bit_where_one_that_was_not(
    tmp_path: Path, stop: int
) -> None:
    averaging = Averaging(ema=0.8, wise=0.7)
    whole, _ = run(averaging=averaging)

    class StoppedError(Exception):
        pass

    journal = Journal(tmp_path, checkpoint_every=2)
    log = journal.log

    def interrupt(phase: str, step: int, values: dict[str, float]) -> None:
        if step == stop:
            raise StoppedError
        log(phase, step, values)

    journal.log = interrupt  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        run(journal, averaging=averaging)
    resumed = Journal(tmp_path, checkpoint_every=2)
    ended, trained = run(resumed, averaging=averaging)
    assert equal(ended, whole)
    assert trained.best_step == 12
    assert [step for step, _ in resumed.curves["towers"]["clip"]] == list(range(1, 13))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, _ = run(Journal(tmp_path))
    module = made()
    second, _ = run(Journal(tmp_path), towers=module)
    assert equal(first, second)
    assert module[1].calls_made == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(workers: int) -> None:
    assert equal(run()[0], run(workers=workers)[0])


def test_chunks_change_no_gradient_without_dropout() -> None:
    def weights(chunk: int | None) -> dict[str, Tensor]:
        towers = made()
        for module in towers[0].modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return run(towers=towers, engine=Engine(device="cpu", chunk=chunk))[0]

    whole, parts = weights(None), weights(3)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-5)


def test_bf16_trains_too() -> None:
    journal = Journal()
    run(journal, engine=Engine(device="cpu", precision="bf16"))
    assert math.isfinite(journal.curves["towers"]["loss"][-1][1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schedule": replace(SCHEDULE, lr=1e-3)}, "lr: 0.03 → 0.001"),
        ({"facts": {"data": "b"}}, "data: 'a' → 'b'"),
        ({"averaging": Averaging(ema=0.5)}, "ema: 0.0 → 0.5"),
    ],
)
def test_another_configuration_is_refused_and_the_field_named(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    run(Journal(tmp_path), facts={"data": "a"})
    with pytest.raises(ValueError, match="under another configuration") as refused:
        run(Journal(tmp_path), **{"facts": {"data": "a"}, **change})
    assert f"configuration ({told}). Delete" in str(refused.value)


def test_the_best_step_is_kept_and_a_hopeless_run_stops() -> None:
    values = iter([3.0, 2.0, 2.5, 2.6, 2.7])
    schedule = replace(SCHEDULE, steps=40, patience=2)
    kept, trained = run(schedule=schedule, criterion=lambda: next(values))
    assert (trained.best_step, trained.best) == (4, 2.0)
    assert next(values) == 2.7  # stopped after two checks without a better value
    expected, _ = run(schedule=replace(schedule, stop=4))
    expected.pop("log_scale")
    kept.pop("log_scale")
    assert equal(kept, expected)


def test_the_best_step_comes_with_its_batch_statistics(tmp_path: Path) -> None:
    def normed() -> tuple[Towers, Clip]:
        towers, objective = made()
        for tower in (towers.x, towers.y):
            tower.dropout = nn.BatchNorm1d(8)
        return towers, objective

    values = [3.0, 2.0, 1.0, 2.5]
    journal = Journal(tmp_path)
    kept, trained = run(journal, towers=normed(), criterion=iter(values).__next__)
    assert trained.best_step == 8
    expected, _ = run(schedule=replace(SCHEDULE, stop=8), towers=normed())
    again, _ = run(Journal(tmp_path), towers=normed(), criterion=iter(values).__next__)
    for found in (kept, again):
        assert equal(
            {n: found[n] for n in kept if n != "log_scale"} | {"log_scale": expected["log_scale"]},
            expected,
        )


def test_sgd_steps_along_the_gradient() -> None:
    schedule = Schedule(steps=2, lr=0.1, milestones=(1,), optimiser="sgd", max_norm=1e9)
    start, end = made()[0].state_dict(), run(schedule=schedule)[0]
    once = run(schedule=replace(schedule, stop=1))[0]
    name = "y.head.weight"
    # Momentum carries the first step on, at a tenth of the rate.
    first, second = once[name] - start[name], end[name] - once[name]
    assert first.norm() > 0
    assert 0 < second.norm() < 0.5 * first.norm()


def test_the_criterion_sees_averaged_weights_and_a_module_in_evaluation_mode() -> None:
    towers = made()
    seen: list[tuple[bool, Tensor]] = []

    def criterion() -> float:
        seen.append((towers[0].training, towers[0].y.head.weight.detach().clone()))
        return float(-len(seen))

    kept, _ = run(towers=towers, criterion=criterion, averaging=Averaging(ema=0.9))
    assert not any(training for training, _ in seen)
    assert torch.equal(kept["y.head.weight"], seen[-1][1])
    assert not torch.equal(kept["y.head.weight"], run()[0]["y.head.weight"])


def test_wise_lies_between_start_and_end() -> None:
    start, end = made()[0].state_dict(), run()[0]
    mixed = run(averaging=Averaging(wise=0.25))[0]
    name = "y.head.weight"
    torch.testing.assert_close(mixed[name], start[name] + 0.25 * (end[name] - start[name]))


def test_rates_by_the_beginning_of_names() -> None:
    start = made()[0].state_dict()
    after, _ = run(rates={"y": 0.0, "y.head": 1.0})
    assert torch.equal(after["y.encoder.weight"], start["y.encoder.weight"])
    assert not torch.equal(after["y.head.weight"], start["y.head.weight"])


def test_divergence_keeps_the_start_and_is_named() -> None:
    towers, objective = made()
    start = {name: t.clone() for name, t in towers.state_dict().items()}
    objective.poison_at = 3
    journal = Journal()
    after, trained = run(journal, towers=(towers, objective))
    assert trained.diverged
    assert journal.warnings[0].startswith("divergence: the loss of phase 'towers' stopped")
    assert equal({n: after[n] for n in start}, start)


def test_items_that_could_not_be_read_are_listed_once_also_after_a_resume(tmp_path: Path) -> None:
    module, objective = made()
    steps = Steps(sources(POOLS, frozenset({3})), POOLS, Composition(8, 0), seed=1)

    def go() -> Trained:
        return train_towers(
            module,
            objective,
            partial(load_steps, steps),
            SCHEDULE,
            engine=Engine(device="cpu"),
            journal=Journal(tmp_path, checkpoint_every=1),
        )

    for trained in (go(), go()):
        assert [(item.field, item.row) for item in trained.bad] == [("x pairs", 3)]


def test_nothing_to_train_says_so() -> None:
    towers, objective = made()
    towers.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the towers is trained"):
        run(towers=(towers, objective))


def test_trackers_get_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run(Journal(tmp_path), engine=Engine(device="cpu", trackers=("tensorboard",)))
    assert list(tmp_path.rglob("events.out.tfevents.*"))
