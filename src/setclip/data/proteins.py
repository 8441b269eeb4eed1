"""Sets of labelled protein chains: one inside the package, one made by `setclip data build`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from setclip.data.datasets import BUNDLED, built_folder
from setclip.data.pools import IntArray
from setclip.proteins.chains import Chain
from setclip.proteins.packed import pack_chain
from setclip.suggest import nearest

SCALE = np.float32(0.01)
"""Coordinates are kept as whole hundredths of an A."""


@dataclass(frozen=True, eq=False)
class ProteinSet:
    """Chains with labels, all rows aligned. Load it with :func:`load_proteins`.

    Attributes:
        name: What it is called.
        names: PDB code and chain, as "1abc_A".
        sequences: One letter a residue.
        starts: Row i has the residues starts[i] to starts[i + 1]. Shape [n + 1].
        coordinates: N, CA, C and, in the built set, O in 0.01 A; may be memory-mapped.
            Shape [residues, 3 or 4, 3].
        superfamilies: CATH class.architecture.topology.homology; "" unless the chain has exactly
            one domain.
        topologies: The first three of these numbers.
        s35: Cluster of the superfamily at 35 % identity.
        ec: Enzyme numbers of each chain.
        go: Direct terms of each chain by branch: "mf", "bp", "cc"; empty in the bundled set.
        licence: Who made it and what may be done with it.
    """

    name: str
    names: list[str]
    sequences: list[str]
    starts: IntArray
    coordinates: npt.NDArray[np.integer]
    superfamilies: list[str]
    topologies: list[str]
    s35: list[str]
    ec: list[list[str]]
    go: dict[str, list[list[str]]]
    licence: str

    def __len__(self) -> int:
        return len(self.names)

    def chain(self, row: int) -> Chain:
        """One chain; an atom that is not stored is NaN."""
        stored = self.coordinates[self.starts[row] : self.starts[row + 1]]
        backbone = np.full((len(stored), 4, 3), np.nan, dtype=np.float32)
        backbone[:, : stored.shape[1]] = stored * SCALE
        index = np.arange(len(stored), dtype=np.int32)
        return Chain(self.names[row], self.sequences[row], backbone[:, 1].copy(), index, backbone)

    @property
    def groups(self) -> IntArray:
        """Chains of one superfamily share a number, and must share a side of a split. Shape [n].

        A chain without superfamily is a group of its own.
        """
        keys = [s or f"alone {i}" for i, s in enumerate(self.superfamilies)]
        return np.unique(keys, return_inverse=True)[1].astype(np.int64)

    @property
    def representatives(self) -> IntArray:
        """The first row of each cluster at 35 % identity, ascending; no chain without a cluster."""
        first = {cluster: row for row, cluster in reversed([*enumerate(self.s35)]) if cluster}
        return np.array(sorted(first.values()), dtype=np.int64)

    def take(self, rows: Sequence[int] | IntArray) -> ProteinSet:
        """The set with these rows only; coordinates are copied."""
        lengths = np.diff(self.starts)[rows]
        parts = [self.coordinates[self.starts[i] : self.starts[i + 1]] for i in rows]
        return ProteinSet(
            name=self.name,
            names=[self.names[i] for i in rows],
            sequences=[self.sequences[i] for i in rows],
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            coordinates=np.concatenate(parts) if parts else self.coordinates[:0],
            superfamilies=[self.superfamilies[i] for i in rows],
            topologies=[self.topologies[i] for i in rows],
            s35=[self.s35[i] for i in rows],
            ec=[self.ec[i] for i in rows],
            go={branch: [terms[i] for i in rows] for branch, terms in self.go.items()},
            licence=self.licence,
        )


@dataclass(frozen=True, eq=False)
class PackedChains(Sequence[bytes]):
    """Chains as the bytes that structure encoders read, each packed when it is asked for.

    Attributes:
        chain: One chain by its row.
        size: How many there are.
    """

    chain: Callable[[int], Chain]
    size: int

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> list[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | list[bytes]:
        """One chain, or several."""
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        # The end of an iteration, too.
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} chains")
        return pack_chain(self.chain(int(row) % len(self)))


def load_proteins(name: str = "proteins", *, folder: str | Path | None = None) -> ProteinSet:
    """Load a set of chains by name.

    Args:
        name: "proteins", which is always there, or "protein-chains", which `setclip data build`
            makes.
        folder: Where the built one lies; None for the place where `setclip data build` puts it.

    Raises:
        ValueError: No set has that name.
        FileNotFoundError: It was not built yet.
    """
    if name == "proteins":
        return _bundled()
    if name == "protein-chains":
        return _built(Path(built_folder(name) if folder is None else folder), name)
    known = ("proteins", "protein-chains")
    raise ValueError(
        f"no set of proteins is called {name!r}.{nearest(name, known)} Choose one of: "
        f"{', '.join(known)}."
    )


def load_unpaired(folder: str | Path | None = None) -> dict[str, str]:
    """Sequences without structure by UniProt accession: a pool beside the built set.

    Args:
        folder: Where the built set lies; None for the place where `setclip data build` puts it.

    Raises:
        FileNotFoundError: It was not built yet.
    """
    path = Path(built_folder("protein-chains") if folder is None else folder) / "unpaired.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}: build the set first, `setclip data build protein-chains`."
        )
    table = pq.read_table(path)
    return dict(zip(_column(table, "uniprot"), _column(table, "sequence"), strict=True))


def pack_backbone(coordinates: npt.NDArray[np.int16]) -> bytes:
    """Coordinates as compressors like them: steps from atom to atom, low bytes before high ones.

    Args:
        coordinates: Hundredths of an A. Shape [n, atoms, 3].
    """
    flat = coordinates.reshape(-1, 3)
    steps = np.diff(flat, axis=0, prepend=np.zeros((1, 3), dtype=np.int16)).astype("<i2")
    return np.ascontiguousarray(steps.T).view(np.uint8).reshape(-1, 2).T.tobytes()


def unpack_backbone(packed: bytes, n: int) -> npt.NDArray[np.int16]:
    """Undo :func:`pack_backbone` for a chain of `n` residues. Shape [n, atoms, 3]."""
    planes = np.frombuffer(packed, dtype=np.uint8).reshape(2, -1)
    steps = np.ascontiguousarray(planes.T).view("<i2").reshape(3, -1).T
    return np.cumsum(steps, axis=0, dtype=np.int16).reshape(n, -1, 3)


def _bundled() -> ProteinSet:
    table = pq.read_table(BUNDLED / "proteins.parquet")
    sequences = _column(table, "sequence")
    packed = table["backbone"].to_pylist()
    parts = [unpack_backbone(p, len(s)) for p, s in zip(packed, sequences, strict=True)]
    return _gathered(table, "proteins", np.concatenate(parts), {}, BUNDLED / "proteins.LICENSE.txt")


def _built(folder: Path, name: str) -> ProteinSet:
    if not (folder / "chains.parquet").is_file():
        raise FileNotFoundError(
            f"there is no {folder / 'chains.parquet'}: build the set first, "
            f"`setclip data build {name}`."
        )
    table = pq.read_table(folder / "chains.parquet")
    coordinates = np.load(folder / "backbone.npy", mmap_mode="r", allow_pickle=False)
    go = {branch: table[f"go_{branch}"].to_pylist() for branch in ("mf", "bp", "cc")}
    return _gathered(table, name, coordinates, go, folder / "LICENSE.txt")


def _gathered(
    table: pa.Table,
    name: str,
    coordinates: npt.NDArray[np.integer],
    go: dict[str, list[list[str]]],
    licence: Path,
) -> ProteinSet:
    sequences = _column(table, "sequence")
    superfamilies = _column(table, "superfamily")
    return ProteinSet(
        name=name,
        names=_column(table, "name"),
        sequences=sequences,
        starts=np.cumsum([0, *map(len, sequences)], dtype=np.int64),
        coordinates=coordinates,
        superfamilies=superfamilies,
        topologies=[superfamily.rpartition(".")[0] for superfamily in superfamilies],
        s35=_column(table, "s35"),
        ec=table["ec"].to_pylist(),
        go=go,
        licence=licence.read_text(encoding="utf-8"),
    )


def _column(table: pa.Table, name: str) -> list[str]:
    values: list[str] = table[name].to_pylist()
    return values
