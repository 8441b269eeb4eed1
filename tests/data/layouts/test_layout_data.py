"""Layouts in a config: paths, supervision, measures of each set, classes, mistakes."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from layout_files import karpathy, picture, write_pictures

import setclip.data.check
import setclip.data.material as material
import setclip.encoders
from setclip.config import ConfigError, load_config, parse_config
from setclip.data.bad_items import TooManyBadItemsError
from setclip.data.check import check
from setclip.data.material import load_material
from setclip.data.tables import ManifestError
from setclip.modalities.image import read_square
from setclip.modalities.text import clean_text
from setclip.run import run_fit


class Colour:
    """A picture's mean colour, and a text that states it: a shared space."""

    batch_size = 8
    dim = 3

    def __init__(self, modality):
        self.modality = modality
        self.name = self.fingerprint = f"colour of {modality}"

    def prepare(self, item):
        if self.modality == "text":
            return np.asarray([float(word) for word in clean_text(item).split()[-3:]])
        return read_square(item, 8).mean(axis=(0, 1))

    def embed(self, prepared):
        return np.asarray(prepared, dtype=np.float32).reshape(len(prepared), 3) - 110

    def encode(self, items, *, progress=False):
        return self.embed([self.prepare(item) for item in items])


@pytest.fixture(autouse=True)
def encoders(monkeypatch, tmp_path):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))

    def opened(options):
        return Colour(options.reads)

    for place in (material, setclip.encoders, setclip.data.check):
        monkeypatch.setattr(place, "open_encoder", opened)


def stated(content, word="shows"):
    red, green, blue = Colour("image").prepare(content)
    return f"{word} {red:.1f} {green:.1f} {blue:.1f}"


def collection(folder, name, *, train=12, test=6, first=0):
    pictures = {f"{i}.png": picture(first + i) for i in range(train + test)}
    write_pictures(folder / name / "images", pictures)
    items = [
        (file, "train" if i < train else "test", [stated(content), stated(content, "again")])
        for i, (file, content) in enumerate(pictures.items())
    ]
    karpathy(folder / name / "dataset.json", items)
    where = {"path": f"{name}/dataset.json", "images": f"{name}/images"}
    return {"name": name, "layout": "karpathy", **where}


def written(folder, data, **more):
    values = {"data": {"kind": "layout", **data}, "method": "ridge", **more}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**values, "output": str(folder / "run")}))
    return load_config(path)


def fit(config):
    return run_fit(config, say=lambda sentence: None)[0]


def test_merged_sets_are_measured_together_and_one_by_one(tmp_path):
    sets = [collection(tmp_path, "a"), collection(tmp_path, "b", first=50)]
    config = written(tmp_path, {"sets": sets, "pair_share": 0.5, "rest": "x"})
    found = load_material(config)
    assert found.pools.n_pairs == 12
    assert len(found.pools.x_pool) == 12
    assert found.test_origins == ["a"] * 6 + ["b"] * 6
    assert found.pools.items.y_pairs[0][1].startswith("again")
    result = fit(config)
    metrics = result.metrics
    assert metrics["a.recall@1"] > 80
    assert metrics["b.y_to_x.chance@1"] == pytest.approx(100 / 6)
    assert metrics["a.x_to_y.chance@1"] == pytest.approx(100 / 6)
    assert metrics["chance@1"] == pytest.approx(100 / 12)


def test_one_set_is_not_measured_twice(tmp_path):
    result = fit(written(tmp_path, {"sets": [collection(tmp_path, "a")]}))
    assert not any(name.startswith("a.") for name in result.metrics)


def test_a_set_with_one_test_item_has_no_retrieval_of_its_own(tmp_path):
    sets = [collection(tmp_path, "a"), collection(tmp_path, "b", first=50, test=1)]
    result = fit(written(tmp_path, {"sets": sets}))
    assert any(name.startswith("a.") for name in result.metrics)
    assert not any(name.startswith("b.") for name in result.metrics)


def test_pictures_that_are_gone_or_broken_are_listed_with_set_and_row(tmp_path):
    sets = [collection(tmp_path, "a"), collection(tmp_path, "b", first=50)]
    (tmp_path / "b" / "images" / "3.png").unlink()
    (tmp_path / "b" / "images" / "4.png").write_bytes(b"broken")
    data = {"sets": sets, "bad_limit": 0.1}
    found = load_material(written(tmp_path, data))
    assert [(item.source, item.row, item.field) for item in found.bad] == [
        ("b", 4, "image"),
        ("b", 5, "image"),
    ]
    assert "there is no such file" in str(found.bad[0])
    assert found.pools.n_pairs == 22
    with pytest.raises(TooManyBadItemsError, match="a, b: 2 of 36 items"):
        load_material(written(tmp_path, {**data, "bad_limit": 0.01}))


def with_classes(folder):
    for name, channel in (("redRoof", 0), ("green_field", 1)):
        for i in range(4):
            pixels = np.zeros((8, 8, 3), dtype=np.uint8) + 20
            pixels[..., channel] = 200 + i
            write_pictures(folder / "classes" / name, {f"{i}.png": encoded(pixels)})
    return {"name": "tiny", "layout": "class-folders", "path": "classes"}


def encoded(pixels):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_zero_shot_tests_of_classes(tmp_path):
    test = with_classes(tmp_path)
    # The name of a class states its colour here; a template leaves it at the end.
    test |= {"names": {"redRoof": "200 20 20", "green_field": "20 200 20"}}
    test["templates"] = ["a photo of {}", "{}"]
    (tmp_path / "classes" / "redRoof" / "0.png").write_bytes(b"broken")
    data = {"sets": [collection(tmp_path, "a")], "bad_limit": 0.5}
    config = written(tmp_path, data, evaluation={"zero_shot": [test]})
    found = load_material(config)
    assert [item.source for item in found.bad] == ["tiny"]
    result = fit(config)
    assert result.metrics["zero_shot.tiny@1"] == 100
    assert result.metrics["zero_shot_chance.tiny@1"] == 50
    assert result.metrics["zero_shot_items.tiny"] == 7
    again = written(tmp_path, data | {"bad_limit": 0.01}, evaluation={"zero_shot": [test]})
    with pytest.raises(TooManyBadItemsError, match="tiny: 1 of 8 items"):
        load_material(again)


def test_pictures_that_trained_are_no_zero_shot_test(tmp_path):
    sets = [collection(tmp_path, "a")]
    lists = tmp_path / "lists"
    lists.mkdir()
    for name, numbers in (("one", range(3, 15)), ("two", range(15, 18))):
        (lists / f"{name}.txt").write_text("".join(f"{i}.png\n" for i in numbers))
    test = {"name": "t", "layout": "class-list", "path": "lists", "images": "a/images"}
    test["names"] = {"one": "a 1 1 1", "two": "a 200 200 200"}
    result = fit(written(tmp_path, {"sets": sets}, evaluation={"zero_shot": [test]}))
    assert result.metrics["zero_shot_items.t"] == 6  # twelve of the eighteen are for training
    assert result.metrics["zero_shot_seen.t"] == 9


def test_a_zero_shot_test_of_one_class(tmp_path):
    test = with_classes(tmp_path) | {"names": {"redRoof": "one", "green_field": "one"}}
    data = {"sets": [collection(tmp_path, "a")]}
    with pytest.raises(ManifestError, match=r"1 classes with pictures.*needs two"):
        load_material(written(tmp_path, data, evaluation={"zero_shot": [test]}))


def test_paths_count_from_the_config_and_from_here_when_overridden(tmp_path, monkeypatch):
    lists = {"layout": "flickr", "train_list": "l.txt", "test_list": "/t.txt"}
    sets = [{"name": "f", "path": "p", "images": "i", **lists}]
    sets.append({"name": "h", "layout": "hub", "dataset": "org/name"})
    sets.append({"name": "g", "layout": "hub", "dataset": "here"})
    (tmp_path / "there" / "here").mkdir(parents=True)
    config = written(tmp_path / "there", {"sets": sets})
    first, second, third = config.data.sets
    assert first.path == str(tmp_path / "there" / "p")
    assert first.train_list == str(tmp_path / "there" / "l.txt")
    assert first.test_list == "/t.txt"
    assert second.dataset == "org/name"
    assert third.dataset == str(tmp_path / "there" / "here")
    monkeypatch.chdir(tmp_path)
    moved = load_config(tmp_path / "there" / "recipe.yaml", ["data.sets.0.path=q"])
    assert moved.data.sets[0].path == str(tmp_path / "q")


ONE = {"name": "a", "layout": "karpathy", "path": "p", "images": "i"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"sets": []}, "at least 1"),
        ({"sets": [{**ONE, "layout": "karpaty"}]}, "karpathy"),
        ({"sets": [ONE, ONE]}, "two sets are called 'a'"),
        ({"sets": [ONE], "pairs": 3, "pair_share": 0.1}, "both say how many pairs"),
        ({"sets": [{**ONE, "learn": "nothing"}]}, "no set has anything to learn from"),
        ({"sets": [{**ONE, "split": "test"}]}, "no set has anything to learn from"),
        ({"sets": [{**ONE, "caption_key": "x"}]}, "caption_key"),
    ],
)
def test_mistakes_in_the_section(data, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_config({"data": {"kind": "layout", **data}, "method": "cca"})


@pytest.mark.parametrize(
    ("one", "told"),
    [
        ({**ONE, "imges": "i"}, r"data\.sets\.0\.imges: there is no such .*Did you mean 'images'"),
        ({"name": "a", "layout": "karpathy", "path": "p"}, r"data\.sets\.0\.images: is missing"),
        ({"name": "a"}, r"data\.sets\.0: needs a layout\. Allowed: karpathy, coco"),
        ({**ONE, "layout": "karpaty"}, r"there is no layout 'karpaty'\. Did you mean 'karpathy'"),
    ],
)
def test_mistakes_in_a_set_are_named_by_their_field_and_once(one, told):
    with pytest.raises(ConfigError, match=told) as error:
        parse_config({"data": {"kind": "layout", "sets": [one]}, "method": "cca"})
    assert "at least 1 item" not in str(error.value)


TEST = {"name": "t", "layout": "class-folders", "path": "p"}


@pytest.mark.parametrize(
    ("data", "tests", "reason"),
    [
        ({"kind": "arrays", "x_pool": "x", "y_pool": "y"}, [TEST], "needs pictures as x"),
        ({"kind": "bundled", "name": "glosses"}, [TEST], "needs pictures as x"),
        ({"kind": "bundled"}, [TEST, TEST], "have one name"),
        ({"kind": "bundled"}, [{**TEST, "templates": ["no place"]}], "needs {} once"),
    ],
)
def test_mistakes_in_zero_shot_tests(data, tests, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_config({"data": data, "method": "cca", "evaluation": {"zero_shot": tests}})


def test_the_check_reads_layouts_too(tmp_path):
    data = {"sets": [collection(tmp_path, "a")], "pairs": 4}
    checked = check(written(tmp_path, data))
    assert checked.ok
    assert (checked.supervision.pairs, checked.supervision.x_pool) == (4, 8)
    assert checked.source == "a"
    again = {**collection(tmp_path, "b"), "measure": False}  # the same pictures once more
    both = check(written(tmp_path, {"sets": [data["sets"][0], again], "pairs": 4}))
    assert both.ok
    swapped = {**collection(tmp_path, "c", train=2, test=16), "learn": "nothing"}
    leaks = check(written(tmp_path, {"sets": [data["sets"][0], swapped], "pairs": 4})).findings
    (remedy,) = {f.remedy for f in leaks if "test images are also in train" in f.message}
    assert "measure: false" in remedy
    assert not any("merge_captions" in f.remedy for f in leaks)
    evaluation = {"zero_shot": [{"name": "t", "layout": "class-folders", "path": "gone"}]}
    tested = check(written(tmp_path, data, evaluation=evaluation))
    (missing,) = (f for f in tested.findings if "gone: there is no such folder" in f.message)
    assert missing.severity == "error"
    broken = check(written(tmp_path, {"sets": [{**ONE, "images": "a/images"}]}))
    assert not broken.ok
    assert "there is no such file" in broken.findings[0].message


def test_every_kind_of_set_reads(tmp_path, monkeypatch):
    """Each section hands its fields to its reader; the readers have tests of their own."""
    seen = []
    for name in ("karpathy", "coco", "flickr", "webdataset", "hub"):
        module = f"setclip.data.layouts.{name}.read"
        monkeypatch.setattr(module, lambda *a, _name=name, **k: seen.append((_name, a, k)))
    for name in ("read_folders", "read_list"):
        monkeypatch.setattr(
            f"setclip.data.layouts.classes.{name}",
            lambda *a, _name=name, **k: seen.append((_name, a, k)),
        )
    sets = [
        ONE,
        {**ONE, "name": "b", "layout": "coco"},
        {**ONE, "name": "c", "layout": "flickr", "test_list": "t"},
        {"name": "d", "layout": "class-folders", "path": "p", "names": {"a": "b"}},
        {**ONE, "name": "e", "layout": "class-list"},
        {"name": "f", "layout": "webdataset", "path": "p", "caption_key": "k"},
        {"name": "g", "layout": "hub", "dataset": "o/n", "hub_split": "s", "rows": 3},
    ]
    config = parse_config({"data": {"kind": "layout", "sets": sets}, "method": "cca"})
    for part in config.data.sets:
        part.read()
    hub = {"config": None, "split": "s", "image": "image", "caption": "caption", "label": None}
    assert seen == [
        ("karpathy", ("p",), {"images": "i"}),
        ("coco", ("p",), {"images": "i"}),
        ("flickr", ("p",), {"images": "i", "train_list": None, "test_list": "t"}),
        ("read_folders", ("p",), {"names": {"a": "b"}}),
        ("read_list", ("p",), {"images": "i", "names": {}}),
        ("webdataset", ("p",), {"caption_key": "k"}),
        ("hub", ("o/n",), {**hub, "streaming": True, "rows": 3}),
    ]
    assert Path(config.output).name == "run"
