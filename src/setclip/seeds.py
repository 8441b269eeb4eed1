"""Which numbers can be seeds."""

from __future__ import annotations

import numpy as np

LARGEST_SEED = 2**32 - 1
"""numpy's legacy generators, which scikit-learn draws from, take no larger one."""


def as_seed(seed: int | np.integer) -> int:
    """The seed as a Python number.

    Raises:
        ValueError: Not a whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed is {seed!r}: give a whole number from 0 to {LARGEST_SEED}.")
    return int(seed)
