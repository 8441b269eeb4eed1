import numpy as np
import pytest

from setclip.encoders.composition import Composition
from setclip.modalities import BadItemError


def test_shares_and_length():
    features = Composition().encode(["ACCX", "w" * 7])
    assert features.shape == (2, 21)
    np.testing.assert_allclose(features[0, :3], [0.25, 0.5, 0])
    np.testing.assert_allclose(features[:, -1], np.log([4, 7]), rtol=1e-6)
    np.testing.assert_allclose(features[:, :-1].sum(axis=1), [0.75, 1])


def test_the_order_of_residues_does_not_count():
    a, b = Composition().encode(["ACDEFG", "GFEDCA"])
    np.testing.assert_array_equal(a, b)


def test_what_is_no_sequence_is_a_bad_item():
    for item, reason in [(b"ACD", "bytes where"), ("AC1", "no letter"), ("", "empty")]:
        with pytest.raises(BadItemError, match=reason):
            Composition().prepare(item)
