"""A loss on one modality alone: two views of an item should land on one spot."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from setclip.losses.similarities import held_whole, log_sums_within, number
from setclip.losses.validation import aligned_rows, full_precision, positive


@full_precision
def nt_xent(a: Tensor, b: Tensor, *, temperature: float | Tensor = 0.05) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views of the same items.

    Each of the 2n views must pick its other view among the 2n − 1 that are not itself. Differs
    from `clip_loss` in its negatives: views of the same side compete too.

    Args:
        a: Embeddings of one view of each item, unit rows. Shape [n, d].
        b: Embeddings of the other view. Shape [n, d].
        temperature: Divides the similarities; a tensor is learned. Set-CLIP fixes 0.05,
            SimCLR 0.1 on ImageNet and 0.5 on CIFAR-10.

    Returns:
        Scalar in nats, mean over the 2n views; float32 for half-precision input.

    Raises:
        ValueError: Fewer than two items, values that are not finite, differing shapes, a
            temperature of zero or less.

    Source:
        SimCLR, arXiv 2002.05709, equation 1; for text views by dropout SimCSE, arXiv 2104.08821.
    """
    a, b = aligned_rows(a, b, names=("a", "b"))
    positive(temperature, "temperature")
    n = len(a)
    views = torch.cat([a, b])
    if not held_whole(2 * n, 2 * n, views.device):
        scale = number(1 / temperature, views)
        return log_sums_within(views, scale).mean() - scale * (a * b).sum() / n
    logits = views @ views.T / temperature
    partners = torch.cat([logits.diagonal(n), logits.diagonal(-n)])
    itself = torch.eye(2 * n, dtype=torch.bool, device=logits.device)
    return (logits.masked_fill(itself, -math.inf).logsumexp(dim=1) - partners).mean()
