"""Manifests: a table of items, one row an item, in which an empty cell means unpaired.

A row with both cells filled is a pair. A row with one cell goes to the pool of that side, and into
its set if the row names one. The set of a pair adds nothing, since its partner is known, and is not
used for matching.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from setclip.data.bad_items import BadItem
from setclip.data.pools import NO_SET, IntArray
from setclip.data.tables import Cell, ManifestError, read_table
from setclip.suggest import nearest

Modality = Literal["image", "text"]
BoolArray = npt.NDArray[np.bool_]

NO_ID = NO_SET
"""Id of a row whose set, group or label cell is empty."""

SPLITS = {"train": False, "test": True}


@dataclass(frozen=True)
class Columns:
    """Which column of a manifest holds what; None where there is no such column."""

    x: str
    y: str
    x_modality: Modality = "image"
    y_modality: Modality = "text"
    set: str | None = None
    group: str | None = None
    label: str | None = None
    split: str | None = None

    @property
    def named(self) -> list[str]:
        """The columns to read, each once."""
        names = (self.x, self.y, self.set, self.group, self.label, self.split)
        return list(dict.fromkeys(n for n in names if n is not None))


@dataclass(frozen=True)
class Manifest:
    """The usable rows of a manifest. Build it with :func:`read_manifest`.

    Attributes:
        path: Where it was read from.
        columns: Which column held what.
        rows: Row number of each row as a person finds it in the file. Shape [n].
        x: First modality of each row: a caption, several captions of one item, or an absolute
            image path; None if unpaired.
        y: Second modality of each row, likewise.
        sets: Set of each row, `NO_SET` (-1) for none. Shape [n].
        groups: Leak group of each row, -1 for none: rows of one group share a split. Shape [n].
        labels: Class of each row, -1 for none. Shape [n].
        set_names: What the set ids stand for; likewise `group_names` and `label_names`.
        test: True for the rows of the test part; None without a split column. Shape [n].
        bad: Rows and cells that had to be left out, and why.
        n_read: Rows read, good and bad: what the share of bad items refers to.
        origins: Data set that each row came from, where several were read as one. Length n or 0.
    """

    path: Path
    columns: Columns
    rows: IntArray
    x: list[Cell]
    y: list[Cell]
    sets: IntArray
    groups: IntArray
    labels: IntArray
    set_names: list[str]
    group_names: list[str]
    label_names: list[str]
    test: BoolArray | None
    bad: list[BadItem]
    n_read: int
    origins: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def pairs(self) -> IntArray:
        """Positions of the rows with both cells."""
        return np.flatnonzero(_filled(self.x) & _filled(self.y))

    @property
    def x_only(self) -> IntArray:
        """Positions of the rows with only the first cell."""
        return np.flatnonzero(_filled(self.x) & ~_filled(self.y))

    @property
    def y_only(self) -> IntArray:
        """Positions of the rows with only the second cell."""
        return np.flatnonzero(~_filled(self.x) & _filled(self.y))

    def x_at(self, positions: Iterable[int]) -> list[str | tuple[str, ...]]:
        """First modality at positions that have it.

        Raises:
            ValueError: A row at these positions has none.
        """
        return _items(self.x, positions, "x")

    def y_at(self, positions: Iterable[int]) -> list[str | tuple[str, ...]]:
        """Second modality at positions that have it.

        Raises:
            ValueError: A row at these positions has none.
        """
        return _items(self.y, positions, "y")

    def bad_item(self, position: int, field: str, value: str, reason: str) -> BadItem:
        """Say what is wrong with an item of the row at `position`."""
        origin = self.origins[position] if self.origins else ""
        return BadItem(int(self.rows[position]), field, value, reason, origin)

    def without(
        self, *, x: Sequence[int] = (), y: Sequence[int] = (), bad: Sequence[BadItem] = ()
    ) -> Manifest:
        """Empty cells that turned out unusable; a row left with none goes.

        The good half of a pair stays, in the pool of its side.

        Args:
            x: Positions whose first cell to empty.
            y: Positions whose second cell to empty.
            bad: Why, added to the list of bad items.
        """
        listed = sorted([*self.bad, *bad], key=lambda item: item.row)
        emptied = replace(self, x=_emptied(self.x, x), y=_emptied(self.y, y), bad=listed)
        return emptied.take(np.flatnonzero(_filled(emptied.x) | _filled(emptied.y)))

    def take(self, positions: IntArray) -> Manifest:
        """The same manifest with only the rows at `positions`, in their order."""
        return replace(
            self,
            rows=self.rows[positions],
            x=[self.x[i] for i in positions],
            y=[self.y[i] for i in positions],
            sets=self.sets[positions],
            groups=self.groups[positions],
            labels=self.labels[positions],
            test=None if self.test is None else self.test[positions],
            origins=[self.origins[i] for i in positions] if self.origins else (),
        )


def read_manifest(
    path: str | Path,
    columns: Columns,
    *,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Manifest:
    """Read a manifest; bad rows are left out and listed, images are not opened yet.

    Callers that go on to train hold the list of bad items against a limit with
    :func:`setclip.data.bad_items.enforce_bad_limit`.

    Args:
        path: CSV, TSV, JSONL, Parquet, or a folder (see :func:`setclip.data.tables.read_table`).
            Relative image paths count from the manifest's folder.
        columns: Which column holds what.
        encoding: Of CSV and JSONL.
        delimiter: Of CSV; None finds it by the header.

    Raises:
        ManifestError: The file is missing or broken, lacks a column, has no usable row, or its
            split column holds anything but train and test.
    """
    path = Path(path)
    sides = ((columns.x, columns.x_modality), (columns.y, columns.y_modality))
    table = read_table(
        path,
        columns.named,
        lists=[name for name, modality in sides if modality == "text"],
        encoding=encoding,
        delimiter=delimiter,
    )
    base = path if path.is_dir() else path.parent
    bad = list(table.bad)
    x = _read_cells(table.columns[columns.x], columns.x, columns.x_modality, base, table.rows, bad)
    y = _read_cells(table.columns[columns.y], columns.y, columns.y_modality, base, table.rows, bad)
    sets, set_names = _numbered(table.columns, columns.set, len(table.rows))
    groups, group_names = _numbered(table.columns, columns.group, len(table.rows))
    labels, label_names = _numbered(table.columns, columns.label, len(table.rows))
    bad += _rows_without_item(columns, x, y, table.rows, bad)
    manifest = Manifest(
        path=path,
        columns=columns,
        rows=table.rows,
        x=x,
        y=y,
        sets=sets,
        groups=groups,
        labels=labels,
        set_names=set_names,
        group_names=group_names,
        label_names=label_names,
        test=_read_split(path, table.columns, columns.split, table.rows),
        bad=bad,
        n_read=len(table.rows) + sum(item.field == "row" for item in table.bad),
    ).without()
    if not len(manifest):
        first = f" The first bad row: {manifest.bad[0]}." if manifest.bad else ""
        raise ManifestError(
            f"{path}: no row has anything in {columns.x!r} or {columns.y!r}.{first} "
            "Write one row an item, with an empty cell for a side that is not known."
        )
    return manifest


def _read_cells(
    cells: Sequence[Cell],
    field: str,
    modality: Modality,
    base: Path,
    rows: IntArray,
    bad: list[BadItem],
) -> list[Cell]:
    read: list[Cell] = []
    for cell, row in zip(cells, rows, strict=True):
        if modality == "text" and (several := _captions(cell)) is not None:
            read.append(several if len(several) > 1 else next(iter(several), None))
            continue
        value = cell.strip() if isinstance(cell, str) else None
        if value == "":
            reason = "only white space: leave the cell empty if this side is not known"
            bad.append(BadItem(int(row), field, str(cell), reason))
        elif value is not None and modality == "image" and "://" in value:
            reason = "a web address: download the image and give its path"
            bad.append(BadItem(int(row), field, value, reason))
            value = None
        elif value is not None and modality == "image":
            value = _resolved(value, base)
        read.append(value or None)
    return read


def _captions(cell: Cell) -> tuple[str, ...] | None:
    """Several captions of one item, None where the cell is one text or nothing.

    CSV has no lists: a cell that is written as a JSON list of texts is one.
    """
    values: object = cell
    if isinstance(cell, str):
        if not (cell.lstrip().startswith("[") and cell.rstrip().endswith("]")):
            return None
        try:
            values = json.loads(cell)
        except json.JSONDecodeError:
            return None
    if not isinstance(values, tuple | list) or not all(isinstance(v, str) for v in values):
        return None
    return tuple(text for value in values if (text := value.strip()))


def _rows_without_item(
    columns: Columns, x: Sequence[Cell], y: Sequence[Cell], rows: IntArray, bad: Sequence[BadItem]
) -> list[BadItem]:
    known = {item.row for item in bad}  # a cell of these was emptied, which is reason enough
    empty = rows[~(_filled(x) | _filled(y))]
    reason = "both cells are empty: there is no item"
    return [
        BadItem(int(row), f"{columns.x}, {columns.y}", "", reason)
        for row in empty
        if row not in known
    ]


def _resolved(value: str, base: Path) -> str:
    # Manifests written on Windows meet readers elsewhere; no sane POSIX file name has a backslash.
    local = value.replace("\\", "/") if os.sep == "/" else value
    # "~" is the home folder by itself or before a slash; names may begin with it.
    home = local == "~" or local.startswith("~/")
    return str((base / (Path(local).expanduser() if home else local)).absolute())


def _numbered(
    columns: dict[str, list[Cell]], name: str | None, n: int
) -> tuple[IntArray, list[str]]:
    """Number the names of a column in order of appearance, -1 for an empty cell.

    Names that look alike are: letters with marks have several spellings in Unicode.
    """
    if name is None:
        return np.full(n, NO_ID, dtype=np.int64), []
    ids: dict[str, int] = {}
    numbers = [
        ids.setdefault(cell, len(ids)) if cell else NO_ID
        for cell in (normalize("NFC", text.strip()) for text in _texts(columns[name]))
    ]
    return np.asarray(numbers, dtype=np.int64), list(ids)


def _read_split(
    path: Path, columns: dict[str, list[Cell]], name: str | None, rows: IntArray
) -> BoolArray | None:
    """True for test; an empty cell is train."""
    if name is None:
        return None
    test = np.zeros(len(rows), dtype=bool)
    for i, cell in enumerate(_texts(columns[name])):
        value = cell.strip().casefold() or "train"
        if value not in SPLITS:
            raise ManifestError(
                f"{path}, row {rows[i]}, {name}: {cell!r} is not a split; write train or test."
                f"{nearest(value, SPLITS)} Validation rows belong to train: setclip tunes by "
                "cross-validation inside it."
            )
        test[i] = SPLITS[value]
    return test


def _texts(cells: Iterable[Cell]) -> list[str]:
    return [cell if isinstance(cell, str) else "" for cell in cells]


def _filled(cells: Sequence[Cell]) -> BoolArray:
    return np.fromiter((cell is not None for cell in cells), dtype=bool, count=len(cells))


def _items(
    cells: Sequence[Cell], positions: Iterable[int], side: str
) -> list[str | tuple[str, ...]]:
    items: list[str | tuple[str, ...]] = []
    for i in positions:
        cell = cells[i]
        if cell is None:
            raise ValueError(f"position {i} of the manifest has no {side}.")
        items.append(cell)
    return items


def _emptied(cells: Sequence[Cell], positions: Sequence[int]) -> list[Cell]:
    emptied = list(cells)
    for i in positions:
        emptied[i] = None
    return emptied
