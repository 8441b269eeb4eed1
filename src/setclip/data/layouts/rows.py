"""What every reader of a layout returns: rows of a picture, its captions, part and class."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from setclip.data.bad_items import BadItem
from setclip.data.tables import IMAGE_SUFFIXES, ManifestError
from setclip.modalities.text import describe
from setclip.suggest import nearest

Part = Literal["train", "validation", "test"]

PARTS: dict[str, Part] = {
    "train": "train",
    "restval": "train",  # images of COCO's validation set that everybody trains on
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
"""What the layouts call the parts of a set."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item of a layout.

    Attributes:
        number: Where a person finds it: a line, or the place in a list, from 1.
        image: Path of the picture, or of its place in a tar file; None if there is none.
        captions: Any number of texts.
        part: What the layout says it is for; None if it says nothing.
        label: Name of its class, "" for none.
    """

    number: int
    image: str | None = None
    captions: tuple[str, ...] = ()
    part: Part | None = None
    label: str = ""


@dataclass(frozen=True)
class Rows:
    """What a layout holds.

    Attributes:
        path: Where it was read from.
        rows: The rows that can be used; pictures have not been opened.
        bad: Rows and captions that cannot be used.
    """

    path: Path
    rows: list[Row]
    bad: list[BadItem] = field(default_factory=list)


def checked(found: Rows, what: str) -> Rows:
    """The same rows, if there are any.

    Raises:
        ManifestError: There is none, with the first bad one.
    """
    if found.rows:
        return found
    first = f" The first bad one: {found.bad[0]}." if found.bad else ""
    raise ManifestError(f"{found.path}: holds no {what}.{first}")


def require(path: Path, *, folder: bool = False) -> Path:
    """The path, if there is such a file or folder.

    Raises:
        ManifestError: There is none, with the nearest name beside it.
    """
    if path.is_dir() if folder else path.is_file():
        return path
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    what = "folder" if folder else "file"
    raise ManifestError(f"{path}: there is no such {what}.{nearest(path.name, siblings)}")


def read_json(path: Path, lists: Collection[str]) -> dict[str, list[Any]]:
    """Read the named lists of a JSON object.

    Raises:
        ManifestError: Not JSON, or without one of the lists.
    """
    require(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"{path}: not valid JSON ({error}). Download it again.") from error
    for name in lists:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            found = list(content) if isinstance(content, dict) else [type(content).__name__]
            raise ManifestError(
                f"{path}: has no list {name!r}, but {', '.join(map(repr, found)) or 'nothing'}: is "
                "it of another layout?"
            )
    return {name: content[name] for name in lists}


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers.

    Raises:
        ManifestError: The file is missing or not UTF-8.
    """
    require(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 ({error}). Save it as UTF-8.") from error
    # Other separators of Unicode may stand inside a caption.
    numbered = enumerate(text.split("\n"), start=1)
    return [(number, line.strip()) for number, line in numbered if line.strip()]


def texts_of(values: Iterable[Any], number: int, field: str, bad: list[BadItem]) -> tuple[str, ...]:
    """The captions that are texts, stripped; the others are listed."""
    values = list(values)
    texts = tuple(v.strip() for v in values if isinstance(v, str) and v.strip())
    for value in values:
        if not isinstance(value, str) or not value.strip():
            reason = "empty caption" if isinstance(value, str) else "not a text"
            bad.append(BadItem(number, field, describe(value), reason, partly=bool(texts)))
    return texts


def is_image(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
