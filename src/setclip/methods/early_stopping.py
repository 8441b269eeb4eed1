"""Training heads for as long as held-out pairs and sets say it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import nn

from setclip.data.pools import Pools, digest
from setclip.methods.tuning import Embed, Fold, log_ranks, make_folds, unit_means
from setclip.training.journal import Journal
from setclip.training.loop import Objective, Outcome, Schedule, train


@dataclass(frozen=True)
class Trainable:
    """A start, ready to be trained.

    Attributes:
        module: What is trained.
        objective: Loss terms of a batch.
        embed_x: Features of x to embeddings, with the module's present weights.
        embed_y: The same for y.
        rows: Of either side a step, see :func:`setclip.training.loop.train`.
    """

    module: nn.Module
    objective: Objective
    embed_x: Embed
    embed_y: Embed
    rows: int | None = None


Build = Callable[[Pools], Trainable]


def fit_stopped(
    build: Build,
    pools: Pools,
    schedules: Sequence[Schedule],
    *,
    folds: int,
    seed: int,
    journal: Journal,
    fingerprint: str,
    cautious: bool = False,
) -> Trainable:
    """Choose schedule and step on folds, then train on everything up to that step.

    Args:
        build: Makes the start and the objective from pools; called once a fold and once at the end.
        pools: All there is to learn from.
        schedules: Schedules to choose from.
        folds: Folds of the cross-validation; fewer where there is less to hold out. With 1 the
            first schedule is run to its end.
        seed: Of folds, batches and dropout.
        journal: Receives curves, notes and checkpoints.
        fingerprint: Of the configuration, for checkpoints.
        cautious: Train at all only if the best step beats the start by more than the standard
            error of the difference, over held-out pairs and sets; for starts that are good
            already. Without it, what is too little to hold anything out is trained to the end of
            the first schedule.

    Raises:
        ValueError: Fewer than two items on a side, or a checkpoint of another fit.
    """
    if pools.n_pairs + min(len(pools.x_pool), len(pools.y_pool)) < 2:
        raise ValueError(
            f"there is nothing to learn from in {pools.describe()}: give at least 2 pairs, or 2 "
            "items on both sides."
        )
    fingerprint = f"{fingerprint}/{digest(pools)}"
    held = make_folds(pools, folds, seed=seed) if folds > 1 else []
    schedule = schedules[0]
    if held:
        schedule = _choose(build, held, schedules, seed, journal, fingerprint, cautious)
    elif folds > 1 and cautious:
        schedule = replace(schedule, stop=0)
        journal.note("Kept the start: there is too little to hold out and see what training does.")
    trainable = build(pools)
    outcome = train(
        trainable.module,
        trainable.objective,
        schedule,
        seed=seed,
        journal=journal,
        phase="final",
        fingerprint=fingerprint,
        rows=trainable.rows,
    )
    _name_problems(trainable, pools, outcome, journal)
    return trainable


def _choose(
    build: Build,
    held: Sequence[Fold],
    schedules: Sequence[Schedule],
    seed: int,
    journal: Journal,
    fingerprint: str,
    cautious: bool,
) -> Schedule:
    curves = []
    for number, schedule in enumerate(schedules):
        runs = [
            _run_fold(
                build, fold, schedule, f"fold {i} of schedule {number}", seed, journal, fingerprint
            )
            for i, fold in enumerate(held)
        ]
        # Folds that diverged early count with their last value.
        length = max(map(len, runs))
        curves.append([r + [r[-1]] * (length - len(r)) for r in runs])
    means = [np.array([[c.criterion for c in run] for run in runs]).mean(axis=0) for runs in curves]
    best = int(np.argmin([m.min() for m in means]))
    check = int(means[best].argmin())
    schedule = schedules[best]
    start, value = float(means[best][0]), float(means[best][check])
    gain, error = _gain([run[check] for run in curves[best]])
    if cautious and gain <= error:
        check = 0
    step = min(check * schedule.check_every, schedule.steps)
    journal.note(
        f"Held-out items: mean log2 rank {start:.2f} at the start, {value:.2f} at best in "
        f"{len(held)} folds (a pair or set gains {gain:.2f} ± {error:.2f}); "
        + (f"trained {step} steps at rate {schedule.lr:g}." if step else "kept the start.")
    )
    return replace(schedule, stop=step)


@dataclass(frozen=True)
class _Check:
    """One evaluation of one fold.

    Attributes:
        criterion: Mean log2 rank of the held-out items.
        gain: How much lower the rank of a held-out pair or set is than at the start, in the mean.
        error: Standard error of `gain`, 0 where there is one pair or set.
        units: Held-out pairs and sets.
    """

    criterion: float
    gain: float
    error: float
    units: int


def _gain(checks: Sequence[_Check]) -> tuple[float, float]:
    """Gain over all folds' pairs and sets and its standard error, from what each fold logged."""
    n, gain, error = (
        np.array([getattr(c, name) for c in checks]) for name in ("units", "gain", "error")
    )
    total = n.sum()
    mean = (n * gain).sum() / total
    if total < 2:
        return float(mean), 0.0
    squares = (n * (n - 1) * error**2 + n * (gain - mean) ** 2).sum()
    return float(mean), float(np.sqrt(squares / (total * (total - 1))))


def _run_fold(
    build: Build,
    fold: Fold,
    schedule: Schedule,
    phase: str,
    seed: int,
    journal: Journal,
    fingerprint: str,
) -> list[_Check]:
    trainable = build(fold.train)

    def ranks() -> npt.NDArray[np.float64]:
        return log_ranks(fold, trainable.embed_x, trainable.embed_y)

    start = unit_means(fold, ranks())
    n = len(start)

    def criterion() -> dict[str, float]:
        found = ranks()
        gains = start - unit_means(fold, found)
        error = gains.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
        return {
            "criterion": float(found.mean()),
            "gain": float(gains.mean()),
            "error of gain": float(error),
        }

    train(
        trainable.module,
        trainable.objective,
        schedule,
        criterion=criterion,
        seed=seed,
        journal=journal,
        phase=phase,
        fingerprint=fingerprint,
        rows=trainable.rows,
    )
    logged = journal.curves[phase]
    names = ("criterion", "gain", "error of gain")
    rows = zip(*([value for _, value in logged[name]] for name in names), strict=True)
    return [_Check(value, gain, error, n) for value, gain, error in rows]


COLLAPSED = 1e-3


def _name_problems(trainable: Trainable, pools: Pools, outcome: Outcome, journal: Journal) -> None:
    if outcome.diverged:
        return  # the loop has said so
    for side, embed, features in (
        ("x", trainable.embed_x, pools.all_x()),
        ("y", trainable.embed_y, pools.all_y()),
    ):
        z = embed(features[:4096])
        z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-30)
        spread = float(z.var(axis=0).sum())
        if spread < COLLAPSED:
            journal.warn(
                "collapse",
                f"all {side} embeddings fell onto nearly one point (total variance {spread:.1e} of "
                "1). Take the mean off features that lie far from the origin; of `setclip` raise "
                "weight_ssl, lower weight_sdd and weight_mmd, or start from `cca`.",
            )
