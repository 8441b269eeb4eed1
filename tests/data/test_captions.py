"""Several captions of one item: every way they are written, one item in every count."""

import json
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import setclip.data.material as material
from setclip.config import ConfigError, parse_config
from setclip.data.captions import encode_items, merge_captions
from setclip.data.manifest import Columns, read_manifest
from setclip.data.material import load_material
from setclip.modalities import BadItemError
from setclip.modalities.text import clean_text
from setclip.run import run_fit


class Letters:
    """A text's counts of bytes modulo 16, and noise by the text: equal texts are equal."""

    name = "letters"
    modality = "text"
    dim = 16
    batch_size = 4
    fingerprint = "letters:1"

    def prepare(self, item):
        if "refused" in item:
            raise BadItemError(item, "refused")
        return item

    def embed(self, prepared):
        rows = [
            np.random.default_rng(zlib.crc32(text.encode())).normal(size=self.dim)
            for text in prepared
        ]
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), self.dim)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(material, "open_encoder", lambda options: Letters())


def of(text):
    return Letters().embed([clean_text(text)])[0]


COLUMNS = Columns(x="image", y="caption")
EXPECTED = [("a cat", "a small cat"), "a dog", None, "one only"]


def written(tmp_path, kind):
    names = ["a.png", "b.png", "c.png", "d.png"]
    lists = [["a cat", " a small cat"], ["a dog"], [], ["one only", ""]]
    path = tmp_path / f"items.{kind}"
    if kind == "jsonl":
        lines = [{"image": n, "caption": c} for n, c in zip(names, lists, strict=True)]
        path.write_text("\n".join(map(json.dumps, lines)))
    elif kind == "parquet":
        pq.write_table(pa.table({"image": names, "caption": lists}), path)
    else:
        cells = [json.dumps(c).replace('"', '""') if c else "" for c in lists]
        rows = "\n".join(f'{n},"{c}"' for n, c in zip(names, cells, strict=True))
        path.write_text(f"image,caption\n{rows}\n")
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_list_in_a_cell_is_several_captions(tmp_path, kind):
    manifest = read_manifest(written(tmp_path, kind), COLUMNS)
    assert manifest.y == EXPECTED
    assert manifest.bad == []
    assert manifest.y_at([0]) == [("a cat", "a small cat")]


@pytest.mark.parametrize("text", ['["unfinished', '["a", 3]', '["a"] said she', "[a, b]"])
def test_what_is_no_list_of_texts_stays_a_text(tmp_path, text):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"image": "a.png", "caption": text}))
    assert read_manifest(path, COLUMNS).y == [text]


@pytest.mark.parametrize(("cell", "expected"), [("[]", None), ('[ "a cat" ]', "a cat")])
def test_lists_of_none_or_one_with_spaces(tmp_path, cell, expected):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"image": "a.png", "caption": cell}))
    assert read_manifest(path, COLUMNS).y == [expected]


def test_a_bad_caption_of_several_stops_no_run(tmp_path):
    config = captioned(tmp_path, bad_limit=0.0)
    path = Path(config["data"]["path"])
    path.write_text(path.read_text().replace('"again 1"', '" "'))
    assert len(load_material(parse_config(config)).pools.x_pairs) == 8


def test_what_is_no_text_in_a_list_is_listed(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"image": "a.png", "caption": ["a", {"b": 1}, "c"]}))
    manifest = read_manifest(path, COLUMNS)
    assert manifest.y == [("a", "c")]
    assert [(item.row, item.field) for item in manifest.bad] == [(1, "caption")]


def test_a_list_of_pictures_or_names_is_bad(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"image": ["a.png", "b.png"], "caption": "x", "room": ["1"]}))
    manifest = read_manifest(path, Columns("image", "caption", set="room"))
    assert manifest.x == [None]
    assert manifest.sets.tolist() == [-1]
    assert [item.field for item in manifest.bad] == ["image", "room"]


def test_rows_of_one_picture_merge_within_their_split_and_set(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(
        "image,caption,split,room\n"
        "a.png,one,train,r\na.png,two,train,r\nb.png,three,,\na.png,four,test,r\n"
        "a.png,,train,r\n,five,train,\na.png,six,train,\nb.png,three,,\n"
    )
    columns = Columns("image", "caption", split="split", set="room")
    merged = merge_captions(read_manifest(path, columns))
    assert merged.y == [("one", "two"), ("three", "three"), "four", None, "five", "six"]
    assert merged.rows.tolist() == [2, 4, 5, 6, 7, 8]


def test_rows_merge_whichever_side_the_pictures_are_on(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("text,image\none,a.png\ntwo,a.png\n")
    columns = Columns("text", "image", x_modality="text", y_modality="image")
    merged = merge_captions(read_manifest(path, columns))
    assert merged.x == [("one", "two")]
    assert len(merged.y) == 1


def test_merging_needs_one_side_of_pictures():
    side = {"column": "a", "modality": "text"}
    data = {"kind": "manifest", "path": "m.csv", "x": side, "y": {**side, "column": "b"}}
    with pytest.raises(ConfigError, match="merge_captions needs pictures and texts"):
        parse_config({"data": {**data, "merge_captions": True}, "method": "cca"})


def test_an_items_feature_is_the_plain_mean_of_its_captions():
    found = encode_items(Letters(), [("a", "b", "b"), "c", ("d", "e")])
    expected = [(of("a") + 2 * of("b")) / 3, of("c"), (of("d") + of("e")) / 2]
    np.testing.assert_allclose(found.features, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.each, [of(t) for t in "abbcde"])
    assert found.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.bad == []


def test_a_bad_caption_goes_and_the_others_stay():
    items = [("a", "refused 1"), ("refused 2", ""), "b", ("c", "", "d"), "refused 3"]
    found = encode_items(Letters(), items)
    assert found.items == ["a", ("refused 2", ""), "b", ("c", "d"), "refused 3"]
    assert found.lost.tolist() == [1, 4]
    np.testing.assert_allclose(found.features[3], (of("c") + of("d")) / 2, rtol=1e-6)
    assert np.isnan(found.features[[1, 4]]).all()
    assert sorted(item.row for item in found.bad) == [0, 1, 1, 3, 4]


def test_nothing_is_left_of_only_bad_items():
    found = encode_items(Letters(), [("refused", ""), "refused"])
    assert np.isnan(found.features).all()
    assert found.lost.tolist() == [0, 1]


def captioned(tmp_path, n=12, **data):
    path = tmp_path / "items.jsonl"
    rows = [
        {"x": f"x {i}", "y": [f"y {i}", f"again {i}"], "split": "train" if i % 3 else "test"}
        for i in range(n)
    ]
    rows += [{"x": "lone x"}, {"y": ["lone y", "lone too"]}]
    path.write_text("\n".join(map(json.dumps, rows)))
    side = {"modality": "text"}
    section = {"kind": "manifest", "path": str(path), "split_column": "split", "bad_limit": 0.2}
    sides = {"x": {"column": "x", **side}, "y": {"column": "y", **side}}
    return {"data": {**section, **sides, **data}, "method": "cca", "output": str(tmp_path / "run")}


def test_raw_items_stand_beside_their_features(tmp_path):
    found = load_material(parse_config(captioned(tmp_path)))
    items = found.pools.items
    assert items is not None
    assert items.x_pairs == [f"x {i}" for i in range(12) if i % 3]
    assert items.y_pairs == [(f"y {i}", f"again {i}") for i in range(12) if i % 3]
    assert items.x_pool == ["lone x"]
    assert items.y_pool == [("lone y", "lone too")]
    assert found.y_test_items == [(f"y {i}", f"again {i}") for i in range(0, 12, 3)]
    assert found.x_test_items == [f"x {i}" for i in range(0, 12, 3)]
    np.testing.assert_array_equal(found.x_test, [of(item) for item in found.x_test_items])
    assert found.y_shown[0].caption == "y 1 (and 1 more)"


def test_every_caption_of_the_test_is_there_by_itself(tmp_path):
    found = load_material(parse_config(captioned(tmp_path)))
    assert found.x_captions is None
    assert found.y_captions.rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    flat = [text for item in found.y_test_items for text in item]
    np.testing.assert_array_equal(found.y_captions.features, [of(text) for text in flat])


@pytest.mark.parametrize("swapped", [False, True])
def test_each_caption_counts_as_right(tmp_path, swapped):
    values = captioned(tmp_path)
    if swapped:
        data = values["data"]
        data["x"], data["y"] = data["y"], data["x"]
    values["evaluation"] = {"ks": [2]}
    result = run_fit(parse_config(values), say=lambda sentence: None)[0]
    one, many = ("y_to_x", "x_to_y") if swapped else ("x_to_y", "y_to_x")
    # Two draws of eight captions, two of which are right; two draws of four pictures.
    assert result.metrics[f"{one}.chance@2"] == pytest.approx(100 * (1 - 15 / 28))
    assert result.metrics[f"{many}.chance@2"] == pytest.approx(50)
