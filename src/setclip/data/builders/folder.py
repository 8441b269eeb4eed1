"""A built data set on disk: images/, manifest.parquet and LICENSE.txt, whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from setclip.data.atomic import write_text


@dataclass(frozen=True)
class Row:
    """One image with its words.

    Attributes:
        id: Unique, usable as a file name.
        png: The encoded picture.
        caption: What the text encoder reads.
        name: The short name in the caption.
        label: Category, for zero-shot and probes.
        group: Rows of one group must share a side of a split.
    """

    id: str
    png: bytes
    caption: str
    name: str
    label: str
    group: str


@dataclass(frozen=True)
class Built:
    """What a builder made.

    Attributes:
        folder: Where.
        items: Rows of the manifest.
        dropped: How many items were left out, by reason.
    """

    folder: Path
    items: int
    dropped: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in self.dropped.items())
        return f"{self.folder}: {self.items:,} items; left out: {reasons or 'none'}"


def write_folder(
    target: Path, rows: Iterable[Row], *, licence: str, dropped: Counter[str]
) -> Built:
    """Write rows as they come; `target` appears only when everything is in place.

    Args:
        target: A folder that does not exist yet, or is empty.
        rows: May be a generator that still fills `dropped`.
        licence: Text of LICENSE.txt.
        dropped: How many items were left out, by reason, once `rows` is exhausted.

    Raises:
        FileExistsError: `target` holds something already.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with building(target) as aside:
        (aside / "images").mkdir()
        records = []
        for row in rows:
            image = f"images/{row.id}.png"
            (aside / image).write_bytes(row.png)
            records.append(
                {
                    "image": image,
                    "caption": row.caption,
                    "name": row.name,
                    "label": row.label,
                    "group": row.group,
                }
            )
        pq.write_table(pa.Table.from_pylist(records), aside / "manifest.parquet")
        write_text(aside / "LICENSE.txt", licence)
    return Built(target, len(records), dict(dropped.most_common()))


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Give a folder to fill; it becomes `target` when the block ends without an error.

    Raises:
        FileExistsError: `target` holds something already.
    """
    check_free(target)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    aside.mkdir(parents=True)
    try:
        yield aside
        if target.exists():
            target.rmdir()
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_free(target: Path) -> None:
    """Refuse a target that holds something, before work is spent on it.

    Raises:
        FileExistsError: `target` is a file, or a folder that is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(
            f"{target} holds something already. Remove it, or build into another folder."
        )
