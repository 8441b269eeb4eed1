"""Set-CLIP's losses on embeddings, with the settings that frozen and trained encoders share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from setclip.losses import clip_loss, mk_mmd, sdd
from setclip.methods.protocol import Options


class SetLosses(Options):
    """Weights and forms of CLIP on the pairs, SDD and MMD on the rest."""

    weight_clip: NonNegativeFloat = 1.0
    """Of the contrastive loss on the pairs."""
    weight_sdd: NonNegativeFloat = 3.0
    """Of the semantic density distribution loss."""
    weight_mmd: NonNegativeFloat = 0.0
    """Of the multi-kernel MMD."""
    weight_ssl: NonNegativeFloat = 0.0
    """Of the self-supervised loss of each modality."""
    balance: bool = True
    """Scale SDD and MMD so that their gradients have the CLIP gradient's length before weights."""
    bandwidth: PositiveFloat | Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = 0.25
    """Of SDD, in units of the root of the total variance; of several the kernels are averaged. The
    paper's is 0.5."""
    normalise: bool = False
    """Whether SDD compares normalised densities."""
    leave_one_out: bool = False
    """Whether a point is left out of its own density in SDD."""
    adaptive: PositiveInt | None = None
    """Neighbours that set each point's own SDD bandwidth; None uses one bandwidth."""
    mmd_bandwidths: tuple[PositiveFloat, ...] | None = None
    """Of MMD, in units of distance; None takes multiples of the median distance."""
    temperature: PositiveFloat = 0.05
    """Of CLIP and SSL."""
    extra_negatives: bool = True
    """Whether unpaired rows of the batch are negatives of the pairs."""


def loss_terms(
    o: SetLosses,
    zx: Tensor,
    zy: Tensor,
    *,
    pairs: int,
    more: Mapping[str, Tensor],
    temperature: float | Tensor | None = None,
) -> dict[str, Tensor]:
    """Weighted CLIP, SDD and MMD of a batch, each where its weight and the rows allow.

    Args:
        o: Weights and forms.
        zx: Embeddings of x, pairs first. Shape [n, d].
        zy: Of y. Shape [m, d].
        pairs: How many first rows are pairs.
        more: `x_sets` and `y_sets`, ids of the rows after the pairs, compare inside sets;
            `memory_x` and `memory_y` widen the densities of SDD.
        temperature: Of CLIP where it is learned; None takes that of the settings.
    """
    terms: dict[str, Tensor] = {}
    if o.weight_clip and pairs > 1:
        rest = {"extra_x": zx[pairs:], "extra_y": zy[pairs:]} if o.extra_negatives else {}
        extra = {name: rows for name, rows in rest.items() if len(rows)}
        chosen = o.temperature if temperature is None else temperature
        loss = clip_loss(zx[:pairs], zy[:pairs], temperature=chosen, **extra)
        terms["clip"] = o.weight_clip * loss
    # Inside sets the pairs take no part: alone in their set they say nothing of its shape.
    own = slice(pairs, None) if "x_sets" in more else slice(None)
    x, y = zx[own], zy[own]
    if len(x) < 2 or len(y) < 2:
        return terms
    if o.weight_sdd:
        terms["sdd"] = o.weight_sdd * sdd(
            x,
            y,
            bandwidth=o.bandwidth,
            normalise=o.normalise,
            leave_one_out=o.leave_one_out,
            adaptive=o.adaptive,
            x_sets=more.get("x_sets"),
            y_sets=more.get("y_sets"),
            memory_x=more.get("memory_x"),
            memory_y=more.get("memory_y"),
        )
    if o.weight_mmd:
        terms["mmd"] = o.weight_mmd * mk_mmd(
            x,
            y,
            bandwidths=o.mmd_bandwidths,
            x_sets=more.get("x_sets"),
            y_sets=more.get("y_sets"),
        )
    return terms


def balanced(terms: dict[str, Tensor], o: SetLosses, zx: Tensor, zy: Tensor) -> None:
    """Scale SDD and MMD so that their gradients are `weight` times as long as unweighted CLIP's.

    Without a CLIP term each is scaled to a gradient of length `weight`.
    """
    if terms.keys().isdisjoint({"sdd", "mmd"}):
        return
    measure = _gradient_norm(terms["clip"], zx, zy) / o.weight_clip if "clip" in terms else 1.0
    for name, weight in (("sdd", o.weight_sdd), ("mmd", o.weight_mmd)):
        if name in terms:
            norm = _gradient_norm(terms[name], zx, zy)
            if norm > 0:
                terms[name] = terms[name] * (weight * measure / norm)


def _gradient_norm(term: Tensor, zx: Tensor, zy: Tensor) -> float:
    # Of a tower that is kept as it is nothing is learned.
    learned = [z for z in (zx, zy) if z.requires_grad]
    gradients = torch.autograd.grad(term, learned, retain_graph=True)
    return float(torch.sqrt(sum(g.square().sum() for g in gradients)))  # type: ignore[arg-type]
