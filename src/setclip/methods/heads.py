"""Towers under training: random heads on features, or a refinement of a closed form's space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from setclip.data.pools import FloatArray, Pools
from setclip.linear.maps import AffineMap, Alignment, principal
from setclip.linear.ridge import mean_variance
from setclip.model import AlignedModel, HeadKind, HeadSpec, ModelCard, Tower


class Prepared(nn.Module):
    """A head on features that are centred, scaled and turned to their principal axes first.

    Args:
        prepare: What is done to the features.
        tower: The head behind it.
    """

    def __init__(self, prepare: AffineMap, tower: Tower) -> None:
        super().__init__()
        self.prepare, self.tower = prepare, tower

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of `inputs`, shape [n, r], to unit rows [n, d]."""
        z: Tensor = self.tower(rows)
        return z

    def inputs(self, features: FloatArray) -> Tensor:
        """What never changes in training, computed once: the prepared features."""
        return torch.from_numpy(self.prepare(features).astype(np.float32))

    def finished(self) -> Tower:
        """Preparation and head as one head on the features themselves."""
        spec = self.tower.spec
        with torch.random.fork_rng(devices=[]):
            whole = Tower(replace(spec, d_in=len(self.prepare.weight)))
        state = {name: tensor.detach().clone() for name, tensor in self.tower.state_dict().items()}
        first = "head" if spec.kind == "linear" else "head.project"
        weight = state[f"{first}.weight"].double()
        onto, shift = torch.from_numpy(self.prepare.weight), torch.from_numpy(self.prepare.bias)
        state[f"{first}.weight"] = (weight @ onto.T).float()
        state[f"{first}.bias"] = (state[f"{first}.bias"].double() + weight @ shift).float()
        whole.load_state_dict(state)
        return whole


class Refinement(nn.Module):
    """``normalise(start(x) + D^T w(x) + b)``, w the whitened features, D and b zero at first.

    The change reads all directions of the features, also those that the closed form could not see
    in its few pairs. Weight decay pulls back to the closed form, not to zero.

    Args:
        start: The closed form.
        whiten: Whitening of the features, to rows of length about 1.
    """

    def __init__(self, start: AffineMap, whiten: AffineMap) -> None:
        super().__init__()
        self.start, self.whiten = start, whiten
        d = len(start.bias)
        self.change = nn.Parameter(torch.zeros(len(whiten.bias), d))
        self.bias = nn.Parameter(torch.zeros(d))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of `inputs`, shape [n, d + r], to unit rows [n, d]."""
        z, w = rows[:, : len(self.bias)], rows[:, len(self.bias) :]
        return normalize(z + w @ self.change + self.bias, dim=-1)

    def inputs(self, features: FloatArray) -> Tensor:
        """What never changes in training, computed once: start and whitened features."""
        rows = np.concatenate([self.start(features), self.whiten(features)], axis=1)
        return torch.from_numpy(rows.astype(np.float32))

    def finished(self) -> Tower:
        """Start and change as one linear map."""
        change = self.change.detach().double().numpy()
        bias = self.bias.detach().double().numpy()
        return Tower.from_map(
            AffineMap(
                self.start.weight + self.whiten.weight @ change,
                self.start.bias + self.whiten.bias @ change + bias,
            )
        )


@dataclass(frozen=True)
class Inputs:
    """What the towers see of the pools, as tensors.

    Attributes:
        x_pairs: Shape [p, d].
        y_pairs: Shape [p, d'].
        x_pool: Shape [n, d].
        y_pool: Shape [m, d'].
    """

    x_pairs: Tensor
    y_pairs: Tensor
    x_pool: Tensor
    y_pool: Tensor


AnyTower = Tower | Prepared | Refinement


class TwoTowers(nn.Module):
    """Both towers in training: heads on the features, or refinements of a closed form."""

    def __init__(self, x: AnyTower, y: AnyTower) -> None:
        super().__init__()
        self.x, self.y = x, y
        self._last: dict[AnyTower, tuple[FloatArray, Tensor]] = {}

    def inputs(self, pools: Pools) -> Inputs:
        """The pools as the towers take them."""
        return Inputs(
            _inputs(self.x, pools.x_pairs),
            _inputs(self.y, pools.y_pairs),
            _inputs(self.x, pools.x_pool),
            _inputs(self.y, pools.y_pool),
        )

    def embed_x(self, features: FloatArray) -> FloatArray:
        """Features to unit rows with the present weights, without gradient.

        What a tower takes of an array is kept until the next one: a criterion asks for the same
        array again and again, which must not change meanwhile.
        """
        return self._embed(self.x, features)

    def embed_y(self, features: FloatArray) -> FloatArray:
        """Features to unit rows with the present weights; see :meth:`embed_x`."""
        return self._embed(self.y, features)

    def model(self, card: ModelCard) -> AlignedModel:
        """The finished model; a refined closed form becomes one linear map a side."""
        x, y = (t if isinstance(t, Tower) else t.finished() for t in (self.x, self.y))
        return AlignedModel(x, y, card)

    def _embed(self, tower: AnyTower, features: FloatArray) -> FloatArray:
        last = self._last.get(tower)
        if last is None or last[0] is not features:
            last = self._last[tower] = features, _inputs(tower, features)
        training = tower.training
        tower.eval()
        with torch.no_grad():
            out: FloatArray = tower(last[1]).numpy()
        tower.train(training)
        return out


def random_towers(
    pools: Pools,
    *,
    kind: HeadKind,
    dim: int,
    dropout: float,
    seed: int,
    rank: int | None = None,
) -> TwoTowers:
    """Heads with random weights, the same for the same seed.

    Args:
        pools: Whose features the heads take.
        kind: Form of the heads.
        dim: Width of the shared space.
        dropout: Rate inside a projection head.
        seed: Of the weights.
        rank: The heads read so many principal axes of the pairs, centred and scaled to a mean
            square length of one. What lies across them no pair can teach, and a random head would
            only add its noise. None gives them the features as they are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if rank is None:
            x, y = (Tower(HeadSpec(kind, d, dim, dropout)) for d in (pools.x_dim, pools.y_dim))
            return TwoTowers(x, y)
        return TwoTowers(
            *(
                Prepared(prepare, Tower(HeadSpec(kind, len(prepare.bias), dim, dropout)))
                for prepare in (_axes(pairs, rank) for pairs in (pools.x_pairs, pools.y_pairs))
            )
        )


def _axes(pairs: FloatArray, rank: int) -> AffineMap:
    axes = principal(pairs, rank=rank)
    return axes.then(np.eye(len(axes.variance)) / np.sqrt(axes.variance.sum()))


def refined_towers(
    pools: Pools, start: Alignment, whitenings: tuple[AffineMap, AffineMap]
) -> TwoTowers:
    """Refinements of a closed form, at first the closed form itself.

    Args:
        pools: Whose features the towers take.
        start: The closed form.
        whitenings: What the changes read, see :func:`whitenings`.
    """
    return TwoTowers(
        *(
            Refinement(_to_unit_scale(affine, features), whitening)
            for affine, features, whitening in (
                (start.x, pools.all_x(), whitenings[0]),
                (start.y, pools.all_y(), whitenings[1]),
            )
        )
    )


def whitenings(pools: Pools, *, rank: int, penalty: float) -> tuple[AffineMap, AffineMap]:
    """Whitening of either side's features, to rows of length about 1.

    Args:
        pools: Whose features.
        rank: Principal axes of either side that are kept.
        penalty: Ridge, in units of the mean variance of a feature.
    """
    return (
        _whitening(pools.all_x(), rank, penalty),
        _whitening(pools.all_y(), rank, penalty),
    )


def _whitening(features: FloatArray, rank: int, penalty: float) -> AffineMap:
    axes = principal(features, rank=rank)
    scale = 1 / np.sqrt(axes.variance + penalty * mean_variance(axes))
    return _to_unit_scale(axes.then(np.diag(scale)), features)


def _to_unit_scale(affine: AffineMap, features: FloatArray) -> AffineMap:
    length = np.sqrt(np.square(affine(features)).sum(axis=1).mean())
    return AffineMap(affine.weight / length, affine.bias / length)


def _inputs(tower: AnyTower, features: FloatArray) -> Tensor:
    if not isinstance(tower, Tower):
        return tower.inputs(features)
    rows = np.ascontiguousarray(features, dtype=np.float32)
    # Torch has no read-only tensors and warns of memory that must not be written to.
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())
