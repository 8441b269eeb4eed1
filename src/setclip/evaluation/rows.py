"""The boundary of this room: arrays come in checked, and as unit rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Two cosines closer than this are a tie: float32 products of unit rows are only good to a few 1e-7,
# and a collapsed embedding must not win by rounding.
TIE = 1e-6

# 32 MB of float32 scores at a time: large enough for BLAS, small enough to stay near the cache.
BLOCK_SCORES = 1 << 23


def finite_rows(name: str, values: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Check a matrix of real numbers; float32 and float64 pass through, the rest becomes float32.

    Args:
        name: What the caller calls the array, for messages.
        values: Shape [n, d].

    Raises:
        ValueError: Not two-dimensional, empty, not numeric, or NaN or infinite values.
    """
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {list(array.shape)}, expected [rows, dimensions] with at least one "
            "of each."
        )
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {array.dtype}, expected real numbers.")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} has NaN or infinite values in {int(bad.sum())} rows, the first is row "
            f"{int(bad.argmax())}. Find out why the encoder or the training diverged before "
            "measuring."
        )
    return array


def lost_apart(zx: FloatArray, zy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Embeddings of both sides, in which rows of zeros have a direction of their side's own.

    An item at the very centre of its side has none. At right angles to every partner it finds its
    own by chance, and is not an error.

    Args:
        zx: Shape [n, d].
        zy: Shape [m, d].

    Returns:
        Both as they are where no row is lost; else with two further dimensions.
    """
    lost_x, lost_y = ~zx.any(axis=1), ~zy.any(axis=1)
    if not lost_x.any() and not lost_y.any():
        return zx, zy
    return (
        np.column_stack([zx, lost_x, np.zeros(len(zx))]).astype(np.float32),
        np.column_stack([zy, np.zeros(len(zy)), lost_y]).astype(np.float32),
    )


def unit_rows(name: str, values: npt.ArrayLike) -> FloatArray:
    """Check a matrix and scale its rows to length one, whatever their magnitude.

    Args:
        name: What the caller calls the array, for messages.
        values: Shape [n, d].

    Returns:
        A float32 copy. Shape [n, d].

    Raises:
        ValueError: As `finite_rows`, or a row of zeros, which has no direction.
    """
    array = finite_rows(name, values)
    # Dividing by the largest entry first keeps the squares of very large or small rows in range.
    peak = np.abs(array).max(axis=1, keepdims=True)
    if not peak.all():
        zero = peak[:, 0] == 0
        raise ValueError(
            f"{name} has {int(zero.sum())} rows of norm zero, the first is row "
            f"{int(zero.argmax())}. A row of zeros has no direction to compare: drop it or repair "
            "the encoder's output."
        )
    scaled = array / peak
    unit: FloatArray = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
    return unit


def check_widths(**arrays: npt.NDArray[np.floating]) -> None:
    """Raise ValueError unless all arrays, named by keyword, are equally wide."""
    widths = {name: array.shape[1] for name, array in arrays.items()}
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{name} is {width} wide" for name, width in widths.items())
        raise ValueError(f"{found}: only embeddings of one shared space can be compared.")


def check_lengths(**arrays: npt.NDArray[np.generic]) -> None:
    """Raise ValueError unless all arrays, named by keyword, have equally many rows."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length} rows" for name, length in lengths.items())
        raise ValueError(f"{found}: row i of one must belong to row i of the other.")


def rows_per_block(columns: int, block: int | None) -> int:
    """Rows of scores to hold at once: the caller's `block`, or what `BLOCK_SCORES` allows."""
    if block is not None and block < 1:
        raise ValueError(f"block is {block}: give the number of rows to score at once, 1 or more.")
    return block or max(1, BLOCK_SCORES // columns)


def sample_rows(rows: int, cap: int, seed: int) -> IntArray:
    """Ascending row numbers: all of them, or `cap` drawn without replacement."""
    if cap < 2:
        raise ValueError(f"cap is {cap}: give the number of rows to keep at most, 2 or more.")
    if rows <= cap:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, size=cap, replace=False))
