"""Items that could not be used: listed with the reason, and a stop when they are too many."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from setclip.data.atomic import write_text
from setclip.data.pools import IntArray

BAD_LIMIT = 0.01
"""Default share of bad items at which a run stops rather than skips."""


@dataclass(frozen=True)
class BadItem:
    """One thing in the input that could not be read.

    Attributes:
        row: Row of the manifest or array as a person counts it, so that it can be found.
        field: Column, array or modality it was read from.
        value: The offending value (a path, a cell), possibly shortened.
        reason: What is wrong with it, in words.
        source: File or data set that the row counts in, where a run reads several.
        partly: Whether the item stays: one of its several captions is bad.
    """

    row: int
    field: str
    value: str
    reason: str
    source: str = ""
    partly: bool = False

    def __str__(self) -> str:
        place = f"{self.source}, row {self.row}" if self.source else f"row {self.row}"
        return f"{place}, {self.field}: {self.reason} ({self.value!r})"


@dataclass(frozen=True)
class Places:
    """Where the items of one stream stand in what was read, to find one that fails later.

    Attributes:
        field: What they were read from.
        rows: Row of each item as a person counts it. Shape [n].
        sources: File or data set of each; none where only one was read.
    """

    field: str
    rows: IntArray
    sources: Sequence[str] = ()


def located(items: Sequence[BadItem], places: Mapping[str, Places]) -> list[BadItem]:
    """Say of items that were counted in streams where they stand in what was read.

    Args:
        items: With the stream as `field` and the place in it as `row`.
        places: By stream; items of others stay as they are.
    """
    found = []
    for item in items:
        at = places.get(item.field)
        if at is not None:
            source = at.sources[item.row] if at.sources else ""
            item = BadItem(int(at.rows[item.row]), at.field, item.value, item.reason, source)
        found.append(item)
    return found


class TooManyBadItemsError(ValueError):
    """More of the input is bad than the run's limit allows.

    Attributes:
        items: Every bad item, not only those the message shows.
    """

    def __init__(self, message: str, items: Sequence[BadItem]) -> None:
        super().__init__(message)
        self.items = list(items)


def write_bad_items(path: str | Path, items: Sequence[BadItem]) -> None:
    """Write `items` to `path` (bad_items.jsonl), one JSON object a line, atomically."""
    lines = (json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items)
    # Names of files need not be UTF-8.
    write_text(path, "".join(lines).encode("utf-8", "backslashreplace").decode("utf-8"))


def read_bad_items(path: str | Path) -> list[BadItem]:
    """What :func:`write_bad_items` wrote."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")  # values hold other line breaks
    return [BadItem(**json.loads(line)) for line in lines if line]


def enforce_bad_limit(
    items: Sequence[BadItem], *, total: int, limit: float = BAD_LIMIT, source: str = "input"
) -> None:
    """Stop when the share of bad items is above `limit`.

    Args:
        items: The bad items of one reading; those that are bad in part do not count.
        total: How many items were read, good and bad.
        limit: Largest share of bad items to go on with, from 0 (none) to 1 (any).
        source: What was read, for the message.

    Raises:
        TooManyBadItemsError: The share is above `limit`; the message shows the first few items.
    """
    lost = [item for item in items if not item.partly]
    if not lost or len(lost) <= limit * total:
        return
    first = "\n".join(f"  {item}" for item in lost[:5])
    more = f"\n  and {len(lost) - 5:,} more" if len(lost) > 5 else ""
    raise TooManyBadItemsError(
        f"{source}: {len(lost):,} of {total:,} items ({len(lost) / max(total, 1):.2%}) cannot be "
        f"read, more than the limit of {limit:.2%} (data.bad_limit):\n{first}{more}\n"
        "Repair or remove them, or raise data.bad_limit to go on without them.",
        items,
    )
