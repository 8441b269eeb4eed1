"""Tasks of released sets and of chains with labels: parts, classes, shares of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from downstream.released import write_fold, write_nrpdb, write_reaction

from setclip.data.datasets import load_dataset
from setclip.data.proteins import load_proteins
from setclip.data.splits import split_by_group
from setclip.downstream.tasks import held_out_superfamilies, make_task, read_task
from setclip.proteins.packed import unpack_chain


def test_fold_has_three_tests_and_lists_what_is_bad(tmp_path):
    task = read_task(write_fold(tmp_path), "fold")
    assert (len(task.train), len(task.validation)) == (12, 6)
    assert {name: len(rows) for name, rows in task.tests.items()} == {
        "test_fold": 6,
        "test_superfamily": 6,
        "test_family": 5,
    }
    assert [str(bad.item).endswith("4f0-A.npy") for bad in task.bad] == [True]
    assert task.classes == ("a.1", "b.2", "c.3")
    assert task.codes[task.tests["test_fold"]].tolist() == [0, 1, 2, 0, 1, 2]
    assert task.codes[task.tests["test_family"]].tolist() == [1, 2, 0, 1, 2]
    assert (task.single, task.measure) == (True, "accuracy")
    for row in (0, -1):
        assert unpack_chain(task.structures[row]).sequence == task.sequences[row]
    assert len(task.structures[:3]) == 3
    assert len(task.structures) == len(task.sequences) == 35
    assert task.items("sequence") is task.sequences


def test_reaction_and_its_test(tmp_path):
    task = read_task(write_reaction(tmp_path), "reaction")
    assert list(task.tests) == ["testing"]
    assert task.labels.sum(axis=1).tolist() == [1] * 24


@pytest.mark.parametrize(("name", "terms"), [("ec", 3), ("go-mf", 3), ("go-bp", 2), ("go-cc", 2)])
def test_function_is_tested_below_each_identity(tmp_path, name, terms):
    task = read_task(write_nrpdb(tmp_path), name)
    assert {test: len(rows) for test, rows in task.tests.items()} == {
        "95 %": 6,
        "70 %": 6,
        "50 %": 3,
        "40 %": 3,
        "30 %": 3,
    }
    assert task.test.tolist() == task.tests["95 %"].tolist() == list(range(18, 24))
    assert task.labels.shape == (24, terms)
    assert (task.single, task.measure) == (False, "Fmax")


def test_a_part_without_chains_is_told(tmp_path):
    write_fold(tmp_path)
    (tmp_path / "validation.fasta").write_text(">gone\nAAA\n")
    with pytest.raises(ValueError, match=r"no usable chain in its part 'validation', 1 bad; the"):
        read_task(tmp_path, "fold")


def test_shares_of_labels_are_nested_and_take_from_both_parts(tmp_path):
    task = read_task(write_fold(tmp_path, train=40, other=20), "fold")
    few, more = (task.few_labels(share, seed=3) for share in (0.1, 0.5))
    assert (len(few.train), len(few.validation)) == (4, 2)
    assert set(few.train) < set(more.train) < set(task.train)
    assert set(few.validation) < set(more.validation) < set(task.validation)
    assert few.tests is task.tests
    assert set(few.train) != set(task.few_labels(0.1, seed=4).train)
    least = task.few_labels(1e-6, seed=0)
    assert (len(least.train), len(least.validation)) == (2, 1)
    with pytest.raises(ValueError, match="share of labels is 0"):
        task.few_labels(0, seed=0)


def test_what_is_asked_is_told_apart_by_its_fingerprint(tmp_path):
    task = read_task(write_fold(tmp_path), "fold")
    prints = {
        one.fingerprint
        for one in (
            task,
            read_task(tmp_path, "fold"),
            task.few_labels(0.5, seed=0),
            replace(task, labels=~task.labels),
            replace(task, structures=task.structures[::-1]),
            replace(task, tests={"other": task.test}),
        )
    }
    assert len(prints) == 5


@pytest.fixture(scope="module")
def bundled():
    return load_proteins()


def test_topology_is_tested_on_the_superfamilies_that_runs_hold_out(bundled):
    task = make_task(bundled, "fold", seed=4)
    held = held_out_superfamilies(bundled, 0.25, 4)
    rows = {sequence: i for i, sequence in enumerate(bundled.sequences)}
    where = np.array([rows[sequence] for sequence in task.sequences])
    families = np.array(bundled.superfamilies)[where]
    assert set(families[task.test]) <= set(held)
    others = np.concatenate([task.train, task.validation])
    assert not set(families[others]) & set(held)
    assert not set(families[task.train]) & set(families[task.validation])
    assert set(task.codes[task.test]) <= set(task.codes[task.train])
    topologies = np.array(bundled.topologies)[where]
    assert [task.classes[code] for code in task.codes] == topologies.tolist()
    # What runs and the benchmark hold out of the data set of that name.
    dataset = load_dataset("proteins")
    _, tested = split_by_group(dataset.concepts, test_fraction=0.25, seed=4)
    assert {task.sequences[row] for row in task.test} <= {dataset.x_items[row] for row in tested}


def test_function_is_split_by_cluster(bundled):
    every = make_task(bundled, "ec", least=4)
    parents = [term for term in every.classes if term.endswith("-")]
    assert parents
    for term in every.classes:
        parent = f"{term.rpartition('.')[0]}.-"
        if parent != term:
            below = every.labels[:, every.classes.index(term)]
            assert every.labels[below, every.classes.index(parent)].all()
    assert every.labels[every.train].any(axis=0).all()
    assert every.labels.any(axis=1).all()
    parts = [every.groups[rows] for rows in (every.train, every.validation, every.test)]
    assert not set(parts[0]) & set(parts[2])
    assert not set(parts[1]) & set(parts[2])
    short = make_task(bundled, "ec", least=4, max_residues=100)
    assert short.lengths.max() <= 100 < every.lengths.max()
    assert "split by cluster" in str(every)


def test_terms_come_from_the_chains_that_have_them(bundled):
    half = np.arange(len(bundled)) % 2 == 0
    mf = [["GO:1"] if even else ["GO:1", "GO:2"] for even in half]
    chains = replace(bundled, go={"mf": mf, "bp": [[]] * len(half), "cc": [["GO:9"]] * len(half)})
    task = make_task(chains, "go-mf", split="superfamily", test_fraction=0.3)
    assert task.classes == ("GO:1", "GO:2")
    assert task.labels[:, 0].all()
    with pytest.raises(ValueError, match="no class of go-bp has 20"):
        make_task(chains, "go-bp")


def test_what_a_set_does_not_have(bundled):
    with pytest.raises(ValueError, match="no labels for go-mf: choose one of fold, ec, or give"):
        make_task(bundled, "go-mf")
    with pytest.raises(ValueError, match="reaction"):
        make_task(bundled, "reaction")
    with pytest.raises(ValueError, match="no class of ec has 99 of the chains of proteins"):
        make_task(bundled, "ec", least=99)
    # Two superfamilies of one topology: one is held out, and none is left to choose the step.
    topologies = np.array(bundled.topologies)
    families = np.array(bundled.superfamilies)
    pair = np.unique(families[topologies == "1.10.10"])[:2]
    few = bundled.take(np.flatnonzero(np.isin(families, pair)))
    with pytest.raises(ValueError, match="rows are one group"):
        make_task(few, "fold", least=1, test_fraction=0.5)
    # Where each topology has a single superfamily, what is held out has classes of its own.
    _, first = np.unique(topologies, return_index=True)
    one = bundled.take(np.flatnonzero(np.isin(families, families[first[:8]])))
    with pytest.raises(ValueError, match="0 to test: allow longer"):
        make_task(one, "fold", least=1)
