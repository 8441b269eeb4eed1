"""Features of a manifest's two sides, and the manifest without what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from setclip.data.bad_items import BadItem
from setclip.data.captions import encode_items
from setclip.data.manifest import Manifest, Modality
from setclip.data.pools import FloatArray, IntArray, Item
from setclip.data.tables import Cell
from setclip.encoders.protocol import Encoder


@dataclass(frozen=True, eq=False)
class EncodedSide:
    """Features of one side of a manifest.

    Attributes:
        features: NaN where a row has nothing on this side. Shape [n, d].
        each: Features of every caption or picture by itself, row after row. Shape [c, d].
        owners: Position of the row that each row of `each` belongs to. Shape [c].
    """

    features: FloatArray
    each: FloatArray
    owners: IntArray

    def of(self, positions: IntArray) -> tuple[FloatArray, IntArray]:
        """Every caption of the rows at `positions`, and which of these rows each belongs to."""
        place = np.full(len(self.features), -1, dtype=np.int64)
        place[positions] = np.arange(len(positions))
        rows = place[self.owners]
        return self.each[rows >= 0], rows[rows >= 0]

    def _take(self, positions: IntArray) -> EncodedSide:
        each, owners = self.of(positions)
        return EncodedSide(self.features[positions], each, owners)


def encode_manifest(
    manifest: Manifest, x_encoder: Encoder, y_encoder: Encoder, *, progress: bool = False
) -> tuple[Manifest, EncodedSide, EncodedSide]:
    """Encode both sides through the cache.

    Returns:
        The manifest without the cells, captions and rows that could not be read, which are among
        its bad items; and the features of either side, aligned with its rows.
    """
    columns = manifest.columns
    x_cells, x, x_bad = _encode(
        manifest, manifest.x, columns.x, columns.x_modality, x_encoder, progress
    )
    y_cells, y, y_bad = _encode(
        manifest, manifest.y, columns.y, columns.y_modality, y_encoder, progress
    )
    bad = sorted([*manifest.bad, *x_bad, *y_bad], key=lambda item: (item.source, item.row))
    readable = replace(manifest, x=x_cells, y=y_cells, bad=bad)
    kept = np.asarray(
        [i for i in range(len(manifest)) if not (x_cells[i] is None and y_cells[i] is None)],
        dtype=np.int64,
    )
    if len(kept) == len(manifest):
        return readable, x, y
    return readable.take(kept), x._take(kept), y._take(kept)


def raw_items(cells: list[Cell], modality: Modality, positions: IntArray) -> list[Item]:
    """The filled cells at `positions` as items: paths of pictures, texts, tuples of texts."""
    found: list[Item] = []
    for i in positions:
        cell = cells[i]
        assert cell is not None
        found.append(Path(str(cell)) if modality == "image" else cell)
    return found


def _encode(
    manifest: Manifest,
    cells: list[Cell],
    field: str,
    modality: Modality,
    encoder: Encoder,
    progress: bool,
) -> tuple[list[Cell], EncodedSide, list[BadItem]]:
    filled = np.asarray([i for i, cell in enumerate(cells) if cell is not None], dtype=np.int64)
    found = encode_items(encoder, raw_items(cells, modality, filled), progress=progress)
    features = np.full((len(cells), found.features.shape[1]), np.nan, dtype=np.float32)
    features[filled] = found.features
    left: list[Cell] = list(cells)
    bad = []
    lost = set(found.lost.tolist())
    for item in found.bad:
        position = int(filled[item.row])
        whole = manifest.bad_item(position, field, item.value, item.reason)
        bad.append(replace(whole, partly=item.row not in lost))
        kept = found.items[item.row]
        if modality == "text" and not isinstance(kept, bytes | Path):
            left[position] = kept
    for position in filled[found.lost]:
        left[position] = None
    return left, EncodedSide(features, found.each, filled[found.owners]), bad
