"""Pins recall and ranks against loops and enumerated ties; chance; laws; memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import evaluation as naive

from setclip.evaluation import Ranks, chance, ranks, retrieval, top_k


def coarse_rows(seed: int, n: int, d: int = 2) -> np.ndarray:
    """Three-valued entries make exact ties between different items common."""
    return np.random.default_rng(seed).choice([-1.0, 0.5, 1.0], size=(n, d))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 5))
def test_ties_and_several_positives_agree_with_enumeration(seed: int, n: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    items = int(rng.integers(1, n + 1))
    query_ids = rng.integers(items, size=n)
    gallery_ids = np.concatenate([np.arange(items), rng.integers(items, size=3)])
    queries, gallery = coarse_rows(seed, n), coarse_rows(seed + 1, len(gallery_ids))
    found = ranks(queries, gallery, query_ids, gallery_ids, block=block)
    scores = naive.unit(queries) @ naive.unit(gallery).T
    for i in range(n):
        own = gallery_ids == query_ids[i]
        better, tied, positives = naive.slots(scores[i], own)
        assert (found.better[i], found.tied[i]) == (better, tied)
        assert (found.tied_positives[i], found.positives[i]) == (positives, own.sum())
        assert found.expected[i] == pytest.approx(
            naive.rank_by_enumeration(better, tied, positives)
        )
        for k in (1, 2, 5, 100):
            by_hand = naive.credit_by_enumeration(better, tied, positives, k)
            assert found.credit(k)[i] == pytest.approx(by_hand, abs=1e-12)
        expected = 0.5 if own.all() else naive.closer(scores[i], own)
        assert found.closer[i] == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 7, 100, 1001])
def test_a_constant_embedding_scores_exactly_chance(n: int) -> None:
    z = np.tile(np.random.default_rng(0).standard_normal(64), (n, 1))
    # Positive scaling leaves rows that differ by rounding, as a collapsed encoder's do.
    z *= np.random.default_rng(1).uniform(0.1, 10, size=(n, 1))
    found = retrieval(z, z)
    for k in (1, 5, 10):
        assert found.recall[k] == pytest.approx(100 * min(1, k / n), rel=1e-12)
    assert found.recall == pytest.approx(found.chance, rel=1e-12)
    assert found.recall == pytest.approx(chance(n), rel=1e-12)
    assert found.median_rank == (n + 1) / 2
    assert found.mean_rank == (n + 1) / 2
    assert found.foscttm == 0.5


def test_a_constant_embedding_scores_chance_with_several_captions() -> None:
    x_ids, y_ids = np.arange(20), np.repeat(np.arange(20), 5)
    found = retrieval(np.ones((20, 8)), np.ones((100, 8)), x_ids=x_ids, y_ids=y_ids)
    assert found.x_to_y.recall == pytest.approx(chance(100, positives=5), rel=1e-12)
    assert found.y_to_x.recall == pytest.approx(chance(20), rel=1e-12)
    assert found.recall == pytest.approx(found.chance, rel=1e-12)
    assert found.foscttm == 0.5


@pytest.mark.parametrize(("gallery", "positives"), [(50, 1), (50, 5), (8, 8), (3, 1)])
def test_chance_is_what_random_orders_score(gallery: int, positives: int) -> None:
    rng = np.random.default_rng(0)
    orders = np.argsort(rng.random((20_000, gallery)), axis=1)
    firsts = orders[:, :positives].min(axis=1)
    for k, level in chance(gallery, positives=positives).items():
        assert 100 * np.mean(firsts < k) == pytest.approx(level, abs=1.5)


def test_one_tied_pair_gets_half_the_credit() -> None:
    z = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = retrieval(z, z, ks=(1, 2))
    np.testing.assert_allclose(found.x_to_y.credits[1], [0.5, 0.5, 1.0])
    np.testing.assert_allclose(found.x_to_y.ranks, [1.5, 1.5, 1.0])
    assert found.recall == pytest.approx({1: 200 / 3, 2: 100.0})


def test_a_perfect_embedding_is_first_everywhere() -> None:
    z = np.random.default_rng(0).standard_normal((300, 32))
    found = retrieval(z, 5 * z)
    assert found.recall == {1: 100.0, 5: 100.0, 10: 100.0}
    assert (found.median_rank, found.mean_rank, found.foscttm) == (1.0, 1.0, 0.0)


def test_an_inverted_embedding_is_last_everywhere() -> None:
    z = np.eye(12)
    found = retrieval(z, -z)
    assert found.recall == {1: 0.0, 5: 0.0, 10: 0.0}
    assert (found.median_rank, found.foscttm) == (12.0, 1.0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = coarse_rows(seed, 30, 3), coarse_rows(seed + 1, 45, 3)
    x_ids, y_ids = np.arange(30) % 15, np.arange(45) % 15
    plain = retrieval(x, y, x_ids=x_ids, y_ids=y_ids)
    i, j = rng.permutation(30), rng.permutation(45)
    mixed = retrieval(x[i], y[j], x_ids=x_ids[i], y_ids=y_ids[j])
    assert mixed.recall == pytest.approx(plain.recall)
    assert mixed.median_rank == pytest.approx(plain.median_rank)
    assert mixed.foscttm == pytest.approx(plain.foscttm)
    np.testing.assert_allclose(mixed.x_to_y.ranks, plain.x_to_y.ranks[i])
    np.testing.assert_allclose(mixed.per_item(5), plain.per_item(5))


def test_rotation_and_block_size_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 16))
    y = x + rng.standard_normal((200, 16))
    turn = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    plain = retrieval(x, y)
    for other in (retrieval(x @ turn, y @ turn), retrieval(x, y, block=7)):
        np.testing.assert_array_equal(other.x_to_y.ranks, plain.x_to_y.ranks)
        np.testing.assert_array_equal(other.y_to_x.ranks, plain.y_to_x.ranks)


def test_large_ids_of_two_kinds_of_integers_stay_apart() -> None:
    z = np.eye(4, dtype=np.float32)
    ids = 2**60 + np.arange(4)
    swapped = z[[1, 0, 3, 2]]
    found = retrieval(z, swapped, x_ids=ids, y_ids=ids.astype(np.uint64), ks=(1,))
    assert found.recall[1] == 0


def test_ids_of_a_data_frame_are_strings() -> None:
    z, ids = np.eye(3), np.array(["a", "b", "c"], dtype=object)
    assert retrieval(z, z, x_ids=ids, y_ids=ids, ks=(1,)).recall[1] == 100


def test_string_ids_match_as_numbers_do() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4)), rng.standard_normal((12, 4))
    numbers = retrieval(x, y, x_ids=np.arange(6), y_ids=np.repeat(np.arange(6), 2))
    names = np.array(list("fedcba"))
    strings = retrieval(x, y, x_ids=names, y_ids=np.repeat(names, 2))
    assert strings.recall == numbers.recall


def test_other_captions_of_the_item_do_not_stand_in_the_way() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    y = np.array([[1.0, 0.05], [1.0, 0.1], [1.0, 0.2], [0.9, 1.0]])
    found = retrieval(x, y, x_ids=[0, 1], y_ids=[0, 0, 0, 1], ks=(1,))
    assert found.x_to_y.recall == {1: 100.0}
    np.testing.assert_array_equal(found.x_to_y.ranks, [1, 1])


def test_per_item_values_average_to_the_recall() -> None:
    rng = np.random.default_rng(0)
    y_ids = np.concatenate([np.arange(20), rng.integers(20, size=40)])
    x = rng.standard_normal((20, 6))
    y = x[y_ids] + rng.standard_normal((60, 6))
    found = retrieval(x, y, x_ids=np.arange(20), y_ids=y_ids)
    for k in (1, 5, 10):
        assert found.per_item(k).mean() == pytest.approx(found.recall[k])
    paired = retrieval(x, x + rng.standard_normal((20, 6)))
    both = (paired.x_to_y.credits[5] + paired.y_to_x.credits[5]) / 2
    np.testing.assert_allclose(paired.per_item(5), 100 * both)


def test_csls_ranks_as_the_corrected_scores_do() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 40, 5))
    found = retrieval(x, y, csls_k=4)
    scores = naive.csls(x, y, 4)
    own = np.eye(40, dtype=bool)
    by_hand = [naive.rank_by_enumeration(*naive.slots(scores[i], own[i])) for i in range(40)]
    np.testing.assert_allclose(found.x_to_y.ranks, by_hand)
    by_hand = [naive.rank_by_enumeration(*naive.slots(scores.T[i], own[i])) for i in range(40)]
    np.testing.assert_allclose(found.y_to_x.ranks, by_hand)


def test_csls_takes_a_hub_out_of_the_way() -> None:
    hub = np.eye(6)[:3].sum(axis=0)
    x = np.vstack([np.eye(6)[:3], hub])
    y = np.vstack([0.5 * np.eye(6)[:3] + 0.87 * np.eye(6)[3:], hub])
    assert retrieval(x, y, ks=(1,)).x_to_y.recall == {1: 25.0}
    assert retrieval(x, y, ks=(1,), csls_k=2).x_to_y.recall == {1: 100.0}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 5))
def test_top_k_is_a_full_sort_cut_off(seed: int, k: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = rng.standard_normal((7, 5)), rng.standard_normal((12, 5))
    found = top_k(queries, gallery, k, block=block)
    scores = naive.unit(queries) @ naive.unit(gallery).T
    np.testing.assert_array_equal(found.indices, np.argsort(-scores, axis=1)[:, :k])
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :k], atol=1e-6)


def test_top_k_lists_equal_scores_in_gallery_order() -> None:
    found = top_k(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), 3)
    np.testing.assert_array_equal(found.indices, [[1, 2, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x_ids": None, "y_ids": None}, "3 rows against 4 without ids"),
        ({"x_ids": [0, 1, 2]}, "one side only"),
        ({"x_ids": [0, 1], "y_ids": [0, 1, 2, 0]}, r"shape \[2\] for 3 rows"),
        ({"x_ids": [0.0, 1.0, 2.0], "y_ids": [0, 1, 2, 0]}, "ids hold float64"),
        ({"x_ids": ["0", "1", "2"], "y_ids": [0, 1, 2, 0]}, "none can match"),
        ({"x_ids": [0, 1, 2], "y_ids": [0, 1, 1, 0]}, "1 queries have no item.*row 2"),
        ({"x_ids": [0, 1, 2], "y_ids": [0, 1, 2, 9]}, "1 queries have no item.*row 3"),
        ({"x_ids": [0, 1, 2], "y_ids": [0, 1, 2, 0], "ks": (0,)}, r"ks is \(0,\)"),
        ({"x_ids": [0, 1, 2], "y_ids": [0, 1, 2, 0], "csls_k": 9}, "k is 9 for a gallery of 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    x, y = np.eye(4)[:3], np.eye(4)
    with pytest.raises(ValueError, match=message):
        retrieval(x, y, **arguments)


def test_chance_needs_a_possible_number_of_positives() -> None:
    with pytest.raises(ValueError, match="5 positives in a gallery of 4"):
        chance(4, positives=5)


def test_credit_grows_with_k_to_certainty() -> None:
    guess = Ranks(*np.array([[3], [4], [2], [2]]), closer=np.array([0.5]), gallery=9)
    credits = [guess.credit(k)[0] for k in range(1, 10)]
    assert credits[:3] == [0, 0, 0]
    assert (np.diff(credits[2:8]) > 0).all()
    assert credits[-1] == 1


MEASURE = """
import resource, sys
import numpy as np
from setclip.evaluation import retrieval
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rng = np.random.default_rng(0)
x, y = rng.standard_normal((2, 20_000, 64), dtype=np.float32)
found = retrieval(x, y)
assert abs(found.foscttm - 0.5) < 0.01
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_twenty_thousand_by_twenty_thousand_stays_small() -> None:
    """The score matrix alone would take 1.6 GB."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 150
