"""Named data sets of matched items: three inside the package, others built by `data/builders`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from setclip.data.cache import cached_features, default_directory
from setclip.data.pools import FloatArray, IntArray
from setclip.data.splits import near_duplicate_groups
from setclip.encoders import Item, from_card
from setclip.suggest import nearest

if TYPE_CHECKING:
    from setclip.data.proteins import ProteinSet

BUNDLED = Path(__file__).parent / "bundled"
BUILT = ("openclipart", "mdi-icons", "protein-chains")
SHORT_CHAINS = "protein-chains-150"
"""The chains of protein-chains of up to :data:`SHORT` residues; its encoder of structures sees what
the residues are, as published."""
SHORT = 150
TYPED_PROTEINS = "proteins-typed"
"""The bundled chains with such an encoder of structures."""
STRUCTURE_ALONE: dict[str, Any] = {"kind": "cdconv", "types": False}
"""Encoder of structures that cannot read off the sequence that is looked for."""
RESIDUES_SEEN: dict[str, Any] = {"kind": "cdconv"}
"""Encoder of structures that sees what each residue is, as published."""


@dataclass(frozen=True)
class Dataset:
    """Matched items of two modalities, all rows aligned. Load it with :func:`load_dataset`.

    Attributes:
        name: What it is called.
        x_items: First modality: images as bytes or paths, texts, or sequences.
        y_items: Second modality: texts, or structures as `pack_chain` makes them.
        names: A short name of each item.
        labels: The category of each item, "" for none.
        concepts: Items of one concept must share a side of a split. Shape [n].
        licence: Who made it and what may be done with it.
        x_encoder: Encoder of `x_items`, a name or kind and options.
        y_encoder: Encoder of `y_items`.
        ready: Features that come with the data instead of being encoded; None otherwise.
        distinct: Whether items of one concept are still different things: each then stands in a
            gallery for itself, and a concept makes a set.
        sides: What an x and a y are called; None for pictures and captions, or texts.
    """

    name: str
    x_items: Sequence[Item]
    y_items: Sequence[Item]
    names: list[str]
    labels: list[str]
    concepts: IntArray
    licence: str
    x_encoder: str | dict[str, Any]
    y_encoder: str | dict[str, Any]
    ready: tuple[FloatArray, FloatArray] | None = None
    distinct: bool = False
    sides: tuple[str, str] | None = None

    def __len__(self) -> int:
        return len(self.y_items)

    @cached_property
    def captions(self) -> Sequence[str]:
        """What to show for an item."""
        return self.names if self.distinct else [str(item) for item in self.y_items]

    @property
    def called(self) -> tuple[str, str]:
        """What an x and a y are called."""
        pictures = self.thumbnail(0) is not None
        return self.sides or (("image", "caption") if pictures else ("text", "text"))

    def groups(self, x: FloatArray, y: FloatArray) -> IntArray:
        """Which items must not be separated by a split: concepts, joined by near-duplicates.

        Args:
            x: Features of all items. Shape [n, d_x].
            y: Shape [n, d_y].
        """
        return self.concepts if self.distinct else near_duplicate_groups(x, y, keys=[self.concepts])

    def features(
        self, *, progress: bool = True, directory: str | Path | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Features of both modalities, from the cache where it has them.

        Args:
            progress: Show a bar while items are encoded.
            directory: The cache; None for its default place.

        Returns:
            Row-aligned arrays of raw (not normalised) features. Shapes [n, d_x] and [n, d_y].

        Raises:
            ImportError: The packages that carry the encoders are not installed.
            ValueError: An item of the data set cannot be read: it is damaged.
        """
        if self.ready is not None:
            return self.ready
        return (
            self._encoded(self.x_encoder, self.x_items, progress, directory),
            self._encoded(self.y_encoder, self.y_items, progress, directory),
        )

    def thumbnail(self, row: int) -> bytes | None:
        """The encoded picture of one item, None where the items are not pictures."""
        item = self.x_items[row]
        if isinstance(item, Path):
            return item.read_bytes()
        return item if isinstance(item, bytes) else None

    def _encoded(
        self,
        encoder: str | dict[str, Any],
        items: Sequence[Item],
        progress: bool,
        directory: str | Path | None,
    ) -> FloatArray:
        features, bad = cached_features(
            from_card(encoder), items, directory=directory, progress=progress
        )
        if bad:
            raise ValueError(
                f"the data set {self.name} is damaged, {len(bad):,} items cannot be read: "
                f"{bad[0]}. Install or build it again."
            )
        return features


def load_dataset(name: str, *, folder: str | Path | None = None) -> Dataset:
    """Load a data set by name.

    Args:
        name: "emoji", "glosses" or "proteins", which are always there, or "openclipart",
            "mdi-icons" or "protein-chains", which `setclip data build` makes. "proteins-typed" and
            "protein-chains-150", the short chains, show residues to the encoder of structures.
        folder: Where a built one lies; None for the place where `setclip data build` puts it.

    Raises:
        ValueError: No data set has that name.
        FileNotFoundError: It was not built yet.
    """
    if name in _LOADERS:
        return _LOADERS[name]()
    if name == "protein-chains":
        return _protein_chains(folder)
    if name == SHORT_CHAINS:
        return _protein_chains(folder, longest=SHORT)
    if name in BUILT:
        return load_folder(built_folder(name) if folder is None else folder, name=name)
    known = (*_LOADERS, *BUILT, SHORT_CHAINS)
    raise ValueError(
        f"no data set is called {name!r}.{nearest(name, known)} Choose one of: {', '.join(known)}."
    )


def built_folder(name: str) -> Path:
    """Where a built data set lies unless told otherwise."""
    return default_directory() / "datasets" / name


def load_folder(folder: str | Path, *, name: str) -> Dataset:
    """Load what a builder made.

    Raises:
        FileNotFoundError: The folder holds no manifest.
    """
    folder = Path(folder)
    manifest = folder / "manifest.parquet"
    if not manifest.is_file():
        raise FileNotFoundError(
            f"there is no {manifest}: build the data set first, `setclip data build {name}`."
        )
    table = pq.read_table(manifest)
    return Dataset(
        name=name,
        x_items=[folder / image for image in _strings(table, "image")],
        y_items=_strings(table, "caption"),
        names=_strings(table, "name"),
        labels=_strings(table, "label"),
        concepts=_numbered(_strings(table, "group")),
        licence=(folder / "LICENSE.txt").read_text(encoding="utf-8"),
        x_encoder="efficientnet-lite0",
        y_encoder="minilm-l6",
    )


def _emoji() -> Dataset:
    table = pq.read_table(BUNDLED / "emoji.parquet")
    return Dataset(
        name="emoji",
        x_items=table["image"].to_pylist(),
        y_items=_strings(table, "caption"),
        names=_strings(table, "name"),
        labels=_strings(table, "group"),
        concepts=_numbered(_strings(table, "concept")),
        licence=(BUNDLED / "emoji.LICENSE.txt").read_text(encoding="utf-8"),
        x_encoder="efficientnet-lite0",
        y_encoder="minilm-l6",
    )


def _glosses() -> Dataset:
    from safetensors.numpy import load_file

    table = pq.read_table(BUNDLED / "glosses.parquet")
    packed = load_file(BUNDLED / "glosses.safetensors")
    texts = _strings(table, "caption")
    return Dataset(
        name="glosses",
        x_items=texts,
        y_items=texts,
        names=_strings(table, "word"),
        labels=_strings(table, "group"),
        concepts=_numbered([word.casefold() for word in _strings(table, "word")]),
        licence=(BUNDLED / "glosses.LICENSE.txt").read_text(encoding="utf-8"),
        x_encoder="minilm-l6",
        y_encoder="bge-small",
        ready=(_unpacked(packed, "x"), _unpacked(packed, "y")),
    )


def _proteins() -> Dataset:
    from setclip.data.proteins import load_proteins

    return _of_proteins(load_proteins())


def _typed_proteins() -> Dataset:
    return replace(_proteins(), name=TYPED_PROTEINS, y_encoder=RESIDUES_SEEN)


def _protein_chains(folder: str | Path | None, longest: int | None = None) -> Dataset:
    """Of the built chains those of one known domain, the first of each cluster of 35 % identity.

    Args:
        folder: Where they lie.
        longest: Residues at most of the chains that count.
    """
    from setclip.data.proteins import load_proteins

    chains = load_proteins("protein-chains", folder=folder)
    if longest is not None:
        chains = chains.take(np.flatnonzero(np.diff(chains.starts) <= longest))
    chosen = _of_proteins(chains.take(chains.representatives))
    if longest is None:
        return chosen
    return replace(chosen, name=SHORT_CHAINS, y_encoder=RESIDUES_SEEN)


def _of_proteins(chains: ProteinSet) -> Dataset:
    from setclip.data.proteins import PackedChains

    return Dataset(
        name=chains.name,
        x_items=chains.sequences,
        y_items=PackedChains(chains.chain, len(chains)),
        names=[
            f"{name} · CATH {superfamily}"
            for name, superfamily in zip(chains.names, chains.superfamilies, strict=True)
        ],
        labels=chains.topologies,
        concepts=chains.groups,
        licence=chains.licence,
        x_encoder="composition",
        y_encoder=STRUCTURE_ALONE,
        distinct=True,
        sides=("sequence", "structure"),
    )


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "emoji": _emoji,
    "glosses": _glosses,
    "proteins": _proteins,
    TYPED_PROTEINS: _typed_proteins,
}


def _strings(table: pa.Table, column: str) -> list[str]:
    values: list[str] = table[column].to_pylist()
    return values


def _numbered(names: Sequence[str]) -> IntArray:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _unpacked(packed: dict[str, npt.NDArray[Any]], side: str) -> FloatArray:
    """Undo the rounding of scripts/build_glosses.py: centre + scale of the row * byte."""
    centre, scale = packed[f"{side}_centre"], packed[f"{side}_scale"]
    features: FloatArray = centre + scale[:, None] * packed[f"{side}_values"].astype(np.float32)
    return features
