"""Pins the journal: notes, named warnings, and a log that is whole after any interruption."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path

import pytest

from setclip.data.bad_items import BadItem
from setclip.training.journal import Journal, read_curves


def lines(folder: Path) -> list[str]:
    return (folder / "log.jsonl").read_text().splitlines()


def test_notes_and_warnings_are_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal()
    with caplog.at_level(logging.INFO, logger="setclip"):
        journal.note("took penalty 3.")
        journal.warn("collapse", "all fell together.")
        journal.warn("collapse", "all fell together.")
    assert journal.notes == ["took penalty 3."]
    assert journal.warnings == ["collapse: all fell together."]
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("INFO", "took penalty 3."),
        ("WARNING", "collapse: all fell together."),
    ]


def test_in_memory_there_are_curves_and_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal()
    journal.log("final", 1, {"loss": 2.0, "clip": 1.0})
    journal.log("final", 2, {"loss": 1.5})
    journal.log("fold", 1, {"loss": 9.0})
    assert journal.curves == {
        "final": {"loss": [(1, 2.0), (2, 1.5)], "clip": [(1, 1.0)]},
        "fold": {"loss": [(1, 9.0)]},
    }
    assert journal.checkpoint("final") is None
    journal.rewind("final", 1)  # nothing to read back from: a phase in memory starts anew
    assert journal.curves == {"fold": {"loss": [(1, 9.0)]}}
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_and_holds_one_line_a_step(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    journal = Journal(folder)
    journal.log("fold 0 of schedule 1", 3, {"loss": 0.1 + 0.2})
    assert lines(folder) == [
        '{"phase": "fold 0 of schedule 1", "step": 3, "loss": 0.30000000000000004}'
    ]
    assert read_curves(folder / "log.jsonl") == journal.curves
    assert journal.checkpoint("fold 0 of schedule 1") == (
        folder / "checkpoints" / "fold-0-of-schedule-1.safetensors"
    )


def test_no_log_no_curves(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "log.jsonl") == {}
    Journal(tmp_path).rewind("final", 0)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_stay_json(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log("final", 1, {"loss": math.nan, "clip": math.inf, "sdd": 1.0})

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    entry = json.loads(lines(tmp_path)[0], parse_constant=refuse)
    assert entry == {"phase": "final", "step": 1, "loss": None, "clip": None, "sdd": 1.0}
    found = read_curves(tmp_path / "log.jsonl")["final"]
    assert math.isnan(found["loss"][0][1])
    assert found["sdd"] == [(1, 1.0)]
    journal.rewind("final", 1)
    assert math.isnan(journal.curves["final"]["clip"][0][1])


def test_rewind_forgets_later_steps_of_its_phase_alone(tmp_path: Path) -> None:
    before = Journal(tmp_path)
    for step in (1, 2, 3):
        before.log("fold", step, {"loss": step / 7})
        before.log("final", step, {"loss": float(step)})
    after = Journal(tmp_path)
    after.rewind("fold", 2)
    assert after.curves == {"fold": {"loss": [(1, 1 / 7), (2, 2 / 7)]}}
    assert len(lines(tmp_path)) == 5
    assert read_curves(tmp_path / "log.jsonl")["final"]["loss"][-1] == (3, 3.0)
    after.rewind("fold", -1)
    assert after.curves == {}
    assert len(lines(tmp_path)) == 3


@pytest.mark.parametrize("tail", ['{"phase": "fo', '{"phase": "fold", "step": 2, "loss": 2', "{"])
def test_a_line_cut_off_by_a_kill_spoils_no_other(tail: str, tmp_path: Path) -> None:
    Journal(tmp_path).log("fold", 1, {"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(tail)
    journal = Journal(tmp_path)
    journal.rewind("fold", 1)
    journal.log("fold", 2, {"loss": 2.0})
    assert [json.loads(line)["step"] for line in lines(tmp_path)] == [1, 2]
    assert read_curves(tmp_path / "log.jsonl") == {"fold": {"loss": [(1, 1.0), (2, 2.0)]}}


def test_a_whole_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"phase": "fold", "step": 1, "loss": 1.0}')
    journal = Journal(tmp_path)
    journal.rewind("fold", 1)
    journal.log("fold", 2, {"loss": 2.0})
    assert journal.curves["fold"]["loss"] == [(1, 1.0), (2, 2.0)]
    assert len(lines(tmp_path)) == 2


def test_the_bar_shows_phase_steps_and_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("rich._console", None)  # another test may have made it without these
    with Journal(progress=True).bar("fold 3", 10) as show:
        show(5, "loss 0.1234")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    for part in ("fold 3", "5/10", "loss 0.1234"):
        assert part in shown
    with Journal().bar("fold 3", 10) as show:
        show(5, "loss 0.1234")
    assert capsys.readouterr().out == ""


def test_items_left_out_are_kept_once_and_told() -> None:
    journal = Journal()
    items = [BadItem(row, "x pairs", f"{row}.png", "broken") for row in (3, 5)]
    journal.leave_out(items)
    journal.leave_out([*items, BadItem(3, "x pool", "q.png", "gone")])
    journal.leave_out([])
    assert [(item.field, item.row) for item in journal.bad] == [
        ("x pairs", 3),
        ("x pairs", 5),
        ("x pool", 3),
    ]
    assert journal.notes == [
        "Items that could not be read and were left out: 2, the first row 3, x pairs: broken "
        "('3.png').",
        "Items that could not be read and were left out: 1, the first row 3, x pool: gone "
        "('q.png').",
    ]
