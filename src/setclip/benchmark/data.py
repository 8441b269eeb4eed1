"""The data of a benchmark: features, groups and labels, mapped into memory by its processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from setclip.benchmark.planted import PLANTED, planted
from setclip.data.atomic import replacing
from setclip.data.datasets import load_dataset
from setclip.data.pools import FloatArray, IntArray, Pools, make_pools
from setclip.data.splits import near_duplicate_groups


@dataclass(frozen=True, eq=False)
class BenchmarkData:
    """Matched items of two modalities, and unpaired ones if the data have them.

    Attributes:
        x: Features of the first modality, row-aligned with `y`. Shape [n, d_x].
        y: Shape [n, d_y].
        groups: Items of one group never stand on both sides of a split. Shape [n].
        labels: Category of each item, which shifted pools are made from; None if there is none.
            Shape [n].
        x_pool: Items known only by x, for own pools; None if there is none. Shape [n_x, d_x].
        y_pool: Items known only by y. Shape [n_y, d_y].
        x_sets: Set of each row of `x_pool`, `NO_SET` for none. Shape [n_x].
        y_sets: Set of each row of `y_pool`. Shape [n_y].
        x_pool_groups: Group of each row of `x_pool`, `NO_SET` where it is none of `groups`; None
            where the data name no groups. Shape [n_x].
        y_pool_groups: Of each row of `y_pool`. Shape [n_y].
        near: Cosine above which an unpaired item is too much like a test item to be shown; None for
            :data:`setclip.data.splits.NEAR_DUPLICATE`. Shape [].
        concepts: Concept of each item, where items of one concept are different things, which
            each stand in the gallery; None where items of a group are near-duplicates. Shape [n].
    """

    x: FloatArray
    y: FloatArray
    groups: IntArray
    labels: IntArray | None = None
    x_pool: FloatArray | None = None
    y_pool: FloatArray | None = None
    x_sets: IntArray | None = None
    y_sets: IntArray | None = None
    x_pool_groups: IntArray | None = None
    y_pool_groups: IntArray | None = None
    near: FloatArray | None = None
    concepts: IntArray | None = None

    @property
    def own(self) -> Pools | None:
        """The unpaired items that came with the data, None if there are none."""
        if self.x_pool is None and self.y_pool is None:
            return None
        return make_pools(
            self.x[:0],
            self.y[:0],
            x_pool=self.x_pool,
            y_pool=self.y_pool,
            x_sets=self.x_sets,
            y_sets=self.y_sets,
        )

    def __post_init__(self) -> None:
        rows = {"x": len(self.x), "y": len(self.y), "groups": len(self.groups)}
        if self.labels is not None:
            rows["labels"] = len(self.labels)
        if len(set(rows.values())) != 1:
            raise ValueError(f"rows differ: {rows}. All arrays describe the same items in order.")

    def fingerprint(self) -> str:
        """Hash of the content: results of other data are not taken for these."""
        hasher = hashlib.sha256()
        for name, array in self._arrays().items():
            hasher.update(f"{name} {array.dtype} {array.shape}".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()[:16]

    def write(self, folder: Path) -> Path:
        """Write what :meth:`read` maps into memory, once.

        Returns:
            The folder inside `folder` that holds these arrays, named by their content.
        """
        home = folder / self.fingerprint()
        for name, array in self._arrays().items():
            path = home / f"{name}.npy"
            if not path.is_file():
                with replacing(path) as aside, aside.open("wb") as file:
                    np.save(file, array, allow_pickle=False)
        return home

    @classmethod
    def read(cls, home: Path) -> BenchmarkData:
        """Map written arrays into memory: processes on one machine share the pages."""
        arrays = {p.stem: np.load(p, mmap_mode="r", allow_pickle=False) for p in home.glob("*.npy")}
        return cls(**arrays)

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {name: array for name, array in vars(self).items() if array is not None}


FEW = {"glosses-few": ("glosses", 300)}
"""Excerpts for quick suites: of which data set how many items, drawn at random once."""


def load_data(name: str, *, progress: bool = True) -> BenchmarkData:
    """The data of a suite by name: a planted cloud, or a data set's features with its groups.

    Args:
        name: Of :data:`setclip.benchmark.planted.PLANTED`, of :data:`FEW`, or of a data set.
        progress: Show a bar while items are encoded.

    Raises:
        ValueError: No data have that name.
        FileNotFoundError: The data set must be built first; says how.
    """
    if name in PLANTED:
        cloud = planted(PLANTED[name])
        return BenchmarkData(cloud.x, cloud.y, np.arange(len(cloud.x)), cloud.labels)
    whole, items = FEW.get(name, (name, None))
    dataset = load_dataset(whole)
    x, y = dataset.features(progress=progress)
    rows = np.sort(np.random.default_rng(0).permutation(len(x))[:items])
    x, y, concepts = x[rows], y[rows], dataset.concepts[rows]
    labels = _numbered([dataset.labels[row] for row in rows])
    if dataset.distinct:
        return BenchmarkData(x, y, concepts, labels, concepts=concepts)
    return BenchmarkData(x, y, near_duplicate_groups(x, y, keys=[concepts]), labels)


def _numbered(labels: Sequence[str]) -> IntArray | None:
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64) if len(names) > 1 else None


def load_all(
    names: set[str], given: Mapping[str, BenchmarkData] | None = None, *, progress: bool = True
) -> dict[str, BenchmarkData]:
    """The data by name, those that are `given` as they are."""
    given = given or {}
    return {name: given.get(name) or load_data(name, progress=progress) for name in sorted(names)}
