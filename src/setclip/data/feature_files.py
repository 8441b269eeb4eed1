"""The files of features of one run, read together and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from setclip.data.arrays import ArrayFileError, read_array, read_features
from setclip.data.pools import NO_SET, AnyArray, FloatArray, IntArray, Pools, make_pools
from setclip.data.set_ids import number_sets


@dataclass(frozen=True)
class FeatureFiles:
    """What files of features hold, checked.

    Attributes:
        pools: What to learn from.
        x_test: Features of the test items, row-aligned with `y_test`; no rows if none were given.
            Shape [t, d_x].
        y_test: Shape [t, d_y].
    """

    pools: Pools
    x_test: FloatArray
    y_test: FloatArray


def read_feature_files(
    *,
    x_pairs: str | Path | None = None,
    y_pairs: str | Path | None = None,
    x_pool: str | Path | None = None,
    y_pool: str | Path | None = None,
    x_sets: str | Path | None = None,
    y_sets: str | Path | None = None,
    x_test: str | Path | None = None,
    y_test: str | Path | None = None,
) -> FeatureFiles:
    """Read every file that is given and check that they fit together.

    Args:
        x_pairs: First modality of the known pairs; row i matches row i of `y_pairs`.
        y_pairs: Likewise for the second modality.
        x_pool: Features of items known only by the first modality.
        y_pool: Likewise for the second.
        x_sets: Set of each row of `x_pool`, see :func:`setclip.data.set_ids.number_sets`.
        y_sets: Likewise for `y_pool`, in the same ids or names.
        x_test: Features of test pairs, never trained on; row i matches row i of `y_test`.
        y_test: Likewise for the second modality.

    Raises:
        ArrayFileError: A file is missing, of another kind, not numeric, not finite, or does not fit
            to its neighbours.
    """
    sources = {
        "x_pairs": x_pairs,
        "y_pairs": y_pairs,
        "x_pool": x_pool,
        "y_pool": y_pool,
        "x_test": x_test,
        "y_test": y_test,
    }
    given = {name: source for name, source in sources.items() if source is not None}
    features = {name: read_features(source) for name, source in given.items()}
    _check_fit(given, features)
    set_ids = _read_sets(x_sets, y_sets, features.get("x_pool"), features.get("y_pool"))
    pools = make_pools(
        features.get("x_pairs"),
        features.get("y_pairs"),
        x_pool=features.get("x_pool"),
        y_pool=features.get("y_pool"),
        x_sets=set_ids[0],
        y_sets=set_ids[1],
    )
    none_x = np.zeros((0, pools.x_dim), dtype=np.float32)
    none_y = np.zeros((0, pools.y_dim), dtype=np.float32)
    return FeatureFiles(pools, features.get("x_test", none_x), features.get("y_test", none_y))


def _check_fit(given: dict[str, str | Path], features: dict[str, FloatArray]) -> None:
    for side, other in (("x_pairs", "y_pairs"), ("x_test", "y_test")):
        if (side in given) != (other in given):
            have, lack = (side, other) if side in given else (other, side)
            raise ArrayFileError(
                f"{have} ({given[have]}) is given without {lack}: they come together, row by row."
            )
        if side in given and len(features[side]) != len(features[other]):
            raise ArrayFileError(
                f"{side} ({given[side]}) has {len(features[side]):,} rows and {other} "
                f"({given[other]}) {len(features[other]):,}: row i of one must match row i of the "
                "other. Move unmatched rows to the pool of their side."
            )
    for side in "xy":
        names = [n for n in features if n.startswith(side)]
        if not set(names) & {f"{side}_pairs", f"{side}_pool"}:
            raise ArrayFileError(f"no {side} to learn from: give {side}_pairs or {side}_pool.")
        for name in names[1:]:
            first, width = names[0], features[name].shape[1]
            if width != features[first].shape[1]:
                raise ArrayFileError(
                    f"{first} ({given[first]}) is {features[first].shape[1]} wide and {name} "
                    f"({given[name]}) {width}: both must come from the same encoder."
                )


def _read_sets(
    x_sets: str | Path | None,
    y_sets: str | Path | None,
    x_pool: FloatArray | None,
    y_pool: FloatArray | None,
) -> tuple[IntArray | None, IntArray | None]:
    if x_sets is None and y_sets is None:
        return None, None
    if x_sets is None or y_sets is None:
        have, lack = ("x_sets", "y_sets") if y_sets is None else ("y_sets", "x_sets")
        raise ArrayFileError(
            f"{have} ({x_sets or y_sets}) is given without {lack}: a set needs items on both sides."
        )
    x, y = _set_column("x", x_sets, x_pool), _set_column("y", y_sets, y_pool)
    try:
        return number_sets(x, y)
    except ValueError as error:
        raise ArrayFileError(f"x_sets ({x_sets}), y_sets ({y_sets}): {error}") from error


def _set_column(side: str, source: str | Path, pool: FloatArray | None) -> AnyArray:
    name = f"{side}_sets ({source})"
    if pool is None:
        raise ArrayFileError(f"{name} is given without {side}_pool, whose rows it describes.")
    column = read_array(source)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.shape != (len(pool),):
        raise ArrayFileError(
            f"{name} has shape {list(column.shape)} for a pool of {len(pool):,} rows: give one set "
            "a row, -1 (or an empty name) for a row of no set."
        )
    if column.dtype.kind not in "iuUO":
        raise ArrayFileError(f"{name} holds {column.dtype}: give whole numbers or names.")
    if column.dtype.kind == "i" and len(column) and column.min() < NO_SET:
        row = int(column.argmin())
        raise ArrayFileError(
            f"{name}, row {row}: {column[row]} is no set; give 0 or more, -1 for none."
        )
    return column
