"""Tables of text cells from CSV, JSON lines, Parquet or a folder, each row with its number.

pyarrow reads CSV and Parquet. JSON lines go through the standard library, since pyarrow can neither
skip nor number a malformed line.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from setclip.data.bad_items import BadItem
from setclip.data.pools import IntArray
from setclip.modalities.text import describe
from setclip.suggest import nearest

Cell = str | tuple[str, ...] | None
"""One item, several texts of one item, or nothing."""

KINDS = "a CSV, TSV, JSONL or Parquet file, or a folder of images"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"})
FOLDER_COLUMNS = ("image", "text", "folder")
_COMPRESSED = {".gz", ".bz2", ".zst"}


class ManifestError(ValueError):
    """A manifest that cannot be used at all; the message says where, what and how to repair it."""


@dataclass(frozen=True)
class Table:
    """Columns of cells; an empty cell is None, a list of texts a tuple.

    Attributes:
        columns: Cells of each wanted column, in row order.
        rows: Number of each row as a person finds it: the header of a CSV file is row 1, a line of
            JSON lines counts as in an editor, the first row of Parquet is row 1. Shape [n].
        bad: Rows and cells that had to be left out.
    """

    columns: dict[str, list[Cell]]
    rows: IntArray
    bad: list[BadItem]


def read_table(
    path: str | Path,
    wanted: Sequence[str],
    *,
    lists: Container[str] = (),
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Table:
    """Read the `wanted` columns of a file or folder.

    A folder gives the columns `image` (path of each image, relative to the folder), `text` (what
    the .txt file of the same name says) and `folder` (the sub-folder, if any).

    Args:
        path: CSV, TSV, JSONL or Parquet, the text formats possibly compressed (.gz), or a folder.
        wanted: Names of the columns to read.
        lists: Names of those in which a cell may be a list of texts, where the format has lists.
        encoding: Of the text formats. UTF-16 is recognised by its byte order mark.
        delimiter: Of CSV; None takes the one under which the header holds the wanted columns.

    Raises:
        ManifestError: The file is missing, of another kind, broken, or lacks a wanted column.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, wanted)
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ManifestError(f"{path}: there is no such file.{nearest(path.name, siblings)}")
    suffixes = [s.lower() for s in path.suffixes]
    suffix = next((s for s in reversed(suffixes) if s not in _COMPRESSED), "")
    try:
        if suffix in (".csv", ".tsv", ".txt"):
            return _read_csv(path, wanted, encoding, delimiter or _delimiters(suffix))
        if suffix in (".jsonl", ".ndjson", ".json"):
            return _read_json_lines(path, wanted, lists, encoding)
        if suffix in (".parquet", ".pq"):
            return _read_parquet(path, wanted, lists)
    except UnicodeError as error:
        raise ManifestError(_not_in(path, encoding)) from error
    except (pa.ArrowException, csv.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ManifestError(f"{path}: not readable as {suffix} ({reason}).") from error
    sheet = " Save the sheet as CSV (UTF-8)." if suffix in (".xls", ".xlsx", ".ods") else ""
    raise ManifestError(f"{path}: {suffix or 'no suffix'} is not a manifest; give {KINDS}.{sheet}")


def require_columns(path: Path, present: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse a table that lacks a wanted column or has it twice.

    Raises:
        ManifestError: With the columns present and the nearest of them.
    """
    present = list(present)
    for name in wanted:
        if name not in present:
            raise ManifestError(
                f"{path}: there is no column {name!r}.{nearest(name, present)} "
                f"Columns present: {', '.join(map(repr, present)) or 'none'}."
            )
        if present.count(name) > 1:
            raise ManifestError(f"{path}: the header has {name!r} more than once. Rename one.")


def _delimiters(suffix: str) -> str:
    return "\t,;" if suffix == ".tsv" else ",;\t"


def _read_csv(path: Path, wanted: Sequence[str], encoding: str, delimiters: str) -> Table:
    encoding = _by_mark(path, encoding)
    names, delimiter = _header(path, wanted, encoding, delimiters)
    require_columns(path, names, wanted)
    bad: list[BadItem] = []

    swallowed = False

    def skip(row: Any) -> str:
        nonlocal swallowed
        swallowed = swallowed or "\n" in row.text
        reason = f"{row.actual_columns} cells where the header has {row.expected_columns}"
        bad.append(BadItem(row.number, "row", describe(row.text), reason))
        return "skip"

    try:
        table = pa.csv.read_csv(
            path,
            # Row numbers are known only when one thread reads.
            read_options=pa.csv.ReadOptions(use_threads=False, encoding=encoding),
            parse_options=_parse_options(delimiter, skip),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise ManifestError(_not_in(path, encoding)) from error
        raise
    last = table.slice(max(0, len(table) - 1)).to_pylist()
    if swallowed or any("\n" in (cell or "") for row in last for cell in row.values()):
        _refuse_open_quote(path, encoding, delimiter)
    numbers = np.arange(2, 2 + len(table) + len(bad))
    rows = np.setdiff1d(numbers, [item.row for item in bad])
    return _without_blank_rows(table, wanted, rows, bad)


def _refuse_open_quote(path: Path, encoding: str, delimiter: str) -> None:
    """A quote that is never closed takes all further lines into one cell."""
    start = 1
    limit = csv.field_size_limit(2**31 - 1)  # of a cell, which may have taken the whole file
    try:
        with _open_text(path, encoding) as lines:
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            for _ in rows:
                start = rows.line_num + 1
    except csv.Error as error:
        if "end of data" not in str(error):  # odd in other ways, which the reader has settled
            return
        raise ManifestError(
            f"{path}, line {start}: a quote is opened and never closed, so that all lines from "
            "there on are one cell. Close it, or write two for a quote inside a cell."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _header(
    path: Path, wanted: Sequence[str], encoding: str, delimiters: str
) -> tuple[list[str], str]:
    """Column names and delimiter: the first that shows all wanted columns, else the first."""
    headers = []
    for delimiter in delimiters:
        with _open_text(path, encoding) as lines:
            names = next(csv.reader(lines, delimiter=delimiter), [])
        if set(wanted) <= set(names):
            return names, delimiter
        headers.append(names)
    return headers[0], delimiters[0]


def _parse_options(delimiter: str, invalid_row_handler: Any) -> Any:
    # Blank lines are read and dropped later: skipped by the parser they would shift the numbers.
    return pa.csv.ParseOptions(
        delimiter=delimiter,
        newlines_in_values=True,
        ignore_empty_lines=False,
        invalid_row_handler=invalid_row_handler,
    )


def _without_blank_rows(
    table: Any, wanted: Sequence[str], rows: IntArray, bad: list[BadItem]
) -> Table:
    filled = np.zeros(len(table), dtype=bool)
    for column in table.columns:
        filled |= column.is_valid().to_numpy()
    kept = table.filter(pa.array(filled))
    return Table({n: kept[n].to_pylist() for n in wanted}, rows[filled], bad)


def _read_json_lines(
    path: Path, wanted: Sequence[str], lists: Container[str], encoding: str
) -> Table:
    columns: dict[str, list[Cell]] = {name: [] for name in wanted}
    present: dict[str, None] = {}
    rows: list[int] = []
    bad: list[BadItem] = []
    with _open_text(path, _by_mark(path, encoding)) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            if number == 1 and line.lstrip().startswith("["):
                raise ManifestError(
                    f"{path}: one JSON array, expected one object a line. Convert it with: "
                    f"jq -c '.[]' {path.name} > {path.stem}.jsonl"
                )
            record = _json_object(line, number, bad)
            if record is None:
                continue
            present.update(dict.fromkeys(record))
            rows.append(number)
            for name in wanted:
                value = record.get(name)
                if isinstance(value, list) and name in lists:
                    columns[name].append(_listed(value, number, name, bad))
                else:
                    columns[name].append(_json_cell(value, number, name, bad))
    if not rows and bad:
        raise ManifestError(f"{path}: no line holds a JSON object; {bad[0]}")
    require_columns(path, present, wanted)
    return Table(columns, np.asarray(rows, dtype=np.int64), bad)


def _json_object(line: str, number: int, bad: list[BadItem]) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        bad.append(BadItem(number, "row", describe(line.strip()), f"not valid JSON ({error})"))
        return None
    if isinstance(record, dict):
        return record
    reason = f"a JSON {type(record).__name__}, expected an object"
    bad.append(BadItem(number, "row", describe(line.strip()), reason))
    return None


def _json_cell(value: Any, number: int, name: str, bad: list[BadItem]) -> Cell:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    reason = f"holds a {type(value).__name__}, expected text: write one row for each item"
    bad.append(BadItem(number, name, describe(value), reason))
    return None


def _listed(values: Sequence[Any], number: int, name: str, bad: list[BadItem]) -> Cell:
    """A list of texts as one cell; what is not a text in it goes, and is listed."""
    cells = [_json_cell(value, number, name, bad) for value in values]
    texts = tuple(cell for cell in cells if isinstance(cell, str))
    return texts[0] if len(texts) == 1 else texts or None


def _read_parquet(path: Path, wanted: Sequence[str], lists: Container[str]) -> Table:
    with pa.parquet.ParquetFile(path) as file:
        require_columns(path, file.schema_arrow.names, wanted)
        table = file.read(columns=list(dict.fromkeys(wanted)))
    bad: list[BadItem] = []
    columns = {
        name: _list_cells(name, table[name], bad)
        if name in lists and _holds_lists(table[name].type)
        else _text_cells(path, name, table[name])
        for name in wanted
    }
    return Table(columns, np.arange(1, 1 + len(table)), bad)


def _holds_lists(kind: Any) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_it(kind) for is_it in tests)


def _list_cells(name: str, column: Any, bad: list[BadItem]) -> list[Cell]:
    return [
        _listed(values or (), row, name, bad)
        for row, values in enumerate(column.to_pylist(), start=1)
    ]


def _text_cells(path: Path, name: str, column: Any) -> list[Cell]:
    if pa.types.is_floating(column.type):
        # pandas writes a missing number as NaN; as text it would become a name.
        column = pa.compute.if_else(pa.compute.is_nan(column), None, column)
    try:
        return [cell or None for cell in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise ManifestError(
            f"{path}, column {name!r}: holds {column.type}, expected text. Write images to files "
            "and give their paths."
        ) from error


def _read_folder(folder: Path, wanted: Sequence[str]) -> Table:
    require_columns(folder, FOLDER_COLUMNS, wanted)
    everything = sorted(p for p in folder.rglob("*") if not is_hidden(p, folder))
    # A run kept among the pictures has figures of its own.
    runs = {p.parent for p in everything if p.name == "model.json"}
    files = [p for p in everything if p.is_file() and runs.isdisjoint(p.parents)]
    images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    texts = {p.with_suffix(""): p for p in files if p.suffix.lower() == ".txt"}
    owners = {p.with_suffix("") for p in images}
    lonely = [p for stem, p in texts.items() if stem not in owners]
    if not images and not lonely:
        raise ManifestError(
            f"{folder}: the folder has neither images nor .txt files; give {KINDS}."
        )
    bad: list[BadItem] = []
    columns: dict[str, list[Cell]] = {name: [] for name in FOLDER_COLUMNS}
    for number, path in enumerate([*images, *lonely], start=1):
        parent = path.parent.relative_to(folder).as_posix()
        text = texts.get(path.with_suffix(""))
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        columns["image"].append(path.relative_to(folder).as_posix() if is_image else None)
        columns["text"].append(_text_of(text, number, bad) if text else None)
        columns["folder"].append(None if parent == "." else parent)
    rows = np.arange(1, 1 + len(images) + len(lonely))
    linked = [p for p in everything if p.is_symlink() and p.is_dir()]
    reason = "a link to a folder, which is not followed: move the folder here, or give its own path"
    bad += [
        BadItem(number, "row", str(path), reason)
        for number, path in enumerate(linked, start=len(rows) + 1)
    ]
    return Table({name: columns[name] for name in wanted}, rows, bad)


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether it, or a folder above it in `folder`, is not for people: notebooks leave copies."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _text_of(path: Path, number: int, bad: list[BadItem]) -> Cell:
    try:
        return path.read_text(encoding="utf-8-sig") or None
    except (UnicodeDecodeError, OSError) as error:
        bad.append(BadItem(number, "text", str(path), f"cannot be read ({error})"))
        return None


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """Open a text file, unpacked if it is compressed; a UTF-8 mark at its start is dropped."""
    known = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    return io.TextIOWrapper(pa.input_stream(str(path)), encoding=known, newline="")


def _by_mark(path: Path, encoding: str) -> str:
    """UTF-16 where a byte order mark says so, otherwise what was named."""
    with pa.input_stream(str(path)) as stream:
        return "utf-16" if stream.read(2) in (b"\xff\xfe", b"\xfe\xff") else encoding


def _not_in(path: Path, encoding: str) -> str:
    """What to say of a file that is not in the `encoding`: the first line that breaks it."""
    where = ""
    with pa.input_stream(str(path)) as stream:
        for number, line in enumerate(io.BufferedReader(stream), start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                seen = line.decode("latin-1").strip()
                where = f" Line {number}, byte {error.start + 1}: in Latin-1 it reads {seen!r:.60}."
                break
    return (
        f"{path}: not in {encoding}.{where} Save it as UTF-8, or name its encoding, for instance "
        "data.encoding: latin-1 (Western Europe) or cp1252 (Excel on Windows)."
    )
