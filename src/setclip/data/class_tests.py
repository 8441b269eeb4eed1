"""Zero-shot tests of their own: pictures and classes that no training part comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from setclip.data.bad_items import BadItem
from setclip.data.captions import encode_items
from setclip.data.layouts.rows import Rows
from setclip.data.pools import FloatArray, Item
from setclip.data.tables import ManifestError
from setclip.encoders.protocol import Encoder


@dataclass(frozen=True, eq=False)
class ClassTest:
    """Pictures with classes.

    Attributes:
        name: What it is called in results.
        items: The pictures. Length n.
        features: Of the frozen encoder, row-aligned. Shape [n, d].
        labels: Class name of each. Length n.
        templates: Sentences that a class name is put into.
        bad: Pictures that had to be left out.
    """

    name: str
    items: Sequence[Item]
    features: FloatArray
    labels: Sequence[str]
    templates: Sequence[str]
    bad: Sequence[BadItem]


def encode_class_test(
    name: str,
    found: Rows,
    encoder: Encoder,
    *,
    templates: Sequence[str],
    progress: bool = False,
) -> ClassTest:
    """Encode the pictures of a zero-shot test through the cache.

    Raises:
        ManifestError: Fewer than two classes have a picture that can be read.
    """
    rows = [row for row in found.rows if row.image is not None and row.label]
    pictures: list[Item] = [Path(str(row.image)) for row in rows]
    encoded = encode_items(encoder, pictures, progress=progress)
    kept = np.setdiff1d(np.arange(len(rows)), encoded.lost)
    labels = [rows[i].label for i in kept]
    if len(set(labels)) < 2:
        raise ManifestError(
            f"{found.path}: {len(set(labels))} class with pictures that can be read; a zero-shot "
            "test needs two."
        )
    unread = [replace(item, row=rows[item.row].number, source=name) for item in encoded.bad]
    listed = [replace(item, source=name) for item in found.bad]
    return ClassTest(
        name,
        [pictures[i] for i in kept],
        encoded.features[kept],
        labels,
        templates,
        [*listed, *unread],
    )
