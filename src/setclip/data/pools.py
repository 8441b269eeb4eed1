"""Pools: everything a method may learn from, in the three kinds of supervision."""

from __future__ import annotations

import hashlib
import mmap
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Float = TypeVar("Float", bound=np.floating[Any])

NO_SET = -1
_CHECK_BYTES = 64 << 20
# Sums over larger features could leave float32, and below the smallest normal number it loses
# digits.
LARGEST, SMALLEST = 2.0**120, float(np.finfo(np.float32).tiny)

Item = bytes | str | Path | tuple[str, ...]
"""A raw item: an image's bytes or path, a text, or several texts of which any one will do."""


@dataclass(frozen=True)
class RawItems:
    """The items that features were made of, row-aligned with the arrays of :class:`Pools`.

    Attributes:
        x_pairs: Length p.
        y_pairs: Length p.
        x_pool: Length n.
        y_pool: Length m.
        x_encoder: Encoder of the features of x, by name or options; None if none is known.
        y_encoder: Encoder of the features of y.
    """

    x_pairs: Sequence[Item]
    y_pairs: Sequence[Item]
    x_pool: Sequence[Item]
    y_pool: Sequence[Item]
    x_encoder: Any = None
    y_encoder: Any = None


@dataclass(frozen=True, eq=False)
class Examples:
    """The same items twice: as features of a frozen encoder, and raw where they are known.

    Attributes:
        features: Shape [n, d].
        items: Length n, or none.
    """

    features: FloatArray
    items: Sequence[Item] = ()

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: IntArray) -> Examples:
        """Some of them, in that order."""
        return Examples(
            self.features[rows], [self.items[row] for row in rows] if self.items else ()
        )


@dataclass(frozen=True)
class Pools:
    """Features of two modalities under any mixture of pairs, sets and pools.

    Build it with :func:`make_pools`, which checks; the class itself trusts.

    Attributes:
        x_pairs: First modality of the known pairs. Shape [p, d_x].
        y_pairs: Second modality, row-aligned with `x_pairs`. Shape [p, d_y].
        x_pool: Items known only by x. Shape [n, d_x].
        y_pool: Items known only by y. Shape [m, d_y].
        x_sets: Set of each row of `x_pool`, `NO_SET` (-1) for none. Shape [n].
        y_sets: Set of each row of `y_pool`. Shape [m].
        items: What the features were made of, for methods that train encoders; None where only
            features are known.
    """

    x_pairs: FloatArray
    y_pairs: FloatArray
    x_pool: FloatArray
    y_pool: FloatArray
    x_sets: IntArray
    y_sets: IntArray
    items: RawItems | None = None

    @property
    def x_dim(self) -> int:
        """Width of the first modality's features."""
        return int(self.x_pairs.shape[1])

    @property
    def y_dim(self) -> int:
        """Width of the second modality's features."""
        return int(self.y_pairs.shape[1])

    @property
    def n_pairs(self) -> int:
        """Number of known pairs."""
        return len(self.x_pairs)

    @property
    def in_shared_sets(self) -> tuple[int, int]:
        """Rows of either pool that are in a set with items on both sides."""
        sets = self.shared_sets
        return int(np.isin(self.x_sets, sets).sum()), int(np.isin(self.y_sets, sets).sum())

    @property
    def shared_sets(self) -> IntArray:
        """Ids of the sets that have at least one item on each side, ascending."""
        named = (ids[ids != NO_SET] for ids in (self.x_sets, self.y_sets))
        shared: IntArray = np.intersect1d(*named)
        return shared

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The six arrays, in the order of the fields."""
        return (self.x_pairs, self.y_pairs, self.x_pool, self.y_pool, self.x_sets, self.y_sets)

    @property
    def pairs(self) -> tuple[Examples, Examples]:
        """Both sides of the pairs."""
        items = self.items
        return (
            Examples(self.x_pairs, items.x_pairs if items else ()),
            Examples(self.y_pairs, items.y_pairs if items else ()),
        )

    @property
    def unpaired(self) -> tuple[Examples, Examples]:
        """Both pools."""
        items = self.items
        return (
            Examples(self.x_pool, items.x_pool if items else ()),
            Examples(self.y_pool, items.y_pool if items else ()),
        )

    def all_x(self) -> FloatArray:
        """Every x there is, pairs first. Shape [p + n, d_x]."""
        return np.concatenate([self.x_pairs, self.x_pool])

    def all_y(self) -> FloatArray:
        """Every y there is, pairs first. Shape [p + m, d_y]."""
        return np.concatenate([self.y_pairs, self.y_pool])

    def without_sets(self) -> Pools:
        """The same items with the sets forgotten."""
        return replace(
            self,
            x_sets=np.full_like(self.x_sets, NO_SET),
            y_sets=np.full_like(self.y_sets, NO_SET),
        )

    def without_pools(self) -> Pools:
        """The pairs alone."""
        none = np.zeros(0, dtype=np.int64)
        items = self.items and replace(self.items, x_pool=(), y_pool=())
        return Pools(
            self.x_pairs, self.y_pairs, self.x_pool[:0], self.y_pool[:0], none, none, items
        )

    def describe(self) -> str:
        """One line for logs: how much there is of each kind of supervision."""
        shared = self.shared_sets
        # Without sets the ids of ten million rows take no room, and are not to be copied.
        in_sets = [
            np.isin(ids, shared).sum() if len(shared) else 0 for ids in (self.x_sets, self.y_sets)
        ]
        return (
            f"{self.n_pairs:,} pairs; {len(shared):,} shared sets holding "
            f"{in_sets[0]:,} x and {in_sets[1]:,} y; pools of {len(self.x_pool):,} x "
            f"[{self.x_dim}-d] and {len(self.y_pool):,} y [{self.y_dim}-d]"
        )


def digest(pools: Pools) -> str:
    """Fingerprint of what a fit sees: a checkpoint, or a run, of other data is refused."""
    hasher = hashlib.sha256()
    for array in pools.arrays:
        hasher.update(str(array.shape).encode())
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()[:16]


def make_pools(
    x_pairs: npt.ArrayLike | None = None,
    y_pairs: npt.ArrayLike | None = None,
    *,
    x_pool: npt.ArrayLike | None = None,
    y_pool: npt.ArrayLike | None = None,
    x_sets: npt.ArrayLike | None = None,
    y_sets: npt.ArrayLike | None = None,
) -> Pools:
    """Check arrays (numpy or torch, any float type) and gather them into :class:`Pools`.

    float32 is not copied: memory-mapped arrays stay on disk, whatever their size.

    Args:
        x_pairs: Shape [p, d_x], or None.
        y_pairs: Shape [p, d_y], or None; given exactly when `x_pairs` is.
        x_pool: Shape [n, d_x], or None.
        y_pool: Shape [m, d_y], or None.
        x_sets: Set id of each row of `x_pool`, -1 for none. Shape [n], or None for no sets.
        y_sets: Set id of each row of `y_pool`. Shape [m], or None.

    Raises:
        ValueError: Anything that cannot be aligned, with the value and the remedy.
    """
    xp, yp = matrix("x_pairs", x_pairs), matrix("y_pairs", y_pairs)
    xu, yu = matrix("x_pool", x_pool), matrix("y_pool", y_pool)
    if (xp is None) != (yp is None):
        raise ValueError(
            "x_pairs and y_pairs come together: "
            f"{'y_pairs' if yp is None else 'x_pairs'} is missing. Give both, or neither and "
            "x_pool and y_pool instead."
        )
    if xp is not None and yp is not None and len(xp) != len(yp):
        raise ValueError(
            f"x_pairs has {len(xp)} rows and y_pairs {len(yp)}: row i of one must match row i of "
            "the other. Move unmatched rows to x_pool or y_pool."
        )
    x_dim, y_dim = _width("x", xp, xu), _width("y", yp, yu)
    xp, yp = _or_empty(xp, x_dim), _or_empty(yp, y_dim)
    xu, yu = _or_empty(xu, x_dim), _or_empty(yu, y_dim)
    return Pools(xp, yp, xu, yu, _ids("x_sets", x_sets, len(xu)), _ids("y_sets", y_sets, len(yu)))


def matrix(name: str, values: npt.ArrayLike | None) -> FloatArray | None:
    """Features in float32, checked; None stays None.

    Args:
        name: What the caller calls them, for messages.
        values: Shape [n, d].

    Raises:
        ValueError: Another shape, no numbers, or numbers that float32 cannot hold.
    """
    if values is None:
        return None
    array = named_array(name, values)
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {list(array.shape)}, expected [rows, features]. "
            "Reshape it to two dimensions, one row an item."
        )
    if not array.shape[1]:
        raise ValueError(f"{name} has no features (shape {list(array.shape)}).")
    check_numbers(name, array)
    rows = as_float32(array)
    largest = magnitude(rows)
    if not largest <= LARGEST:
        raise beyond_float32(name, rows)
    if largest < SMALLEST and array.any():
        raise ValueError(
            f"{name} has no number above {largest:.0e} (as float32), where float32 has few digits "
            "left. Multiply all its rows by one large number."
        )
    return rows


def check_numbers(name: str, array: AnyArray) -> None:
    """Raise ValueError unless an array holds real numbers."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {array.dtype}, expected numbers. Convert it to float32.")


def as_float32(array: AnyArray) -> FloatArray:
    """The array itself where it is float32; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def magnitude(array: FloatArray) -> float:
    """The largest there is, NaN where there is one, found block by block."""
    ends = [(block.min(), block.max()) for _, block in _blocks(array)]
    return float(np.abs(ends).max(initial=0))


def unit_rows(rows: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Rows of length one in their own precision; a zero row stays zero. Shape [n, d]."""
    # Squares may leave the range of float32; a power of two near the largest divides exactly.
    peak = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    scaled = np.ldexp(rows, -np.frexp(peak)[1])
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: npt.NDArray[Float] = scaled / np.maximum(length, np.finfo(np.float32).tiny)
    return unit


def beyond_float32(name: str, array: FloatArray) -> ValueError:
    """What is said of an array of no finite :func:`magnitude`, or one above `LARGEST`."""
    bad = non_finite_rows(array)
    if len(bad):
        return ValueError(
            f"{name} has NaN or infinite values (as float32) in {len(bad)} rows, the first "
            f"is row {bad[0]}. Drop these rows or repair the encoder's output."
        )
    row = int((np.abs(array) > LARGEST).any(axis=1).argmax())
    return ValueError(
        f"{name} reaches {np.abs(array[row]).max():.1e} in row {row}: sums of such numbers leave "
        "float32. Drop the row if it is damaged, or divide all rows by one large number."
    )


def non_finite_rows(array: AnyArray) -> IntArray:
    """Rows with NaN or infinity, found block by block. Counted from 0, shape [bad]."""
    blocks = [
        start + np.flatnonzero(~np.isfinite(block).all(axis=1)) for start, block in _blocks(array)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int64)


def _blocks(array: AnyArray) -> Iterator[tuple[int, AnyArray]]:
    """Parts of the rows and where they start; of a memory-mapped file only one is in memory."""
    step = max(1, _CHECK_BYTES // (array.itemsize * array.shape[1]))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]
        _leave_memory(array)


def _leave_memory(array: AnyArray) -> None:
    """Let go of the pages of a read-only memory-mapped file that were read; they stay on disk."""
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    # A writeable map may hold changes that are nowhere else.
    if isinstance(base, mmap.mmap) and not array.flags.writeable and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def named_array(name: str, values: Any) -> AnyArray:
    """:func:`to_numpy` of an argument of that name.

    Raises:
        ValueError: Rows of unequal length, a sparse array, or a masked one, whose mask would be
            lost.
    """
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array with masked values, which no method knows of: drop their "
            "rows, or fill them with numpy.ma.filled."
        )
    if hasattr(values, "toarray"):
        raise ValueError(
            f"{name} is a sparse {type(values).__name__}, which methods cannot use: give "
            f"{name}.toarray(), or fewer features, as of a truncated SVD."
        )
    try:
        return to_numpy(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be read as one array ({error}): give every row as many numbers."
        ) from error


def to_numpy(values: Any) -> npt.NDArray[Any]:
    """An array of what users pass as one: numpy, lists, torch tensors of any type and device."""
    # Nobody holds a tensor before torch is imported, and importing it takes seconds.
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return np.asarray(values)
    tensor = values.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy has no bfloat16
    array: npt.NDArray[Any] = tensor.numpy()
    return array


def _width(side: str, pairs: FloatArray | None, pool: FloatArray | None) -> int:
    widths = {len(a.T) for a in (pairs, pool) if a is not None}
    if not widths:
        raise ValueError(f"no {side} was given: pass {side}_pairs or {side}_pool.")
    if len(widths) > 1:
        assert pairs is not None
        assert pool is not None
        raise ValueError(
            f"{side}_pairs is {pairs.shape[1]} wide and {side}_pool {pool.shape[1]}: both must "
            "come from the same encoder."
        )
    return widths.pop()


def _or_empty(array: FloatArray | None, width: int) -> FloatArray:
    return np.zeros((0, width), dtype=np.float32) if array is None else array


def _ids(name: str, ids: npt.ArrayLike | None, rows: int) -> IntArray:
    if ids is None:
        # One number seen n times: ten million rows without sets cost nothing.
        return np.broadcast_to(np.int64(NO_SET), (rows,))
    array = named_array(name, ids)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} has shape {list(array.shape)} for a pool of {rows} rows: give one set id a "
            "row, -1 for a row of no set."
        )
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} holds {array.dtype}, expected whole numbers. Number your sets first, for "
            "instance with numpy.unique(names, return_inverse=True)[1]."
        )
    if array.size and array.min() < NO_SET:
        raise ValueError(f"{name} holds {int(array.min())}: ids are 0 or more, -1 for no set.")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} holds {int(array.max())}: ids are less than 2**63.")
    return array.astype(np.int64)
