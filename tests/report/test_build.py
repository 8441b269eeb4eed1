"""Writing: everything arrives, whole, and only where it may."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from setclip.data import atomic
from setclip.report import ReportContent, build, write_report


def test_page_and_pictures_are_written(content: ReportContent, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "run"
    path = write_report(content, directory)
    assert path == directory / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert 4.5e6 < path.stat().st_size < 6e6
    written = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*.*"))
    assert written == [
        "figures/classes.png",
        "figures/curves.png",
        "figures/density.png",
        "figures/joint-map.png",
        "figures/results-1-1.png",
        "figures/retrieved-1.png",
        "figures/retrieved-2.png",
        "report.html",
    ]


def test_a_report_is_the_same_every_time(content: ReportContent, tmp_path: Path) -> None:
    small = replace(content, galleries=(), curves=None, densities=None)
    first, second = (write_report(small, tmp_path / name).read_bytes() for name in "ab")
    assert first == second


def test_pictures_of_an_earlier_report_go_and_those_of_the_user_stay(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    mine = ("mine.png", "results-poster.png", "retrieved-a.png")
    for name in ("results-9-1.png", "curves.png", *mine):
        (figures / name).write_bytes(b"old")
    write_report(ReportContent("t", "v"), tmp_path)
    assert sorted(p.name for p in figures.iterdir()) == sorted(mine)


def test_a_failed_write_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report(ReportContent("first", "v"), tmp_path)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_report(ReportContent("second", "v"), tmp_path)
    assert "first" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_half_a_character_does_not_stop_the_report(tmp_path: Path) -> None:
    page = write_report(ReportContent("half \ud83d", "v"), tmp_path).read_text(encoding="utf-8")
    assert "<title>half ?</title>" in page


def test_a_missing_extra_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_spec", lambda name: None if name != "jinja2" else object())
    with pytest.raises(
        ImportError, match=r'plotly, matplotlib, .* pip install "setclip\[report\]"'
    ):
        write_report(ReportContent("t", "v"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_room_imports_no_extra() -> None:
    probe = (
        "import sys, setclip.report; "
        "print(sorted({'plotly', 'jinja2', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
