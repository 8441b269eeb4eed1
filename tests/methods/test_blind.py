"""Pins: CCA goes on from the rotation of the shape, and searches bear each other out or do not."""

from __future__ import annotations

import numpy as np
import pytest
from reference.planted import Planted, rotated_clouds

from setclip.data.pools import Pools, make_pools
from setclip.linear.maps import AffineMap, Alignment
from setclip.linear.transport_procrustes import agreement, transport_procrustes
from setclip.methods.blind import blind_map

NOISY = rotated_clouds(2, d=10, x_dim=40, y_dim=40, noise=0.2, clusters=12)


def pools(x: np.ndarray, y: np.ndarray) -> Pools:
    return make_pools(x_pool=x, y_pool=y)


def recall(alignment: Alignment, made: Planted) -> float:
    return made.recall(alignment.x(made.x_test), alignment.y(made.y_test))


def test_cca_goes_on_from_the_rotation() -> None:
    """A rotation trusts dimensions of noise as much as others."""
    rotation = transport_procrustes(NOISY.x, NOISY.y)
    found = blind_map(pools(NOISY.x, NOISY.y))
    assert recall(found.alignment, NOISY) > recall(rotation.alignment, NOISY) + 0.1
    assert found.agreement > rotation.agreement + 0.2


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="the y pool has 3 rows"):
        blind_map(pools(NOISY.x, NOISY.y[:3]))


def test_agreement_of_maps() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 4))
    turned, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    plain, scaled = (AffineMap(weight, np.zeros(4)) for weight in (np.eye(4), 3 * turned))
    one, same = Alignment(plain, plain), Alignment(scaled, scaled)
    strange = Alignment(plain, scaled)
    assert agreement(one, same, x, y) == 1.0
    nearest = [
        (a / np.linalg.norm(a, axis=1, keepdims=True) @ b.T / np.linalg.norm(b, axis=1)).argmax(1)
        for a, b in ((x, y), (x, y @ turned))
    ]
    assert agreement(one, strange, x, y) == (nearest[0] == nearest[1]).mean()
