"""SUE: spectral embedding of each modality, CCA on the pairs, a residual network under MMD.

Yacobi et al., "Learning shared representations from unpaired data". Two differences. SUE trains a
network for the eigenvectors of each modality's neighbour graph; here they are computed, so that
there is nothing to tune. New rows come in the same way in both, through a network of the
features: here a projection head per modality, trained at the end to give every known row its place
in the shared space. The heads are the model.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize

from setclip.data.pools import FloatArray, Pools, digest
from setclip.data.samplers import draw_rows
from setclip.linear.cca import cca
from setclip.linear.clouds import LEAST_ROWS
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.maps import principal
from setclip.linear.spectral import spectral_embedding
from setclip.losses import mk_mmd
from setclip.methods.heads import random_towers
from setclip.methods.protocol import Options, Supervision, card
from setclip.model import AlignedModel, HeadKind
from setclip.training.journal import Journal
from setclip.training.loop import Objective, Schedule, train


class SUE(Options):
    """Coordinates by neighbourhoods alone, matched by few pairs.

    For encoders that differ in their distances but agree on who is near whom. Needs pools large
    enough to show neighbourhoods: hundreds of items a side.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = frozenset({uses})

    kind: Literal["sue"] = "sue"
    coordinates: PositiveInt = 20
    """Eigenvectors of either neighbour graph."""
    neighbours: PositiveInt = 30
    """Edges a row."""
    penalty: PositiveFloat = 0.1
    """Ridge of the CCA, in units of the variance of a coordinate."""
    power: NonNegativeFloat = 0.5
    """Canonical directions are scaled by their correlation to this power."""
    width: PositiveInt = 128
    """Hidden width of the residual network that moves x towards y."""
    mmd_steps: NonNegativeInt = 100
    """Training of the residual network; 0 leaves it out."""
    head: HeadKind = "projection"
    """Form of the heads that place rows of features in the shared space."""
    head_steps: PositiveInt = 800
    """Training of the heads."""
    batch: PositiveInt = 256
    """Rows of either side a step."""
    lr: PositiveFloat = 1e-2
    """Peak learning rate of both trainings."""
    weight_decay: NonNegativeFloat = 1e-2
    """Decoupled."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pools and the pairs."""
        journal = journal or Journal()
        self._check(pools)
        fingerprint = f"{self.model_dump_json()}/{digest(pools)}"
        zx, zy = self._shared(pools, seed, journal)
        residual = _residual(zx.shape[1], self.width, seed)

        def closer(rng: np.random.Generator) -> dict[str, Tensor]:
            x_rows, y_rows = (draw_rows(len(z), self.batch, rng) for z in (zx, zy))
            return {"mmd": mk_mmd(zx[x_rows] + residual(zx[x_rows]), zy[y_rows])}

        self._train(residual, closer, "mmd", self.mmd_steps, seed, journal, fingerprint)
        with torch.no_grad():
            zx = zx + residual(zx)
        targets = normalize(zx, dim=1), normalize(zy, dim=1)
        towers = random_towers(pools, kind=self.head, dim=zx.shape[1], dropout=0.0, seed=seed)
        features = torch.from_numpy(pools.all_x()), torch.from_numpy(pools.all_y())

        def placed(rng: np.random.Generator) -> dict[str, Tensor]:
            terms = {}
            for name, tower, rows, target in zip(
                "xy", (towers.x, towers.y), features, targets, strict=True
            ):
                drawn = draw_rows(len(rows), self.batch, rng)
                terms[name] = 1 - (tower(rows[drawn]) * target[drawn]).sum(dim=1).mean()
            return terms

        self._train(towers, placed, "heads", self.head_steps, seed, journal, fingerprint)
        return towers.model(card(self, pools, seed, journal))

    def _check(self, pools: Pools) -> None:
        fewest = min(len(pools.x_pool), len(pools.y_pool))
        if pools.n_pairs < 2 or fewest < LEAST_ROWS:
            raise ValueError(
                f"{self.kind} finds coordinates in pools of {LEAST_ROWS} items or more a side and "
                f"matches them by pairs; it was given {pools.describe()}. Give at least 2 pairs "
                "and such pools; `cca` does without pools, `wasserstein-procrustes` without pairs."
            )

    def _shared(self, pools: Pools, seed: int, journal: Journal) -> tuple[Tensor, Tensor]:
        """Canonical coordinates of all rows of either side, pairs first."""
        embedded = []
        for name, rows in (("x", pools.all_x()), ("y", pools.all_y())):
            # Small pools show few neighbourhoods: fewer coordinates, and neighbours that are near.
            found = spectral_embedding(
                rows,
                dim=min(self.coordinates, max(1, len(rows) // 4)),
                k=min(self.neighbours, max(2, len(rows) // 4)),
                seed=seed,
            )
            journal.note(
                f"{name}: {found.coordinates.shape[1]} spectral coordinates, eigenvalues "
                f"{found.eigenvalues[0]:.3f} to {found.eigenvalues[-1]:.3f}, neighbour graph in "
                f"{found.components} part{'s' if found.components > 1 else ''}."
            )
            embedded.append(found.coordinates)
        axes = [principal(z) for z in embedded]
        pairs = [axis(z[: pools.n_pairs]) for axis, z in zip(axes, embedded, strict=True)]
        cross = from_pairs(*(z - z.mean(axis=0) for z in pairs))
        maps = cca(axes[0], axes[1], cross, penalty=self.penalty, power=self.power)
        return _tensor(maps.x(embedded[0])), _tensor(maps.y(embedded[1]))

    def _train(
        self,
        module: nn.Module,
        objective: Objective,
        phase: str,
        steps: int,
        seed: int,
        journal: Journal,
        fingerprint: str,
    ) -> None:
        schedule = Schedule(steps, self.lr, self.weight_decay, warmup=min(20, steps))
        train(
            module,
            objective,
            schedule,
            seed=seed,
            journal=journal,
            phase=phase,
            fingerprint=fingerprint,
            rows=self.batch,
        )


def _residual(dim: int, width: int, seed: int) -> nn.Module:
    """A network of one hidden layer that is zero at first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(width, dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), last)


def _tensor(z: npt.NDArray[np.float64]) -> Tensor:
    rows: FloatArray = z.astype(np.float32)
    return torch.from_numpy(rows)
