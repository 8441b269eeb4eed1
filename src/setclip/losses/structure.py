"""STRUCTURE: keep each modality's own neighbourhoods while the heads learn."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from setclip.losses.validation import full_precision, positive, two_sets

# Similarities worked on at once; the backward pass computes them again.
BLOCK_ELEMENTS = 1 << 22


@full_precision
def structure_loss(
    before: Tensor,
    after: Tensor,
    *,
    levels: int = 1,
    temperature: float = 0.05,
    swapped_kl: bool = False,
) -> Tensor:
    """Divergence between the neighbourhoods of a batch before and after a head.

    Every row has a distribution over the batch, the softmax of its similarities; level l is that
    of a walk of l steps. Small when the head keeps who is near whom, per modality; nothing is
    compared between modalities, so no pair is needed. In the source it is added to the contrastive
    loss with weight 10, warmed up linearly.

    Args:
        before: Encoder features of a batch. Shape [n, d].
        after: Embeddings of the same rows. Shape [n, e].
        levels: Walks of 1 to so many steps are compared; level l weighs 1 / l.
        temperature: Of the softmax; 0.05 in the source.
        swapped_kl: Average ``KL(M || P)`` and ``KL(M || Q)``, M the mixture, as the authors' code
            does, in place of ``KL(P || M)`` and ``KL(Q || M)``, the Jensen-Shannon divergence.

    Returns:
        Scalar in nats, at most log 2 for the true form. Memory O(n * block), with more than one
        level O(n^2).

    Raises:
        ValueError: Rows that do not correspond, are fewer than two or not finite; levels or a
            temperature that are not positive.

    Source:
        arXiv 2506.16895, equation of R_S.
    """
    positive(levels, "levels")
    positive(temperature, "temperature")
    if len(before) != len(after):
        raise ValueError(
            f"before has {len(before)} rows, after {len(after)}: they must be the same items."
        )
    p, q = _centred(before, "before"), _centred(after, "after")
    step = max(1, BLOCK_ELEMENTS // len(p))
    # A second step of the walk needs every row of the first.
    walks = [_log_walk(z, z, temperature).exp() for z in (p, q)] if levels > 1 else []
    total = p.new_zeros(())
    for begin in range(0, len(p), step):
        rows = slice(begin, begin + step)
        total = total + checkpoint(
            _block_divergence,
            (p[rows], q[rows]),
            (p, q),
            walks,
            levels,
            temperature,
            swapped_kl,
            use_reentrant=False,
        )
    return total / (levels * len(p))


def _block_divergence(
    rows: tuple[Tensor, Tensor],
    all_rows: tuple[Tensor, Tensor],
    walks: list[Tensor],
    levels: int,
    temperature: float,
    swapped_kl: bool,
) -> Tensor:
    log_p, log_q = (
        _log_walk(part, whole, temperature) for part, whole in zip(rows, all_rows, strict=True)
    )
    total = _divergence(log_p, log_q, swapped_kl)
    for level in range(2, levels + 1):
        log_p, log_q = _next_step(log_p, walks[0]), _next_step(log_q, walks[1])
        total = total + _divergence(log_p, log_q, swapped_kl) / level
    return total


def _centred(rows: Tensor, name: str) -> Tensor:
    rows, _ = two_sets(rows, rows, names=(name, name))
    unit = normalize(rows, dim=1)
    return unit - unit.mean(dim=0)


def _log_walk(rows: Tensor, everything: Tensor, temperature: float) -> Tensor:
    return (rows @ everything.T / temperature).log_softmax(dim=1)


def _next_step(log_rows: Tensor, walk: Tensor) -> Tensor:
    return (log_rows.exp() @ walk).clamp_min(torch.finfo(log_rows.dtype).tiny).log()


def _divergence(log_p: Tensor, log_q: Tensor, swapped_kl: bool) -> Tensor:
    p, q = log_p.exp(), log_q.exp()
    m = (p + q) / 2
    log_m = m.clamp_min(torch.finfo(m.dtype).tiny).log()
    if swapped_kl:
        return (m * (2 * log_m - log_p - log_q)).sum() / 2
    return (p * (log_p - log_m) + q * (log_q - log_m)).sum() / 2
