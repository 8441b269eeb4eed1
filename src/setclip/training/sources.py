"""Items of a stream, read from raw or taken from what a frozen beginning of the encoder made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from setclip.data.bad_items import BadItem
from setclip.data.pools import FloatArray, IntArray, Item
from setclip.modalities import BadItemError

View = Callable[[Any, np.random.Generator], Any]


@dataclass(frozen=True)
class RawSource:
    """Reads items anew each time. Of an item with several captions one is drawn.

    Attributes:
        items: What to read.
        prepare: Reads one item; raises `BadItemError`.
        view: Draws a view of a prepared item; None leaves it as it is.
    """

    items: Sequence[Item]
    prepare: Callable[[Any], Any]
    view: View | None = None

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: IntArray) -> RawSource:
        """Some of the items, in that order."""
        return replace(self, items=[self.items[row] for row in rows])

    def read(
        self,
        row: int,
        rng: np.random.Generator,
        *,
        view: bool,
        unlike: np.random.Generator | None = None,
    ) -> Any:
        """One prepared item; a random view of it if `view`.

        Raises:
            BadItemError: The item cannot be used.
        """
        item = self.items[row]
        if isinstance(item, tuple):
            item = item[int(rng.integers(len(item)))]
        prepared = self.prepare(item)
        return self.view(prepared, rng) if view and self.view else prepared


@dataclass(frozen=True)
class KeptSource:
    """Takes rows that were computed before. A view is one of the variants that were kept.

    Attributes:
        variants: Rows of the items themselves, then of each kept view; an item with several
            captions has several rows. Shape [k, r, dim].
        rows: The rows of each item. Length n.
        bad: What could not be read, by row of the variants.
    """

    variants: Sequence[FloatArray]
    rows: Sequence[IntArray]
    bad: Mapping[int, BadItem]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: IntArray) -> KeptSource:
        """Some of the items, in that order."""
        return replace(self, rows=[self.rows[row] for row in rows])

    def read(
        self,
        row: int,
        rng: np.random.Generator,
        *,
        view: bool,
        unlike: np.random.Generator | None = None,
    ) -> FloatArray:
        """The rows of one item's tensors, flat. Shape [dim].

        Where a single view is kept, the one unlike it is the item itself.

        Raises:
            BadItemError: The item could not be read.
        """
        views = list(range(1, len(self.variants))) if view else []
        if unlike is not None and views:
            views.remove(_one_of(views, unlike))
        variant = self.variants[_one_of(views, rng) if views else 0]
        own = self.rows[row]
        drawn = int(own[int(rng.integers(len(own)))])
        if drawn in self.bad:
            raise BadItemError(self.bad[drawn].value, self.bad[drawn].reason)
        found: FloatArray = variant[drawn]
        return found


def _one_of(numbers: Sequence[int], rng: np.random.Generator) -> int:
    return numbers[int(rng.integers(len(numbers)))]
