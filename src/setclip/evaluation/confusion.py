"""Which classes are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Confusion:
    """Items by their true class and the class of what was found for them.

    Attributes:
        labels: The most frequent true classes, most frequent first; k of them.
        counts: Items of class i for which class j was found; the last column counts all classes
            that are not listed. Shape [k, k + 1].
        others: Items whose true class is not listed.
        agreement: Share of all items, listed or not, for which their own class was found.
        expected: What `agreement` would be if classes were found at random, as often as they were.
    """

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    others: int
    agreement: float
    expected: float


def confusion(true: Sequence[str], found: Sequence[str], *, limit: int = 12) -> Confusion:
    """Count true against found classes.

    Args:
        true: Class of each item.
        found: Class of what was found for it, row-aligned.
        limit: How many classes to list.

    Raises:
        ValueError: No items, or lists of different lengths.
    """
    if not true or len(true) != len(found):
        raise ValueError(
            f"confusion: {len(true)} true and {len(found)} found classes; give one of each for "
            "every item, and at least one item."
        )
    frequencies = Counter(true)
    # Ties by name: the order must not hang on the order of the items.
    labels = sorted(frequencies, key=lambda label: (-frequencies[label], label))[:limit]
    places = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for (own, other), n in Counter(zip(true, found, strict=True)).items():
        if own in places:
            counts[places[own], places.get(other, len(labels))] += n
    chosen = Counter(found)
    n = len(true)
    return Confusion(
        labels=tuple(labels),
        counts=counts,
        others=n - int(counts.sum()),
        agreement=sum(a == b for a, b in zip(true, found, strict=True)) / n,
        expected=sum(count * chosen[label] for label, count in frequencies.items()) / n**2,
    )
