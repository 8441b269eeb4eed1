"""The command end to end: on released layouts and on bundled chains, killed and run again."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from downstream.released import write_fold, write_nrpdb
from downstream.test_ways import aligned
from rich.console import Console
from typer.testing import CliRunner

from setclip import cli
from setclip.cli import app
from setclip.config import ConfigError
from setclip.data.proteins import load_proteins
from setclip.downstream import cells as cells_module
from setclip.downstream import run as run_module
from setclip.downstream.run import Comparison, comparison_of, run_downstream
from setclip.downstream.table import PRIOR

SMALL = "{kind: protein-transformer, width: 16, layers: 1, heads: 2}"
SHORT = "{steps: 4, batch: 6, checks: 2}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, "out", Console(width=200))


def go(*arguments):
    done = CliRunner().invoke(app, ["downstream", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def test_the_command_on_released_folders(tmp_path):
    run = aligned(tmp_path / "run")
    folder = tmp_path / "both"
    folder.mkdir()
    write_fold(folder)
    write_nrpdb(folder)
    output = tmp_path / "out"
    ways = "probe,knn,finetune,sequence-to-structure"
    arguments = (
        *(f"aligned={run}#sequence", "composition", f"scratch={SMALL}"),
        *("--task", "fold,ec", "--data", folder, "--labels", "0.5", "--seeds", "2"),
        *("--ways", ways, "--finetune", SHORT, "--output", output),
    )
    shown = go(*arguments)
    for part in ("test_superfamily, %", "95 %, %", "over scratch", PRIOR, "zero-shot, sequence"):
        assert part in shown
    assert "composition cannot be asked by finetune." in shown
    assert "scratch cannot be asked by sequence-to-structure." in shown
    assert "Chains that cannot be used: 1, listed in" in shown
    assert (output / "fold-bad_items.jsonl").is_file()
    found = json.loads((output / "comparison.json").read_text())
    # Two blocks: the floor, four ways of the run, two of composition, three of the other.
    assert len(found) == 2 * (1 + 4 + 2 + 3)
    compared = {(line["encoder"], line["way"]) for line in found if line["differences"]}
    own = {("aligned", way) for way in ("probe", "knn", "finetune")}
    assert compared == own | {("composition", "probe"), ("composition", "knn")}
    for line in found:
        assert line["seeds"] == 2
        for test, interval in line["tests"].items():
            assert 0 <= interval["low"] <= interval["mean"] <= interval["high"] <= 100, test

    files = sorted(output.rglob("*.*"))
    stamps = {path: path.stat().st_mtime_ns for path in output.rglob("cells/*")}
    assert len(stamps) == 2 * (2 * 2 * 9)  # a description and its arrays
    assert not list(output.rglob("checkpoints"))
    assert list(output.rglob("log.jsonl"))
    written = (output / "comparison.json").read_text()
    go(*arguments)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("cells/*")} == stamps
    assert sorted(output.rglob("*.*")) == files
    assert (output / "comparison.json").read_text() == written

    damaged = next(path for path in sorted(stamps) if path.suffix == ".json")
    damaged.write_text("{")
    damaged.with_suffix(".npz").write_bytes(b"no zip")
    # Arrays that a full disk cut short, beside a whole description.
    cut = [path for path in sorted(stamps) if path.suffix == ".npz"][-1]
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    go(*arguments)
    assert json.loads(damaged.read_text())["measure"] in ("accuracy", "Fmax")
    with np.load(cut) as again, np.load(io.BytesIO(whole)) as before:
        assert {name: again[name].tolist() for name in again} == {
            name: before[name].tolist() for name in before
        }


@pytest.fixture
def few(monkeypatch):
    chains = load_proteins()
    fits = np.isin(chains.topologies, ("1.10.10", "3.40.50", "2.60.40")) & (
        np.diff(chains.starts) < 90
    )
    part = chains.take(np.flatnonzero(fits))
    monkeypatch.setattr(run_module, "load_proteins", lambda name: part)


def test_bundled_chains_by_structure(few, tmp_path):
    lines = run_downstream(
        comparison_of(
            ["{kind: cdconv, types: false}"],
            data="proteins",
            ways=["finetune"],
            least=2,
            finetune="{steps: 2, batch: 4, checks: 1}",
        ),
        tmp_path / "out",
    )
    floor, line = lines
    assert (floor.encoder, line.encoder) == (PRIOR, "{kind: cdconv, types: false}")
    assert 0 <= line.tests["test"].mean <= 100
    assert line.differences == {}
    assert line.seconds > 0


def test_a_killed_comparison_goes_on_within_a_fine_tuning(few, tmp_path, monkeypatch):
    comparison = Comparison(
        models={"small": SMALL},
        data="proteins",
        ways=["knn", "finetune"],
        least=2,
        finetune={"steps": 4, "batch": 4, "checks": 4},
    )
    whole = run_downstream(comparison, tmp_path / "whole")
    journal = cells_module.Journal
    logged = []

    class KilledError(Exception):
        pass

    class Killed(journal):
        def log(self, phase, step, values):
            if step == 3:
                raise KilledError
            super().log(phase, step, values)

    class Kept(journal):
        def log(self, phase, step, values):
            logged.append(step)
            super().log(phase, step, values)

    for kind in (Killed, Kept):
        monkeypatch.setattr(
            cells_module, "Journal", lambda *a, kind=kind, **k: kind(*a, checkpoint_every=1, **k)
        )
        if kind is Killed:
            with pytest.raises(KilledError):
                run_downstream(comparison, tmp_path / "killed")
    ended = run_downstream(comparison, tmp_path / "killed")
    assert logged == [3, 4]
    assert [line.tests for line in ended] == [line.tests for line in whole]
    run_downstream(comparison, tmp_path / "killed", fresh=True)
    assert logged == [3, 4, 0, 1, 2, 3, 4]


def test_encoders_that_saw_the_test_are_named(few, tmp_path):
    run = aligned(tmp_path / "run")
    data = {"kind": "bundled", "name": "proteins", "test_fraction": 0.25}
    config = {"data": data, "seed": 0}
    (run / "config.json").write_text(json.dumps(config))
    for change, warned in (
        ({}, False),
        ({"split": "cluster"}, True),
        ({"seeds": [1]}, True),
        ({"seeds": [1], "split_seed": 0}, False),
    ):
        told = []
        comparison = Comparison(
            models={"aligned": str(run)}, data="proteins", ways=["knn"], least=2, **change
        )
        list(run_module.cells(comparison, tmp_path, told.append))
        assert any("aligned was aligned on proteins with seed 0" in s for s in told) == warned


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tasks": ["folds"]}, "tasks.0: 'folds' is not allowed. Did you mean 'fold'?"),
        ({"labels": ["2"]}, "labels.0: '2': input should be less than or equal to 1"),
        ({"finetune": "{step: 3}"}, "finetune.step: there is no such field"),
        ({"finetune": "{steps: 3"}, "finetune: '{steps: 3' is no YAML"),
        ({"baseline": "scrtch"}, "no encoder is labelled 'scrtch'. Did you mean 'scratch'?"),
    ],
)
def test_what_is_mistyped_is_named(change, told):
    with pytest.raises(ConfigError) as refused:
        comparison_of(["scratch=composition"], **change)
    assert told in str(refused.value)


def test_labels_are_what_stands_before_a_sign_that_no_path_holds():
    named = comparison_of(["a b=x", "runs/lr=1", "{kind: cdconv, weights: a=b}"]).models
    assert named == {
        "a b": "x",
        "runs/lr=1": "runs/lr=1",
        "{kind: cdconv, weights: a=b}": "{kind: cdconv, weights: a=b}",
    }


def test_what_is_given_twice_is_refused_or_counts_once():
    with pytest.raises(ConfigError, match="two are called 'a'"):
        comparison_of(["a=x", "a=y"])
    named = comparison_of(["a=x"], seeds=[0, 0, 1], labels=[0.1, 0.10])
    assert (named.seeds, named.labels) == ([0, 1], [0.1])


def test_a_cell_that_cannot_be_asked_leaves_the_others(few, tmp_path, monkeypatch):
    ask = cells_module.ask

    def asked(way, *whom, **options):
        if way == "knn":
            raise ValueError("each class has a single row")
        return ask(way, *whom, **options)

    monkeypatch.setattr(cells_module, "ask", asked)
    told = []
    comparison = Comparison(models={"c": "composition"}, data="proteins", least=2)
    found = run_downstream(comparison, tmp_path, say=told.append)
    assert {line.way for line in found} == {"", "probe"}  # and what guessing gives
    assert any("cannot be asked by knn: each class has a single row" in s for s in told)
    assert (tmp_path / "comparison.json").is_file()


def test_data_that_are_not_there():
    with pytest.raises(ValueError, match="there is no folder nowhere: give that of a released set"):
        Comparison(models={"a": "composition"}, data="nowhere").task("fold", 0)
