"""S-CLIP: pool items of x learn from captions of the pairs, through pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from setclip.data.pools import Pools
from setclip.data.samplers import draw_rows
from setclip.losses import sinkhorn
from setclip.methods.clip import InfoNCE
from setclip.methods.heads import TwoTowers
from setclip.methods.pair_heads import PairHeads, PoolTerms
from setclip.methods.protocol import Recipe, Supervision

Pseudo = Literal["ot", "soft", "hard"]

# The source fine-tunes a CLIP model; on frozen features only heads are left, and of its constants
# those of the losses. Its keywords are words of the captions.
PAPER: dict[str, Any] = {"weight_keyword": 0.5, "rank": None, "lr": (1e-3,), "folds": 1}

TRANSPORT_ITERATIONS = 10
"""Of Sinkhorn, in the source."""


class SCLIP(PairHeads):
    """CLIP on the pairs, and pseudo-labels for a pool of x.

    A pool item is like some paired items of x more than others: their captions are its soft label.
    With a transport plan (`pseudo: ot`) every caption is used equally often, so that no popular
    one draws all. The keyword loss asks less: that an item be near one of the keywords of the most
    similar paired item. Features carry no words; our stand-in for keywords are the centres of a
    k-means of the paired y features, and the keywords of a caption the centres next to it. That
    is not what was published, hence its weight is zero unless given or `recipe: paper`.

    The pool of y is not used. Without a pool of x this is `clip`.

    Source:
        arXiv 2305.14095; weights, ten iterations and the detached plan as published.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "pools"})
    paper: ClassVar[Mapping[str, Any]] = PAPER

    kind: Literal["s-clip"] = "s-clip"
    recipe: Recipe = "default"
    """Where the fields that are not given take their values from."""
    pseudo: Pseudo = "ot"
    """Caption-level pseudo-labels: transport plan, softmax of similarities, or the most similar."""
    weight_caption: NonNegativeFloat = 0.5
    """Of the caption-level loss."""
    weight_keyword: NonNegativeFloat = 0.0
    """Of the keyword-level loss."""
    keywords: PositiveInt = 20
    """Clusters of the paired y that stand in for keywords."""
    keywords_per_item: PositiveInt = 3
    """Nearest clusters that are the keywords of a caption."""
    temperature: PositiveFloat = 0.05
    """Of CLIP, of the pseudo-labels and of the predictions."""
    batch_pool: PositiveInt = 256
    """Pool items a step."""

    def pair_loss(self, n: int) -> nn.Module:
        """Symmetric InfoNCE at the fixed temperature."""
        return InfoNCE(self.temperature)

    def pool_terms(self, pools: Pools, towers: TwoTowers, *, seed: int) -> PoolTerms | None:
        """Caption and keyword losses; None without a pool of x."""
        return PseudoLabels(self, pools, towers, seed=seed) if len(pools.x_pool) else None


class PseudoLabels(PoolTerms):
    """The losses of S-CLIP on the pool of x.

    Args:
        options: The method.
        pools: What it learns from.
        towers: Whose embeddings are compared.
        seed: Of the k-means.
    """

    def __init__(self, options: SCLIP, pools: Pools, towers: TwoTowers, *, seed: int) -> None:
        super().__init__(options.batch_pool)
        self.options = options
        # In a tuple, since the towers hold this module: modules must not contain each other.
        self.towers = (towers,)
        inputs = towers.inputs(pools)
        self.pool = inputs.x_pool
        if options.weight_keyword:
            self.centres, self.candidates = keywords(
                inputs.y_pairs, options.keywords, options.keywords_per_item, seed=seed
            )

    def forward(
        self, rows: Tensor, zx: Tensor, zy: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of a draw of the pool."""
        o, (towers,) = self.options, self.towers
        drawn = torch.from_numpy(draw_rows(len(self.pool), o.batch_pool, rng))
        zu = towers.x(self.pool[drawn])
        alike = (zu @ zx.T).detach()
        terms: dict[str, Tensor] = {}
        if o.weight_caption:
            label = caption_labels(alike, o.pseudo, o.temperature)
            terms["caption"] = o.weight_caption * soft_cross_entropy(
                zu @ zy.T / o.temperature, label
            )
        if o.weight_keyword:
            allowed = self.candidates[rows[alike.argmax(dim=1)]]
            logits = zu @ towers.y(self.centres).T / o.temperature
            terms["keyword"] = o.weight_keyword * partial_label_loss(logits, allowed)
        return terms


def caption_labels(alike: Tensor, pseudo: Pseudo, temperature: float) -> Tensor:
    """Captions that stand for each pool item, as a distribution a row.

    Args:
        alike: Cosines of pool items of x with paired items of x. Shape [n, p].
        pseudo: Rows of a transport plan, a softmax, or the most similar alone.
        temperature: Entropy of the plan, or of the softmax.
    """
    if pseudo == "hard":
        return torch.nn.functional.one_hot(alike.argmax(dim=1), alike.shape[1]).to(alike.dtype)
    if pseudo == "soft":
        return (alike / temperature).softmax(dim=1)
    plan = sinkhorn(alike, epsilon=temperature, tolerance=0.0, max_iterations=TRANSPORT_ITERATIONS)
    weights = plan.plan()
    return weights / weights.sum(dim=1, keepdim=True)


def soft_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy of a softmax against a distribution, in nats."""
    return -(label * logits.log_softmax(dim=1)).sum(dim=1).mean()


def partial_label_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy against the prediction itself, confined to the allowed labels and detached.

    Args:
        logits: Shape [n, k].
        allowed: Which labels may be right, at least one a row. Bool, shape [n, k].
    """
    confined = logits.detach().masked_fill(~allowed, -torch.inf).softmax(dim=1)
    return soft_cross_entropy(logits, confined)


def keywords(y_pairs: Tensor, count: int, per_item: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Clusters of the paired y, and which of them are near each.

    Args:
        y_pairs: What the y tower takes of the pairs. Shape [p, d].
        count: Clusters; no more than there are different pairs.
        per_item: Nearest clusters of each pair.
        seed: Of the k-means.

    Returns:
        Centres, shape [k, d], and a bool matrix of shape [p, k].
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = len(torch.unique(y_pairs, dim=0))
    # On several threads it adds up in no fixed order.
    with threadpool_limits(1, user_api="openmp"):
        means = KMeans(min(count, distinct), n_init=3, random_state=seed).fit(y_pairs.numpy())
    centres = torch.from_numpy(means.cluster_centers_.astype(np.float32))
    nearest = torch.cdist(y_pairs, centres).topk(min(per_item, len(centres)), largest=False).indices
    candidates = torch.zeros(len(y_pairs), len(centres), dtype=torch.bool)
    return centres, candidates.scatter(1, nearest, True)
