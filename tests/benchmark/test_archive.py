"""A folder remembers what was asked, and its tables can be made again."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark.clouds import small_data
from benchmark.odd_methods import Killed

from setclip.benchmark import SUITES, Archive, Cell, archives, cells_of, run_cells
from setclip.methods import Procrustes, Ridge

CELLS = [
    Cell("small", "disjoint", pairs, 0, method)
    for pairs in (10, 30)
    for method in (Ridge(penalty=1.0), Procrustes(rounds=2))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    run_cells(CELLS, folder, workers=1, progress=False, data={"small": small_data()})
    return folder


def test_what_was_asked_in_pieces_ends_in_one_table(folder: Path) -> None:
    for part in (CELLS[:2], CELLS[2:], CELLS[1:2]):
        archive = Archive.read(folder, "few", "few").with_cells(part)
    assert [each.key for each in archive.asked] == [cell.key for cell in CELLS]
    assert archives(folder) == [archive]
    paths = archive.write()
    assert [path.name for path in paths] == ["few.md", "few.csv", "few.html"]
    text = paths[0].read_text()
    assert "small: disjoint pools, 10 pairs" in text
    assert "small: disjoint pools, 30 pairs" in text
    assert "Not finished" not in text
    assert paths[1].read_text().count("ridge,method") == 2


def test_a_name_that_means_another_method_now_has_no_older_results(folder: Path) -> None:
    first, second = (
        [replace(cell, method=method, label="mine") for cell in CELLS[::2]]
        for method in (Ridge(penalty=1.0), Procrustes(rounds=2))
    )
    Archive.read(folder, "mine", "mine").with_cells(first)
    archive = Archive.read(folder, "mine", "mine").with_cells(second[:1])
    assert [each.key for each in archive.asked] == [second[0].key]
    again = Archive.read(folder, "mine", "mine").with_cells(second[1:])
    assert [each.key for each in again.asked] == [cell.key for cell in second]


def test_differences_are_taken_to_the_baseline_of_the_suite(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "few", replace(SUITES["small"], baseline="procrustes"))
    text = Archive(folder, "few", "few").with_cells(CELLS).write()[0].read_text()
    assert "R@10 over procrustes" in text
    blocks = text[text.index("R@10 over procrustes") :]
    rows = [line.split(" | ") for line in blocks.splitlines() if "ridge" in line]
    assert rows
    assert all("[" in row[5] for row in rows), rows


def test_differences_are_taken_to_any_method_that_was_measured(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(folder, "few", "few").with_cells(CELLS)
    usual, asked = (archive.write(baseline=label)[0].read_text() for label in ("", "procrustes"))
    assert "R@10 over procrustes" not in usual
    assert "R@10 over procrustes" in asked
    with caplog.at_level(logging.WARNING):
        absent = archive.write(baseline="cca")[0].read_text()
    assert "few holds no result of 'cca': measured are procrustes; ridge." in caplog.text
    assert absent == usual


def test_what_it_took_counts_a_shared_fit_once(folder: Path) -> None:
    other = [
        replace(cell, condition="overlapping") for cell in CELLS if cell.method.kind == "ridge"
    ]
    text = Archive(folder, "twice", "twice").with_cells([*CELLS, *other]).write()[0].read_text()
    assert "6 cells; those that see the same thing share one of 4 fits, " in text
    assert " s of processor time in all." in text


def test_a_method_configured_anew_takes_the_place_of_the_old(folder: Path) -> None:
    archive = Archive(folder, "anew", "anew").with_cells(CELLS)
    changed = replace(CELLS[0], method=Ridge(penalty=2.0))
    again = archive.with_cells([changed])
    assert [each.key for each in again.asked] == [changed.key, CELLS[1].key, CELLS[3].key]
    assert len(again.results()) == 2


def test_tables_say_what_is_missing_and_mixed(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for cell, change in zip(
        CELLS[:2], ({"data": "other"}, {"versions": {"setclip": "0"}}), strict=True
    ):
        content = json.loads((folder / "results" / f"{cell.key}.json").read_text())
        (results / f"{cell.key}.json").write_text(json.dumps(content | change))
    text = Archive(tmp_path, "old", "old").with_cells(CELLS).write()[0].read_text()
    assert "Not finished: 2 of 4 cells are measured." in text
    assert "Results of several versions of setclip: 0, " in text
    assert "Results on data that have changed in between: small." in text


def test_a_cell_that_failed_is_in_the_tables_of_its_run(tmp_path: Path) -> None:
    cells = [*CELLS[:1], Cell("small", "disjoint", 10, 0, Killed(), "killed")]
    archive = Archive(tmp_path, "few", "few").with_cells(cells)
    data = {"small": small_data()}
    results = run_cells(cells, tmp_path, workers=1, progress=False, data=data)
    assert "killed: its process was killed" in archive.write(results)[0].read_text()
    assert "killed" not in archive.write()[0].read_text()


def test_suites_say_what_they_leave_out(folder: Path) -> None:
    cells = cells_of("small", methods=["clip"], pairs=[40])
    made = [json.loads(p.read_text()) for p in sorted((folder / "results").iterdir())]
    archive = Archive(folder, "small", "small").with_cells(cells)
    fresh = [made[0] | {"key": "k", "cell": made[0]["cell"] | cells[0].asked._asdict()}]
    text = archive.write(fresh)[0].read_text()
    assert "measured in fewer places: clip at pairs 40; 1 seed." in text


def test_without_the_report_extra_there_is_no_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("setclip.benchmark.archive.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        paths = Archive(folder, "bare", "bare").with_cells(CELLS).write()
    assert [path.suffix for path in paths] == [".md", ".csv"]
    assert "setclip[report]" in caplog.text


def test_folders_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no benchmark: give a folder"):
        archives(tmp_path)
    with pytest.raises(ValueError, match="holds no finished result of few: run `setclip bench few"):
        Archive(tmp_path, "few", "few").with_cells(CELLS).write()


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    Archive(tmp_path, "few", "few").with_cells(CELLS)
    (tmp_path / "asked" / "few.json").write_text("{")
    with pytest.raises(ValueError, match=r"few\.json is damaged"):
        Archive.read(tmp_path, "few")
