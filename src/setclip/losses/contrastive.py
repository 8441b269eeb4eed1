"""Losses on known pairs: row i of x belongs to row i of y."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from setclip.losses.similarities import (
    held_whole,
    log_sums,
    mean_positive,
    mean_softplus,
    number,
)
from setclip.losses.validation import aligned_rows, full_precision, positive, two_sets


@full_precision
def clip_loss(
    x: Tensor,
    y: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    extra_x: Tensor | None = None,
    extra_y: Tensor | None = None,
    positives: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE: each row must pick its partner out of all rows of the other modality.

    With several positives a row is asked to spread its probability evenly over them: cross-entropy
    against the uniform distribution on the positives, which is the "out" form of SupCon. That form
    stays convex in the similarities and pulls on every positive; the "in" form (log of the summed
    probability) is content once a single one is found, and then lets go of the rest.

    Reach for `siglip_loss` when batches are small and negatives few; give unpaired rows of the
    batch as extra negatives when they are known not to be duplicates of the pairs.

    Args:
        x: Embeddings of the first modality, unit rows. Shape [n, d].
        y: Their partners, unit rows. Shape [n, d].
        temperature: Divides the similarities; a tensor is learned. Set-CLIP's release fixes 0.05.
        extra_x: Further rows of the first modality, negatives for `y`. Shape [e, d].
        extra_y: Further rows of the second, negatives for `x`. Shape [f, d].
        positives: Where `x_i` and `y_j` match, for items that occur twice; the diagonal counts
            always. Bool, shape [n, n].

    Returns:
        Scalar in nats, mean of both directions and of the rows; float32 for half-precision input.

    Raises:
        ValueError: No pair, a single pair without any negative, values that are not finite,
            differing shapes, a temperature of zero or less.

    Source:
        CLIP, arXiv 2103.00020; several positives: Supervised Contrastive Learning, arXiv
        2004.11362, equation 2; extra negatives as in the release of Set-CLIP, arXiv 2406.05766.
    """
    lonely = extra_x is None and extra_y is None
    x, y = aligned_rows(x, y, rows=(2, 2) if lonely else (1, 1))
    positive(temperature, "temperature")
    if extra_x is not None:
        x, extra_x = two_sets(x, extra_x, names=("x", "extra_x"), rows=(1, 1))
    if extra_y is not None:
        y, extra_y = two_sets(y, extra_y, names=("y", "extra_y"), rows=(1, 1))
    # Further rows of one side may have brought a higher precision.
    dtype = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(dtype), y.to(dtype)
    extra_x = None if extra_x is None else extra_x.to(dtype)
    extra_y = None if extra_y is None else extra_y.to(dtype)
    if positives is not None:
        _mask(positives, x)
    columns = len(x) + max(0 if extra is None else len(extra) for extra in (extra_x, extra_y))
    if not held_whole(len(x), columns, x.device):
        return _blockwise_clip(x, y, extra_x, extra_y, temperature, positives)
    if positives is not None:
        positives = _with_diagonal(positives)
    y_columns = y if extra_y is None else torch.cat([y, extra_y])
    x_columns = x if extra_x is None else torch.cat([x, extra_x])
    from_x = _cross_entropy(x @ y_columns.T / temperature, positives)
    from_y = _cross_entropy(
        y @ x_columns.T / temperature, None if positives is None else positives.T
    )
    return (from_x + from_y) / 2


@full_precision
def siglip_loss(
    x: Tensor,
    y: Tensor,
    *,
    scale: float | Tensor,
    bias: float | Tensor,
    positives: Tensor | None = None,
) -> Tensor:
    """Pairwise sigmoid loss: each cell of the similarity matrix is a yes-or-no question.

    Cells do not compete for probability, so a small batch, a duplicate or a missing partner does
    no harm. Start `scale` at 10 and `bias` at −10 for large batches; for a batch of n,
    bias = −log(n − 1) makes the untrained loss expect one match a row.

    Args:
        x: Embeddings of the first modality, unit rows. Shape [n, d].
        y: Their partners, unit rows. Shape [n, d].
        scale: Multiplies the similarities (an inverse temperature); a tensor is learned.
        bias: Added to every cell; a tensor is learned.
        positives: Where `x_i` and `y_j` match; the diagonal counts always. Bool, shape [n, n].

    Returns:
        Scalar in nats, mean over all n² cells (the paper divides by n: n times this);
        float32 for half-precision input.

    Raises:
        ValueError: Fewer than two pairs, values that are not finite, differing shapes, a scale of
            zero or less.

    Source:
        SigLIP, arXiv 2303.15343, algorithm 1.
    """
    x, y = aligned_rows(x, y)
    positive(scale, "scale")
    if positives is not None:
        _mask(positives, x)
    if not held_whole(len(x), len(x), x.device):
        return mean_softplus(x, y, number(scale, x), number(bias, x), positives)
    logits = scale * (x @ y.T) + bias
    if positives is None:
        matches = torch.eye(len(x), dtype=torch.bool, device=x.device)
    else:
        matches = _with_diagonal(positives)
    return functional.softplus(torch.where(matches, -logits, logits)).mean()


def _cross_entropy(logits: Tensor, positives: Tensor | None) -> Tensor:
    """Mean over rows of −log softmax at the positives, the diagonal where none are given."""
    log_total = logits.logsumexp(dim=1)
    if positives is None:
        return (log_total - logits.diagonal()).mean()
    # Columns after the positives' own are extra negatives.
    own = logits[:, : positives.shape[1]]
    at_positives = torch.where(positives, own, 0.0).sum(dim=1) / positives.sum(dim=1)
    return (log_total - at_positives).mean()


def _blockwise_clip(
    x: Tensor,
    y: Tensor,
    extra_x: Tensor | None,
    extra_y: Tensor | None,
    temperature: float | Tensor,
    positives: Tensor | None,
) -> Tensor:
    scale = number(1 / temperature, x)
    from_x, from_y = log_sums(x, y, scale)
    if extra_y is not None:
        from_x = torch.logaddexp(from_x, log_sums(x, extra_y, scale)[0])
    if extra_x is not None:
        from_y = torch.logaddexp(from_y, log_sums(y, extra_x, scale)[0])
    # The mean similarity to one's positives is the similarity to their mean.
    x_partners = y if positives is None else mean_positive(y, positives)
    y_partners = x if positives is None else mean_positive(x, positives.T)
    at_positives = scale * ((x * x_partners).sum(dim=1) + (y * y_partners).sum(dim=1))
    return (from_x + from_y - at_positives).mean() / 2


def _mask(positives: Tensor, x: Tensor) -> None:
    n = len(x)
    if positives.dtype is not torch.bool or positives.shape != (n, n):
        raise ValueError(
            f"positives is {positives.dtype} of shape {list(positives.shape)}; give a bool matrix "
            f"of shape [{n}, {n}], true where x_i and y_j match."
        )


def _with_diagonal(positives: Tensor) -> Tensor:
    return positives | torch.eye(len(positives), dtype=torch.bool, device=positives.device)
