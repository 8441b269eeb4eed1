"""Data sets of the Hugging Face hub, or saved by its `datasets` library, as rows.

What is read is kept in the cache as one tar file, so that pictures are read by offset like those of
a WebDataset and a later run asks nobody.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from setclip.data.atomic import replacing
from setclip.data.bad_items import BadItem, read_bad_items, write_bad_items
from setclip.data.cache import default_directory
from setclip.data.layouts import webdataset
from setclip.data.layouts.rows import PARTS, Rows
from setclip.data.tables import IMAGE_SUFFIXES, ManifestError
from setclip.suggest import nearest


def read(
    dataset: str,
    *,
    config: str | None = None,
    split: str = "train",
    image: str = "image",
    caption: str = "caption",
    label: str | None = None,
    streaming: bool = True,
    rows: int | None = None,
) -> Rows:
    """Read a split of a data set.

    Args:
        dataset: Name on the hub, folder written by `save_to_disk`, or folder of Parquet files.
        config: Its configuration, where it has several.
        split: Which split.
        image: Column of pictures.
        caption: Column of captions: texts, or lists of texts.
        label: Column of classes.
        streaming: Fetch row after row rather than download all first.
        rows: Read the first so many; None for all.

    Raises:
        ManifestError: The data set cannot be had or lacks a column.
        ImportError: `datasets` is not installed.
    """
    wanted = {"image": image, "caption": caption} | ({"label": label} if label else {})
    key = json.dumps([2, dataset, config, split, wanted, rows, _state(Path(dataset))])
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    copy = default_directory() / "hub" / f"{name}.tar"
    left_out = copy.with_suffix(".bad.jsonl")
    if not copy.is_file():
        source = _open(dataset, config, split, streaming)
        _copy(_checked(source, dataset, wanted), wanted, copy, left_out, rows)
    bad = read_bad_items(left_out)
    found = webdataset.read(copy)
    part = PARTS.get(split.partition("[")[0].casefold())
    # The copy counts its items from 1 and lacks the bad ones: the n-th is the n-th row kept.
    lost = {item.row for item in bad}
    copied = max([*(row.number for row in found.rows), *(item.row for item in found.bad)])
    kept = [number for number in range(1, copied + len(lost) + 1) if number not in lost]
    usable = [replace(row, part=part, number=kept[row.number - 1]) for row in found.rows]
    bad += [replace(item, row=kept[item.row - 1]) for item in found.bad]
    return Rows(Path(dataset), usable, bad)


def _state(path: Path) -> list[tuple[str, int, int]]:
    """What changes when a local data set does; nothing for one of the hub."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def _open(dataset: str, config: str | None, split: str, streaming: bool) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            'data sets of the hub need `datasets`: pip install "setclip[hub]"'
        ) from error
    folder = Path(dataset)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(dataset)
            return found[split] if isinstance(found, dict) else found
        return datasets.load_dataset(dataset, config, split=split, streaming=streaming)
    except (OSError, ValueError, KeyError) as error:  # offline, not found, no such split
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ManifestError(
            f"{dataset}: split {split!r} cannot be had ({reason}). Check its name and the network; "
            "where there is none, run once where there is and copy the folder hub of the cache "
            "($SETCLIP_CACHE), or save it with `datasets` (save_to_disk) and give that folder."
        ) from error


def _checked(source: Any, dataset: str, wanted: dict[str, str]) -> Any:
    """The columns that are wanted, pictures as they were encoded."""
    import datasets

    features = source.features
    if features is None:
        features = source._resolve_features().features
    for column in wanted.values():
        if column not in features:
            raise ManifestError(
                f"{dataset}: there is no column {column!r}.{nearest(column, features)} Columns "
                f"present: {', '.join(map(repr, features))}."
            )
    source = source.select_columns(list(wanted.values()))
    if isinstance(features[wanted["image"]], datasets.Image):
        source = source.cast_column(wanted["image"], datasets.Image(decode=False))
    return source


def _copy(
    source: Any, wanted: dict[str, str], path: Path, left_out: Path, rows: int | None
) -> None:
    """Write what can be read to `path`, once all is there, and what cannot to `left_out`."""
    names = getattr(source.features.get(wanted.get("label", "")), "names", None)
    bad = []
    entries: Iterable[Any] = islice(source, rows)
    with replacing(path) as aside, tarfile.open(aside, "w") as tar:
        for number, entry in enumerate(entries, start=1):
            try:
                content, suffix = _picture(entry[wanted["image"]])
            except (OSError, TypeError) as error:
                bad.append(BadItem(number, wanted["image"], f"row {number}", str(error)))
                continue
            caption = entry[wanted["caption"]]
            _add(tar, f"{number:09d}.json", json.dumps({"caption": caption}).encode())
            _add(tar, f"{number:09d}{suffix}", content)
            if "label" in wanted:
                value = entry[wanted["label"]]
                if value is not None and value != -1:  # of no class
                    _add(tar, f"{number:09d}.cls", str(names[value] if names else value).encode())
        write_bad_items(left_out, bad)


def _picture(cell: Any) -> tuple[bytes, str]:
    """Encoded picture and suffix of a cell of `datasets.Image(decode=False)`, bytes or a path."""
    if not isinstance(cell, dict):
        cell = {"path" if isinstance(cell, str) else "bytes": cell}
    content, path = cell.get("bytes"), cell.get("path")
    if content is None and path:
        content = Path(path).read_bytes()
    if not isinstance(content, bytes):
        raise TypeError(f"holds {type(content).__name__}, expected a picture")
    suffix = Path(path or "").suffix.lower()
    return content, suffix if suffix in IMAGE_SUFFIXES else ".png"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
