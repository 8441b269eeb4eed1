"""Karpathy-style JSON beside a folder of images: RSICD, UCM- and Sydney-captions, COCO, Flickr.

{"images": [{"filename": "airport_1.jpg", "split": "train",
             "sentences": [{"raw": "many planes are parked next to a terminal ."}, …]}, …]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from setclip.data.bad_items import BadItem
from setclip.data.layouts.rows import PARTS, Row, Rows, checked, read_json, require, texts_of
from setclip.modalities.text import describe


def read(path: str | Path, *, images: str | Path) -> Rows:
    """Read every image with its sentences and its part, if the file says it.

    Args:
        path: The JSON file.
        images: Folder of the images; COCO's `filepath` counts from here.

    Raises:
        ManifestError: The file or folder is missing, of another layout, or has no usable image.
    """
    path, folder = Path(path), require(Path(images), folder=True)
    bad: list[BadItem] = []
    rows = [
        row
        for number, entry in enumerate(read_json(path, ["images"])["images"], start=1)
        if (row := _row(entry, number, folder, bad)) is not None
    ]
    return checked(Rows(path, rows, bad), "image with a file name")


def _row(entry: Any, number: int, folder: Path, bad: list[BadItem]) -> Row | None:
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        bad.append(BadItem(number, "row", describe(entry), "has no filename"))
        return None
    said = entry.get("split")
    part = str(said).casefold() if said else None
    if part is not None and part not in PARTS:
        reason = f"{part!r} is not a split; known are {', '.join(PARTS)}"
        bad.append(BadItem(number, "split", name, reason))
        return None
    sentences = entry.get("sentences")
    raw = [
        sentence.get("raw") if isinstance(sentence, dict) else sentence
        for sentence in (sentences if isinstance(sentences, list) else [])
    ]
    image = folder / str(entry.get("filepath") or "") / name
    captions = texts_of(raw, number, "caption", bad)
    return Row(number, str(image), captions, PARTS[part] if part else None)
