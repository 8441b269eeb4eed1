"""Files of features read together: rows, widths and sets must fit."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from setclip.data.arrays import ArrayFileError
from setclip.data.feature_files import read_feature_files

RNG = np.random.default_rng(0)


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    shapes = {
        "x_pairs": (3, 4),
        "y_pairs": (3, 5),
        "x_pool": (6, 4),
        "y_pool": (7, 5),
        "x_test": (2, 4),
        "y_test": (2, 5),
    }
    for name, shape in shapes.items():
        np.save(tmp_path / f"{name}.npy", RNG.normal(size=shape).astype(np.float32))
    np.save(tmp_path / "x_sets.npy", np.asarray([0, 0, 1, 1, -1, -1]))
    np.save(tmp_path / "y_sets.npy", np.asarray([[0], [1], [1], [1], [2], [-1], [-1]]))
    return {path.stem: path for path in tmp_path.glob("*.npy")}


def refusal(files: dict[str, Path]) -> str:
    with pytest.raises(ArrayFileError) as caught:
        read_feature_files(**files)
    return str(caught.value)


def test_everything_fits(files):
    read = read_feature_files(**files)
    assert read.pools.n_pairs == 3
    assert read.pools.shared_sets.tolist() == [0, 1]
    np.testing.assert_array_equal(read.pools.x_pool, np.load(files["x_pool"]))
    np.testing.assert_array_equal(read.y_test, np.load(files["y_test"]))


def test_pools_alone_are_enough(files):
    read = read_feature_files(x_pool=files["x_pool"], y_pool=files["y_pool"])
    assert read.pools.n_pairs == 0
    assert read.pools.x_sets.tolist() == [-1] * 6
    assert read.x_test.shape == (0, 4)
    assert read.y_test.shape == (0, 5)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_named_sets_are_numbered_alike_on_both_sides(files, tmp_path, kind):
    np.save(files["x_sets"], np.asarray(["b", "b", "a", "-1", "c", "c"]))
    path = tmp_path / "y_sets.parquet"
    names = pa.array(["a", "b", None, "", "a", None, "d"]).cast(kind)
    pq.write_table(pa.table({"room": names}), path)
    pools = read_feature_files(**{**files, "y_sets": path}).pools
    assert pools.x_sets.tolist() == [1, 1, 0, -1, 2, 2]
    assert pools.y_sets.tolist() == [0, 1, -1, -1, 0, -1, 3]


@pytest.mark.parametrize("lost", ["x_pairs", "y_pairs", "x_test", "y_test"])
def test_pairs_come_together(files, lost):
    other = ("y" if lost[0] == "x" else "x") + lost[1:]
    path = files[other]
    del files[lost]
    assert refusal(files).startswith(f"{other} ({path}) is given without {lost}")


def test_pairs_of_differing_length_name_both_files(files):
    np.save(files["y_pairs"], np.ones((4, 5)))
    assert refusal(files) == (
        f"x_pairs ({files['x_pairs']}) has 3 rows and y_pairs ({files['y_pairs']}) 4: row i of one "
        "must match row i of the other. Move unmatched rows to the pool of their side."
    )


@pytest.mark.parametrize("odd", ["y_pool", "y_test"])
def test_differing_widths_name_both_files(files, odd):
    np.save(files[odd], np.ones((2, 9)))
    assert refusal(files) == (
        f"y_pairs ({files['y_pairs']}) is 5 wide and {odd} ({files[odd]}) 9: both must come from "
        "the same encoder."
    )


def test_a_side_without_anything_to_learn_from(files):
    files = {k: files[k] for k in ("x_pool", "x_test", "y_test")}
    assert refusal(files) == "no y to learn from: give y_pairs or y_pool."


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(5, int), "has shape [5] for a pool of 6 rows: give one set a row"),
        (np.zeros(6), "holds float64: give whole numbers or names"),
        (np.asarray([0, 1, -2, 0, 0, 0]), "row 2: -2 is no set; give 0 or more, -1 for none"),
        (np.asarray(list("abcdef")), "share no set: x has 'a', 'b', 'c', …, y has 0, 1, 2"),
    ],
)
def test_wrong_sets_name_the_file_and_the_row(files, array, expected):
    np.save(files["x_sets"], array)
    message = refusal(files)
    assert f"x_sets ({files['x_sets']})" in message
    assert expected in message


def test_sets_need_both_sides_and_their_pools(files):
    kept = {k: v for k, v in files.items() if k != "y_sets"}
    assert refusal(kept) == (
        f"x_sets ({files['x_sets']}) is given without y_sets: a set needs items on both sides."
    )
    kept = {k: v for k, v in files.items() if k != "x_sets"}
    assert refusal(kept).startswith(f"y_sets ({files['y_sets']}) is given without x_sets")
    kept = {k: v for k, v in files.items() if k != "x_pool"}
    assert "is given without x_pool, whose rows it describes" in refusal(kept)
