"""The choice of items to label: greedy against brute force, the laws of coverage, the file."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from tiny import write_arrays

from setclip.config import parse_config
from setclip.data.material import Shown, look
from setclip.mining import choose_items, suggest_run
from setclip.mining.labelling import item_name
from setclip.run import run_fit

NONE = np.zeros((0, 5), np.float32)


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


def covered(pool, labelled):
    mean = pool.mean(axis=0)
    unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (pool - mean, labelled - mean)]
    return float((unit[0] @ unit[1].T).max(axis=1).mean())


def test_coverage_is_that_of_the_chosen_and_the_known():
    pool, known = rows(30), rows(4, seed=1)
    choice = choose_items(pool, known, 6)
    for count, value in enumerate(choice.coverage):
        labelled = np.concatenate([known, pool[choice.rows[:count]]])
        assert value == pytest.approx(covered(pool, labelled), abs=1e-5)
    assert len(set(choice.rows.tolist())) == 6
    assert (np.diff(choice.coverage) >= 0).all()
    assert (np.diff(np.diff(choice.coverage)) <= 1e-6).all()


def test_the_first_item_is_the_best_one_and_three_are_near_the_best_three():
    pool = rows(14)
    choice = choose_items(pool, NONE, 3)
    singles = [covered(pool, pool[[i]]) for i in range(14)]
    assert choice.rows[0] == int(np.argmax(singles))
    best = max(covered(pool, pool[list(three)]) for three in combinations(range(14), 3))
    assert covered(pool, pool[choice.rows]) + 1 >= 0.9 * (best + 1)


def test_clusters_are_covered_before_any_is_visited_twice():
    centres = 20 * rows(6)
    pool = np.repeat(centres, 15, axis=0) + rows(90, seed=2)
    cluster = np.arange(90) // 15
    assert len(set(cluster[choose_items(pool, NONE, 6).rows])) == 6
    # Of a cluster that is known nothing need be labelled.
    assert 2 not in cluster[choose_items(pool, centres[[2]], 5).rows]


def test_the_beginning_of_the_list_is_the_shorter_list():
    pool = rows(40)
    long, short = choose_items(pool, NONE, 9), choose_items(pool, NONE, 4)
    assert long.rows[:4].tolist() == short.rows.tolist()


def test_a_large_pool_is_sampled():
    choice = choose_items(rows(60), NONE, 3, cap=10, seed=1)
    assert choice.rows.max() < 60
    assert choice.rows.tolist() == choose_items(rows(60), NONE, 3, cap=10, seed=1).rows.tolist()
    assert len(set(choose_items(rows(60), NONE, 60, cap=10).rows.tolist())) == 60


@pytest.fixture
def run(tmp_path):
    config = {
        "data": write_arrays(tmp_path),
        "method": {"kind": "cca", "penalty": 3.0, "power": 0.5},
        "output": str(tmp_path / "run"),
        "report": False,
    }
    run_fit(parse_config(config), say=lambda _: None)
    return tmp_path / "run"


@pytest.mark.parametrize("side", ["x", "y"])
def test_the_file_names_the_items(run, side):
    path, choice = suggest_run(run, n=7, side=side)
    with path.open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [int(row[f"{side}_row"]) for row in listed] == choice.rows.tolist()
    assert [row[side] for row in listed] == [f"{side} pool {i}" for i in choice.rows]


def test_an_item_is_named_by_what_it_has():
    assert item_name(Shown("an owl", Path("owl.png"))) == "owl.png"
    assert item_name(Shown("an owl", b"\x89PNG")) == "an owl"
    assert item_name(Shown("", sequence="MKV")) == "MKV"
    assert item_name(look(("a dog", "a hound"), "text")) == "a dog"
    assert item_name(look(Path("chains/1abc.pdb"), "structure")) == "chains/1abc.pdb"


def test_more_items_than_there_are_and_no_such_side(run):
    with pytest.raises(ValueError, match="0 items asked of a x pool of 40"):
        suggest_run(run, n=0)
    with pytest.raises(ValueError, match="41 items asked of a y pool of 40"):
        suggest_run(run, n=41, side="y")
    with pytest.raises(ValueError, match="side is 'z'"):
        suggest_run(run, n=1, side="z")
