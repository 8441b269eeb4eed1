"""Sets by name: numbered alike on both sides, whatever stands for none."""

from __future__ import annotations

import numpy as np
import pytest

from setclip.data.set_ids import number_sets


class NotAvailable:
    """Like pandas.NA: no comparison with it has a truth value."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __ne__ = __eq__
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "none", [-1, None, float("nan"), "", "-1", NotAvailable()], ids=lambda v: type(v).__name__
)
def test_rows_of_no_set(none):
    numbers = number_sets(["a", none, "b", "a"], [none, "b", "c", none])
    assert numbers[0].tolist() == [0, -1, 1, 0]
    assert numbers[1].tolist() == [-1, 1, 2, -1]


@pytest.mark.parametrize(
    "names",
    [
        ["disc 9", "disc 10", "disc 010", "b"],
        [2.5, 10, "10", None, ("a", 3), ("a", 12)],
        [True, 0.0, 7, "x"],
    ],
)
def test_the_number_of_a_set_does_not_depend_on_the_order_of_rows(names):
    names = names * 2
    expected = number_sets(names, names)[0]
    assert len(set(expected)) == len(names) // 2
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(names))
        shuffled = [names[row] for row in order]
        x, y = number_sets(shuffled, names[::-1])
        assert x.tolist() == expected[order].tolist()
        assert y.tolist() == expected[::-1].tolist()


def test_names_are_numbered_in_their_order():
    names = ["disc 10", "disc 9", 3, 0.5, "disc 2"]
    assert number_sets(names, names)[0].tolist() == [4, 3, 1, 0, 2]


def test_whole_numbers_keep_their_value():
    numbers = number_sets([7, -1, 3], np.array([3, 7]))
    assert numbers[0].tolist() == [7, -1, 3]
    assert numbers[1].tolist() == [3, 7]


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_arrays_of_whole_numbers_stay_as_they_are(kind):
    """And would not if each number were looked at: then none that stands alone would count."""
    x, y = np.array([5, -1, 2], dtype=kind), np.array([2, 9, -1, -1], dtype=kind)
    found = number_sets(x, y)
    assert [ids.tolist() for ids in found] == [[5, -1, 2], [2, 9, -1, -1]]
    assert [ids.dtype for ids in found] == [np.int64] * 2
    assert [ids.tolist() for ids in number_sets(x.tolist(), y.tolist())] == [
        ids.tolist() for ids in found
    ]
    with pytest.raises(ValueError, match="share no set: x has 5, 2, y has 9"):
        number_sets(x, np.array([9, -1], dtype=kind))


def test_numbers_too_large_for_ids_are_numbered():
    x = np.array([2**63 + 5, 7], dtype=np.uint64)
    assert [ids.tolist() for ids in number_sets(x, x[::-1])] == [[1, 0], [0, 1]]


def test_nan_that_an_array_of_names_made_a_text_is_no_set():
    x, y = np.array(["p1", np.nan, np.nan, "p2"]), np.array(["p2", np.nan, "p1"])
    assert [ids.tolist() for ids in number_sets(x, y)] == [[0, -1, -1, 1], [1, -1, 0]]
    assert [ids.tolist() for ids in number_sets(["nan", "a"], ["nan"])] == [[1, 0], [1]]
