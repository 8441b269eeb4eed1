"""Mining a run: the files it writes, what it says of them, and how it fails."""

import csv

import numpy as np
import pytest
import tiny_encoders
from tiny import few_emoji, write_arrays

from setclip.config import parse_config
from setclip.data import material as material_module
from setclip.data.material import Shown
from setclip.mining import mine_run
from setclip.mining.review import ReviewRow, review_page
from setclip.run import run_fit


def fitted(tmp_path, **data):
    config = {
        "data": write_arrays(tmp_path, **data),
        "method": {"kind": "cca", "penalty": 3.0, "power": 0.5, "covariances": "all"},
        "output": str(tmp_path / "run"),
        "report": False,
    }
    run_fit(parse_config(config), say=lambda _: None)
    return tmp_path / "run"


def mined(folder, **options):
    found = mine_run(folder, say=lambda _: None, **options)
    with found.csv.open(encoding="utf-8", newline="") as file:
        return found, list(csv.DictReader(file))


def test_the_table_holds_every_candidate_the_best_first(tmp_path):
    found, rows = mined(fitted(tmp_path), per_item=2)
    assert len(rows) == len(found.candidates) == 40 * 2
    chance = [float(row["probability"]) for row in rows]
    assert chance == sorted(chance, reverse=True)
    assert {row["rank"] for row in rows} == {"1", "2"}
    for row, x, y in zip(rows, found.candidates.x, found.candidates.y, strict=True):
        assert (int(row["x_row"]), int(row["y_row"])) == (x, y)
        assert row["x"] == f"x pool {x}"
        assert row["y"] == f"y pool {y}"
        assert row["mutual"] in ("yes", "no")
    assert "30 held-out pairs" in found.notes[0]
    page = found.page.read_text(encoding="utf-8")
    assert page.count("<tr data-x-row") == 40
    assert "http" not in page


def test_one_set_and_folds_that_are_more_than_the_pairs(tmp_path):
    data = {**write_arrays(tmp_path, pairs=12), "near_duplicate": 1.0}
    for side in "xy":
        np.save(tmp_path / f"{side}_sets.npy", np.zeros(40, dtype=np.int64))
        data[f"{side}_sets"] = str(tmp_path / f"{side}_sets.npy")
    config = {"data": data, "method": "cca", "output": str(tmp_path / "run"), "report": False}
    run_fit(parse_config(config), say=lambda _: None)
    found, rows = mined(tmp_path / "run", folds=20)
    assert "12 held-out pairs in 12 folds" in found.notes[0]
    assert len(rows) == len(found.candidates)


def test_a_given_coverage_scales_the_probabilities(tmp_path):
    folder = fitted(tmp_path)
    full, half = (mined(folder, coverage=c)[0] for c in (1.0, 0.5))
    assert "100% of the x" in full.notes[1]
    assert half.probability.sum() < 0.8 * full.probability.sum()


def test_too_few_pairs_give_an_order_and_no_probability(tmp_path):
    found, rows = mined(fitted(tmp_path, pairs=8))
    assert found.probability is None
    assert "8 pairs are too few" in found.notes[0]
    assert {row["probability"] for row in rows} == {""}
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins, reverse=True)


def test_matches_inside_sets_have_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(material_module, "load_dataset", lambda *_, **__: few_emoji())
    config = {
        "data": {"kind": "bundled", "pairs": 30, "condition": "sets", "set_size": 8},
        "method": {"kind": "cca", "rounds": 2, "penalty": 3.0, "power": 0.5},
        "output": str(tmp_path / "run"),
        "report": False,
    }
    run_fit(parse_config(config), say=lambda _: None)
    found, rows = mined(tmp_path / "run", folds=2)
    assert "in its set" in found.notes[1]
    assert rows
    assert "data:image/png;base64," in found.page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"coverage": 0.0}, "coverage is 0.0"),
        ({"coverage": 1.5}, "coverage is 1.5"),
        ({"per_item": 0}, "per_item is 0: give 1"),
        ({"folds": 1}, "folds is 1: give 2"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        mine_run(tmp_path, **options)


def test_a_run_without_pools(tmp_path):
    data = write_arrays(tmp_path)
    config = {
        "data": {k: v for k, v in data.items() if "pool" not in k},
        "method": {"kind": "cca", "penalty": 3.0, "power": 0.5},
        "output": str(tmp_path / "run"),
        "report": False,
    }
    run_fit(parse_config(config), say=lambda _: None)
    with pytest.raises(ValueError, match="pools of 0 x and 0 y"):
        mine_run(tmp_path / "run")


def test_the_page_escapes_clips_and_names_files():
    row = ReviewRow(3, Shown("<b>&" + "a" * 300), 4, Shown('say "x"'), 0.256, 0.5, True)
    page = review_page([row], ("<x>", "y"), notes=["1 < 2"], total=1)
    assert "<b>&" not in page.split("<tbody>")[1].split("</tbody>")[0]
    assert "a" * 275 + "…</span>" in page
    assert "26 %" in page
    assert "&lt;x&gt;" in page
    assert "1 &lt; 2" in page
    assert "mutual best" in page


def test_an_item_with_a_file_is_saved_by_its_path(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    row = ReviewRow(0, Shown("a.png", path), 0, Shown("b"), None, float(np.float32(0.5)), False)
    page = review_page([row], ("image", "text"), notes=[], total=1)
    assert f'data-name="{path}"' in page
    assert "<b>–</b>" in page


def trained_run(tmp_path, monkeypatch, *, held_out):
    """A run of towers; its model is handed over: a file may not say to run somebody's module."""
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    x, y = tiny_encoders.items(90)
    lines = ["picture,text,split"]
    for i, (picture, text) in enumerate(zip(x, y, strict=True)):
        (tmp_path / f"{i}.png").write_bytes(picture)
        unpaired = [f"{i}.png,,train", f",{text},train"]
        part = "test" if i >= 90 - held_out else "train"
        lines += unpaired if i < 30 else [f"{i}.png,{text},{part}"]
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    data = {"kind": "manifest", "path": str(tmp_path / "items.csv"), "split_column": "split"}
    data["x"] = {"column": "picture", "modality": "image"}
    data["y"] = {"column": "text", "modality": "text"}
    method = {"kind": "clip-towers", "start": "cca", "steps": 2, "device": "cpu"}
    config = parse_config(
        {
            "data": data,
            "encoders": {"x": tiny_encoders.X, "y": tiny_encoders.Y},
            "method": method,
            "output": str(tmp_path / "run"),
            "report": False,
        }
    )
    run_fit(config, say=lambda _: None)
    return tmp_path / "run"


def test_a_run_that_trained_encoders_is_calibrated_on_its_test(tmp_path, monkeypatch):
    folder = trained_run(tmp_path, monkeypatch, held_out=25)
    found, rows = mined(folder, per_item=2, coverage=1.0)
    assert len(rows) == 30 * 2
    assert "Calibrated on the 25 pairs of the run's test" in found.notes[0]
    right = found.candidates.x == found.candidates.y
    assert found.probability.sum() == pytest.approx(right.sum(), abs=6)


def test_without_a_test_a_run_that_trained_encoders_gives_an_order(tmp_path, monkeypatch):
    found, rows = mined(trained_run(tmp_path, monkeypatch, held_out=4))
    assert found.probability is None
    assert "4 test pairs are too few" in found.notes[0]
    assert len(rows) == 30 * 3
