"""Pins the probes: votes by hand, chance, order of rows, groups kept whole inside training."""

from __future__ import annotations

import numpy as np
import pytest
from reference import evaluation as naive

from setclip.evaluation import knn_probe, linear_probe


def blobs(n: int, classes: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, 12))
    labels = np.arange(n) % classes
    return centres[labels] + noise * rng.standard_normal((n, 12)), labels


@pytest.mark.parametrize("k", [1, 4, 15])
def test_knn_votes_agree_with_a_loop(k: int) -> None:
    train, labels = blobs(60, 4, 1.5)
    test, truth = blobs(40, 4, 1.5, seed=1)
    found = knn_probe(train, labels, test, truth, k=k, temperature=0.2, block=7)
    for i in range(40):
        votes = naive.knn_votes(train, labels, test[i], k, 0.2)
        assert found.credits[i] == (max(votes, key=votes.__getitem__) == truth[i])
    assert found.accuracy == pytest.approx(100 * found.credits.mean())
    assert found.setting == f"k={k}, temperature=0.2"


@pytest.mark.parametrize("probe", [knn_probe, linear_probe])
def test_separated_classes_are_told_apart(probe) -> None:
    test, truth = blobs(80, 4, 0.2, seed=1)
    assert probe(*blobs(120, 4, 0.2), test, truth).accuracy == 100


@pytest.mark.parametrize("probe", [knn_probe, linear_probe])
def test_unrelated_labels_are_guessed_at_chance(probe) -> None:
    train, test = np.random.default_rng(0).standard_normal((2, 400, 8))
    labels = np.arange(400) % 4
    assert probe(train, labels, test, labels).accuracy == pytest.approx(25, abs=7)


def test_knn_on_a_constant_embedding_scores_chance_whatever_the_order() -> None:
    labels = np.repeat(np.arange(5), 8)
    for order in (np.arange(40), np.random.default_rng(0).permutation(40)):
        found = knn_probe(np.ones((40, 3)), labels[order], np.ones((10, 3)), np.arange(10) % 5)
        assert found.accuracy == pytest.approx(20.0)
        assert found.majority == pytest.approx(20.0)


def test_knn_takes_all_train_rows_if_k_exceeds_them() -> None:
    found = knn_probe(np.eye(3), ["a", "b", "c"], np.eye(3), ["a", "b", "c"], k=50)
    assert found.accuracy == 100
    assert found.setting.startswith("k=3,")


def test_majority_is_the_share_of_the_commonest_train_class() -> None:
    found = knn_probe(np.eye(4), ["a", "a", "a", "b"], np.eye(4)[:3], ["a", "b", "b"])
    assert found.majority == pytest.approx(100 / 3)


def test_a_class_that_training_lacks_counts_as_wrong() -> None:
    z, labels = blobs(40, 4, 0.1)
    for probe in (knn_probe, linear_probe):
        found = probe(z, labels, z[:2], [0, 77])
        np.testing.assert_array_equal(found.credits, [1, 0])


def test_linear_probe_ignores_the_scale_of_dimensions_and_takes_string_labels() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((300, 6))
    labels = np.where(z[:, 5] > 0, "up", "down")
    z[:, :5] *= 3
    z[:, 5] *= 0.05
    found = linear_probe(z[:200], labels[:200], z[200:], labels[200:])
    assert found.accuracy > 90


def test_inner_folds_keep_groups_whole() -> None:
    """Duplicates of one noisy item, split apart, would make the weakest penalty look best."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((40, 60))
    train = np.repeat(items, 6, axis=0) + 1e-3 * rng.standard_normal((240, 60))
    labels, groups = np.repeat(rng.integers(2, size=40), 6), np.repeat(np.arange(40), 6)
    test, truth = rng.standard_normal((50, 60)), rng.integers(2, size=50)
    grid = (1e-4, 10.0)
    leaking = linear_probe(train, labels, test, truth, strengths=grid)
    held = linear_probe(train, labels, test, truth, train_groups=groups, strengths=grid)
    assert leaking.setting == "C=10"
    assert held.setting == "C=0.0001"


def test_rare_classes_do_not_stop_the_linear_probe() -> None:
    z, labels = blobs(40, 4, 0.1)
    labels[0] = 9
    assert linear_probe(z, labels, z, labels).accuracy > 90


@pytest.mark.parametrize(
    ("probe", "arguments", "message"),
    [
        (knn_probe, {"k": 0}, "k is 0"),
        (knn_probe, {"temperature": 0}, "temperature 0"),
        (linear_probe, {"train_groups": np.zeros(8, dtype=int)}, "2 classes in 1 groups"),
        (linear_probe, {"train_groups": np.zeros(5, dtype=int)}, r"train_groups .* \[5\]"),
    ],
)
def test_bad_arguments_are_refused(probe, arguments: dict, message: str) -> None:
    z, labels = np.eye(8), np.arange(8) % 2
    with pytest.raises(ValueError, match=message):
        probe(z, labels, z, labels, **arguments)


@pytest.mark.parametrize("probe", [knn_probe, linear_probe])
def test_labels_of_a_data_frame_are_strings(probe) -> None:
    z, labels = blobs(24, 3, 0.1)
    names = np.array([f"class {label}" for label in labels], dtype=object)
    assert probe(z, names, z, names).accuracy == 100


def test_knn_of_two_types_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="so none can be right"):
        knn_probe(np.eye(2), [0, 1], np.eye(2), ["0", "1"])


def test_knn_at_a_low_temperature_hears_the_nearest() -> None:
    train = np.eye(3)
    test = -np.ones((3, 3)) + 0.5 * np.eye(3)  # all cosines are negative
    assert knn_probe(train, [0, 1, 2], test, [0, 1, 2], temperature=1e-4).accuracy == 100


@pytest.mark.parametrize("rare", [1, 10])
def test_a_class_in_a_single_row_or_group_does_not_choose_the_penalty(rare: int) -> None:
    """The fold that holds it out has one class left, and nothing to score."""
    z, _ = blobs(40, 2, 0.5)
    labels = (np.arange(40) < rare).astype(int)
    z[labels == 1] += 3
    groups = np.where(labels == 1, 0, np.arange(40))
    found = linear_probe(z, labels, z, labels, train_groups=groups, strengths=(1e-6, 1.0))
    assert found.accuracy == 100
    assert found.setting == "C=1"


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="test_labels holds float64"):
        knn_probe(np.eye(2), [0, 1], np.eye(2), [0.0, 1.0])
    with pytest.raises(ValueError, match="1 classes in 2 groups"):
        linear_probe(np.eye(2), [1, 1], np.eye(2), [1, 1])


def test_linear_probe_with_rare_classes_uses_fewer_folds_and_refuses_singletons():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(8, 4))
    found = linear_probe(z, [0, 0, 1, 1, 2, 2, 3, 3], z, [0, 0, 1, 1, 2, 2, 3, 3])
    assert 0 <= found.accuracy <= 100
    with pytest.raises(ValueError, match="single train row"):
        linear_probe(z, list(range(8)), z, list(range(8)))
