"""The command line: every command on tiny data, and errors in words with exit code 2."""

import json
import sys

import pytest
import yaml
from tiny import write_arrays

from setclip import cli


@pytest.fixture
def setclip(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder: exit code and all that was printed, on one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "out", cli.Console(width=200))
    monkeypatch.setattr(cli, "err", cli.Console(width=200, stderr=True))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["setclip", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, " ".join((printed.out + printed.err).split())

    return run


@pytest.fixture
def config(tmp_path):
    content = {
        "data": write_arrays(tmp_path),
        "method": "cca",
        "compare": ["ridge"],
        "evaluation": {"draws": 100},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_fit_evaluate_report(setclip, config, tmp_path):
    code, printed = setclip("fit", config, "method.penalty=3")
    assert code == 0
    assert "cca" in printed
    assert "ridge" in printed
    assert "fit, s" in printed
    assert "Held out: 20 pairs, all in the gallery." in printed
    assert (tmp_path / "runs/mine/report.html").is_file()
    code, printed = setclip("evaluate", "runs/mine")
    assert code == 0
    assert "foscttm" in printed
    assert "fit, s" not in printed
    (tmp_path / "runs/mine/report.html").unlink()
    assert setclip("report", "runs/mine")[0] == 0
    assert (tmp_path / "runs/mine/report.html").is_file()


def test_fit_without_a_test_says_it_measured_nothing(setclip, config, tmp_path):
    content = yaml.safe_load(config.read_text())
    del content["data"]["x_test"], content["data"]["y_test"]
    config.write_text(yaml.safe_dump(content | {"report": False}))
    code, printed = setclip("fit", config)
    assert code == 0
    assert "not measured" in printed
    assert "Nothing is held out: data.x_test and data.y_test are not given." in printed
    assert not (tmp_path / "runs/mine/report.html").exists()


def test_check_counts_and_fails_on_errors(setclip, config):
    code, printed = setclip("check", config)
    assert code == 0
    assert "What to do next" in printed
    assert "With your 30 pairs expect R@10 about" in printed
    code, printed = setclip("check", config, "data.x_pairs=missing.npy")
    assert code == 1
    assert "missing.npy" in printed


def test_mine_and_suggest_write_into_the_run(setclip, config, tmp_path):
    assert setclip("fit", config, "method.penalty=3", "report=false", "compare=[]")[0] == 0
    code, printed = setclip("mine", "runs/mine", "--coverage", "0.5", "--folds", "2")
    assert code == 0
    assert "50% of the x have their partner" in printed
    assert (tmp_path / "runs/mine/matches.html").is_file()
    code, printed = setclip("suggest", "runs/mine", "-n", "5")
    assert code == 0
    assert "→" in printed
    assert (tmp_path / "runs/mine/to_label_x.csv").read_text().count("x pool") == 5
    assert setclip("suggest", "runs/mine", "-n", "3", "--side", "y")[0] == 0
    assert (tmp_path / "runs/mine/to_label_y.csv").read_text().count("y pool") == 3
    assert (tmp_path / "runs/mine/to_label_x.csv").read_text().count("x pool") == 5


def test_schema_is_json_that_names_the_methods(setclip):
    code, printed = setclip("schema")
    assert code == 0
    assert "SetCLIP" in json.dumps(json.loads(printed))


def test_bench_prints_the_table_and_keeps_it(setclip, tmp_path):
    words = ("--methods", "ridge,procrustes", "--pairs", "20", "--seeds", "0,")
    words += ("--conditions", "disjoint", "--workers", 1, "--output", "bench")
    code, printed = setclip("bench", "planted", *words, "--markdown")
    assert code == 0
    assert "procrustes" in printed
    assert "|" in printed
    assert (tmp_path / "bench/planted.csv").read_text().count("ridge") >= 1
    assert "procrustes" in setclip("bench", "planted", *words)[1]
    assert "there" in setclip("bench", "planted", *words[:8], "--output", "bench", "--plan")[1]


def test_bench_small_end_to_end(setclip, tmp_path):
    code, printed = setclip("bench", "small", "--workers", 1, "--output", "b")
    assert code == 0
    assert "cca (pairs alone)" in (tmp_path / "b/small.md").read_text()
    assert "damaged sets of 8" in printed
    made = {path: path.read_bytes() for path in (tmp_path / "b").glob("small.*")}
    assert sorted(path.suffix for path in made) == [".csv", ".html", ".md"]
    for path in made:
        path.unlink()
    assert setclip("bench", "table", "b")[0] == 0
    for path, content in made.items():
        if path.suffix != ".html":  # plotly numbers its figures at random
            assert path.read_bytes() == content
    assert (tmp_path / "b/small.html").is_file()
    assert setclip("bench", "table", "b", "--baseline", "ridge")[0] == 0
    assert "R@10 over ridge" in (tmp_path / "b/small.md").read_text()


def test_bench_of_a_config_measures_its_own_pools(setclip, tmp_path):
    content = {"data": write_arrays(tmp_path, pairs=60), "method": "procrustes"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    words = ("--methods", "ridge,config", "--seeds", 1, "--workers", 1, "--output", "b")
    code, printed = setclip("bench", "mine.yaml", *words)
    assert code == 0
    assert "mine.yaml: own pools, 45 pairs" in printed
    text = (tmp_path / "b/mine-config.md").read_text()
    assert "| procrustes (config) |" in text
    assert "setclip bench mine.yaml" in text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("fit", "none.yaml"), "none.yaml"),
        (("report", "nowhere"), "give a folder that `setclip fit` wrote"),
        (("bench", "emojy"), "emoji"),
        (("bench", "table", "nowhere"), "holds no benchmark"),
        (("bench", "none.yaml"), "cannot be read"),
        (("bench", "planted", "--pairs", "many"), "give whole numbers"),
        (("downstream", "composition", "--seeds", "0"), "--seeds is '0': give how many"),
        (("data", "build", "nothing"), "openclipart"),
        (("data", "build", "mdi-icons", "--source", ".", "--target", "d"), "download it there"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(setclip, words, shown):
    code, printed = setclip(*words)
    assert code == 2
    assert shown in printed
    assert "Traceback" not in printed


def test_a_wrong_field_names_file_field_value_and_remedy(setclip, config):
    code, printed = setclip("fit", config, "method.penalti=3")
    assert code == 2
    for shown in ("mine.yaml", "penalti", "penalty"):
        assert shown in printed
