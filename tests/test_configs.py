"""The shipped recipes run as they stand, on little data in the files that they name.

Each is copied beside such data and run end to end, its method cut short; nothing else is changed.
Images and captions are emoji that ship with the package, read by the real encoders.
"""

import csv
import re
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from setclip.config import RunConfig, load_config
from setclip.data import datasets
from setclip.data.check import check
from setclip.data.datasets import BUNDLED
from setclip.methods.protocol import Recipe
from setclip.methods.setclip import SetCLIP
from setclip.model import AlignedModel
from setclip.run import Result, run_fit

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
BRIEF = ("method.steps=25", "method.folds=2")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path, monkeypatch, cache):
    """An empty project: recipes and data go here, and runs/ beside them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SETCLIP_CACHE", str(cache))
    return tmp_path


def emoji(n: int):
    """Some of the shipped emoji, of two categories and far enough apart to differ."""
    table = pq.read_table(
        BUNDLED / "emoji.parquet",
        filters=[("group", "in", ["Animals & Nature", "Food & Drink"])],
    )
    return table.take(np.linspace(0, len(table) - 1, n).astype(int))


def write_pictures(folder: Path, table) -> list[str]:
    names = [f"pictures/{i}.png" for i in range(len(table))]
    (folder / "pictures").mkdir()
    for name, picture in zip(names, table["image"].to_pylist(), strict=True):
        (folder / name).write_bytes(picture)
    return names


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def run(folder: Path, name: str, *overrides: str) -> tuple[RunConfig, list[Result]]:
    recipe = shutil.copy(CONFIGS / name, folder)
    config = load_config(recipe, overrides)
    assert config.output == Path("runs") / Path(name).stem
    checked = check(config)
    assert checked.ok, checked.render()
    results = run_fit(config, say=lambda sentence: None)
    assert len(results) == 1 + len(config.compare)
    assert not any(result.error for result in results)
    model = AlignedModel.load(config.output)
    assert model.card.method["kind"] == config.method.kind
    return config, results


def measured(results: list[Result]) -> bool:
    return all("1" in result.recall and result.median_rank is not None for result in results)


def test_every_recipe_is_run_here():
    assert {path.name for path in CONFIGS.iterdir()} == {
        "arrays.yaml",
        "emoji.yaml",
        "manifest.yaml",
        "matched-sets.yaml",
    }


COMMAND = re.compile(r"setclip (?:check|fit) +configs/(\S+)((?: \S+=\S+)*)")


@pytest.mark.parametrize("path", sorted(CONFIGS.iterdir()), ids=lambda path: path.stem)
def test_the_commands_in_its_comments_are_valid(path):
    commands = COMMAND.findall(path.read_text(encoding="utf-8"))
    assert commands
    for name, overrides in commands:
        assert name == path.name
        load_config(path, overrides.split())  # raises on what no longer exists


def test_the_documented_recipes_are_those_of_the_method():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    table = text.split("| field | `default` | `paper` |\n|---|---|---|\n")[1].split("\n\n")[0]
    written = [
        [cell.strip(" `") for cell in row.strip("|").split("|")] for row in table.splitlines()
    ]
    default, paper = (
        SetCLIP(recipe=name).model_dump(exclude={"recipe"}) for name in get_args(Recipe)
    )
    for field, *values in written:
        assert [yaml.safe_load(value) for value in values] == [default[field], paper[field]], field
    assert [field for field, *_ in written] == [f for f in default if default[f] != paper[f]]


def test_arrays(folder):
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(160, 6))
    x, y = traits @ rng.normal(size=(6, 12)), traits @ rng.normal(size=(6, 10))
    parts = {
        "x_pairs": x[:30],
        "y_pairs": y[:30],
        "x_pool": x[30:75],
        "y_pool": y[75:120],
        "x_test": x[120:],
        "y_test": y[120:],
    }
    for name, array in parts.items():
        np.save(folder / f"{name}.npy", array)
    config, results = run(folder, "arrays.yaml", *BRIEF)
    assert measured(results)
    by_name = {result.name: result.recall["1"][0] for result in results}
    assert by_name["cca"] > 90
    assert by_name["setclip (default)"] > 90
    model = AlignedModel.load(config.output)
    assert model.similarity(x[:3], y[:4]).shape == (3, 4)


def test_manifest(folder):
    table = emoji(40)
    names, captions = write_pictures(folder, table), table["caption"].to_pylist()
    rows = [
        {"image": names[i] if i < 28 else "", "caption": captions[i] if i < 16 or i >= 28 else ""}
        for i in range(40)
    ]
    write_table(folder / "items.csv", rows)
    config, results = run(folder, "manifest.yaml", "compare.2.steps=10")
    assert measured(results)
    model = AlignedModel.load(config.output)
    assert "12 x" in model.card.data
    assert "12 y" in model.card.data
    raw = model.similarity([folder / names[0], folder / names[1]], captions[:3])
    assert raw.shape == (2, 3)


def matched_sets(folder: Path) -> None:
    """Four papers of five figures whose captions lie in another order, and one paper of pairs."""
    table = emoji(24)
    names, captions = write_pictures(folder, table), table["caption"].to_pylist()
    order = np.random.default_rng(0).permutation(20)
    figures = [(f"paper {i // 5}", names[i], "", "") for i in range(20)]
    words = [(f"paper {i // 5}", "", captions[i], "train") for i in order[1:]]  # one is missing
    pairs = [("paper 4", names[i], captions[i], "test") for i in range(20, 24)]
    columns = ("paper", "image", "caption", "split")
    rows = [dict(zip(columns, cells, strict=True)) for cells in figures + words + pairs]
    write_table(folder / "figures.csv", rows)


def test_matched_sets(folder):
    matched_sets(folder)
    config, results = run(folder, "matched-sets.yaml", "compare.2.steps=25", "compare.2.folds=2")
    assert measured(results)
    card = AlignedModel.load(config.output).card
    assert card.data.startswith("0 pairs; 4 shared sets holding 20 x and 19 y")
    assert not any("leak" in result.warnings for result in results)


def test_matched_sets_without_a_test(folder):
    matched_sets(folder)
    _, results = run(folder, "matched-sets.yaml", "data.split_column=null", "compare=[]")
    assert [result.recall for result in results] == [{}]


def test_emoji(folder, monkeypatch):
    bundled = folder / "bundled"
    bundled.mkdir()
    pq.write_table(emoji(60), bundled / "emoji.parquet")
    shutil.copy(BUNDLED / "emoji.LICENSE.txt", bundled)
    monkeypatch.setattr(datasets, "BUNDLED", bundled)
    short = [f"compare.{i}.{what}" for i in (1, 4, 5, 6) for what in ("steps=10", "folds=2")]
    config, results = run(folder, "emoji.yaml", "data.pairs=20", *short)
    assert measured(results)
    assert [result.name for result in results] == [
        "auto",
        "cca",
        "setclip (default)",
        "procrustes",
        "ridge",
        "clip",
        "siglip",
        "setclip (paper)",
    ]
    assert (config.output / "README.md").read_text(encoding="utf-8").startswith("# Aligned model")
