"""SOTAlign: a linear teacher from the pairs, and a student that keeps its transport plan."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from setclip.data.pools import FloatArray, Pools
from setclip.data.samplers import draw_rows
from setclip.linear.maps import AffineMap, Alignment
from setclip.losses import Products, klot, sinkhorn
from setclip.methods.cca import CCA
from setclip.methods.early_stopping import Trainable, fit_stopped
from setclip.methods.heads import TwoTowers, refined_towers, whitenings
from setclip.methods.procrustes import Procrustes
from setclip.methods.protocol import Options, Recipe, Supervision, card, pairs_needed
from setclip.methods.siglip import Sigmoid
from setclip.model import AlignedModel, Tower
from setclip.training.journal import Journal
from setclip.training.loop import Schedule

PAPER: dict[str, Any] = {
    "penalty": 0.1,
    "refine": False,
    "weight_klot": 1e-4,
    "optimiser": "lion",
    "lr": 1e-4,
    "weight_decay": 0.0,
    "steps": 2000,
    "folds": 1,
}


class SOTAlign(Options):
    """Heads that start at a linear teacher; SigLIP on the pairs, the teacher's plan on the pools.

    On batches of the pools the student's soft matching is to stay near the teacher's. The default
    recipe refines the teacher in whitened coordinates and stops where held-out pairs say, at the
    teacher if need be; its teacher is CCA with settings chosen on folds. `recipe: paper` trains the
    teacher's weights themselves, by Lion, for a fixed number of steps.

    Without pools on both sides the plan has nothing to match and SigLIP is left.

    Source:
        arXiv 2602.23353. Its weight of the plan's divergence is 1e-5 to 1e-3 beside a SigLIP loss
        summed over the columns, which is why the loss on the pairs is multiplied by their number.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})
    paper: ClassVar[Mapping[str, Any]] = PAPER

    kind: Literal["sotalign"] = "sotalign"
    recipe: Recipe = "default"
    """Where the fields that are not given take their values from."""
    teacher: Literal["cca", "procrustes"] = "cca"
    """Closed form that the student starts from."""
    penalty: PositiveFloat | None = None
    """Ridge of a CCA teacher, in units of the mean variance of a feature; None: chosen on folds."""
    refine: bool = True
    """Train a change in whitened coordinates, not the weights on the features themselves."""
    rank: PositiveInt = 256
    """Principal axes of either side that the change reads."""
    weight_klot: NonNegativeFloat = 0.1
    """Of the divergence of the student's plan from the teacher's."""
    teacher_epsilon: PositiveFloat = 0.01
    """Entropy of the teacher's plan."""
    student_epsilon: PositiveFloat = 0.05
    """Entropy of the student's plan."""
    iterations: PositiveInt = 100
    """Of Sinkhorn, at most."""
    scale: PositiveFloat = 10.0
    """Scale of SigLIP at the start; it is learned, and so is the bias."""
    optimiser: Literal["adamw", "lion"] = "adamw"
    """Adam with decoupled weight decay, or Lion."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate; it falls along a cosine."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled; a change is pulled back to the teacher."""
    steps: PositiveInt = 100
    """Longest training."""
    batch: PositiveInt = 256
    """Pairs a step."""
    batch_pool: PositiveInt = 256
    """Pool items of either side a step."""
    folds: PositiveInt = 3
    """Folds that choose the step; 1 trains all steps."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on pairs and pools."""
        journal = journal or Journal()
        pools = pools.without_sets()
        if pools.n_pairs < 2:
            raise ValueError(pairs_needed(self.kind, pools.n_pairs, alone=False))
        whitening = whitenings(pools, rank=self.rank, penalty=1.0) if self.refine else None
        trained = fit_stopped(
            partial(self._build, teacher=self._teacher(pools, seed, journal), whitening=whitening),
            pools,
            [self._schedule],
            folds=self.folds,
            seed=seed,
            journal=journal,
            fingerprint=self.model_dump_json(),
            cautious=True,
        )
        towers = trained.module
        assert isinstance(towers, TwoTowers)
        return towers.model(card(self, pools, seed, journal))

    @property
    def _schedule(self) -> Schedule:
        return Schedule(
            self.steps,
            self.lr,
            self.weight_decay,
            warmup=10,
            check_every=10,
            patience=3,
            optimiser=self.optimiser,
        )

    def _teacher(self, pools: Pools, seed: int, journal: Journal) -> CCA | Procrustes:
        if self.teacher == "procrustes":
            return Procrustes()
        if self.penalty is not None:
            return CCA(penalty=self.penalty, power=0.0, covariances="pairs")
        return CCA(folds=3).tuned(pools, seed=seed, journal=journal)

    def _build(
        self,
        pools: Pools,
        *,
        teacher: CCA | Procrustes,
        whitening: tuple[AffineMap, AffineMap] | None,
    ) -> Trainable:
        start = teacher.solve(pools)
        if whitening is None:
            towers = TwoTowers(Tower.from_map(start.x), Tower.from_map(start.y))
        else:
            towers = refined_towers(pools, start, whitening)
        objective = _Objective(self, pools, towers, start)
        rows = self.batch + self.batch_pool
        return Trainable(towers, objective, towers.embed_x, towers.embed_y, rows=rows)


class _Objective:
    """SigLIP on a batch of pairs and the plan's divergence on a batch of the pools."""

    def __init__(
        self, options: SOTAlign, pools: Pools, towers: TwoTowers, teacher: Alignment
    ) -> None:
        self.options, self.towers = options, towers
        self.inputs = towers.inputs(pools)
        self.pairs = min(options.batch, pools.n_pairs)
        self.loss: nn.Module = Sigmoid(options.scale, -float(np.log(max(self.pairs - 1, 1))))
        towers.add_module("loss", self.loss)
        self.teacher_x = _embedded(teacher.x, pools.x_pool)
        self.teacher_y = _embedded(teacher.y, pools.y_pool)

    def __call__(self, rng: np.random.Generator) -> dict[str, Tensor]:
        o, inputs, towers = self.options, self.inputs, self.towers
        rows = torch.from_numpy(draw_rows(len(inputs.x_pairs), o.batch, rng))
        zx, zy = towers.x(inputs.x_pairs[rows]), towers.y(inputs.y_pairs[rows])
        terms = {"siglip": self.pairs * self.loss(zx, zy)}
        if o.weight_klot and len(inputs.x_pool) and len(inputs.y_pool):
            x_rows, y_rows = (
                torch.from_numpy(draw_rows(len(pool), o.batch_pool, rng))
                for pool in (inputs.x_pool, inputs.y_pool)
            )
            target = sinkhorn(
                Products(self.teacher_x[x_rows], self.teacher_y[y_rows]),
                epsilon=o.teacher_epsilon,
                max_iterations=o.iterations,
            )
            terms["klot"] = o.weight_klot * klot(
                towers.x(inputs.x_pool[x_rows]),
                towers.y(inputs.y_pool[y_rows]),
                target,
                epsilon=o.student_epsilon,
                iterations=o.iterations,
            )
        return terms


def _embedded(teacher: AffineMap, features: FloatArray) -> Tensor:
    return normalize(torch.from_numpy(teacher(features).astype(np.float32)), dim=1)
