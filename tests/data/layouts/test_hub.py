"""Data sets of the `datasets` library, from disk: every column type, one copy, no network."""

import sys

import pytest
from layout_files import picture

from setclip.data.layouts import hub
from setclip.data.tables import ManifestError
from setclip.modalities.image import read_bytes

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    return tmp_path / "cache"


def columns(n=4):
    return {
        "image": [{"bytes": picture(i), "path": f"{i}.jpg"} for i in range(n)],
        "caption": [[f"one {i}", f"two {i}"] for i in range(n)],
        "label": [i % 2 for i in range(n)],
    }


FEATURES = {
    "image": datasets.Image(),
    "caption": datasets.Sequence(datasets.Value("string")),
    "label": datasets.ClassLabel(names=["owl", "cat"]),
}


def saved(tmp_path, values=None, features=FEATURES):
    table = datasets.Dataset.from_dict(values or columns(), datasets.Features(features))
    table.save_to_disk(tmp_path / "saved")
    return str(tmp_path / "saved")


def test_a_saved_data_set(tmp_path):
    found = hub.read(saved(tmp_path), label="label")
    assert [row.captions for row in found.rows] == [(f"one {i}", f"two {i}") for i in range(4)]
    assert [row.label for row in found.rows] == ["owl", "cat", "owl", "cat"]
    assert [read_bytes(row.image) for row in found.rows] == [picture(i) for i in range(4)]
    assert {row.part for row in found.rows} == {"train"}
    assert found.rows[0].image.endswith(".jpg")


@pytest.mark.parametrize("streaming", [False, True])
def test_parquet_files_streamed_or_not(tmp_path, streaming):
    (tmp_path / "files").mkdir()
    table = datasets.Dataset.from_dict(columns(), datasets.Features(FEATURES))
    table.to_parquet(tmp_path / "files" / "test.parquet")
    found = hub.read(str(tmp_path / "files"), split="test", streaming=streaming, rows=3)
    assert [row.captions[0] for row in found.rows] == ["one 0", "one 1", "one 2"]
    assert {row.part for row in found.rows} == {"test"}


def test_splits_of_a_saved_dictionary(tmp_path):
    parts = {
        name: datasets.Dataset.from_dict(columns(n), datasets.Features(FEATURES))
        for name, n in (("train", 3), ("validation", 2))
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    found = hub.read(str(tmp_path / "saved"), split="validation")
    assert [row.part for row in found.rows] == ["validation"] * 2
    with pytest.raises(ManifestError, match="split 'dev' cannot be had"):
        hub.read(str(tmp_path / "saved"), split="dev")


def test_bad_rows_are_told_at_every_read_and_no_class_is_none(tmp_path):
    values = columns()
    values["image"][1] = None
    values["label"][2:] = [-1, None]
    folder = saved(tmp_path, values)
    first, second = (hub.read(folder, label="label") for _ in range(2))
    assert [item.row for item in first.bad] == [2]
    assert second.bad == first.bad
    assert [row.label or "" for row in first.rows] == ["owl", "", ""]
    assert [row.number for row in first.rows] == [1, 3, 4]


def test_captions_that_are_none_are_told_with_their_row(tmp_path):
    values = {"image": [None, *(picture(i) for i in range(3))], "caption": ["a", "b", " ", None]}
    features = {"image": datasets.Value("binary"), "caption": datasets.Value("string")}
    found = hub.read(saved(tmp_path, values, features))
    assert [(row.number, row.captions) for row in found.rows] == [(2, ("b",)), (3, ()), (4, ())]
    assert [(item.row, item.reason) for item in found.bad[1:]] == [(3, "empty caption")]


def test_a_second_run_asks_nobody(tmp_path, monkeypatch):
    folder = saved(tmp_path)
    before = hub.read(folder)
    monkeypatch.setattr(datasets, "load_from_disk", lambda *_: pytest.fail("asked again"))
    assert hub.read(folder) == before


@pytest.mark.parametrize("kind", ["string", "binary"])
def test_pictures_as_paths_bytes_or_nothing(tmp_path, kind):
    (tmp_path / "0.png").write_bytes(picture(0))
    cells = [str(tmp_path / "0.png"), str(tmp_path / "gone.png"), None]
    values = {
        "image": cells if kind == "string" else [picture(0), None, None],
        "caption": ["a", "b", "c"],
    }
    features = {"image": datasets.Value(kind), "caption": datasets.Value("string")}
    found = hub.read(saved(tmp_path, values, features))
    assert [row.captions for row in found.rows] == [("a",)]
    assert read_bytes(found.rows[0].image) == picture(0)
    assert [item.row for item in found.bad] == [2, 3]


def test_a_column_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"no column 'captions'\. Did you mean 'caption'"):
        hub.read(saved(tmp_path), caption="captions")


@pytest.mark.parametrize("error", [ConnectionError("no network"), FileNotFoundError()])
def test_without_a_network_it_says_what_to_do(monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(ManifestError, match=r"org/name: .*cannot be had.*save_to_disk"):
        hub.read("org/name")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"setclip\[hub\]"):
        hub.read("org/name")
