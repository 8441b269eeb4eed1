"""Pins CCA with soft transport between the pools."""

from __future__ import annotations

import numpy as np
import pytest
from reference.planted import rotated_clouds

from setclip.data.pools import Pools, make_pools
from setclip.methods import CCA, TransportCCA
from setclip.training.journal import Journal


def few_pairs(seed: int = 0, *, pairs: int = 6, noise: float = 0.1) -> tuple[Pools, np.ndarray]:
    made = rotated_clouds(seed, noise=noise, n=300, m=300, test=100 + pairs)
    pools = make_pools(made.x_test[:pairs], made.y_test[:pairs], x_pool=made.x, y_pool=made.y)
    return pools, np.stack([made.x_test[pairs:], made.y_test[pairs:]])


def recall(model: object, test: np.ndarray) -> float:
    cosines = model.similarity(*test.astype(np.float32))  # type: ignore[attr-defined]
    return float((cosines.argmax(axis=1) == np.arange(len(cosines))).mean())


@pytest.mark.parametrize("seed", range(3))
def test_disjoint_pools_find_the_rest_of_a_planted_rotation(seed: int) -> None:
    pools, test = few_pairs(seed)
    method = TransportCCA(penalties=((0.1,),))
    alone = CCA(penalty=0.1, power=0.5, covariances="all").fit(pools)
    assert recall(method.fit(pools), test) > recall(alone, test) + 0.05


def test_without_pools_it_is_averaged_cca() -> None:
    pools, test = few_pairs(pairs=30)
    method = TransportCCA(penalties=((2.0,),))
    model = method.fit(pools.without_pools())
    alone = CCA(penalty=2.0, power=0.5, covariances="all").fit(pools.without_pools())
    np.testing.assert_allclose(
        model.similarity(*test.astype(np.float32)),
        alone.similarity(*test.astype(np.float32)),
        atol=1e-5,
    )


def test_the_group_of_penalties_is_chosen_and_said() -> None:
    pools, _ = few_pairs(pairs=20)
    journal = Journal()
    TransportCCA(penalties=((500.0,), (0.1,)), folds=3).fit(pools, journal=journal)
    assert journal.notes[0].startswith("transport-cca took penalties (0.1,): mean log2 rank")


def test_one_pair_is_refused() -> None:
    pools, _ = few_pairs(pairs=1)
    with pytest.raises(ValueError, match="give at least 2 pairs, or use `auto`"):
        TransportCCA().fit(pools)
