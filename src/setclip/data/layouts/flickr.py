"""The caption files of Flickr8k and Flickr30k beside a folder of images.

    1000092795.jpg| 0| Two young guys with shaggy hair …      results.csv of Flickr30k
    1000268201_693b08cb0e.jpg#0→A child in a pink dress …      Flickr8k.token.txt
    image,caption                                             captions.txt, a later copy of it

Which of the three it is, each line shows by itself.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path, PurePath

from setclip.data.bad_items import BadItem
from setclip.data.layouts.rows import Part, Row, Rows, checked, read_lines, require
from setclip.data.tables import ManifestError
from setclip.modalities.text import describe

BARS = re.compile(r"^(?P<name>[^|]+?)\s*\|\s*\d+\s*\|(?P<text>.*)$")
TOKENS = re.compile(r"^(?P<name>[^\t]+?)(?:#\d+)?\t(?P<text>.*)$")
COMMAS = re.compile(r"^(?P<name>[^,|\t]+\.\w{3,4}),(?P<text>.*)$")
HEADERS = frozenset({"image_name", "image"})


def read(
    path: str | Path,
    *,
    images: str | Path,
    train_list: str | Path | None = None,
    test_list: str | Path | None = None,
) -> Rows:
    """Read every image with its captions.

    Args:
        path: results.csv, Flickr8k.token.txt or captions.txt.
        images: Folder of the images.
        train_list: File that names the images of the training part, one a line, with or without
            their suffix; None for all that are not in the test. Names without a caption are listed
            among what is bad. Given alone, what it does not name is the test.
        test_list: File that names the images of the test. With both lists given, what is in
            neither is validation.

    Raises:
        ManifestError: A file or the folder is missing, no line is of a known form, or a list names
            no image that has captions.
    """
    path, folder = Path(path), require(Path(images), folder=True)
    bad: list[BadItem] = []
    found: dict[str, tuple[int, list[str]]] = {}
    for number, line in read_lines(path):
        match = BARS.match(line) or TOKENS.match(line) or COMMAS.match(line)
        if match is None or not match["text"].strip():
            if line.replace("|", ",").split(",")[0].strip() not in HEADERS:
                reason = "no caption, expected: image.jpg| 0| caption"
                bad.append(BadItem(number, "row", describe(line), reason))
            continue
        text = match["text"].strip()
        text = _unquoted(text) if match.re is COMMAS else text
        found.setdefault(match["name"], (number, []))[1].append(text)
    train, test = (_listed(path, found, bad) for path in (train_list, test_list))
    rows = [
        Row(number, str(folder / name), tuple(texts), _part(name, train, test))
        for name, (number, texts) in found.items()
    ]
    return checked(Rows(path, rows, bad), "caption of a form that is known")


def _unquoted(text: str) -> str:
    """A caption of a CSV file without the quotes that its commas need."""
    cells = next(csv.reader([text])) if text.startswith('"') and text.endswith('"') else []
    return cells[0] if len(cells) == 1 else text


def _listed(
    path: str | Path | None, found: Collection[str], bad: list[BadItem]
) -> frozenset[str] | None:
    """The images that a list names; what it names in vain is added to `bad`."""
    if path is None:
        return None
    path = Path(path)
    lines = read_lines(path)
    full = {PurePath(name).stem: name for name in found} | {name: name for name in found}
    named = {full[name] for _, name in lines if name in full}
    if lines and found and not named:
        raise ManifestError(
            f"{path}: none of its {len(lines):,} lines ({lines[0][1]!r}, …) is an image that has "
            f"captions; those are called like {next(iter(found))!r}. Write one name a line."
        )
    bad += [
        BadItem(number, path.name, name, "listed, but there is no caption of such an image")
        for number, name in lines
        if name not in full
    ]
    return frozenset(named)


def _part(name: str, train: frozenset[str] | None, test: frozenset[str] | None) -> Part | None:
    if test is not None and name in test:
        return "test"
    if train is None:
        return None if test is None else "train"
    if name in train:
        return "train"
    return "test" if test is None else "validation"
