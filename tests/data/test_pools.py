"""Pins pools: what is accepted, what is refused and how, what is hidden by forgetting."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from setclip.data.pools import NO_SET, Pools, make_pools, to_numpy, unit_rows


def some(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def mixed() -> Pools:
    return make_pools(
        some(2, 3),
        some(2, 5, 1),
        x_pool=some(4, 3, 2),
        y_pool=some(3, 5, 3),
        x_sets=[7, 7, 2, -1],
        y_sets=[2, 9, 7],
    )


def test_every_mixture_has_its_shapes() -> None:
    pools = mixed()
    assert (pools.x_dim, pools.y_dim, pools.n_pairs) == (3, 5, 2)
    np.testing.assert_array_equal(pools.shared_sets, [2, 7])
    np.testing.assert_array_equal(pools.all_x(), np.concatenate([pools.x_pairs, pools.x_pool]))
    np.testing.assert_array_equal(pools.all_y(), np.concatenate([pools.y_pairs, pools.y_pool]))
    assert pools.describe() == (
        "2 pairs; 2 shared sets holding 3 x and 2 y; pools of 4 x [3-d] and 3 y [5-d]"
    )


def test_what_is_not_given_is_empty_and_as_wide() -> None:
    pairs = make_pools(some(2, 3), some(2, 5))
    assert pairs.x_pool.shape == (0, 3)
    assert pairs.y_pool.shape == (0, 5)
    assert len(pairs.shared_sets) == len(pairs.x_sets) == 0
    pools = make_pools(x_pool=some(4, 3), y_pool=some(2, 5))
    assert pools.x_pairs.shape == (0, 3)
    assert pools.y_pairs.shape == (0, 5)
    np.testing.assert_array_equal(pools.x_sets, [NO_SET] * 4)
    nothing = make_pools(np.zeros((0, 3)), np.zeros((0, 5)), x_sets=[], y_sets=[])
    assert nothing.n_pairs == 0


@pytest.mark.parametrize(
    "values",
    [
        np.ones((2, 3), dtype=np.float64),
        np.ones((2, 3), dtype=np.float16),
        np.ones((2, 3), dtype=np.int32),
        [[1, 1, 1], [1, 1, 1]],
        torch.ones(2, 3),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.ones(2, 3, dtype=torch.int64),
        torch.ones(2, 3, requires_grad=True),
    ],
    ids=["float64", "float16", "int32", "list", "tensor", "bfloat16", "int tensor", "with grad"],
)
def test_takes_any_array_of_numbers(values: Any) -> None:
    pools = make_pools(values, values)
    for array in (pools.x_pairs, pools.y_pairs, pools.x_pool):
        assert array.dtype == np.float32
    np.testing.assert_array_equal(pools.x_pairs, np.ones((2, 3)))


def test_zeros_and_whatever_float32_holds_are_taken() -> None:
    pools = make_pools(np.zeros((2, 3)), 1e-37 * some(2, 3), x_pool=1e36 * np.ones((1, 3)))
    assert not pools.x_pairs.any()
    assert pools.y_pairs.any()
    assert make_pools([[1.0]], np.ma.ones((1, 2))).y_dim == 2


def test_float32_is_not_copied() -> None:
    x = some(3, 2).astype(np.float32)
    assert make_pools(x, x).x_pairs is x


def test_set_ids_may_be_tensors() -> None:
    pools = make_pools(
        x_pool=some(2, 3), y_pool=some(1, 3), x_sets=torch.tensor([0, 4]), y_sets=np.array([4])
    )
    np.testing.assert_array_equal(pools.shared_sets, [4])


def test_forgetting_sets_keeps_the_items() -> None:
    pools = mixed()
    forgotten = pools.without_sets()
    np.testing.assert_array_equal(forgotten.x_pool, pools.x_pool)
    np.testing.assert_array_equal(forgotten.y_sets, [NO_SET] * 3)
    assert len(forgotten.shared_sets) == 0
    assert len(pools.shared_sets) == 2


def test_forgetting_pools_keeps_the_pairs() -> None:
    alone = mixed().without_pools()
    np.testing.assert_array_equal(alone.x_pairs, mixed().x_pairs)
    assert alone.all_x().shape == (2, 3)
    assert alone.y_pool.shape == (0, 5)
    assert len(alone.x_sets) == len(alone.y_sets) == len(alone.shared_sets) == 0


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"x_pairs": some(2, 3)},
        "x_pairs and y_pairs come together: y_pairs is missing. Give both, or neither",
    ),
    ({"y_pairs": some(2, 3)}, "x_pairs is missing"),
    (
        {"x_pairs": some(3, 3), "y_pairs": some(2, 3)},
        "x_pairs has 3 rows and y_pairs 2: row i of one must match row i",
    ),
    ({"x_pool": some(2, 3)}, "no y was given: pass y_pairs or y_pool"),
    ({"y_pool": some(2, 3)}, "no x was given: pass x_pairs or x_pool"),
    ({}, "no x was given"),
    (
        {"x_pairs": some(2, 3), "y_pairs": some(2, 3), "x_pool": some(2, 4)},
        "x_pairs is 3 wide and x_pool 4: both must come from the same encoder",
    ),
    (
        {"x_pairs": np.ones(3), "y_pairs": some(3, 3)},
        r"x_pairs has shape \[3\], expected \[rows, features\]. Reshape",
    ),
    (
        {"x_pairs": np.ones((2, 0)), "y_pairs": some(2, 3)},
        r"x_pairs has no features \(shape \[2, 0\]\)",
    ),
    (
        {"x_pairs": np.array([["a"], ["b"]]), "y_pairs": some(2, 3)},
        "x_pairs holds <U1, expected numbers",
    ),
    (
        {"x_pairs": some(3, 2), "y_pairs": [[0, 1], [np.nan, 0], [0, np.inf]]},
        "y_pairs has NaN or infinite values .* in 2 rows, the first is row 1. Drop these rows",
    ),
    (
        {"x_pool": [[0.0], [1e60]], "y_pool": some(2, 3)},
        r"x_pool has NaN or infinite values \(as float32\) in 1 rows, the first is row 1",
    ),
    (
        {"x_pool": [[0.0], [-2e36]], "y_pool": some(2, 3)},
        r"x_pool reaches 2.0e\+36 in row 1: sums of such numbers leave float32. Drop the row",
    ),
    (
        {"x_pairs": some(2, 3), "y_pairs": 1e-42 * some(2, 3)},
        "y_pairs has no number above .*e-4. .as float32., where .* Multiply all its rows",
    ),
    ({"x_pool": [[1e-60]], "y_pool": some(2, 3)}, "x_pool has no number above 0e.00"),
    (
        {"x_pairs": [[1, 2], [3]], "y_pairs": some(2, 3)},
        "x_pairs cannot be read as one array .*inhomogeneous.*: give every row as many numbers",
    ),
    (
        {"x_pool": some(2, 3), "y_pool": np.ma.masked_greater(np.arange(6.0).reshape(2, 3), 3)},
        "y_pool is a masked array with masked values, .*: drop their rows, or fill",
    ),
    (
        {"x_pool": scipy.sparse.eye_array(3).tocsr(), "y_pool": some(2, 3)},
        r"x_pool is a sparse csr_array, which methods cannot use: give x_pool\.toarray\(\)",
    ),
    (
        {"x_pool": some(2, 3), "x_sets": np.ma.masked_equal([0, 1], 1), "y_pool": some(2, 3)},
        "x_sets is a masked array with masked",
    ),
    (
        {"x_pool": some(2, 3), "y_pool": some(2, 3), "x_sets": [0, 1, 2]},
        r"x_sets has shape \[3\] for a pool of 2 rows: give one set id a row, -1 for",
    ),
    (
        {"x_pairs": some(2, 3), "y_pairs": some(2, 3), "y_sets": [0, 1]},
        r"y_sets has shape \[2\] for a pool of 0 rows",
    ),
    (
        {"x_pool": some(2, 3), "y_pool": some(2, 3), "y_sets": ["a", "b"]},
        "y_sets holds <U1, expected whole numbers. Number your sets first",
    ),
    (
        {"x_pool": some(2, 3), "y_pool": some(2, 3), "y_sets": [0.0, 1.5]},
        "y_sets holds float64, expected whole numbers",
    ),
    (
        {"x_pool": some(2, 3), "y_pool": some(2, 3), "x_sets": [0, -2]},
        "x_sets holds -2: ids are 0 or more, -1 for no set",
    ),
]


@pytest.mark.parametrize(("arrays", "message"), BAD)
@pytest.mark.filterwarnings("error")
def test_refuses_with_value_and_remedy(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_pools(**arrays)


def test_arrays_need_no_torch() -> None:
    """Reading and splitting data must not wait for PyTorch to load."""
    code = (
        "import sys; from setclip.data.pools import make_pools; make_pools([[1.0]], [[2.0]]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_to_numpy_takes_tensors_off_the_graph() -> None:
    tensor = (2 * torch.ones(2, requires_grad=True)).bfloat16()
    np.testing.assert_array_equal(to_numpy(tensor), [2, 2])
    assert to_numpy([1, 2]).dtype.kind == "i"


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_unit_rows_have_length_one_at_any_scale(scale: float) -> None:
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    rows[2] = 0
    unit = unit_rows((scale * rows).astype(np.float32))
    assert unit.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), [1, 1, 0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(unit, unit_rows(rows), atol=1e-6)
