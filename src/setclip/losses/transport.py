"""Entropic optimal transport between two batches, and the loss that copies a teacher's plan.

`sinkhorn` finds who goes with whom, softly, without gradient. `klot` trains embeddings so that
their plan becomes a teacher's. Scores are similarities: large is good (cost = -score).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from setclip.losses.validation import full_precision, positive, two_sets

# Scores worked on at once in a pass: small beside the embeddings, large enough for fast products.
BLOCK_ELEMENTS = 1 << 22
# Up to this size the kernel exp(scores / epsilon) is kept, which makes an iteration two products
# of a matrix and a vector: 256 MB in float32.
HELD_ELEMENTS = 1 << 26
# The held kernel is rebuilt when a scaling leaves exp(+-LIMIT): what underflowed in float32 at
# exp(-87) then still weighs less than exp(-47).
SCALING_LIMIT = 20.0


@dataclass(frozen=True)
class Products:
    """The score matrix ``x @ y.T``, computed a few rows at a time and never held whole.

    Attributes:
        x: Shape [n, d].
        y: Shape [m, d].
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Transport:
    """A transport plan in dual form: ``P_ij = exp((score_ij + f_i + g_j) / epsilon)``.

    Attributes:
        scores: What the plan was computed from.
        f: Dual of the rows. Shape [n].
        g: Dual of the columns. Shape [m].
        epsilon: Strength of the entropy.
        error: Total deviation of the row sums from their marginal before the last iteration; the
            column sums are exact.
        iterations: Iterations done.
        converged: Whether `error` fell below the tolerance.
    """

    scores: Tensor | Products
    f: Tensor
    g: Tensor
    epsilon: float
    error: float
    iterations: int
    converged: bool

    def plan(self) -> Tensor:
        """The plan, held whole. Shape [n, m]; sums to one."""
        return torch.cat([self.log_rows(rows).exp() for rows in _row_blocks(self.f, self.g)])

    def log_rows(self, rows: slice) -> Tensor:
        """Logarithm of the plan in the given rows. Shape [rows, m]."""
        with torch.no_grad(), torch.autocast(self.f.device.type, enabled=False):
            return (_rows(self.scores, rows) + self.f[rows, None] + self.g) / self.epsilon


def sinkhorn(
    scores: Tensor | Products,
    *,
    epsilon: float,
    row_marginal: Tensor | None = None,
    column_marginal: Tensor | None = None,
    start: Transport | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> Transport:
    """Entropic optimal transport with the accuracy of the log domain, without gradient.

    Maximises ``<P, scores> + epsilon * entropy(P)`` over plans with the given marginals.

    The duals are updated in the log domain, one pass over blocks of rows per iteration: memory
    O(n + m + block) beside the scores. Where the kernel fits into memory it is kept with the
    duals absorbed, and most iterations are two products of a matrix and a vector instead.

    Args:
        scores: Similarities, as a matrix [n, m] or as `Products` of embeddings.
        epsilon: Entropy; small is close to a one-to-one matching and takes more iterations.
        row_marginal: Positive weights of the rows summing to one; uniform by default. Shape [n].
        column_marginal: Of the columns. Shape [m].
        start: A former result whose duals to begin from, when the scores have changed a little.
        tolerance: Stop when the row sums deviate by less than this in total; 0 never stops early.
        max_iterations: Stop after so many in any case.

    Returns:
        The plan in dual form, computed in the dtype of the scores (float32 for half precision).

    Raises:
        ValueError: Scores that are not finite, non-positive epsilon, no iteration, marginals that
            are not positive or do not sum to one, or a start of another shape.

    Source:
        Cuturi, arXiv 1306.0895; the absorption of the duals: Schmitzer, arXiv 1610.06519. Equal to
        the plan of ``ot.sinkhorn(a, b, -scores, epsilon, method="sinkhorn_log")``.
    """
    positive(epsilon, "epsilon")
    if max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations}, must be at least 1.")
    scores = _checked(scores)
    device = scores.x.device if isinstance(scores, Products) else scores.device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        log_a, log_b = _log_marginals(scores, row_marginal, column_marginal)
        f, g = _first_duals(start, log_a, log_b, epsilon)
        error, iteration = math.inf, 0
        while iteration < max_iterations and error >= tolerance:
            before = f
            f, g = _pass(scores, epsilon, log_a, log_b, g)
            iteration += 1
            error, moved = _row_error(log_a, f - before), float((f - before).abs().max())
            small = len(f) * len(g) <= HELD_ELEMENTS and moved < SCALING_LIMIT
            if small and error >= tolerance and iteration < max_iterations:
                kernel = _kernel(scores, epsilon, f, g)
                f, g, scaled = _scale(
                    kernel, log_a, log_b, f, g, tolerance, max_iterations - iteration
                )
                iteration += len(scaled)
                error = scaled[-1] if scaled else error
        return Transport(
            scores, epsilon * f, epsilon * g, epsilon, error, iteration, error < tolerance
        )


@full_precision
def klot(
    x: Tensor, y: Tensor, target: Transport, *, epsilon: float = 0.05, iterations: int = 100
) -> Tensor:
    """Divergence of the embeddings' transport plan from a teacher's: ``KL(P* || P)``.

    Small when the embeddings pair up a batch, softly, the way the teacher does. The gradient with
    respect to a score is ``(P - P*) / epsilon`` in closed form, so nothing is propagated back
    through the iterations and memory is O((n + m) d + block) for large batches.

    Args:
        x: Embeddings of the first modality, unit rows. Shape [n, d].
        y: Of the second. Shape [m, d].
        target: The teacher's plan P* of the same rows, taken as constant. In the source
            ``sinkhorn(Products(teacher_x, teacher_y), epsilon=0.01, max_iterations=100)``.
        epsilon: Entropy of the student's plan P; 0.05 in the source.
        iterations: At most so many for the student's plan. The closed form is the gradient at
            convergence.

    Returns:
        Scalar in nats.

    Raises:
        ValueError: A target of another shape than [n, m].

    Source:
        SOTAlign, arXiv 2602.23353.
    """
    if (len(x), len(y)) != (len(target.f), len(target.g)):
        raise ValueError(
            f"the target plan is {len(target.f)} by {len(target.g)}, the embeddings have {len(x)} "
            f"and {len(y)} rows: compute the target on the same batch."
        )
    loss: Tensor = _Klot.apply(x, y, target, epsilon, iterations)
    return loss


class _Klot(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, target: Transport, epsilon: float, iterations: int
    ) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        left, right = x.detach().to(wide), y.detach().to(wide)
        student = sinkhorn(Products(left, right), epsilon=epsilon, max_iterations=iterations)
        loss = left.new_zeros(())
        x_gradient, y_gradient = torch.empty_like(left), torch.zeros_like(right)
        for rows in _row_blocks(student.f, student.g):
            log_p, log_target = student.log_rows(rows), target.log_rows(rows).to(wide)
            p_target = log_target.exp()
            loss += (p_target * (log_target - log_p)).sum()
            by_score = (log_p.exp() - p_target) / epsilon
            x_gradient[rows] = by_score @ right
            y_gradient += by_score.T @ left[rows]
        ctx.save_for_backward(x_gradient.to(x.dtype), y_gradient.to(y.dtype))
        return loss.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x_gradient, y_gradient = ctx.saved_tensors
        return outer * x_gradient, outer * y_gradient, None, None, None


def _pass(
    scores: Tensor | Products, epsilon: float, log_a: Tensor, log_b: Tensor, g: Tensor
) -> tuple[Tensor, Tensor]:
    """New row duals, then new column duals, both in units of epsilon, in one pass."""
    f, columns = torch.empty_like(log_a), torch.zeros_like(log_b)
    for rows in _row_blocks(log_a, log_b):
        exponent = _rows(scores, rows) / epsilon + g
        top = exponent.amax(dim=1, keepdim=True)
        weight = (exponent - top).exp_()
        total = weight.sum(dim=1)
        f[rows] = log_a[rows] - top[:, 0] - total.log()
        columns += weight.T @ (log_a[rows].exp() / total)
    if columns.min() < 1e8 * torch.finfo(columns.dtype).tiny:
        # From a cold start at small epsilon a column may be far from every row's best.
        log_columns = _log_columns(scores, epsilon, f, g)
    else:
        log_columns = columns.log()
    return f, g + log_b - log_columns


def _log_columns(scores: Tensor | Products, epsilon: float, f: Tensor, g: Tensor) -> Tensor:
    total = torch.full_like(g, -math.inf)
    for rows in _row_blocks(f, g):
        exponent = _rows(scores, rows) / epsilon + f[rows, None] + g
        total = torch.logaddexp(total, exponent.logsumexp(dim=0))
    return total


def _kernel(scores: Tensor | Products, epsilon: float, f: Tensor, g: Tensor) -> Tensor:
    kernel = f.new_empty(len(f), len(g))
    for rows in _row_blocks(f, g):
        kernel[rows] = (_rows(scores, rows) / epsilon + f[rows, None] + g).exp_()
    return kernel


def _scale(
    kernel: Tensor,
    log_a: Tensor,
    log_b: Tensor,
    f: Tensor,
    g: Tensor,
    tolerance: float,
    max_iterations: int,
) -> tuple[Tensor, Tensor, list[float]]:
    """Iterate on the held kernel until done or the duals leave the range where it is exact.

    Returns the new duals and the row error before each iteration done.
    """
    a, b = log_a.exp(), log_b.exp()
    u, v = torch.ones_like(a), torch.ones_like(b)
    errors: list[float] = []
    while len(errors) < max_iterations:
        row_sums = kernel @ v
        new_u = a / row_sums
        new_v = b / (kernel.T @ new_u)
        # Not finite counts as out of range: comparisons with NaN are false.
        reach = torch.cat([new_u, new_v]).log().abs().max()
        if not reach < SCALING_LIMIT:
            break
        errors.append(float((u * row_sums - a).abs().sum()))
        u, v = new_u, new_v
        if errors[-1] < tolerance:
            break
    return f + u.log(), g + v.log(), errors


def _row_error(log_a: Tensor, moved: Tensor) -> float:
    """Row sums of the plan before the duals moved: a * exp(-moved), at no cost."""
    return float((log_a.exp() * torch.expm1(-moved).abs()).sum())


def _checked(scores: Tensor | Products) -> Tensor | Products:
    """The scores, finite and in float32 at least."""
    if isinstance(scores, Products):
        return Products(*two_sets(scores.x.detach(), scores.y.detach(), rows=(1, 1)))
    scores = scores.detach()
    return two_sets(scores, scores, names=("scores", "scores"), rows=(1, 1))[0]


def _rows(scores: Tensor | Products, rows: slice) -> Tensor:
    if isinstance(scores, Products):
        return scores.x[rows] @ scores.y.T
    return scores[rows]


def _row_blocks(f: Tensor, g: Tensor) -> Iterator[slice]:
    step = max(1, BLOCK_ELEMENTS // len(g))
    return (slice(begin, begin + step) for begin in range(0, len(f), step))


def _log_marginals(
    scores: Tensor | Products, row: Tensor | None, column: Tensor | None
) -> tuple[Tensor, Tensor]:
    if isinstance(scores, Products):
        like, shape = scores.x, (len(scores.x), len(scores.y))
    else:
        like, shape = scores, (scores.shape[0], scores.shape[1])
    log_marginals = []
    for name, given, n in (("row", row, shape[0]), ("column", column, shape[1])):
        if given is None:
            log_marginals.append(
                torch.full((n,), -math.log(n), dtype=like.dtype, device=like.device)
            )
            continue
        total, least = float(given.sum()), float(given.min())
        if given.shape != (n,) or least <= 0 or abs(total - 1) > 1e-4:
            raise ValueError(
                f"{name}_marginal has shape {list(given.shape)}, minimum {least:g} and sum "
                f"{total:g}: it must be {n} positive weights that sum to 1."
            )
        log_marginals.append(given.detach().to(like).log())
    return log_marginals[0], log_marginals[1]


def _first_duals(
    start: Transport | None, log_a: Tensor, log_b: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    if start is None:
        return torch.zeros_like(log_a), torch.zeros_like(log_b)
    if (len(start.f), len(start.g)) != (len(log_a), len(log_b)):
        raise ValueError(
            f"start is a plan of {len(start.f)} by {len(start.g)}, the scores are {len(log_a)} by "
            f"{len(log_b)}: start only from a plan of the same rows."
        )
    return start.f.to(log_a) / epsilon, start.g.to(log_b) / epsilon
