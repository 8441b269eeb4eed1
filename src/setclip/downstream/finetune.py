"""Full fine-tuning: an encoder of proteins learns a task, with a classifier on top."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from setclip.data.pools import FloatArray, IntArray, make_pools
from setclip.downstream.tasks import Task, TaskName
from setclip.encoders.backbone import Backbone, on_device
from setclip.evaluation import fmax
from setclip.proteins.views import StructureViews, structure_view
from setclip.training.batches import Batch, Composition, Sources, Steps, load_steps
from setclip.training.cached_gradients import Call
from setclip.training.distributed import gather_rows, rank, world_size
from setclip.training.engine import Averaging, Engine, train_towers
from setclip.training.journal import Journal
from setclip.training.loop import Schedule
from setclip.training.sources import RawSource

SLOPE = 0.2
DROPOUT = 0.2
TOGETHER = 32
"""Chains asked at once."""
CALIBRATION = 128
"""Chains that batch norms take their statistics from before they are asked."""
TIE = 1e-6
"""Weight of the loss in the criterion: it decides between steps of like accuracy."""


@dataclass(frozen=True)
class Published:
    """How CDConv was trained on a task: epochs, batch, and when the rate falls to a tenth."""

    epochs: int
    batch: int
    milestones: tuple[int, int]


PUBLISHED: dict[TaskName, Published] = {
    "fold": Published(400, 8, (100, 300)),
    "reaction": Published(400, 8, (100, 300)),
    "ec": Published(500, 64, (300, 400)),
    "go-mf": Published(500, 24, (300, 400)),
    "go-bp": Published(500, 24, (300, 400)),
    "go-cc": Published(500, 24, (300, 400)),
}


class FineTuning(BaseModel):
    """How an encoder learns a task."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    recipe: Literal["short", "paper"] = "short"
    """Short is AdamW along a cosine for a few hundred steps; paper is CDConv's: SGD of rate 1e-3,
    momentum 0.9, weight decay 5e-4, 400 or 500 epochs, and steps, batch, lr, weight_decay, ema and
    encoder_rate are not used."""
    steps: PositiveInt = 400
    """Updates."""
    batch: int = Field(default=16, ge=3)
    """Chains a step."""
    lr: PositiveFloat = 1e-3
    """Highest learning rate, of the classifier; ESM-2 wants encoder_rate 0.1 or less."""
    encoder_rate: NonNegativeFloat = 1.0
    """Learning rate of the encoder relative to that of the classifier."""
    weight_decay: NonNegativeFloat = 0.01
    """Of AdamW."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Decay of the mean of the weights that is asked and kept; of paper 0, which keeps none."""
    checks: PositiveInt = 8
    """How often the validation part is asked; of paper, every epoch is."""
    noise: NonNegativeFloat = 0.05
    """Standard deviation of what is added to each coordinate of a structure, in A."""
    workers: int = Field(default=0, ge=0)
    """Processes that read; they change no number."""
    precision: Literal["no", "bf16"] = "no"
    """Of the encoder."""

    def schedule(self, task: Task) -> tuple[Schedule, int]:
        """The schedule on the chains that teach, and how many of them a step takes."""
        n = len(task.train)
        if self.recipe == "short":
            every = max(1, -(-self.steps // self.checks))
            warmup = self.steps // 20
            schedule = Schedule(
                self.steps, self.lr, self.weight_decay, warmup, max_norm=10.0, check_every=every
            )
            return schedule, min(self.batch, n)
        p = PUBLISHED[task.name]
        batch = min(p.batch, n)
        # EC and GO drop the last part of an epoch, the others keep it as a batch.
        epoch = n // batch if not task.single else -(-n // batch)
        milestones = tuple(epoch * m for m in p.milestones)
        return (
            Schedule(
                epoch * p.epochs,
                1e-3,
                5e-4,
                max_norm=10.0,
                check_every=epoch,
                optimiser="sgd",
                milestones=milestones,
            ),
            batch,
        )


class Classifier(nn.Module):
    """An encoder and the published head: two layers, as wide as features or classes.

    Args:
        encoder: Collated items to features. Shape [n, dim].
        dim: Width of the features.
        shares: Of the chains that have each class: where its bias starts. Shape [classes].
        single: Whether classes exclude each other.
    """

    def __init__(self, encoder: nn.Module, dim: int, shares: Tensor, *, single: bool) -> None:
        super().__init__()
        self.encoder = encoder
        width = max(dim, len(shares))
        out = nn.Linear(width, len(shares))
        with torch.no_grad():
            out.bias.copy_(shares.log() if single else torch.logit(shares))
        self.head = nn.Sequential(
            nn.BatchNorm1d(dim),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(DROPOUT),
            nn.Linear(dim, width),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(SLOPE),
            out,
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits. Shape [n, classes]."""
        logits: Tensor = self.head(self.encoder(batch))
        return logits


class Classification:
    """Cross-entropy of the classes, or of each term, weighted by how rare it is.

    Args:
        classifier: What is trained.
        weights: Of each term, n_annotated / n_with_term; None where classes exclude each other.
    """

    def __init__(self, classifier: Classifier, weights: Tensor | None) -> None:
        self.classifier, self.weights = classifier, weights

    def calls(self, batch: Batch) -> Mapping[str, Call]:
        """The logits of this process's chains."""
        return {"logits": Call(self.classifier, batch.x)}

    def prepare(self, batch: Batch) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """The loss on the chains of all processes."""
        labels, _ = gather_rows(batch.y["labels"])
        return lambda z: {"cross-entropy": self.loss(z["logits"], labels)}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over chains, and over terms. Shapes [n, classes]."""
        if self.weights is None:
            return functional.cross_entropy(logits, labels.argmax(dim=1))
        weights = self.weights.to(logits.device)
        return functional.binary_cross_entropy_with_logits(logits, labels, weight=weights)

    def parameters(self) -> Iterable[nn.Parameter]:
        """None of its own."""
        return []

    def clamp(self) -> None:
        """Nothing to bring back."""


@dataclass(frozen=True)
class _Labels:
    """The labels of the chains that teach, as a stream beside the chains."""

    labels: FloatArray

    def __len__(self) -> int:
        return len(self.labels)

    def read(
        self,
        row: int,
        rng: np.random.Generator,
        *,
        view: bool,
        unlike: np.random.Generator | None = None,
    ) -> Tensor:
        """Of one chain. Shape [classes]."""
        return torch.from_numpy(self.labels[row])


def fine_tune(
    backbone: Backbone,
    task: Task,
    options: FineTuning | None = None,
    *,
    seed: int = 0,
    journal: Journal | None = None,
) -> FloatArray:
    """Train an encoder and a classifier on a task and ask it about the test chains.

    The step with the best accuracy or Fmax on the validation part is kept. Everything random
    follows from (seed, step); with a journal that has a folder, a killed training goes on.

    Args:
        backbone: Its network is trained in place.
        task: Chains that teach, choose and test.
        options: How it learns; None for the default of :class:`FineTuning`.
        seed: Of batches, noise, dropout and the classifier's first weights.
        journal: Receives curves, notes and checkpoints.

    Returns:
        Probability of each class for `task.test`. Shape [n_test, classes].

    Raises:
        ValueError: Nothing of the encoder can be trained, or a checkpoint is of another training.
        ImportError: accelerate is not installed.
    """
    options, journal = options or FineTuning(), journal or Journal()
    labels = task.labels[task.train].astype(np.float32)
    counts = torch.from_numpy(labels.sum(axis=0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # A class that none of them has is taken to be as rare as half a chain.
        shares = counts.clamp(min=0.5) / (len(labels) + 1)
        classifier = Classifier(backbone.network, backbone.dim, shares, single=task.single)
    weights = None if task.single else len(labels) / counts.clamp(min=1)
    objective = Classification(classifier, weights)
    schedule, batch = options.schedule(task)
    short = options.recipe == "short"
    trained = train_towers(
        classifier,
        objective,
        _batches(backbone, task, labels, batch, options, seed),
        schedule,
        rates={"encoder.": options.encoder_rate if short else 1.0},
        averaging=Averaging(ema=options.ema if short else 0.0),
        engine=Engine(precision=options.precision),
        criterion=partial(_criterion, objective, backbone, task),
        seed=seed,
        journal=journal,
        phase="fine-tuning",
        facts={
            "options": options.model_dump(mode="json", exclude={"workers"}),
            "encoder": backbone.fingerprint,
            "task": task.fingerprint,
        },
    )
    journal.note(f"Step {trained.best_step} of {schedule.steps} was best on the validation part.")
    logits = _logits(classifier, backbone, task, task.test)
    return _probabilities(logits, single=task.single).numpy()


def _batches(
    backbone: Backbone,
    task: Task,
    labels: FloatArray,
    batch: int,
    options: FineTuning,
    seed: int,
) -> Callable[[int, int], Iterable[Batch]]:
    """Chains and their labels as pairs: a batch is a function of (seed, step)."""
    items = task.items(backbone.modality)
    view = partial(_shaken, noise=options.noise) if backbone.modality == "structure" else None
    chains = RawSource([items[row] for row in task.train], backbone.prepare, view)
    none = np.zeros((0, 1), dtype=np.float32)
    sources = Sources(
        chains,
        _Labels(labels),
        RawSource([], backbone.prepare),
        _Labels(none),
        backbone.collate,
        _stacked,
    )
    pools = make_pools(labels, labels)
    steps = Steps(
        sources,
        pools,
        Composition(batch, 0, augment=options.noise > 0),
        seed=seed,
        rank=rank(),
        world=world_size(),
    )
    return partial(load_steps, steps, workers=options.workers)


def _stacked(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    return {"labels": torch.stack(list(rows))}


def _shaken(item: Any, rng: np.random.Generator, *, noise: float) -> Any:
    return structure_view(item, rng, StructureViews(crop=0, hole=0, mask=0, noise=noise))


def _criterion(objective: Classification, backbone: Backbone, task: Task) -> dict[str, float]:
    """What the validation part says of this step: lower is better."""
    _calibrate(objective.classifier, backbone, task)
    logits = _logits(objective.classifier, backbone, task, task.validation)
    labels = torch.from_numpy(task.labels[task.validation].astype(np.float32))
    loss = float(objective.loss(logits, labels))
    probabilities = _probabilities(logits, single=task.single).numpy()
    if task.single:
        good = float((probabilities.argmax(axis=1) == task.codes[task.validation]).mean())
    else:
        good = fmax(probabilities, task.labels[task.validation]).value
    return {"criterion": 1 - good + TIE * loss, task.measure: good, "validation loss": loss}


def _calibrate(classifier: Classifier, backbone: Backbone, task: Task) -> None:
    """Give batch norms the statistics of these weights on chains that teach, without dropout.

    Running means lag behind weights that learn fast. Chains differ by little beside what all of
    them share, and the head scales that little up: a small lag made validation useless. For the
    same reason the head is calibrated on features as they are when asked, after the encoder.

    Source: Wu & Johnson, Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3.
    """
    classifier.eval()
    rows = np.random.default_rng(0).permutation(task.train)[:CALIBRATION]
    for part in (classifier.encoder, classifier.head):
        norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm1d)]
        if not norms:
            continue
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        for _ in _forwards(classifier, backbone, task, rows):
            pass
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _logits(classifier: Classifier, backbone: Backbone, task: Task, rows: IntArray) -> Tensor:
    """In batches of like length, for padding costs. Shape [n, classes]."""
    classifier.eval()
    order = np.argsort(task.lengths[rows], kind="stable")
    logits = torch.cat(list(_forwards(classifier, backbone, task, rows[order])))
    return logits[torch.from_numpy(np.argsort(order))]


def _forwards(
    classifier: Classifier, backbone: Backbone, task: Task, rows: IntArray
) -> Iterator[Tensor]:
    """Logits of these chains, some at a time, without gradient."""
    items = task.items(backbone.modality)
    device = next(classifier.parameters()).device
    # Near-equal parts: a single chain has no batch statistics.
    for part in np.array_split(rows, -(-len(rows) // TOGETHER)):
        read = [backbone.prepare(items[row]) for row in part]
        collated = on_device(backbone.collate(read), device)
        with torch.no_grad():
            yield classifier(collated).float().cpu()


def _probabilities(logits: Tensor, *, single: bool) -> Tensor:
    return logits.softmax(dim=1) if single else logits.sigmoid()
