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
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from encoders.tiny_models import open_clip_folder
from layout_files import coco, karpathy, shard, write_pictures

from setclip.config import RunConfig, load_config
from setclip.data import datasets, proteins
from setclip.data.check import check
from setclip.data.datasets import BUNDLED
from setclip.data.material import load_material
from setclip.data.proteins import load_proteins
from setclip.methods.protocol import Recipe
from setclip.methods.setclip import SetCLIP
from setclip.model import AlignedModel
from setclip.run import Result, run_fit
from setclip.run.report import run_report

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
BRIEF = ("method.steps=25", "method.folds=2")
CUT = (
    *("method.steps=2", "method.batch_pairs=4", "method.batch=4", "method.start=random"),
    *("compare.0.steps=1", "compare.0.batch_pairs=4"),
)
"""Encoders learn for two steps: that they do so well is measured elsewhere."""


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


def save_pictures(folder: Path, table) -> list[str]:
    names = [f"pictures/{i}.png" for i in range(len(table))]
    write_pictures(folder, dict(zip(names, table["image"].to_pylist(), strict=True)))
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
        "clip-art.yaml",
        "embeddings.yaml",
        "emoji.yaml",
        "manifest.yaml",
        "matched-sets.yaml",
        "protein.yaml",
        "remote-sensing-shift.yaml",
        "remote-sensing.yaml",
        "vision-language.yaml",
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
    names, captions = save_pictures(folder, table), table["caption"].to_pylist()
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
    names, captions = save_pictures(folder, table), table["caption"].to_pylist()
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


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A CLIP with random weights in the place of the one that would be downloaded."""
    model = open_clip_folder(tmp_path_factory.mktemp("clip"))
    sides = ("x", "y")
    return [
        f"encoders.{side}.{what}"
        for side in sides
        for what in (f"model={model}", "pretrained=null")
    ]


def items_of(table, first: int, last: int, suffix: str = "jpg"):
    """Some items as file name, picture and two captions."""
    part = table.slice(first, last - first).to_pylist()
    return [
        (f"{i}.{suffix}", row["image"], (row["caption"], f"{row['name']} from above"))
        for i, row in enumerate(part)
    ]


def captioned_set(folder: Path, name: str, images: str, items, train: int) -> None:
    write_pictures(folder / images, {file: content for file, content, _ in items})
    split = ["train" if i < train else "val" if i == train else "test" for i in range(len(items))]
    rows = [(file, part, texts) for (file, _, texts), part in zip(items, split, strict=True)]
    karpathy(folder / name, rows)


def remote_sensing(folder: Path) -> None:
    table = emoji(80)
    rsicd = items_of(table, 0, 30)
    captioned_set(folder, "RSICD/dataset_rsicd.json", "RSICD/RSICD_images", rsicd, 22)
    ucm, sydney = items_of(table, 30, 48, "tif"), items_of(table, 48, 64, "tif")
    captioned_set(folder, "UCM_captions/dataset.json", "UCM_captions/imgs", ucm, 12)
    captioned_set(folder, "Sydney_captions/dataset.json", "Sydney_captions/imgs", sydney, 10)
    lists = folder / "RSICD" / "txtclasses_rsicd"
    lists.mkdir()
    (lists / "airport.txt").write_text("0.jpg\n24.jpg\n25.jpg\n")
    (lists / "bareland.txt").write_text("1.jpg\n26.jpg\n27.jpg\n")
    pictures = [content for _, content, _ in items_of(table, 64, 80)]
    for place, one, two in (
        ("UCMerced_LandUse/Images", "agricultural", "denseresidential"),
        ("WHU-RS19", "Airport", "FootballField"),
        ("RSSCN7", "aGrass", "dRiverLake"),
        ("AID", "BareLand", "StorageTanks"),
    ):
        write_pictures(folder / place, {f"{one}/{i}.jpg": p for i, p in enumerate(pictures[:4])})
        write_pictures(folder / place, {f"{two}/{i}.jpg": p for i, p in enumerate(pictures[4:8])})


def test_remote_sensing(folder, tiny_clip):
    remote_sensing(folder)
    _, results = run(folder, "remote-sensing.yaml", *tiny_clip, "data.pair_share=0.2", *CUT)
    assert measured(results)
    metrics = results[0].metrics
    for name in ("rsicd", "ucm", "sydney"):
        assert f"{name}.x_to_y.recall@1" in metrics
        assert f"{name}.y_to_x.recall@5" in metrics or name != "rsicd"
    for name in ("rsicd-cls", "ucm", "whu-rs19", "rsscn7", "aid"):
        assert metrics[f"zero_shot_chance.{name}@1"] == 50
        assert 0 <= metrics[f"zero_shot.{name}@1"] <= 100
    assert metrics["zero_shot_seen.rsicd-cls"] == 2


def test_remote_sensing_shift(folder, tiny_clip):
    remote_sensing(folder)
    config, results = run(
        folder, "remote-sensing-shift.yaml", *tiny_clip, "data.pair_share=0.4", *CUT
    )
    assert measured(results)
    pools = load_material(config).pools
    assert pools.n_pairs == 9  # of the 22 of rsicd
    assert len(pools.x_pool) == len(pools.y_pool) == 22  # all of ucm and sydney


def photographs(folder: Path) -> None:
    items = items_of(emoji(40), 0, 40)
    for part, own in (("train", items[:30]), ("val", items[30:])):
        write_pictures(folder / "coco" / f"{part}2017", {file: content for file, content, _ in own})
        where = folder / "coco" / "annotations" / f"captions_{part}2017.json"
        coco(where, [(file, texts) for file, _, texts in own])


def test_vision_language(folder, tiny_clip):
    photographs(folder)
    small = ("data.pairs=10", "data.pool=16")
    config, results = run(folder, "vision-language.yaml", *tiny_clip, *small, *CUT)
    assert measured(results)
    assert results[0].metrics["y_to_x.chance@1"] == pytest.approx(10)
    pools = load_material(config).pools
    assert (pools.n_pairs, len(pools.x_pool), len(pools.y_pool)) == (10, 8, 8)


def test_vision_language_from_flickr_and_shards(folder, tiny_clip):
    items = items_of(emoji(40), 0, 40)
    write_pictures(folder / "flickr30k" / "images", {f: content for f, content, _ in items[:24]})
    lines = [
        f"{file}| {i}| {text}" for file, _, texts in items[:24] for i, text in enumerate(texts)
    ]
    (folder / "flickr30k" / "results.csv").write_text(
        "image_name| comment_number| comment\n" + "\n".join(lines), encoding="utf-8"
    )
    (folder / "flickr30k" / "test.txt").write_text("\n".join(f for f, _, _ in items[18:24]))
    members = [
        member
        for file, content, texts in items[24:]
        for member in ((file, content), (file.replace("jpg", "txt"), texts[0].encode()))
    ]
    shard(folder / "cc3m" / "00000.tar", members[:16])
    shard(folder / "cc3m" / "00001.tar", members[16:])
    flickr = (
        "{name: flickr30k, layout: flickr, path: flickr30k/results.csv, learn: pairs, "
        "images: flickr30k/images, test_list: flickr30k/test.txt}"
    )
    cc3m = (
        '{name: cc3m, layout: webdataset, path: "cc3m/{00000..00001}.tar", learn: pools, '
        "split: train}"
    )
    small = ("data.pairs=10", "data.pool=16")
    sets = f"data.sets=[{flickr}, {cc3m}]"
    config, results = run(folder, "vision-language.yaml", sets, *tiny_clip, *small, *CUT)
    assert measured(results)
    pools = load_material(config).pools
    assert (pools.n_pairs, len(pools.x_pool), len(pools.y_pool)) == (10, 8, 8)


def test_embeddings(folder):
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(160, 6))
    x, y = traits @ rng.normal(size=(6, 12)), traits @ rng.normal(size=(6, 10))
    rows = {"pairs": slice(0, 30), "pool": slice(30, 120), "test": slice(120, 160)}
    for part, own in rows.items():
        np.save(folder / f"old_{part}.npy", x[own].astype(np.float32))
        np.save(folder / f"new_{part}.npy", y[own][:: -1 if part == "pool" else 1])
    _, results = run(folder, "embeddings.yaml", "compare=[]")
    assert measured(results)
    assert results[0].recall["1"][0] > 90


def test_protein(folder, monkeypatch):
    rows = np.flatnonzero(load_proteins().groups < 8)
    few = load_proteins().take(rows)
    monkeypatch.setattr(proteins, "load_proteins", lambda *_, **__: few)
    config, results = run(folder, "protein.yaml", "data.pairs=10", *CUT[:-2], "compare=[ridge]")
    assert measured(results)
    pools = load_material(config).pools
    assert len(pools.shared_sets) >= 4
    card = AlignedModel.load(config.output).card
    assert (card.x_encoder, card.y_encoder) == ("protein-transformer", "cdconv")
    page = run_report(config.output).read_text(encoding="utf-8")
    assert "structure" in page
    assert any(name.split("_")[0] in page for name in few.names)
    assert "<svg" in page


def test_clip_art(folder):
    table = emoji(40)
    built = folder / "cache" / "datasets" / "openclipart"
    names = save_pictures(built, table)
    columns = {name: table[name] for name in ("caption", "name")}
    columns |= {"image": names, "label": table["group"], "group": table["concept"]}
    pq.write_table(pa.table(columns), built / "manifest.parquet")
    (built / "LICENSE.txt").write_text("for tests")
    config, results = run(
        folder,
        "clip-art.yaml",
        f"data.folder={built}",
        "data.pairs=12",
        "data.set_size=4",
        *(f"{part}.variants=0" for part in ("method", "compare.0")),
        *(f"{part}.x={{kind: efficientnet-lite0, size: 64}}" for part in ("method", "compare.0")),
        *CUT,
    )
    assert measured(results)
    assert AlignedModel.load(config.output).card.data.startswith("12 pairs")
