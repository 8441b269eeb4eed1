"""One cell, measured in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmark.clouds import SMALL, small_data
from benchmark.odd_methods import Odd

from setclip.benchmark import BenchmarkData, Cell, run_cell
from setclip.benchmark.planted import Planting, planted
from setclip.methods import CCA, CLIP, Ridge

DATA = small_data()


def test_a_result_is_json_and_says_what_it_is_of() -> None:
    cell = Cell("small", "disjoint", 40, 0, Ridge(penalty=1.0))
    result = run_cell(cell, DATA)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["cell"] == cell.decisive()
    assert result["cell"]["method"]["penalty"] == 1.0
    assert result["versions"]["setclip"]
    assert result["supervision"].startswith("40 pairs")
    assert result["cost"]["seconds"] > 0
    assert result["cost"]["peak_mb"] > 50


def test_credits_average_to_the_recall() -> None:
    result = run_cell(Cell("small", "disjoint", 40, 0, Ridge(penalty=1.0)), DATA)
    for k in (1, 5, 10):
        assert len(result["credits"][str(k)]) == result["gallery"]
        recall = result["metrics"][f"recall@{k}"]
        ways = result["directions"].values()
        assert recall == pytest.approx(np.mean([way[f"recall@{k}"] for way in ways]))
        assert np.mean(result["credits"][str(k)]) == pytest.approx(recall, abs=1e-3)


def test_a_planted_map_is_found() -> None:
    cloud = planted(Planting(items=200, latent=5, x_width=9, y_width=7, noise=0.0))
    cell = Cell("clean", "disjoint", 60, 0, Ridge(penalty=1e-4))
    result = run_cell(cell, BenchmarkData(cloud.x, cloud.y, np.arange(200)))
    assert result["metrics"]["recall@1"] == 100.0
    assert result["metrics"]["median_rank"] == 1.0
    assert result["metrics"]["foscttm"] == 0.0


def test_a_constant_embedding_scores_chance() -> None:
    result = run_cell(Cell("small", "disjoint", 40, 0, Odd()), DATA)
    for name, value in result["chance"].items():
        assert result["metrics"][name] == pytest.approx(value)
    assert result["chance"]["recall@10"] == pytest.approx(1000 / result["gallery"])


def test_choices_are_noted() -> None:
    result = run_cell(Cell("small", "sets", 20, 0, CCA(penalties=(1.0, 10.0))), DATA)
    assert any("cca took" in note for note in result["notes"])


def test_a_method_that_cannot_work_says_why() -> None:
    result = run_cell(Cell("small", "disjoint", 0, 0, CLIP()), DATA)
    assert "learns from pairs alone" in result["error"]
    assert "metrics" not in result


def test_more_pairs_than_items_is_an_error_of_the_cell() -> None:
    result = run_cell(Cell("small", "disjoint", SMALL.items, 0, Ridge()), DATA)
    assert "pairs asked of" in result["error"]


def test_the_same_cell_gives_the_same_numbers() -> None:
    cell = Cell("small", "sets", 20, 4, CCA(penalty=3.0))
    first, second = (run_cell(cell, DATA) for _ in range(2))
    assert first["credits"] == second["credits"]
