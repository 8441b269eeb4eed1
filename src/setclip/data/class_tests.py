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
        bad: Pictures that cannot be read.
        seen: How many were left out because they trained.
    """

    name: str
    items: Sequence[Item]
    features: FloatArray
    labels: Sequence[str]
    templates: Sequence[str]
    bad: Sequence[BadItem]
    seen: int = 0


def encode_class_test(
    name: str,
    found: Rows,
    encoder: Encoder,
    *,
    templates: Sequence[str],
    seen: Sequence[FloatArray] = (),
    progress: bool = False,
) -> ClassTest:
    """Encode the pictures of a zero-shot test through the cache.

    Args:
        name: What it is called in results.
        found: Its pictures and classes.
        encoder: A frozen encoder of pictures.
        templates: Sentences that a class name is put into.
        seen: Features of what trained. A picture with exactly these features is the same one, and
            is left out.
        progress: Show a bar while pictures are encoded.

    Raises:
        ManifestError: Fewer than two classes have a picture that can be used.
    """
    rows = [row for row in found.rows if row.image is not None and row.label]
    pictures: list[Item] = [Path(str(row.image)) for row in rows]
    encoded = encode_items(encoder, pictures, progress=progress)
    readable = np.setdiff1d(np.arange(len(rows)), encoded.lost)
    trained = {row.tobytes() for part in seen for row in part}
    kept = [i for i in readable if encoded.features[i].tobytes() not in trained]
    labels = [rows[i].label for i in kept]
    if len(set(labels)) < 2:
        raise ManifestError(
            f"{found.path}: {len(set(labels))} classes with pictures that can be read and that did "
            "not train; a zero-shot test needs two."
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
        len(readable) - len(kept),
    )
