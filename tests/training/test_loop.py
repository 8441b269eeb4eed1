"""Pins the loop: its rates, its best step, named failures, and resuming bit for bit anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from setclip.training.journal import Journal, read_curves
from setclip.training.loop import Objective, Outcome, Schedule, train

SCHEDULE = Schedule(steps=20, lr=0.05, weight_decay=0.01, warmup=3, check_every=4)


class CutError(Exception):
    """Stands for whatever ends a process between two steps."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))


def regression(module: nn.Module, *, fail_at: int = -1) -> Objective:
    """Two terms on random batches; raises in the call numbered `fail_at`."""
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((40, 3)).astype(np.float32))
    y = x.sum(dim=1, keepdim=True)
    calls = 0

    def objective(batches: np.random.Generator) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise CutError
        rows = torch.from_numpy(batches.permutation(40)[:8])
        error = module(x[rows]) - y[rows]
        return {"square": error.square().mean(), "absolute": 0.1 * error.abs().mean()}

    return objective


def validation(module: nn.Module) -> Callable[[], float]:
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    return lambda: float((module(x) - x.sum(dim=1, keepdim=True)).detach().square().mean())


def run(
    folder: Path | None = None,
    *,
    schedule: Schedule = SCHEDULE,
    fail_at: int = -1,
    checked: bool = True,
    seed: int = 0,
    every: int = 3,
) -> tuple[nn.Module, Outcome, Journal]:
    module = network()
    journal = Journal(folder, checkpoint_every=every)
    outcome = train(
        module,
        regression(module, fail_at=fail_at),
        schedule,
        criterion=validation(module) if checked else None,
        seed=seed,
        journal=journal,
        phase="fold 0",
        fingerprint="this data",
    )
    return module, outcome, journal


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())


def test_milestones_divide_the_rate_by_ten():
    schedule = Schedule(steps=10, lr=1.0, warmup=2, milestones=(4, 8))
    rates = [schedule.rate(step) for step in (1, 2, 4, 5, 8, 9)]
    assert rates == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01])


def test_rates_warm_up_and_fall_along_a_cosine() -> None:
    schedule = Schedule(steps=110, lr=2.0, warmup=10)
    assert [schedule.rate(step) for step in (1, 5, 10)] == [0.2, 1.0, 2.0]
    assert schedule.rate(60) == pytest.approx(1.0)
    assert schedule.rate(85) == pytest.approx(1 + math.cos(0.75 * math.pi))
    assert schedule.rate(110) == pytest.approx(0)
    falling = [schedule.rate(step) for step in range(10, 111)]
    assert falling == sorted(falling, reverse=True)
    assert Schedule(steps=4, lr=1.0).rate(1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert Schedule(steps=5, lr=1.0, warmup=10).rate(5) == 0.5


def test_stop_ends_early_with_the_rates_of_the_whole() -> None:
    whole, stopped = Schedule(steps=30, lr=1.0), Schedule(steps=30, lr=1.0, stop=12)
    assert (whole.last, stopped.last, Schedule(30, 1.0, stop=99).last) == (30, 12, 30)
    assert stopped.rate(7) == whole.rate(7)
    assert [step for step in range(1, 13) if replace(stopped, check_every=5).due(step)] == [
        5,
        10,
        12,
    ]


def test_training_agrees_with_a_plain_loop() -> None:
    module, outcome, journal = run(checked=False)
    plain = network()
    objective = regression(plain)
    optimiser = torch.optim.AdamW(plain.parameters(), weight_decay=0.01)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    losses = []
    for step in range(1, 21):
        terms = objective(rng)
        loss = terms["square"] + terms["absolute"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = SCHEDULE.rate(step)
        optimiser.step()
        losses.append((step, float(loss.detach())))
    assert same_weights(module, plain)
    assert journal.curves["fold 0"]["loss"] == losses
    assert journal.curves["fold 0"].keys() == {"square", "absolute", "loss"}
    assert (outcome.best_step, outcome.diverged) == (20, False)
    assert math.isnan(outcome.best)


def test_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    for fail_at in (-1, 4):
        torch.manual_seed(5)
        module = network()
        torch.manual_seed(5)
        try:
            train(module, regression(module, fail_at=fail_at), SCHEDULE)
        except CutError:
            assert fail_at == 4
        assert torch.equal(torch.rand(3), expected)


def test_the_best_step_is_kept() -> None:
    module, outcome, journal = run()
    curve = journal.curves["fold 0"]["criterion"]
    assert [step for step, _ in curve] == [0, 4, 8, 12, 16, 20]
    best = min(curve, key=lambda point: point[1])
    assert (outcome.best_step, outcome.best) == best
    assert best[0] > 0
    module.eval()
    assert validation(module)() == best[1]


def test_the_start_is_kept_where_training_only_hurts() -> None:
    module = network()
    worse = iter(range(100))
    outcome = train(
        module, regression(module), SCHEDULE, criterion=lambda: float(next(worse)), seed=0
    )
    assert (outcome.best_step, outcome.best) == (0, 0.0)
    assert same_weights(module, network())


def test_ties_go_to_the_earlier_step() -> None:
    values = iter([5.0, 3.0, 3.0, 4.0, 3.0, 9.0])
    module = network()
    outcome = train(module, regression(module), SCHEDULE, criterion=lambda: next(values))
    assert (outcome.best_step, outcome.best) == (4, 3.0)


def test_a_criterion_of_nan_is_worse_than_any_number() -> None:
    values = iter([math.nan, math.nan, 7.0, math.nan, 8.0, math.nan])
    module = network()
    outcome = train(module, regression(module), SCHEDULE, criterion=lambda: next(values))
    assert (outcome.best_step, outcome.best) == (8, 7.0)


def test_patience_counts_evaluations() -> None:
    values = [5.0, 4.0, 4.5, 4.2, 3.0, 1.0]
    module = network()
    journal = Journal()
    drawn = iter(values)
    outcome = train(
        module,
        regression(module),
        replace(SCHEDULE, patience=2),
        criterion=lambda: next(drawn),
        journal=journal,
    )
    assert (outcome.best_step, outcome.best) == (4, 4.0)
    assert len(journal.curves["training"]["loss"]) == 12
    assert next(drawn) == 3.0  # the better values were never asked for


def test_an_objective_without_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="the objective has no term: give a weight above zero"):
        train(network(), lambda rng: {}, SCHEDULE)


def test_no_steps_leave_the_module_as_it_is() -> None:
    for schedule in (replace(SCHEDULE, steps=0), replace(SCHEDULE, stop=0)):
        module, outcome, journal = run(schedule=schedule)
        assert same_weights(module, network())
        assert outcome.best_step == 0
        assert journal.curves["fold 0"].keys() == {"criterion"}


def test_same_seed_same_weights() -> None:
    first, again, other = (run(seed=seed)[0] for seed in (1, 1, 2))
    assert same_weights(first, again)
    assert not same_weights(first, other)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("checked", [False, True])
def test_divergence_is_named_and_the_last_good_weights_kept(
    kind: str, checked: bool, tmp_path: Path
) -> None:
    module = network()
    sane = regression(module)
    calls = 0

    def objective(rng: np.random.Generator) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        terms = sane(rng)
        if calls == 10:
            bad = terms["square"] * math.nan if kind == "loss" else (terms["square"] * 0).sqrt()
            terms["bad"] = bad
        return terms

    journal = Journal(tmp_path)
    criterion = validation(module) if checked else None
    outcome = train(module, objective, SCHEDULE, criterion=criterion, journal=journal, phase="p")
    assert outcome.diverged
    assert calls == 10
    kept = outcome.best_step
    curve = journal.curves["p"].get("criterion", [(0, math.nan)])
    assert kept == min(curve, key=lambda point: point[1])[0]
    assert journal.warnings == [
        f"divergence: the loss of phase 'p' stopped being finite at step 10; the weights of step "
        f"{kept} are kept. Lower the learning rate (0.05) or raise the temperature."
    ]
    assert all(torch.isfinite(t).all() for t in module.state_dict().values())
    assert len(journal.curves["p"]["loss"]) == 10
    # The run that comes back after this one says so too.
    again = Journal(tmp_path)
    second = network()
    outcome = train(second, sane, SCHEDULE, criterion=criterion, journal=again, phase="p")
    assert outcome.diverged
    assert again.warnings == journal.warnings
    assert same_weights(module, second)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("fail_at", [1, 2, 3, 4, 5, 9, 13, 17, 20])
def test_resumed_is_uninterrupted_bit_for_bit(fail_at: int, checked: bool, tmp_path: Path) -> None:
    """Weights, best step, curves and every line of the log; dropout draws included."""
    whole, expected, curves = run(tmp_path / "whole", checked=checked)
    with pytest.raises(CutError):
        run(tmp_path / "cut", checked=checked, fail_at=fail_at)
    resumed, outcome, journal = run(tmp_path / "cut", checked=checked)
    assert same_weights(whole, resumed)
    assert repr(outcome) == repr(expected)  # NaN equals NaN in print
    assert journal.curves == curves.curves
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    checkpoints = [
        (tmp_path / name / "checkpoints" / "fold-0.safetensors").read_bytes()
        for name in ("whole", "cut")
    ]
    assert checkpoints[0] == checkpoints[1]


def test_resumed_again_and_again_is_uninterrupted(tmp_path: Path) -> None:
    whole, expected, _ = run(tmp_path / "whole", every=1)
    interruptions = 0
    while True:
        try:
            # Each life does one step and dies in its second.
            resumed, outcome, _ = run(tmp_path / "cut", every=1, fail_at=2)
            break
        except CutError:
            interruptions += 1
    assert interruptions == 19
    assert same_weights(whole, resumed)
    assert outcome == expected
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_interrupted_while_saving_resumes_from_the_save_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected, _ = run(tmp_path / "whole")
    path_replace, saves = Path.replace, 0

    def broken(self: Path, target: Path) -> Path:
        nonlocal saves
        saves += Path(target).suffix == ".safetensors"
        if saves == 3:
            raise CutError
        return path_replace(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(CutError):
        run(tmp_path / "cut")
    monkeypatch.undo()
    assert len(read_curves(tmp_path / "cut" / "log.jsonl")["fold 0"]["loss"]) == 9
    resumed, outcome, _ = run(tmp_path / "cut")
    assert same_weights(whole, resumed)
    assert outcome == expected
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_finished_phase_is_not_trained_again(tmp_path: Path) -> None:
    first, expected, before = run(tmp_path)
    second, outcome, after = run(tmp_path, fail_at=1)  # would raise if it were asked for a batch
    assert same_weights(first, second)
    assert outcome == expected
    assert after.curves == before.curves


def test_one_journal_serves_two_fits(tmp_path: Path) -> None:
    """The curves of a phase are those of its last training, also in memory."""
    for folder in (None, tmp_path):
        journal = Journal(folder)
        for number in range(2):
            module = network()
            train(
                module,
                regression(module),
                SCHEDULE,
                journal=journal,
                phase="same",
                fingerprint="one",
                criterion=validation(module),
            )
            assert len(journal.curves["same"]["loss"]) == 20, number
            assert len(journal.curves["same"]["criterion"]) == 6


@pytest.mark.parametrize("change", ["fingerprint", "seed", "schedule"])
def test_a_checkpoint_of_another_training_is_refused(change: str, tmp_path: Path) -> None:
    run(tmp_path)
    module = network()
    with pytest.raises(
        ValueError,
        match=r"fold-0\.safetensors was made with other data, another seed or another conf.*Delete",
    ):
        train(
            module,
            regression(module),
            replace(SCHEDULE, lr=0.1) if change == "schedule" else SCHEDULE,
            seed=int(change == "seed"),
            journal=Journal(tmp_path),
            phase="fold 0",
            fingerprint="other data" if change == "fingerprint" else "this data",
        )


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "checkpoints" / "fold-0.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"is damaged: .*Delete it to start this phase again"):
        run(tmp_path)
