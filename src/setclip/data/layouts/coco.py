"""COCO's captions JSON beside a folder of images, one file a part of the set.

{"images": [{"id": 391895, "file_name": "000000391895.jpg"}, …],
 "annotations": [{"image_id": 391895, "caption": "A man with a red helmet …"}, …]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from setclip.data.bad_items import BadItem
from setclip.data.layouts.rows import Row, Rows, checked, read_json, require, texts_of
from setclip.modalities.text import describe


def read(path: str | Path, *, images: str | Path) -> Rows:
    """Read every image with its captions; images without any are unpaired.

    Args:
        path: captions_train2017.json and its kin.
        images: Folder of the images.

    Raises:
        ManifestError: The file or folder is missing, of another layout, or has no usable image.
    """
    path, folder = Path(path), require(Path(images), folder=True)
    content = read_json(path, ["images", "annotations"])
    bad: list[BadItem] = []
    files: dict[Any, tuple[int, str]] = {}
    repeated: set[Any] = set()
    for number, entry in enumerate(content["images"], start=1):
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not (isinstance(name, str) and name and isinstance(entry.get("id"), int | str)):
            bad.append(BadItem(number, "images", describe(entry), "has no id or no file_name"))
        elif entry["id"] in files or entry["id"] in repeated:
            # Whose captions are meant cannot be known.
            repeated.add(entry["id"])
            bad.append(BadItem(number, "images", describe(entry), "has the id of another image"))
        else:
            files[entry["id"]] = number, name
    for key in sorted(repeated & files.keys(), key=str):
        number, name = files.pop(key)
        bad.append(BadItem(number, "images", describe(name), "has the id of another image"))
    captions = _captions(content["annotations"], files, bad)
    rows = [
        Row(number, str(folder / name), tuple(captions.get(key, ())))
        for key, (number, name) in files.items()
    ]
    return checked(Rows(path, rows, bad), "image with an id and a file_name")


def _captions(
    annotations: list[Any], files: dict[Any, tuple[int, str]], bad: list[BadItem]
) -> dict[Any, list[str]]:
    captions: dict[Any, list[str]] = {}
    for number, entry in enumerate(annotations, start=1):
        key = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(key, int | str) or key not in files:
            bad.append(BadItem(number, "annotations", describe(entry), "of no image of this file"))
            continue
        captions.setdefault(key, []).extend(
            texts_of([entry.get("caption")], number, "annotations", bad)
        )
    return captions
