"""The loop that trains towers end to end, on a laptop's CPU or on many nodes.

One explicit loop on accelerate, which brings devices, processes, mixed precision, sharding and
trackers. Everything random in a step follows from (seed, step): rows, views, dropout. A checkpoint
therefore holds weights, the optimiser's state and the number of the step, and a run that was killed
anywhere ends, on CPU, with the weights of one that was not, bit for bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from setclip.data.bad_items import BadItem
from setclip.training.batches import Batch
from setclip.training.cached_gradients import Call, accumulate
from setclip.training.checkpoint import (
    flatten_optimiser,
    load_state,
    restore_optimiser,
    save_state,
)
from setclip.training.distributed import gather_lists, wait, world_size
from setclip.training.journal import Journal
from setclip.training.loop import (
    Outcome,
    Schedule,
    State,
    make_optimiser,
    warn_of_divergence,
)
from setclip.training.weights import Weights, Whole

if TYPE_CHECKING:
    from accelerate import Accelerator


class Objective(Protocol):
    """What is minimised."""

    def calls(self, batch: Batch) -> Mapping[str, Call]:
        """What the towers embed of this process's part of a batch, by name."""
        ...

    def prepare(self, batch: Batch) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """The loss on the batch of all processes: embeddings by call to weighted terms."""
        ...

    def parameters(self) -> Iterable[nn.Parameter]:
        """What the loss itself learns, a temperature for instance."""
        ...

    def clamp(self) -> None:
        """Bring what the loss learns back to where it may be, after each step."""
        ...


Batches = Callable[[int, int], Iterable[Batch]]
"""Batches of the steps from the first number to one before the second, counted from 0."""


@dataclass(frozen=True)
class Engine:
    """How training runs, which does not decide what it computes but for rounding.

    Attributes:
        precision: Of the towers: "no" computes in float32, "bf16" under autocast.
        chunk: Rows that a tower embeds at a time; None embeds a batch at once.
        device: "auto" takes a GPU where there is one.
        shard: Each process keeps a part of the weights and of what belongs to them; with one
            process it does nothing.
        trackers: Of accelerate, beside ``log.jsonl``: tensorboard, wandb, mlflow, trackio.
    """

    precision: Literal["no", "bf16"] = "no"
    chunk: int | None = None
    device: Literal["auto", "cpu"] = "auto"
    trackers: tuple[str, ...] = ()
    shard: bool = False


@dataclass(frozen=True)
class Averaging:
    """Weights other than those of the last step.

    Attributes:
        ema: Decay of an exponential moving average of the weights; 0 keeps none.
        wise: Share of the trained weights in the finished ones, the rest being those of the
            start (WiSE-FT, arXiv 2109.01903); 1 takes the trained ones.
    """

    ema: float = 0.0
    wise: float = 1.0


@dataclass
class _State(State):
    bad: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained(Outcome):
    """How training ended.

    Attributes:
        bad: Items that could not be read, each once.
    """

    bad: tuple[BadItem, ...] = ()


def train_towers(
    towers: nn.Module,
    objective: Objective,
    batches: Batches,
    schedule: Schedule,
    *,
    rates: Mapping[str, float] | None = None,
    averaging: Averaging = Averaging(),
    engine: Engine = Engine(),
    criterion: Callable[[], float | Mapping[str, float]] | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    phase: str = "towers",
    facts: Mapping[str, Any] | None = None,
    blocks: Sequence[nn.Module] = (),
) -> Trained:
    """Minimise an objective over those parameters of the towers that require a gradient.

    Args:
        towers: What is trained, in place; each of its children is a tower that the objective
            calls. Frozen parameters stay and are not in checkpoints.
        objective: Losses on the embeddings of a batch.
        batches: Where batches come from, this process's part.
        schedule: How far and how fast.
        rates: Learning rates relative to the schedule's, by the beginning of parameter names;
            the longest that fits counts, 1 where none does.
        averaging: Which weights are kept in the end.
        engine: Devices, precision, memory.
        criterion: Value to select the step by, lower is better; of several by name the one called
            "criterion". Evaluated with averaged weights where there are any.
        seed: Of dropout.
        journal: Receives terms and checkpoints.
        phase: Name of this training in the journal.
        facts: All that decides the result besides; a checkpoint with other facts is refused, and
            the message names those that differ.
        blocks: Parts of the towers whose weights a process holds whole at a time where
            `engine.shard` divides them; such towers end in the memory of the host.

    Raises:
        ValueError: The checkpoint is damaged or of another configuration; nothing to train.
        ImportError: accelerate is not installed.
    """
    journal = journal or Journal()
    accelerator = _accelerator(engine, journal)
    weights = _laid_out(towers, blocks, engine, accelerator)
    trained = {n: p for n, p in towers.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("no parameter of the towers is trained: leave some blocks or heads free.")
    optimiser = _optimiser(trained, objective, schedule, rates or {})
    run = _Run(towers, trained, objective, optimiser, averaging, weights)
    path = journal.checkpoint(phase)
    known = {**asdict(schedule), **asdict(averaging), "seed": seed, **(facts or {})}
    known = json.loads(json.dumps(known, default=str))
    if path is not None and path.is_file():
        run.resume(path, known)
    wait()  # nobody writes a checkpoint that another is about to read as the start
    journal.rewind(phase, run.state.step if path is not None and path.is_file() else -1)
    if criterion is not None and run.state.step == 0 and not run.state.finished:
        values = run.evaluate(criterion)
        run.state.best = values["criterion"]
        run.keep_best()
        _log(journal, accelerator, phase, 0, values)
    with journal.bar(phase, schedule.last) as show:
        first, started = run.state.step, time.perf_counter()
        stream = iter(batches(first, schedule.last))
        while not run.state.finished:
            if run.state.step >= schedule.last:
                run.state.finished = True
            else:
                values = run.step(next(stream), schedule, engine, accelerator, seed)
                if not run.state.diverged and criterion is not None:
                    values |= _checked(run, criterion, schedule)
                _log(journal, accelerator, phase, run.state.step, values)
                speed = (run.state.step - first) / (time.perf_counter() - started)
                show(run.state.step, f"loss {values['loss']:.4f}, {speed:.2f} steps/s")
            due = run.state.step % journal.checkpoint_every == 0
            if run.state.finished or due:
                run.share_bad()
                if path is not None:
                    run.save(path, known, writes=journal.writes)
    for tracker in accelerator.trackers:
        tracker.finish()  # `end_training` would also part the processes, which have more to do
    outcome = run.finish(schedule, journal, phase, selected=criterion is not None)
    weights.end()
    return outcome


class _Run:
    """Everything that changes from step to step."""

    def __init__(
        self,
        towers: nn.Module,
        trained: dict[str, nn.Parameter],
        objective: Objective,
        optimiser: Optimizer,
        averaging: Averaging,
        weights: Weights,
    ) -> None:
        self.towers, self.trained, self.objective = towers, trained, objective
        self.optimiser, self.averaging, self.weights = optimiser, averaging, weights
        self.learned = list(objective.parameters())
        self.state = _State()
        self.start = self._weights()
        self.best = self._weights()
        self.best_buffers = self._buffers()
        self.mean = self._weights() if averaging.ema else {}

    def step(
        self,
        batch: Batch,
        schedule: Schedule,
        engine: Engine,
        accelerator: Accelerator,
        seed: int,
    ) -> dict[str, float]:
        """One update; returns the terms and their sum."""
        self.towers.train()
        state = self.state
        batch = batch.on(accelerator.device)
        self._remember(asdict(item) for item in batch.bad)
        with accelerator.autocast():
            values = accumulate(
                self.objective.calls(batch),
                self.objective.prepare(batch),
                chunk=engine.chunk,
                seed=[seed, state.step],
                scale=self.weights.scale,
            )
        state.step += 1
        values["loss"] = sum(values.values())
        parameters = list(self.trained.values())
        norm = self.weights.settle(parameters, self.learned, schedule.max_norm)
        if not (math.isfinite(values["loss"]) and bool(torch.isfinite(norm))):
            state.diverged = state.finished = True
            self.optimiser.zero_grad()
            return values
        rate = schedule.rate(state.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["relative"]
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.objective.clamp()
        if self.averaging.ema:
            # Early on the mean is over all steps so far: a young one would remember the start.
            decay = min(self.averaging.ema, state.step / (state.step + 10))
            for name, p in self.trained.items():
                self.mean[name].lerp_(self.weights.part(p), 1 - decay)
        return values

    def evaluate(self, criterion: Callable[[], float | Mapping[str, float]]) -> dict[str, float]:
        """The criterion, with averaged weights where there are any; the same on all processes."""
        own = self._weights()
        if self.averaging.ema:
            self._put(self.mean)
        self.towers.eval()
        with torch.no_grad():
            found = criterion()
        self._put(own)
        values = [dict(found) if isinstance(found, Mapping) else {"criterion": found}]
        if world_size() > 1:
            # One process decides: equal up to rounding is not equal for a comparison.
            dist.broadcast_object_list(values)
        return values[0]

    def keep_best(self) -> None:
        """Take the weights of this step, and the statistics of batch norms, for the best so far."""
        self.best = {n: t.clone() for n, t in (self.mean or self._weights()).items()}
        self.best_buffers = self._buffers()

    def save(self, path: Path, known: dict[str, Any], *, writes: bool) -> None:
        """Write all that the run needs to go on, whole: any number of processes may do so.

        Every process calls it, one writes.
        """
        slots, groups = flatten_optimiser(self.optimiser)
        tensors: dict[str, Tensor] = {}
        for name, t, like in self._state_tensors(slots):
            whole = self.weights.whole(t, like)
            if writes:
                tensors[name] = whole.cpu()
        if writes:
            facts = {"state": asdict(self.state), "slots": groups, "known": known}
            save_state(path, tensors, facts)

    def _state_tensors(self, slots: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """What a checkpoint holds: name, what this process has of it, and what lies like it."""
        parts = {"weights": self._weights(), "start": self.start, "best": self.best}
        for part, named in {**parts, "mean": self.mean}.items():
            for name, t in named.items():
                yield f"{part}/{name}", t, self.trained[name]
        others: dict[str, dict[str, Tensor]] = {
            "best_buffers": self.best_buffers,
            "buffers": dict(self.towers.named_buffers()),
            "learned": {str(i): p.detach() for i, p in enumerate(self.learned)},
            "optimiser": slots,
        }
        for part, named in others.items():
            for name, t in named.items():
                yield f"{part}/{name}", t, t

    def resume(self, path: Path, known: dict[str, Any]) -> None:
        """Put back what :meth:`save` wrote.

        Raises:
            ValueError: It was written under another configuration.
        """
        tensors, facts = load_state(path)
        then = facts["known"]
        differing = [
            f"{name}: {then.get(name)!r} → {known.get(name)!r}"
            for name in sorted({*then, *known})
            if then.get(name) != known.get(name)
        ]
        if differing:
            raise ValueError(
                f"checkpoint {path} was made under another configuration ({'; '.join(differing)}). "
                "Delete the run folder to start again, or choose another output folder."
            )
        device = next(iter(self.trained.values())).device
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, rest = name.split("/", 1)
            if part in ("weights", "start", "best", "mean"):
                tensor = self.weights.part(self.weights.divided(tensor, self.trained[rest]))
            elif part == "optimiser":
                tensor = self.weights.divided(tensor, self._numbered(int(rest.split(".")[0])))
            parts.setdefault(part, {})[rest] = tensor.to(device)
        self._put(parts["weights"])
        self.start, self.best = parts["start"], parts["best"]
        self.mean = parts.get("mean", {})
        with torch.no_grad():
            for name, buffer in self.towers.named_buffers():
                buffer.copy_(parts["buffers"][name])
            self.best_buffers = parts.get("best_buffers", self._buffers())
            for i, p in enumerate(self.learned):
                p.copy_(parts["learned"][str(i)])
        restore_optimiser(self.optimiser, parts.get("optimiser", {}), facts["slots"])
        self.state = _State(**facts["state"])

    def finish(
        self, schedule: Schedule, journal: Journal, phase: str, *, selected: bool
    ) -> Trained:
        """Leave the towers with the weights that are kept."""
        state = self.state
        if state.diverged:
            warn_of_divergence(journal, phase, state, schedule)
        if selected or state.diverged:
            self._put(self.best)
            with torch.no_grad():
                for name, buffer in self.towers.named_buffers():
                    buffer.copy_(self.best_buffers[name])
        elif self.mean:
            self._put(self.mean)
        wise = self.averaging.wise
        if wise < 1:
            with torch.no_grad():
                for name, p in self.trained.items():
                    own = self.weights.part(p)
                    own.copy_(torch.lerp(self.start[name], own, wise))
        self.towers.eval()
        bad = tuple(BadItem(**item) for item in state.bad)
        step, best = (
            (state.best_step, state.best) if selected or state.diverged else (state.step, math.nan)
        )
        return Trained(step, best, state.diverged, bad)

    def share_bad(self) -> None:
        """Let every process know the bad items of all: any of them may write, or go on alone."""
        found, self.state.bad = gather_lists(self.state.bad), []
        self._remember(found)

    def _remember(self, bad: Iterable[dict[str, Any]]) -> None:
        known = {(item["field"], item["row"]): item for item in self.state.bad}
        for item in bad:
            known.setdefault((item["field"], item["row"]), item)
        self.state.bad = list(known.values())

    def _weights(self) -> dict[str, Tensor]:
        return {name: self.weights.part(p).clone() for name, p in self.trained.items()}

    def _buffers(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.towers.named_buffers()}

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.trained.items():
                self.weights.part(p).copy_(weights[name])

    def _numbered(self, number: int) -> Tensor:
        """A parameter by its number in the optimiser's state."""
        numbered = [p for group in self.optimiser.param_groups for p in group["params"]]
        found: Tensor = numbered[number]
        return found


def _laid_out(
    towers: nn.Module, blocks: Sequence[nn.Module], engine: Engine, accelerator: Accelerator
) -> Weights:
    """Bring the weights to where they are trained."""
    if engine.shard and world_size() > 1:
        from setclip.training.shards import Shards

        return Shards(towers, blocks, accelerator.device)
    towers.to(accelerator.device)
    return Whole()


def _checked(
    run: _Run, criterion: Callable[[], float | Mapping[str, float]], schedule: Schedule
) -> dict[str, float]:
    """The criterion where it is due; the best weights are kept, a hopeless run ends."""
    state = run.state
    if not schedule.due(state.step):
        return {}
    values = run.evaluate(criterion)
    if values["criterion"] < state.best or math.isnan(state.best):
        state.best, state.best_step = values["criterion"], state.step
        run.keep_best()
    elif schedule.hopeless(state.step, state.best_step):
        state.finished = True
    return values


def _accelerator(engine: Engine, journal: Journal) -> Accelerator:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise ImportError(
            'training encoders needs accelerate: pip install "setclip[train]"'
        ) from error
    # It keeps the precision of the first call in a process for all later ones.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=engine.device == "cpu",
        mixed_precision=engine.precision,
        log_with=list(engine.trackers) or None,
        project_dir=None if journal.directory is None else str(journal.directory),
    )
    if engine.trackers:
        accelerator.init_trackers("setclip")
    return accelerator


def _log(
    journal: Journal, accelerator: Accelerator, phase: str, step: int, values: dict[str, float]
) -> None:
    accelerator.log({f"{phase}/{name}": value for name, value in values.items()}, step=step)
    journal.log(phase, step, values)


def _optimiser(
    trained: Mapping[str, nn.Parameter],
    objective: Objective,
    schedule: Schedule,
    rates: Mapping[str, float],
) -> Optimizer:
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, p in trained.items():
        fitting = [start for start in rates if name.startswith(start)]
        rate = rates[max(fitting, key=len)] if fitting else 1.0
        # Biases, norms and scales are not decayed: zero is no neutral value for them.
        groups.setdefault((rate, p.ndim > 1), []).append(p)
    described = [
        {
            "params": parameters,
            "relative": rate,
            "weight_decay": schedule.weight_decay if decayed else 0.0,
        }
        for (rate, decayed), parameters in groups.items()
    ]
    learned = list(objective.parameters())
    if learned:
        described.append({"params": learned, "relative": 1.0, "weight_decay": 0.0})
    return make_optimiser(described, schedule)
