"""Which gallery items belong to which query, and a walk over the scores that keeps them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.evaluation.rows import FloatArray, IntArray, rows_per_block


@dataclass(frozen=True, eq=False)
class Positives:
    """The positives of each query, as a range of the gallery sorted by id.

    Attributes:
        order: Gallery rows sorted by id. Shape [m].
        start: First place in `order` of each query's positives. Shape [n].
        stop: One past the last. Shape [n].
    """

    order: IntArray
    start: IntArray
    stop: IntArray

    @property
    def count(self) -> IntArray:
        """Positives of each query. Shape [n]."""
        return self.stop - self.start


def shared_codes(
    queries: int,
    gallery: int,
    query_ids: npt.ArrayLike | None,
    gallery_ids: npt.ArrayLike | None,
) -> tuple[IntArray, IntArray]:
    """Number the items: equal codes mean that a query and a gallery row belong together.

    Args:
        queries: Number of query rows.
        gallery: Number of gallery rows.
        query_ids: Whole numbers or strings, shape [queries]; None: row i belongs to row i.
        gallery_ids: Likewise, shape [gallery]; given exactly when `query_ids` is.

    Raises:
        ValueError: Only one side's ids, wrong lengths or types, or no ids and unequal row counts.
    """
    if query_ids is None and gallery_ids is None:
        if queries != gallery:
            raise ValueError(
                f"{queries} rows against {gallery} without ids: row i can only match row i in "
                "equally long arrays. Pass the ids of both sides."
            )
        return np.arange(queries), np.arange(gallery)
    if query_ids is None or gallery_ids is None:
        raise ValueError("ids were given for one side only: pass those of both sides, or neither.")
    left, right = _ids(query_ids, queries), _ids(gallery_ids, gallery)
    if (left.dtype.kind in "iu") != (right.dtype.kind in "iu"):
        raise ValueError(
            f"ids are {left.dtype} on one side and {right.dtype} on the other, so none can match. "
            "Use one type on both sides."
        )
    if {left.dtype.kind, right.dtype.kind} == {"i", "u"}:
        # Together they would become floats, in which large numbers are one.
        left, right = left.astype(str), right.astype(str)
    codes = np.unique(np.concatenate([left, right]), return_inverse=True)[1].astype(np.int64)
    return codes[:queries], codes[queries:]


def as_names(values: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """An array; strings that came as objects, as those of a data frame do, are strings again."""
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.ravel()):
        return array.astype(str)
    return array


def _ids(values: npt.ArrayLike, rows: int) -> npt.NDArray[np.generic]:
    ids = as_names(values)
    if ids.shape != (rows,):
        raise ValueError(
            f"ids of shape {list(ids.shape)} for {rows} rows: give one id a row, in a flat array."
        )
    if ids.dtype.kind not in "iuUS":
        raise ValueError(f"ids hold {ids.dtype}, expected whole numbers or strings.")
    return ids


def find_positives(query_codes: IntArray, gallery_codes: IntArray) -> Positives:
    """Locate each query's positives.

    Raises:
        ValueError: A query without any positive, which no ranking could get right.
    """
    order = np.argsort(gallery_codes, kind="stable")
    ordered = gallery_codes[order]
    found = Positives(
        order,
        np.searchsorted(ordered, query_codes, side="left"),
        np.searchsorted(ordered, query_codes, side="right"),
    )
    lonely = found.count == 0
    if lonely.any():
        raise ValueError(
            f"{int(lonely.sum())} queries have no item of their id in the gallery, the first is "
            f"row {int(lonely.argmax())}. Drop these queries or add their partners."
        )
    return found


def walk_scores(
    queries: FloatArray, gallery: FloatArray, positives: Positives, *, block: int | None
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Score block by block and yield, query by query, the positives' scores and all the others'.

    The scores of the others come in the order of `positives.order`, with -inf in the places of the
    positives, in memory that the next step overwrites.
    """
    columns = gallery[positives.order].T
    rows = rows_per_block(len(gallery), block)
    scores = np.empty((min(rows, len(queries)), len(gallery)), dtype=np.float32)
    for first in range(0, len(queries), rows):
        part = queries[first : first + rows]
        np.matmul(part, columns, out=scores[: len(part)])
        for row, i in zip(scores, range(first, first + len(part)), strict=False):
            own = row[positives.start[i] : positives.stop[i]]
            kept = own.copy()
            own[:] = -np.inf
            yield kept, row
