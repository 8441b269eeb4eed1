"""The training loop: one step after another, resumable at every checkpoint, bit for bit on CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from setclip.training.checkpoint import (
    flatten_optimiser,
    load_state,
    restore_optimiser,
    save_state,
)
from setclip.training.journal import Journal
from setclip.training.lion import Lion
from setclip.training.threads import at_most, worth

MOMENTUM = 0.9
"""Of SGD."""

# Weighted terms of the objective on the batch that this generator draws.
Objective = Callable[[np.random.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How far and how fast to train.

    Attributes:
        steps: Number of updates; 0 leaves the module as it is.
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        warmup: Steps of linear warm-up; after it the rate falls to zero along a cosine.
        milestones: Steps after which the rate falls to a tenth, in place of the cosine.
        max_norm: Gradients are clipped to this norm.
        check_every: Steps between evaluations of the criterion.
        patience: Stop after so many evaluations without a better value; None never stops.
        stop: Stop after this step, with the rates of the whole schedule; None goes to its end.
        optimiser: Adam with decoupled weight decay, Lion, or SGD with momentum 0.9, whose weight
            decay is part of the gradient.
    """

    steps: int
    lr: float
    weight_decay: float = 0.0
    warmup: int = 0
    max_norm: float = 1.0
    check_every: int = 25
    patience: int | None = None
    stop: int | None = None
    optimiser: Literal["adamw", "lion", "sgd"] = "adamw"
    milestones: tuple[int, ...] | None = None

    @property
    def last(self) -> int:
        """The step after which training ends."""
        return self.steps if self.stop is None else min(self.stop, self.steps)

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 1."""
        if step <= self.warmup:
            return self.lr * step / self.warmup
        if self.milestones is not None:
            return self.lr * 0.1 ** sum(step > milestone for milestone in self.milestones)
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))

    def due(self, step: int) -> bool:
        """Whether the criterion is evaluated after this step."""
        return step % self.check_every == 0 or step == self.last

    def hopeless(self, step: int, best_step: int) -> bool:
        """Whether the criterion has been without a better value for too long."""
        return self.patience is not None and step - best_step >= self.patience * self.check_every


@dataclass(frozen=True)
class Outcome:
    """How a phase of training ended; the module holds the weights of `best_step`.

    Attributes:
        best_step: Step with the lowest criterion, the last step where there is none.
        best: The criterion there, NaN where there is none.
        diverged: Training met a loss that is not finite, and stopped.
    """

    best_step: int
    best: float
    diverged: bool


@dataclass
class State:
    """Where a phase stands."""

    step: int = 0
    best_step: int = 0
    best: float = math.inf
    diverged: bool = False
    finished: bool = False


def train(
    module: nn.Module,
    objective: Objective,
    schedule: Schedule,
    *,
    criterion: Callable[[], float | Mapping[str, float]] | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    phase: str = "training",
    fingerprint: str = "",
    rows: int | None = None,
) -> Outcome:
    """Minimise the sum of the objective's terms over the module's parameters.

    Weight decay is decoupled and leaves single numbers (a scale, a bias of all logits) alone. With
    a criterion (lower is better) the weights of its best step are kept, step 0, the start, among
    them.

    Args:
        module: What is trained, in place.
        objective: Draws a batch from the generator and returns its weighted loss terms.
        schedule: How far and how fast.
        criterion: Value to select the step by; or several by name, of which "criterion" selects
            and all are logged.
        seed: Of batches, dropout and noise.
        journal: Receives terms and checkpoints.
        phase: Name of this training in the journal.
        fingerprint: What the training depends on besides `schedule` and `seed`; a checkpoint of
            another one is refused.
        rows: Rows of either side a step; where that makes a small step it runs on fewer threads.
            None takes all.

    Raises:
        ValueError: The phase's checkpoint is damaged or belongs to another configuration, or the
            objective has no term.
    """
    journal = journal or Journal()
    optimiser = _optimiser(module, schedule)
    rng = np.random.default_rng(seed)
    state = State()
    path = journal.checkpoint(phase)
    fingerprint = f"{fingerprint}/{schedule}/seed {seed}"
    threads = torch.get_num_threads() if rows is None else worth(module, rows)
    # Dropout draws from torch's global generator; the caller's stays as it was.
    with at_most(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        best = _copy(module)
        if path is not None and path.is_file():
            state, best = _resume(path, module, optimiser, rng, fingerprint)
            journal.rewind(phase, state.step)
        else:
            journal.rewind(phase, -1)  # of a run killed before its first checkpoint, or another fit
            if criterion is not None:
                values = _evaluate(module, criterion)
                state.best = values["criterion"]
                journal.log(phase, 0, values)
        with journal.bar(phase, schedule.last) as show:
            while not state.finished:
                if state.step >= schedule.last:
                    state.finished = True
                else:
                    values = _step(module, objective, optimiser, rng, state, schedule)
                    if state.diverged:
                        state.finished = True
                    elif criterion is not None and schedule.due(state.step):
                        values |= _evaluate(module, criterion)
                        if values["criterion"] < state.best or math.isnan(state.best):
                            state.best, state.best_step = values["criterion"], state.step
                            best = _copy(module)
                        elif schedule.hopeless(state.step, state.best_step):
                            state.finished = True
                    journal.log(phase, state.step, values)
                    show(state.step, f"loss {values['loss']:.4f}")
                if (
                    path is not None
                    and journal.writes
                    and (state.finished or state.step % journal.checkpoint_every == 0)
                ):
                    _save(path, module, optimiser, rng, state, best, fingerprint)
    if state.diverged:
        warn_of_divergence(journal, phase, state, schedule)
    if criterion is not None or state.diverged:
        module.load_state_dict(best)
        return Outcome(state.best_step, state.best, state.diverged)
    return Outcome(state.step, math.nan, False)


def warn_of_divergence(journal: Journal, phase: str, state: State, schedule: Schedule) -> None:
    """Name a loss that stopped being finite, and what to do."""
    journal.warn(
        "divergence",
        f"the loss of phase {phase!r} stopped being finite at step {state.step}; the weights "
        f"of step {state.best_step} are kept. Lower the learning rate ({schedule.lr:g}) or "
        "raise the temperature.",
    )


def _step(
    module: nn.Module,
    objective: Objective,
    optimiser: Optimizer,
    rng: np.random.Generator,
    state: State,
    schedule: Schedule,
) -> dict[str, float]:
    module.train()
    terms = objective(rng)
    if not terms:
        raise ValueError(
            "the objective has no term: give a weight above zero to a loss that takes what there "
            "is (pairs, or items on both sides)."
        )
    loss = torch.stack(list(terms.values())).sum()
    state.step += 1
    values = {name: float(term.detach()) for name, term in terms.items()}
    values["loss"] = float(loss.detach())
    if not math.isfinite(values["loss"]):
        state.diverged = True
        return values
    for group in optimiser.param_groups:
        group["lr"] = schedule.rate(state.step)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(module.parameters(), schedule.max_norm)
    if not torch.isfinite(norm):
        state.diverged = True
        return values
    optimiser.step()
    return values


def _optimiser(module: nn.Module, schedule: Schedule) -> Optimizer:
    parameters = list(module.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if not p.ndim], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return make_optimiser(groups, schedule)


def make_optimiser(groups: list[dict[str, Any]], schedule: Schedule) -> Optimizer:
    """The optimiser that a schedule names, for parameters in groups with their weight decay."""
    if schedule.optimiser == "lion":
        return Lion(groups, lr=schedule.lr)
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=schedule.lr, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, lr=schedule.lr)


def _evaluate(
    module: nn.Module, criterion: Callable[[], float | Mapping[str, float]]
) -> dict[str, float]:
    module.eval()
    with torch.no_grad():
        found = criterion()
    return dict(found) if isinstance(found, Mapping) else {"criterion": found}


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _save(
    path: Path,
    module: nn.Module,
    optimiser: Optimizer,
    rng: np.random.Generator,
    state: State,
    best: dict[str, Tensor],
    fingerprint: str,
) -> None:
    slots, facts = flatten_optimiser(optimiser)
    parts = {"module": module.state_dict(), "best": best, "optimiser": slots}
    tensors = {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()}
    tensors["rng"] = torch.get_rng_state()
    save_state(
        path,
        tensors,
        {
            "state": vars(state),
            "optimiser": facts,
            "batches": rng.bit_generator.state,
            "fingerprint": fingerprint,
        },
    )


def _resume(
    path: Path, module: nn.Module, optimiser: Optimizer, rng: np.random.Generator, fingerprint: str
) -> tuple[State, dict[str, Tensor]]:
    tensors, facts = load_state(path)
    if facts["fingerprint"] != fingerprint:
        raise ValueError(
            f"checkpoint {path} was made with other data, another seed or another configuration. "
            "Delete the run folder to start again, or choose another output folder."
        )
    module.load_state_dict(_part(tensors, "module"))
    restore_optimiser(optimiser, _part(tensors, "optimiser"), facts["optimiser"])
    rng.bit_generator.state = facts["batches"]
    torch.set_rng_state(tensors["rng"])
    state: dict[str, Any] = facts["state"]
    return State(**state), _part(tensors, "best")


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
