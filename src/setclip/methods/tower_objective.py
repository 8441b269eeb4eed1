"""Set-CLIP's losses on embeddings of raw items, over all processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from setclip.data.pools import NO_SET
from setclip.linear.sets import PaddedSets, soft_matching
from setclip.losses import nt_xent
from setclip.methods.set_losses import balanced, loss_terms
from setclip.training.batches import Batch
from setclip.training.cached_gradients import Call
from setclip.training.distributed import gather_rows

if TYPE_CHECKING:
    from setclip.methods.towers import Towers

# The bounds of CLIP's release on the inverse temperature.
LARGEST_SCALE = 100.0


class TowerObjective:
    """Named, weighted loss terms of a batch that several processes may share.

    Args:
        options: Weights and forms.
        x: Tower of the first modality.
        y: Tower of the second.
        device: Where a learned temperature lives.
    """

    def __init__(
        self, options: Towers, x: nn.Module, y: nn.Module, device: torch.device | None = None
    ) -> None:
        self.options, self.x, self.y = options, x, y
        self.log_scale = nn.Parameter(torch.tensor(-math.log(options.temperature), device=device))

    def calls(self, batch: Batch) -> Mapping[str, Call]:
        """What the towers embed of this process's part of a batch."""
        calls = {"x": Call(self.x, batch.x), "y": Call(self.y, batch.y)}
        if batch.x_again is not None and batch.y_again is not None:
            calls |= {
                "x again": Call(self.x, batch.x_again),
                "y again": Call(self.y, batch.y_again),
            }
        return calls

    def parameters(self) -> Iterable[nn.Parameter]:
        """The temperature, where it is learned."""
        return [self.log_scale] if self.options.learn_temperature else []

    def clamp(self) -> None:
        """Keep the inverse temperature between 1 and 100."""
        with torch.no_grad():
            self.log_scale.clamp_(0.0, math.log(LARGEST_SCALE))

    def prepare(self, batch: Batch) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """The loss on the batch of all processes."""
        x, y = (
            _Side.of(batch, batch.x_sets, batch.x_seen),
            _Side.of(batch, batch.y_sets, batch.y_seen),
        )
        return lambda z: self._terms(z, x, y)

    def _terms(self, z: dict[str, Tensor], x: _Side, y: _Side) -> dict[str, Tensor]:
        o = self.options
        zx, zy = z["x"][x.order], z["y"][y.order]
        more = {}
        if o.within_sets and _comparable(x.sets, y.sets):
            more = {"x_sets": x.sets, "y_sets": y.sets}
        scale = self.log_scale.exp() if o.learn_temperature else None
        temperature = None if scale is None else 1 / scale
        terms = loss_terms(o, zx, zy, pairs=x.pairs, more=more, temperature=temperature)
        if o.balance:
            balanced(terms, o, zx, zy)
        if o.weight_match and x.pairs < len(zx):
            matched = self._matched(zx, zy, x, y)
            if matched is not None:
                terms["match"] = o.weight_match * matched
        for side, name in ((x, "x"), (y, "y")):
            if o.weight_ssl and len(side.seen) > 1:
                views = z[name][side.seen], z[f"{name} again"]
                terms[f"ssl {name}"] = o.weight_ssl * nt_xent(*views, temperature=o.temperature)
        return terms

    def _matched(self, zx: Tensor, zy: Tensor, x: _Side, y: _Side) -> Tensor | None:
        """Cross-entropy with the soft matching inside sets as target, all rows as candidates.

        The matching is that of the present embeddings, without gradient.
        """
        shared = np.intersect1d(x.sets.cpu().numpy(), y.sets.cpu().numpy())
        shared = shared[shared != NO_SET]
        if not len(shared):
            return None
        x_ids, y_ids = x.sets.cpu().numpy(), y.sets.cpu().numpy()
        sets = PaddedSets.of(
            [(np.flatnonzero(x_ids == s), np.flatnonzero(y_ids == s)) for s in shared]
        )
        px, py = (t[k:].detach().double().cpu().numpy() for t, k in ((zx, x.pairs), (zy, y.pairs)))
        plans = soft_matching(px, py, sets, temperature=self.options.match_temperature)
        cells = np.nonzero(sets.cells)
        rows = torch.from_numpy(sets.x_rows[cells[0], cells[1]] + x.pairs).to(zx.device)
        columns = torch.from_numpy(sets.y_rows[cells[0], cells[2]] + y.pairs).to(zx.device)
        # As in the other losses: float32 at least, whatever the towers compute in.
        dtype = torch.promote_types(zx.dtype, torch.float32)
        with torch.autocast(zx.device.type, enabled=False):
            logits = zx.to(dtype) @ zy.to(dtype).T / self.options.temperature
        mass = torch.from_numpy(plans[cells]).to(logits)
        chosen = logits[rows, columns]
        # Indexing by [rows] would add up its gradient in no fixed order on several threads.
        from_x = (mass * (logits.logsumexp(dim=1).index_select(0, rows) - chosen)).sum()
        from_y = (mass * (logits.logsumexp(dim=0).index_select(0, columns) - chosen)).sum()
        return (from_x + from_y) / (2 * mass.sum())


class _Side:
    """What is known of one side's rows over all processes.

    Attributes:
        order: Rows in the order of ranks, pairs first. Shape [n].
        pairs: How many are pairs.
        sets: Set of each row after the pairs.
        seen: Rows, in the order of ranks, of which there is a second view.
    """

    def __init__(self, order: Tensor, pairs: int, sets: Tensor, seen: Tensor) -> None:
        self.order, self.pairs, self.sets, self.seen = order, pairs, sets, seen

    @classmethod
    def of(cls, batch: Batch, sets: Tensor, seen: Tensor) -> _Side:
        """Gather the facts of all processes."""
        paired = torch.arange(batch.pairs + len(sets), device=sets.device) < batch.pairs
        everyone, own = gather_rows(paired)
        all_sets, _ = gather_rows(sets)
        all_seen, _ = gather_rows(seen + own.start)
        order = torch.cat([everyone.nonzero()[:, 0], (~everyone).nonzero()[:, 0]])
        return cls(order, int(everyone.sum()), all_sets, all_seen)


def _comparable(x_sets: Tensor, y_sets: Tensor) -> bool:
    """Whether some set has two rows or more on either side."""
    large = [
        ids[counts > 1]
        for ids, counts in (torch.unique(s, return_counts=True) for s in (x_sets, y_sets))
    ]
    both = large[0][torch.isin(large[0], large[1])]
    return bool((both != NO_SET).any())
