"""Files of features: read without loading where possible, and each wrong one told what to do."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from setclip.data import pools
from setclip.data.arrays import ArrayFileError, read_array, read_features
from setclip.data.pools import non_finite_rows

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def refusal(source: str | Path) -> str:
    with pytest.raises(ArrayFileError) as caught:
        read_features(source)
    return str(caught.value)


def save(path: Path, array: object = X) -> Path:
    np.save(path, np.asarray(array))
    return path


def test_npy_is_memory_mapped(tmp_path):
    array = read_features(save(tmp_path / "x.npy"))
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, ">f4"])
def test_other_numbers_become_float32(tmp_path, dtype):
    array = read_features(save(tmp_path / "x.npy", X.astype(dtype)))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_by_name_or_alone(tmp_path, dtype):
    tensor = torch.from_numpy(X).to(dtype)
    safetensors.torch.save_file({"only": tensor}, tmp_path / "one.safetensors")
    np.testing.assert_array_equal(read_features(tmp_path / "one.safetensors"), X)
    two = tmp_path / "two.safetensors"
    safetensors.torch.save_file({"train": tensor, "test": tensor[:1].clone()}, two)
    np.testing.assert_array_equal(read_features(f"{two}#test"), X[:1])
    assert "holds 2 tensors ('test', 'train'). Say which: two.safetensors#name" in refusal(two)
    assert "no tensor 'tset'. Did you mean 'test'?" in refusal(f"{two}#tset")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 3), pa.large_list(pa.float64())]
)
def test_parquet_column_of_lists(tmp_path, kind):
    path = tmp_path / "x.parquet"
    table = pa.table({"id": list("abcd"), "embedding": pa.array(X.tolist(), type=kind)})
    # Several row groups, so that the column comes in chunks.
    pq.write_table(table, path, row_group_size=3)
    np.testing.assert_array_equal(read_features(path), X)
    np.testing.assert_array_equal(read_features(f"{path}#embedding"), X)
    assert "no column 'embeding'. Did you mean 'embedding'?" in refusal(f"{path}#embeding")


def test_parquet_without_rows_has_no_features(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"e": pa.array([], type=pa.list_(pa.float32()))}), path)
    assert refusal(path) == f"{path}: has no features (shape [0, 0])."


def test_parquet_of_number_columns(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({f"f{i}": X[:, i] for i in range(3)}), path)
    np.testing.assert_array_equal(read_features(path), X)


def test_parquet_rows_of_differing_length_name_the_row(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"e": [[1.0, 2.0], [3.0]]}), path)
    message = refusal(path)
    assert message.startswith(f"{path}, row 1, column 'e': has 1 features, row 0 has 2.")
    for cells, row in (([[1.0], None], 1), ([None, [1.0]], 0), ([[1.0, 2.0], [3.0, None]], 1)):
        pq.write_table(pa.table({"e": pa.array(cells)}), path)
        assert f"{path}, row {row}, column 'e': empty (null)." in refusal(path)
    pq.write_table(pa.table({"a": [1.0, None], "b": [1.0, 2.0]}), path)
    assert "row 1, column 'a': empty (null). Fill or drop the row." in refusal(path)


@pytest.mark.parametrize("block_bytes", [1, 64, 1 << 20])
def test_non_finite_rows_are_named_whatever_the_block(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(pools, "_CHECK_BYTES", block_bytes)
    array = np.tile(X, (10, 1))
    array[17, 2] = np.nan
    array[30, 0] = -np.inf
    assert non_finite_rows(array).tolist() == [17, 30]
    assert non_finite_rows(array[:0]).tolist() == []
    path = save(tmp_path / "x.npy", array)
    assert refusal(path) == (
        f"{path}, row 17: column 2 is nan as float32; 2 of 40 rows are not finite. Drop these rows "
        "(from the matching file too), or repair what wrote them."
    )


def test_float64_beyond_float32_is_caught(tmp_path):
    path = save(tmp_path / "x.npy", [[1.0, 1e300]])
    assert f"{path}, row 0: column 1 is inf as float32" in refusal(path)


def test_names_of_tensors_may_hold_slashes(tmp_path):
    rows = torch.ones(2, 3)
    safetensors.torch.save_file({"a/b": rows, "c#d": 2 * rows}, tmp_path / "f.safetensors")
    assert read_array(f"{tmp_path}/f.safetensors#a/b").tolist() == rows.tolist()
    assert read_array(f"{tmp_path}/f.safetensors#c#d")[0, 0] == 2


def test_a_table_without_columns_holds_no_features(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "f.parquet")
    with pytest.raises(ArrayFileError, match="holds no column of features"):
        read_features(tmp_path / "f.parquet")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (["a", "b"], "holds <U1, expected numbers"),
        ([1.0, 2.0], "has shape [2], expected [rows, features]"),
        (np.zeros((2, 2, 2)), "has shape [2, 2, 2]"),
        (np.zeros((2, 0)), "has no features (shape [2, 0])"),
        (np.zeros((2, 2), complex), "holds complex128"),
    ],
)
def test_wrong_arrays_are_told_what_was_expected(tmp_path, array, expected):
    path = save(tmp_path / "x.npy", array)
    message = refusal(path)
    assert message.startswith(str(path))
    assert expected in message


def test_python_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.asarray([{}, {}]), allow_pickle=True)
    assert "Python objects are not opened, since they can run code" in refusal(path)


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors", "x.parquet"])
def test_broken_files_are_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x93NUMPY broken")
    assert refusal(path).startswith(f"{path}: not readable as {path.suffix}")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("1,2")
    assert ".csv is not a file of features; give .npy, .safetensors, .parquet" in refusal(
        tmp_path / "x.csv"
    )
    save(tmp_path / "image.npy")
    assert "no such file. Did you mean 'image.npy'?" in refusal(tmp_path / "imag.npy")
    assert "no such file" in refusal(tmp_path / "nowhere" / "x.npy")


def test_a_hash_in_a_file_name_is_part_of_it(tmp_path):
    np.testing.assert_array_equal(read_features(save(tmp_path / "run#3.npy")), X)


@pytest.mark.parametrize("ids", [np.arange(100, 106), [f"bird {i}" for i in range(6)]])
def test_columns_of_ids_are_named_and_not_learned_from(tmp_path, ids):
    pq.write_table(pa.table({"item": ids, "f0": np.arange(6) / 7}), tmp_path / "x.parquet")
    with pytest.raises(ArrayFileError, match=r"columns 'item' look like ids"):
        read_features(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "table",
    [
        {"spots": [1, 3, 3, 2], "f0": [0.5, 0.25, 0.75, 0.125]},
        {"length": [10, 12, 9, 11], "width": [3, 3, 4, 5], "f0": [0.5, 0.25, 0.75, 0.125]},
        {"f0": [1, 3, 4, 2], "f1": [1, 1, 2, 3]},
    ],
)
def test_whole_numbers_may_be_features(tmp_path, table):
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert read_features(tmp_path / "x.parquet").T.tolist() == list(table.values())


def test_the_index_of_a_data_frame_is_no_feature(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.eye(4, dtype=np.float32), columns=list("abcd"))
    frame.iloc[[3, 0, 2]].to_parquet(tmp_path / "x.parquet")
    read = read_features(tmp_path / "x.parquet")
    np.testing.assert_array_equal(read, np.eye(4)[[3, 0, 2]])
