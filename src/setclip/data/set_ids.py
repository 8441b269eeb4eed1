"""Sets as people name them, numbered alike on both sides."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from setclip.data.pools import NO_SET, IntArray

SetIds = npt.ArrayLike | Iterable[Hashable]


def number_sets(
    x_sets: SetIds | None, y_sets: SetIds | None
) -> tuple[IntArray | None, IntArray | None]:
    """Set ids as make_pools takes them: whole numbers stay, names are numbered on both sides.

    Args:
        x_sets: A number or name for each row of the pool of x. Of no set are -1, "-1", the empty
            name, None and NaN.
        y_sets: Likewise of y.

    Returns:
        Ids from 0, `NO_SET` for none, of both sides; None twice where neither is given.

    Raises:
        ValueError: One side lacks, cannot be read as one set a row, or no set stands on both sides.
    """
    if x_sets is None and y_sets is None:
        return None, None
    if x_sets is None or y_sets is None:
        have, lack = ("x_sets", "y_sets") if y_sets is None else ("y_sets", "x_sets")
        raise ValueError(f"{have} is given without {lack}: a set needs items on both sides.")
    if _are_numbers(x_sets) and _are_numbers(y_sets):
        x_ids, y_ids = (np.asarray(ids, dtype=np.int64) for ids in (x_sets, y_sets))
        if len(np.intersect1d(x_ids[x_ids != NO_SET], y_ids[y_ids != NO_SET])):
            return x_ids, y_ids
    x, x_names = _named("x_sets", x_sets)
    y, y_names = _named("y_sets", y_sets)
    if (x_names or y_names) and not x_names.keys() & y_names.keys():
        raise ValueError(
            f"x_sets and y_sets share no set: x has {_few(x_names)}, y has {_few(y_names)}. "
            "Name a set the same way, and with the same type, on both sides."
        )
    names = {**x_names, **y_names}
    keep = all(type(n) is int and 0 <= n < 2**63 for n in names)
    numbers = {n: n if keep else i for i, n in enumerate(sorted(names, key=_place))}
    found = ([numbers.get(v, NO_SET) for v in values] for values in (x, y))
    x_ids, y_ids = (np.asarray(ids, dtype=np.int64) for ids in found)
    return x_ids, y_ids


def _are_numbers(ids: Any) -> bool:
    """Whether they may stay as they are: to look at millions one by one would take a while."""
    return (
        isinstance(ids, np.ndarray)
        and ids.ndim == 1
        and ids.dtype.kind == "i"
        and (not len(ids) or bool(ids.min() >= NO_SET))
    )


def _named(name: str, ids: Any) -> tuple[list[Hashable], dict[Hashable, None]]:
    """The set of each row, and the sets there are in order of appearance."""
    try:
        values = list(ids.tolist() if hasattr(ids, "tolist") else ids)
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "US":
            # What was NaN in a list with names is text in its array.
            values = [None if value in ("nan", b"nan") else value for value in values]
        return values, dict.fromkeys(v for v in values if not _is_no_set(v))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be read as one set a row ({error}): give one number or name for each "
            "row of the pool."
        ) from error


def _place(name: Hashable) -> tuple[str, Any, str]:
    """Where a name is sorted, whatever row it stands in: numbers by value, then by type and text.

    Numbers within a text count by value too: disc 9 comes before disc 10.
    """
    if isinstance(name, Real):
        return "", name, ""
    kind = "str" if isinstance(name, str) else type(name).__name__
    return kind, re.sub(r"\d+", lambda digits: digits[0].zfill(20), str(name)), str(name)


def _is_no_set(value: Any) -> bool:
    try:
        # numpy turns the -1 of a list that mixes it with names into "-1"; only NaN differs from
        # itself
        return value is None or value in (NO_SET, "", str(NO_SET)) or bool(value != value)
    except TypeError:  # pandas.NA: comparing it is neither true nor false
        return True


def _few(names: Iterable[Hashable]) -> str:
    listed = [repr(n) for n in names]
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "") or "none"
