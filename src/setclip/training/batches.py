"""Batches of raw items: each one a function of the seed and the step, whoever makes it.

Three streams (pairs, x pool, y pool) go through their rows in epochs of their own, each in a new
random order. Which rows a step sees, which caption of several it takes and how its views are cut
follows from (seed, step) alone. So loader workers, a resumed run and other processes agree without
telling each other anything, and a checkpoint needs no state of a sampler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from setclip.data.bad_items import BadItem
from setclip.data.pools import NO_SET, IntArray, Pools
from setclip.data.samplers import rows_of_shared_sets
from setclip.encoders.backbone import Collated, on_device
from setclip.modalities import BadItemError

PAIRS, X_POOL, Y_POOL, SETS, VIEWS = range(5)
"""Second word of a generator's seed: one stream never repeats another's draws."""


class Source(Protocol):
    """The items of one side in one stream, ready to be read by number."""

    def __len__(self) -> int:
        """Number of items."""
        ...

    def read(
        self,
        row: int,
        rng: np.random.Generator,
        *,
        view: bool,
        unlike: np.random.Generator | None = None,
    ) -> Any:
        """One prepared item; a random view of it if `view`.

        Args:
            row: Which item.
            rng: Draws the caption of several, and the view.
            view: Whether a view is wanted.
            unlike: As the view was drawn with that this one has to differ from, where views are
                drawn from few.

        Raises:
            BadItemError: The item cannot be used.
        """
        ...


@dataclass(frozen=True)
class Sources:
    """Where the rows of a batch come from.

    Attributes:
        x_pairs: First modality of the pairs.
        y_pairs: Second modality, row-aligned.
        x_pool: Items known only by x.
        y_pool: Items known only by y.
        x_collate: Prepared x to tensors with one row an item.
        y_collate: The same for y.
    """

    x_pairs: Source
    y_pairs: Source
    x_pool: Source
    y_pool: Source
    x_collate: Callable[[Sequence[Any]], Collated]
    y_collate: Callable[[Sequence[Any]], Collated]


@dataclass(frozen=True)
class Composition:
    """What a batch holds.

    Attributes:
        pairs: Pairs a step.
        pool: Rows of either pool a step; with sets, whole sets of about so many rows.
        augment: Whether items are seen in random views.
        second_views: Rows of either side, at most, of which a second view is made.
        pairs_together: Whether one draw decides the views of both sides of a pair, so that a view
            that keeps a stretch of an item keeps the same stretch of its partner.
    """

    pairs: int
    pool: int
    augment: bool = False
    second_views: int = 0
    pairs_together: bool = False


@dataclass
class Batch:
    """One step's items of one process.

    Attributes:
        x: Pairs first, then pool; may have no row.
        y: The same for y; its first rows are the partners of those of `x`.
        pairs: How many rows of either side are pairs.
        x_sets: Set of each row of `x` after the pairs, `NO_SET` for none.
        y_sets: Set of each row of `y` after the pairs.
        x_again: A second view of some rows of `x`, or None where none are wanted.
        y_again: A second view of some rows of `y`.
        x_seen: Which rows of `x` those are.
        y_seen: Which rows of `y`.
        bad: Items that could not be read and are not in the batch; `row` counts in the stream.
    """

    x: Collated
    y: Collated
    pairs: int
    x_sets: Tensor
    y_sets: Tensor
    x_again: Collated | None = None
    y_again: Collated | None = None
    x_seen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    y_seen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    bad: list[BadItem] = field(default_factory=list)

    def on(self, device: torch.device) -> Batch:
        """The same where it is computed with."""
        tensors = {"x_sets": self.x_sets, "y_sets": self.y_sets}
        tensors |= {"x_seen": self.x_seen, "y_seen": self.y_seen}
        moved: dict[str, Any] = on_device(tensors, device)
        for name in ("x", "y", "x_again", "y_again"):
            collated = getattr(self, name)
            moved[name] = None if collated is None else on_device(collated, device)
        return replace(self, **moved)


class Epochs:
    """Rows in random order, epoch after epoch without a seam, at any position at once.

    Args:
        n: Number of rows.
        seed: Of the orders.
    """

    def __init__(self, n: int, *seed: int) -> None:
        self.n, self.seed = n, seed
        self._epoch, self._order = -1, np.zeros(0, dtype=np.int64)

    def __getitem__(self, places: slice) -> IntArray:
        """Rows at the places `start` to `stop` of the endless sequence."""
        parts = []
        at = places.start
        while at < places.stop and self.n:
            epoch, within = divmod(at, self.n)
            if epoch != self._epoch:
                rng = np.random.default_rng([*self.seed, epoch])
                self._epoch, self._order = epoch, rng.permutation(self.n)
            parts.append(self._order[within : within + places.stop - at])
            at += len(parts[-1])
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


@dataclass(frozen=True)
class Rows:
    """Row numbers of a step: of the pairs, of the x pool and of the y pool."""

    pairs: IntArray
    x: IntArray
    y: IntArray


class Plan:
    """Which rows a step sees.

    Where there are sets with items on both sides they fill the room of the pools, whole and in
    random order; loose rows of the pools are then left out, since a set's shape is what is
    compared. Otherwise each pool is gone through by itself.

    Args:
        pools: Counts and set ids.
        composition: How many rows of each stream.
        seed: Of the orders.
    """

    def __init__(self, pools: Pools, composition: Composition, seed: int) -> None:
        self.composition = composition
        self._sets = rows_of_shared_sets(pools) if len(pools.shared_sets) else []
        self._pairs = Epochs(pools.n_pairs, seed, PAIRS)
        self._x = Epochs(len(pools.x_pool), seed, X_POOL)
        self._y = Epochs(len(pools.y_pool), seed, Y_POOL)
        self._order = Epochs(len(self._sets), seed, SETS)
        largest = [max(len(x), len(y)) for x, y in self._sets]
        self._together = max(1, round(composition.pool / np.mean(largest))) if largest else 0

    def __call__(self, step: int) -> Rows:
        """The rows of a step, counted from 0."""
        c = self.composition
        # No row twice in a batch, which an epoch's end in the middle of one could do.
        pairs = _first_of_each(_stretch(self._pairs, step, min(c.pairs, self._pairs.n)))
        if not self._sets or not c.pool:
            room = min(c.pool, self._x.n), min(c.pool, self._y.n)
            x, y = (_stretch(e, step, r) for e, r in zip((self._x, self._y), room, strict=True))
            return Rows(pairs, _first_of_each(x), _first_of_each(y))
        together = min(self._together, len(self._sets))
        chosen = [self._sets[i] for i in _first_of_each(_stretch(self._order, step, together))]
        return Rows(
            pairs, np.concatenate([x for x, _ in chosen]), np.concatenate([y for _, y in chosen])
        )


class Steps(Dataset[Batch]):
    """The batches of a run by step, as a loader's workers see them.

    Args:
        sources: Where items come from.
        pools: Counts and set ids.
        composition: What a batch holds.
        seed: Of everything random.
        rank: This process, of `world`; each makes its part of a step's rows.
        world: Number of processes.
    """

    def __init__(
        self,
        sources: Sources,
        pools: Pools,
        composition: Composition,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.sources, self.composition, self.seed = sources, composition, seed
        self.rank, self.world = rank, world
        self.x_ids, self.y_ids = pools.x_sets, pools.y_sets
        self.plan = Plan(pools, composition, seed)

    def __getitem__(self, step: int) -> Batch:
        """This process's part of a step, counted from 0."""
        rows = self.plan(step)
        pairs, x_rows, y_rows = (
            np.array_split(r, self.world)[self.rank] for r in (rows.pairs, rows.x, rows.y)
        )
        s, bad = self.sources, list[BadItem]()
        # A pair needs both its items.
        x_known = self._read("x pairs", s.x_pairs, pairs, step, bad)
        y_known = self._read("y pairs", s.y_pairs, pairs, step, bad)
        both = [row for row in pairs if row in x_known and row in y_known]
        x_pool = self._read("x pool", s.x_pool, x_rows, step, bad)
        y_pool = self._read("y pool", s.y_pool, y_rows, step, bad)
        x = [*(x_known[r] for r in both), *x_pool.values()]
        y = [*(y_known[r] for r in both), *y_pool.values()]
        batch = Batch(
            self._collated(x, 0),
            self._collated(y, 1),
            len(both),
            torch.from_numpy(self.x_ids[list(x_pool)] if x_pool else _none()),
            torch.from_numpy(self.y_ids[list(y_pool)] if y_pool else _none()),
            bad=bad,
        )
        if self.composition.second_views:
            x_from = [*((0, s.x_pairs, r) for r in both), *((2, s.x_pool, r) for r in x_pool)]
            y_from = [*((1, s.y_pairs, r) for r in both), *((3, s.y_pool, r) for r in y_pool)]
            batch.x_again, batch.x_seen = self._again(x_from, rows.pairs, rows.x, step, 0, bad)
            batch.y_again, batch.y_seen = self._again(y_from, rows.pairs, rows.y, step, 1, bad)
        return batch

    def _read(
        self, stream: str, source: Source, rows: IntArray, step: int, bad: list[BadItem]
    ) -> dict[int, Any]:
        """Prepared items by row, the unreadable left out and listed."""
        found = {}
        for row in rows:
            rng = self._of_first_view(_STREAMS.index(stream), row, step)
            try:
                found[row] = source.read(int(row), rng, view=self.composition.augment)
            except BadItemError as error:
                bad.append(BadItem(int(row), stream, error.item, error.reason))
        return found

    def _of_first_view(self, stream: int, row: int, step: int) -> np.random.Generator:
        """Draws caption and view of a row of a stream, of both rows of a pair that go together."""
        x_pairs, y_pairs = 0, 1
        if self.composition.pairs_together and stream == y_pairs:
            stream = x_pairs
        return np.random.default_rng([self.seed, VIEWS, step, stream, row])

    def _again(
        self,
        own: list[tuple[int, Source, int]],
        pairs: IntArray,
        pool: IntArray,
        step: int,
        side: int,
        bad: list[BadItem],
    ) -> tuple[Collated, Tensor]:
        """Second views of a random part of a step's rows, those of this process; and which.

        A view may be of another caption than the first, one that cannot be read: there is none.
        """
        everyone = [*((side, row) for row in pairs), *((side + 2, row) for row in pool)]
        rng = np.random.default_rng([self.seed, VIEWS, step, len(_STREAMS) + side])
        drawn = rng.permutation(len(everyone))[: self.composition.second_views]
        chosen = {everyone[i] for i in drawn}
        seen, views = [], []
        for place, (stream, source, row) in enumerate(own):
            if (stream, row) in chosen:
                again = np.random.default_rng([self.seed, VIEWS, step, stream, row, 1])
                augmented = self.composition.augment
                first = self._of_first_view(stream, row, step) if augmented else None
                try:
                    views.append(source.read(int(row), again, view=True, unlike=first))
                    seen.append(place)
                except BadItemError as error:
                    bad.append(BadItem(int(row), _STREAMS[stream], error.item, error.reason))
        return self._collated(views, side), torch.tensor(seen, dtype=torch.int64)

    def _collated(self, items: list[Any], side: int) -> Collated:
        s = self.sources
        collate = s.y_collate if side else s.x_collate
        if items:
            return collate(items)
        # A process without rows takes part in every exchange: tensors of the right width, empty.
        template = self._any_item((s.y_pairs, s.y_pool) if side else (s.x_pairs, s.x_pool))
        return {name: tensor[:0] for name, tensor in collate([template]).items()}

    def _any_item(self, streams: tuple[Source, Source]) -> Any:
        rng = np.random.default_rng(self.seed)
        reason = "there is none"
        for source in streams:
            for row in range(len(source)):
                try:
                    return source.read(row, rng, view=False)
                except BadItemError as error:
                    reason = str(error)
        raise ValueError(
            f"no item of one side can be read; the last one: {reason}. Give pairs, or a pool of "
            "that side, whose files are there and whole; `setclip check` lists what is wrong."
        )


_STREAMS = ("x pairs", "y pairs", "x pool", "y pool")


def load_steps(steps: Steps, first: int, last: int, *, workers: int = 0) -> Iterator[Batch]:
    """Batches of the steps `first` to `last` - 1 in order, made by worker processes if any.

    The batches do not depend on the number of workers.
    """
    # A forked worker starts at once, where another would first import and be sent everything; it
    # has one thread and no use for a GPU. Elsewhere the platform's own way is the safe one.
    forks = workers > 0 and sys.platform == "linux" and not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        multiprocessing_context="fork" if forks else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # of seeds that no worker uses; not the caller's
    )
    return iter(loader)


def _stretch(epochs: Epochs, step: int, size: int) -> IntArray:
    return epochs[step * size : (step + 1) * size]


def _first_of_each(rows: IntArray) -> IntArray:
    kept: IntArray = rows[np.sort(np.unique(rows, return_index=True)[1])]
    return kept


def _none() -> IntArray:
    return np.full(0, NO_SET, dtype=np.int64)
