"""Ready features from .npy (memory-mapped), .safetensors (memory-mapped) or .parquet files.

A file that holds several arrays is read as `file#name`: a tensor of safetensors, a column of
Parquet. Rows count from 0, as in `array[row]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from setclip.data.pools import AnyArray, FloatArray, as_float32, non_finite_rows
from setclip.suggest import nearest

SUFFIXES = (".npy", ".safetensors", ".parquet")


class ArrayFileError(ValueError):
    """A file of features that cannot be used; the message names file, row and remedy."""


def read_features(source: str | Path) -> FloatArray:
    """Read one matrix of features and check every row.

    Args:
        source: `file` or `file#name`. A Parquet file gives its one column of lists, the column
            named, or all its columns if each is a number.

    Returns:
        float32, memory-mapped and not in memory if the file holds float32. Shape [n, d].

    Raises:
        ArrayFileError: With the file, the row and what to do.
    """
    array = read_array(source)
    if array.dtype.kind not in "fiu":
        raise ArrayFileError(
            f"{source}: holds {array.dtype}, expected numbers. Save it as float32."
        )
    if array.ndim != 2:
        raise ArrayFileError(
            f"{source}: has shape {list(array.shape)}, expected [rows, features]. Save a "
            "two-dimensional array, one row an item."
        )
    if not array.shape[1]:
        raise ArrayFileError(f"{source}: has no features (shape {list(array.shape)}).")
    array = as_float32(array)  # what overflows is reported below, with its row
    bad = non_finite_rows(array)
    if len(bad):
        column = int(np.argmin(np.isfinite(array[bad[0]])))
        raise ArrayFileError(
            f"{source}, row {bad[0]}: column {column} is {array[bad[0], column]} as float32; "
            f"{len(bad):,} of {len(array):,} rows are not finite. Drop these rows (from the "
            "matching file too), or repair what wrote them."
        )
    return array


def split_source(source: str | Path) -> tuple[Path, str | None]:
    """Tell `file#name` into file and name; the name is None where there is none."""
    path, written = Path(source), str(source)
    if "#" not in written or path.exists():
        return path, None
    # A name may hold a slash or another "#", and so may a folder.
    places = [i for i, letter in enumerate(written) if letter == "#"]
    files = [i for i in places if Path(written[:i]).is_file()]
    if not files and "#" not in path.name:
        return path, None
    at = files[0] if files else places[-1]
    return Path(written[:at]), written[at + 1 :]


def read_array(source: str | Path) -> AnyArray:
    """Read `file` or `file#name` as it is, checking neither values nor shape.

    Raises:
        ArrayFileError: The file is missing, of another kind, broken, or does not hold `name`.
    """
    path, name = split_source(source)
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ArrayFileError(f"{path}: there is no such file.{nearest(path.name, siblings)}")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _read_npy(path)
    if suffix == ".safetensors":
        return _read_safetensors(path, name)
    if suffix == ".parquet":
        return _read_parquet(path, name)
    raise ArrayFileError(
        f"{path}: {suffix or 'no suffix'} is not a file of features; give {', '.join(SUFFIXES)}. "
        "From Python: numpy.save('features.npy', array)."
    )


def _read_npy(path: Path) -> AnyArray:
    try:
        array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ArrayFileError(
            f"{path}: not readable as .npy ({error}). Save it with numpy.save, as an array of "
            "numbers; Python objects are not opened, since they can run code."
        ) from error
    return array


def _read_safetensors(path: Path, name: str | None) -> AnyArray:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        # Through torch: its tensors are memory-mapped, and it knows bfloat16.
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(_choose(path, name, list(file.keys()), "tensor"))
    except (SafetensorError, OSError) as error:
        raise ArrayFileError(f"{path}: not readable as .safetensors ({error}).") from error
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float64):
        # numpy has no bfloat16 or float8; float32 passes through unchanged
        tensor = tensor.float()
    array: AnyArray = tensor.numpy()
    return array


def _read_parquet(path: Path, name: str | None) -> AnyArray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ArrayFileError(f"{path}: not readable as .parquet ({reason}).") from error
    lists = [f.name for f in table.schema if _is_list(f.type)]
    if name is None and not lists:
        # The index of a data frame is the number or name of a row, and no feature.
        index = (table.schema.pandas_metadata or {}).get("index_columns", ())
        features = [n for n in table.column_names if n not in index]
        if not features:
            raise ArrayFileError(f"{path}: holds no column of features.")
        _refuse_ids(path, table.select(features))
        return np.stack([_flat(path, n, table[n]) for n in features], axis=1)
    name = _choose(path, name, lists if name is None else table.column_names, "column")
    column = table[name]
    return _rows(path, name, column) if _is_list(column.type) else _flat(path, name, column)


def _refuse_ids(path: Path, table: Any) -> None:
    """Raise where columns beside features are none: text, or whole numbers that number the rows.

    The latter is one column among fractional ones, with a value of its own in every row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = {field.name: field.type for field in table.schema}
    ids = [
        n for n, kind in kinds.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ]
    whole = [name for name, kind in kinds.items() if pa.types.is_integer(kind)]
    fractional = [name for name, kind in kinds.items() if pa.types.is_floating(kind)]
    if len(whole) == 1 and len(whole) + len(fractional) + len(ids) == len(kinds):
        ids += [n for n in whole if pc.count_distinct(table[n]).as_py() == len(table) > 2]
    if ids and fractional:
        raise ArrayFileError(
            f"{path}: columns {', '.join(map(repr, ids))} look like ids (text, or a whole number "
            "of its own in every row) beside features. Drop them, or keep the features in one "
            f"column of lists and name it: {path.name}#name."
        )


def _choose(path: Path, name: str | None, present: list[str], what: str) -> str:
    if name is None and len(present) == 1:
        return present[0]
    if name in present:
        return str(name)
    listed = ", ".join(map(repr, present)) or "none"
    if name is None:
        raise ArrayFileError(
            f"{path}: holds {len(present)} {what}s ({listed}). Say which: {path.name}#name."
        )
    raise ArrayFileError(
        f"{path}: there is no {what} {name!r}.{nearest(name, present)} Present: {listed}."
    )


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _rows(path: Path, name: str, column: Any) -> AnyArray:
    """A column of lists as a matrix, all rows of one length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    _refuse_empty_cells(path, name, column)
    lengths = pc.list_value_length(column).to_numpy()
    if not len(lengths):
        return np.zeros((0, 0), dtype=np.float32)
    odd = np.flatnonzero(lengths != lengths[0])
    if len(odd):
        raise ArrayFileError(
            f"{path}, row {odd[0]}, column {name!r}: has {lengths[odd[0]]} features, row 0 has "
            f"{lengths[0]}. Every row needs the same number."
        )
    flat = pc.list_flatten(column.cast(pa.large_list(column.type.value_type)))
    _refuse_empty_cells(path, name, flat, width=int(lengths[0]))
    matrix: AnyArray = flat.to_numpy().reshape(len(lengths), -1)
    return matrix


def _flat(path: Path, name: str, column: Any) -> AnyArray:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)  # numpy would take an empty one for the last
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):  # no name means "none"
        _refuse_empty_cells(path, name, column)
    array: AnyArray = column.to_numpy()
    return array


def _refuse_empty_cells(path: Path, name: str, column: Any, *, width: int = 1) -> None:
    if column.null_count:
        row = int(np.argmin(column.is_valid().to_numpy())) // width
        raise ArrayFileError(
            f"{path}, row {row}, column {name!r}: empty (null). Fill or drop the row."
        )
