"""Items with several captions: one item in every count, a caption at a time where it matters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from setclip.data.bad_items import BadItem
from setclip.data.cache import cached_features
from setclip.data.manifest import BoolArray, Manifest
from setclip.data.pools import FloatArray, IntArray, Item
from setclip.encoders.protocol import Encoder
from setclip.encoders.protocol import Item as Single


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """Features of items of which some have several captions.

    Attributes:
        features: The mean over an item's captions of what the encoder gave, normalised neither
            before nor after. NaN where nothing of an item could be read. Shape [n, d].
        items: The items without the captions that could not be read. Length n.
        each: Features of every single text or picture, item after item. Shape [c, d].
        owners: Item of each row of `each`. Shape [c].
        bad: What could not be read; `row` is the item, counted from 0.
        lost: Items of which nothing could be read. Shape [lost].
    """

    features: FloatArray
    items: list[Item]
    each: FloatArray
    owners: IntArray
    bad: list[BadItem]
    lost: IntArray


def encode_items(
    encoder: Encoder, items: Sequence[Item], *, progress: bool = False
) -> ItemFeatures:
    """Features of items through the cache, the captions of an item averaged.

    Args:
        encoder: A frozen encoder.
        items: Pictures, texts, or tuples of the texts of one item.
        progress: Show a bar while items are encoded.
    """
    singles: list[Single] = []
    owners: list[int] = []
    for i, item in enumerate(items):
        parts = item if isinstance(item, tuple) else (item,)
        singles += parts
        owners += [i] * len(parts)
    each, unread = cached_features(encoder, singles, progress=progress)
    owner: IntArray = np.asarray(owners, dtype=np.int64)
    good = np.ones(len(singles), dtype=bool)
    good[[item.row for item in unread]] = False
    each, owner = each[good], owner[good]
    counts = np.bincount(owner, minlength=len(items))
    kept = list(items)
    for i in {owners[item.row] for item in unread}:
        own = slice(bisect_left(owners, i), bisect_right(owners, i))
        kept[i] = _without_bad(items[i], good[own])
    return ItemFeatures(
        _means(each, owner, counts),
        kept,
        each,
        owner,
        [replace(item, row=owners[item.row]) for item in unread],
        np.flatnonzero(counts == 0),
    )


def _without_bad(item: Item, good: BoolArray) -> Item:
    if not isinstance(item, tuple) or not good.any():
        return item
    texts = tuple(text for text, usable in zip(item, good, strict=True) if usable)
    return texts if len(texts) > 1 else texts[0]


def _means(each: FloatArray, owners: IntArray, counts: IntArray) -> FloatArray:
    if (counts == 1).all():
        return each
    means = np.full((len(counts), each.shape[1]), np.nan, dtype=np.float32)
    held = np.flatnonzero(counts)
    if len(held):
        starts = np.concatenate([[0], np.cumsum(counts[held])[:-1]])
        means[held] = np.add.reduceat(each, starts, axis=0) / counts[held, None]
    return means


def merge_captions(manifest: Manifest) -> Manifest:
    """Make one item of the rows that pair the same picture with different texts.

    The first such row stays, with the texts of all. Rows that differ in set, group, label or part
    stay apart, and so do rows with one cell.
    """
    columns = manifest.columns
    pictures, texts = manifest.x, manifest.y
    if columns.x_modality == "text":
        pictures, texts = texts, pictures
    owners: dict[object, int] = {}
    merged: dict[int, list[str]] = {}
    for i in manifest.pairs.tolist():
        test = None if manifest.test is None else bool(manifest.test[i])
        ids = (int(ids[i]) for ids in (manifest.sets, manifest.groups, manifest.labels))
        first = owners.setdefault((pictures[i], test, *ids), i)
        text = texts[i]
        merged.setdefault(first, []).extend(text if isinstance(text, tuple) else [str(text)])
    cells = list(texts)
    for first, captions in merged.items():
        cells[first] = tuple(captions) if len(captions) > 1 else captions[0]
    repeats = np.setdiff1d(manifest.pairs, np.asarray(list(merged), dtype=np.int64))
    kept = np.setdiff1d(np.arange(len(manifest)), repeats)
    side = "x" if columns.x_modality == "text" else "y"
    return replace(manifest, **{side: cells}).take(kept)  # type: ignore[arg-type]
