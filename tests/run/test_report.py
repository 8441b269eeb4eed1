"""What a report shows of labelled proteins: chains drawn, sequences cut, classes counted."""

from dataclasses import replace

import numpy as np
import pytest

import setclip
from setclip.data.material import Material, look
from setclip.proteins.chains import Chain
from setclip.proteins.packed import pack_chain
from setclip.report import branch
from setclip.run.report import _classes, _galleries, _joint_map


def packed(name: str) -> bytes:
    ca = np.arange(20, dtype=np.float32)[:, None] * np.array([[3.8, 0, 0]], dtype=np.float32)
    return pack_chain(Chain(name, "MKTAY" * 4, ca, np.arange(20, dtype=np.int32)))


@pytest.fixture
def proteins():
    """40 pairs and 24 test items of three superfamilies, each near to its own kind."""
    rng = np.random.default_rng(0)
    kinds = np.arange(64) % 3
    x = np.eye(3)[kinds] + 0.1 * rng.normal(size=(64, 3))
    y = x @ rng.normal(size=(3, 3))
    model = setclip.align(x[:40], y[:40], method="cca")
    pools = setclip.Pools(x[:40], y[:40], x[:0], y[:0], np.zeros(0, int), np.zeros(0, int))
    names = ["3.40.50.1", "3.40.50.2", "1.10.8.5"]
    material = Material(
        pools,
        x[40:].astype(np.float32),
        y[40:].astype(np.float32),
        [look("MKT" * 30, "sequence")] * 64,
        [look(packed(f"{i}abc_A"), "structure") for i in range(64)],
        labels=[names[kind] for kind in kinds[40:]],
    )
    return material, model


def test_chains_and_sequences_are_shown_with_their_labels(proteins):
    material, model = proteins
    asked, found = _galleries(material, model, seed=0)
    query = asked.queries[0]
    assert query.item.sequence == "MKT" * 30
    assert query.item.label in material.labels
    assert query.results[0].item.structure.shape == (20, 3)
    assert query.results[0].item.caption.endswith("abc_A")
    assert found.has_structures
    assert asked.has_structures
    joint = _joint_map(material, model, seed=0)
    assert [bool(item.label) for item in joint.x_items] == [False] * 40 + [True] * 24


def test_classes_are_those_of_others_than_the_partner(proteins):
    material, model = proteins
    table = _classes(material, model)
    # Superfamilies of one topology count as one class.
    assert table.confusion.labels == ("3.40.50", "1.10.8")
    true = [branch(label, 3) for label in material.labels]
    similar = model.similarity(material.x_test, material.y_test)
    np.fill_diagonal(similar, -2)
    found = [true[i] for i in similar.argmax(axis=1)]
    for i, own in enumerate(table.confusion.labels):
        for j, other in enumerate(table.confusion.labels):
            assert table.confusion.counts[i, j] == list(zip(true, found, strict=True)).count(
                (own, other)
            )
    assert table.confusion.agreement > 0.9


@pytest.mark.parametrize("labels", [(), ["1.10.8"] * 24, ["1.10.8"] * 23 + [""]])
def test_without_two_classes_there_is_nothing_to_confuse(proteins, labels):
    material, model = proteins
    assert _classes(replace(material, labels=labels), model) is None


def test_how_items_look(tmp_path):
    assert look(tmp_path / "a.png", "image").picture == tmp_path / "a.png"
    assert look("a caption", "text").caption == "a caption"
    assert look(("one", "two"), "text").caption == "one (and 1 more)"
    assert look(str(tmp_path / "1abc.cif#B"), "structure").caption == "1abc.cif#B"
    assert look(packed("1abc_A"), "structure").caption == ""
