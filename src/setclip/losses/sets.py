"""Matched sets as padded batches: many small comparisons in one, without a loop over sets.

Rows of x and rows of y carry a set id; a loss is then computed inside each set that both sides
know. Sets of similar size share a padded batch, so that one long set does not pad the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from setclip.losses.validation import set_ids


@dataclass(frozen=True)
class Side:
    """One modality's rows of a batch of sets.

    Attributes:
        rows: Row of each place; the set's first row where a place is padding. Shape [s, l].
        real: Whether a place holds a row of its own. Bool, shape [s, l].
    """

    rows: Tensor
    real: Tensor

    @property
    def counts(self) -> Tensor:
        """Rows of each set. Shape [s]."""
        return self.real.sum(dim=1)

    def of(self, z: Tensor) -> Tensor:
        """The rows of `z` [n, …] by set. Shape [s, l, …].

        The gradient of ``z[rows]`` would add up in no fixed order where threads share the work.
        """
        return z.index_select(0, self.rows.flatten()).reshape(*self.rows.shape, *z.shape[1:])


@dataclass(frozen=True)
class MatchedSets:
    """Both modalities' rows of the same sets, in one order; `ids` [s] are those the user gave."""

    ids: Tensor
    x: Side
    y: Side

    def __len__(self) -> int:
        return len(self.x.rows)


def matched_sets(
    x: Tensor, y: Tensor, x_sets: Tensor | None, y_sets: Tensor | None, *, alone: int
) -> list[MatchedSets]:
    """Group the sets that have two rows or more on each side into padded batches.

    Args:
        x: First modality. Shape [n, d].
        y: Second modality. Shape [m, d].
        x_sets: Set of each row of `x`; negative for none. Shape [n].
        y_sets: Set of each row of `y`. Shape [m].
        alone: Sets with more rows than this on either side come in a batch of their own.

    Raises:
        TypeError: Ids that are not integers.
        ValueError: Ids on one side only, of another length than the rows, or no set to compare.
    """
    if x_sets is None or y_sets is None:
        missing = "x_sets" if x_sets is None else "y_sets"
        raise ValueError(f"{missing} is missing; set ids are needed on both sides or on neither.")
    set_ids(x_sets, x, "x_sets")
    set_ids(y_sets, y, "y_sets")
    # Of either side's own type an id of the other may be another number.
    both = torch.cat([x_sets.long(), y_sets.to(x_sets.device).long()])
    ids, members = torch.unique(both, return_inverse=True)
    x_groups = _Groups.of(members[: len(x)], len(ids))
    y_groups = _Groups.of(members[len(x) :], len(ids))
    usable = (x_groups.counts >= 2) & (y_groups.counts >= 2) & (ids >= 0)
    if not usable.any():
        shared = int(((x_groups.counts > 0) & (y_groups.counts > 0) & (ids >= 0)).sum())
        raise ValueError(
            f"x_sets and y_sets share {shared} sets, none of them with two rows or more on each "
            "side; draw batches that keep sets whole, or leave the set ids out."
        )
    chosen = usable.nonzero()[:, 0]
    sizes = torch.maximum(x_groups.counts, y_groups.counts)[chosen]
    return [
        MatchedSets(ids[batch], x_groups.padded(batch), y_groups.padded(batch))
        for batch in _similar(chosen, sizes, alone)
    ]


def padded_squared_distances(u: Tensor, z: Tensor) -> Tensor:
    """Squared distances inside each set. Shapes [s, l, d], [s, k, d] to [s, l, k]."""
    # Any common origin will do; one inside the set keeps rounding relative to the set's spread.
    origin = z.detach().mean(dim=1, keepdim=True)
    u, z = u - origin, z - origin
    u_terms, z_terms = u.square().sum(dim=2), z.square().sum(dim=2)
    return (u_terms[:, :, None] + z_terms[:, None, :] - 2 * u @ z.mT).clamp_min(0)


@dataclass(frozen=True)
class _Groups:
    """Rows sorted by set: set g owns `order[starts[g] : starts[g] + counts[g]]`."""

    order: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, members: Tensor, n_sets: int) -> _Groups:
        counts = torch.bincount(members, minlength=n_sets)
        return cls(members.argsort(stable=True), counts.cumsum(0) - counts, counts)

    def padded(self, sets: Tensor) -> Side:
        places = torch.arange(int(self.counts[sets].max()), device=sets.device)
        real = places < self.counts[sets][:, None]
        return Side(self.order[self.starts[sets][:, None] + torch.where(real, places, 0)], real)


def _similar(chosen: Tensor, sizes: Tensor, alone: int) -> Iterator[Tensor]:
    """Split sets into those of 2, 3–4, 5–8, … rows, and each of more than `alone` by itself."""
    small = sizes <= alone
    magnitude = (sizes - 1).log2().floor()
    for power in torch.unique(magnitude[small]):
        yield chosen[small & (magnitude == power)]
    for one in chosen[~small]:
        yield one[None]
