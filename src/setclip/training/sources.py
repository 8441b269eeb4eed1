"""Items of a stream, read from raw or taken from what a frozen beginning of the encoder made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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

    def read(self, row: int, rng: np.random.Generator, *, view: bool) -> Any:
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
            captions has several rows. NaN where an item could not be read. Shape [k, r, dim].
        rows: The rows of each item. Length n.
        names: What each item is called in messages.
    """

    variants: Sequence[FloatArray]
    rows: Sequence[IntArray]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: IntArray) -> KeptSource:
        """Some of the items, in that order."""
        own, names = [self.rows[row] for row in rows], [self.names[row] for row in rows]
        return replace(self, rows=own, names=names)

    def read(self, row: int, rng: np.random.Generator, *, view: bool) -> FloatArray:
        """The rows of one item's tensors, flat. Shape [dim].

        Raises:
            BadItemError: The item could not be read.
        """
        own = self.rows[row]
        variant = self.variants[0]
        if view and len(self.variants) > 1:
            variant = self.variants[int(rng.integers(1, len(self.variants)))]
        found: FloatArray = variant[own[int(rng.integers(len(own)))]]
        if np.isnan(found[0]):
            raise BadItemError(self.names[row], "cannot be read")
        return found
