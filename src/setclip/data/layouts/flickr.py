"""The caption files of Flickr8k and Flickr30k beside a folder of images.

    1000092795.jpg| 0| Two young guys with shaggy hair …      results.csv of Flickr30k
    1000268201_693b08cb0e.jpg#0→A child in a pink dress …      Flickr8k.token.txt
    image,caption                                             captions.txt, a later copy of it

Which of the three it is, each line shows by itself.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from setclip.data.bad_items import BadItem
from setclip.data.layouts.rows import Part, Row, Rows, checked, read_lines, require
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
        train_list: File that names the images of the training part, one a line; None for all that
            are not in the test.
        test_list: File that names the images of the test. With both lists given, what is in
            neither is validation.

    Raises:
        ManifestError: A file or the folder is missing, or no line is of a known form.
    """
    path, folder = Path(path), require(Path(images), folder=True)
    parts = _parts(train_list, test_list)
    bad: list[BadItem] = []
    found: dict[str, tuple[int, list[str]]] = {}
    for number, line in read_lines(path):
        match = BARS.match(line) or TOKENS.match(line) or COMMAS.match(line)
        if match is None or not match["text"].strip():
            if line.replace("|", ",").split(",")[0].strip() not in HEADERS:
                reason = "no caption, expected: image.jpg| 0| caption"
                bad.append(BadItem(number, "row", describe(line), reason))
            continue
        found.setdefault(match["name"], (number, []))[1].append(_unquoted(match["text"].strip()))
    rows = [
        Row(number, str(folder / name), tuple(texts), parts(name))
        for name, (number, texts) in found.items()
    ]
    return checked(Rows(path, rows, bad), "caption of a form that is known")


def _unquoted(text: str) -> str:
    """A caption of a CSV file without the quotes that its commas need."""
    return next(csv.reader([text]))[0] if text.startswith('"') and text.endswith('"') else text


class _Parts:
    """The part of an image, by the lists that name them."""

    def __init__(self, train: frozenset[str] | None, test: frozenset[str] | None) -> None:
        self.train, self.test = train, test

    def __call__(self, name: str) -> Part | None:
        if self.test is not None and name in self.test:
            return "test"
        if self.train is None:
            return None if self.test is None else "train"
        if name in self.train:
            return "train"
        return None if self.test is None else "validation"


def _parts(train_list: str | Path | None, test_list: str | Path | None) -> _Parts:
    named = [
        None if path is None else frozenset(name for _, name in read_lines(Path(path)))
        for path in (train_list, test_list)
    ]
    return _Parts(named[0], named[1])
