"""Pictures with classes: a folder a class, or lists that name them. Zero-shot sets come so.

RSSCN7/Field/b001.jpg                     class folders
txtclasses_rsicd/airport.txt              a folder of lists: the pictures of a class, one a line
airport/airport_001.jpg airport           one list: picture and class in each line
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from setclip.data.bad_items import BadItem
from setclip.data.layouts.rows import Row, Rows, checked, is_image, read_lines, require
from setclip.data.tables import is_hidden
from setclip.modalities.text import describe

_SEPARATOR = re.compile(r"[,;\t]")
_HEADER = frozenset({"image", "filename", "file", "path", "name", "img", "image_path", "filepath"})


def read_folders(path: str | Path, *, names: Mapping[str, str] | None = None) -> Rows:
    """Read a folder in which each folder holds the pictures of one class.

    Args:
        path: The folder.
        names: What to call classes whose folder's name does not say it.

    Raises:
        ManifestError: There is no such folder, or none in it holds a picture.
    """
    path = require(Path(path), folder=True)
    rows: list[Row] = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        label = class_name(folder.name, names)
        for file in sorted(p for p in folder.rglob("*") if is_image(p) and not is_hidden(p, path)):
            rows.append(Row(len(rows) + 1, str(file.absolute()), label=label))
    return checked(Rows(path, rows), "folder of pictures; expected one folder a class")


def read_list(
    path: str | Path, *, images: str | Path, names: Mapping[str, str] | None = None
) -> Rows:
    """Read lists of pictures and their classes.

    Args:
        path: A file with a picture and its class in each line (divided by a comma, semicolon, tab
            or the last space), or a folder in which `<class>.txt` names the pictures of the class.
        images: Folder that the names count from.
        names: What to call classes whose name in the list does not say it, numbers for instance.

    Raises:
        ManifestError: The file or folder is missing, or names no picture.
    """
    path, folder = Path(path), require(Path(images), folder=True)
    if path.is_dir():
        return checked(_lists_of_classes(path, folder, names), "<class>.txt with names of pictures")
    bad: list[BadItem] = []
    rows = []
    for number, line in read_lines(path):
        cells = [c.strip() for c in _SEPARATOR.split(line)]
        if len(cells) == 1:
            cells = line.rsplit(maxsplit=1)
        if number == 1 and cells[0].casefold() in _HEADER:
            continue
        if len(cells) < 2 or not all(cells[:2]):
            bad.append(BadItem(number, "row", describe(line), "expected a picture and its class"))
            continue
        rows.append(Row(number, str(folder / cells[0]), label=class_name(cells[1], names)))
    return checked(Rows(path, rows, bad), "line with a picture and its class")


def _lists_of_classes(path: Path, folder: Path, names: Mapping[str, str] | None) -> Rows:
    rows: list[Row] = []
    for file in sorted(p for p in path.iterdir() if p.suffix == ".txt"):
        label = class_name(file.stem, names)
        rows += [Row(n, str(folder / line), label=label) for n, line in read_lines(file)]
    return Rows(path, rows)


def class_name(written: str, names: Mapping[str, str] | None = None) -> str:
    """A class as a sentence would call it: `denseResidential_area` is "dense residential area".

    Args:
        written: Name of a folder or in a list.
        names: What to call it instead, by what is written.
    """
    if names and written in names:
        return names[written]
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", written)
    return " ".join(re.sub(r"[_\-]+", " ", apart).split()).lower()
