"""Every layout as it is distributed, and what goes wrong in each, named by file and row."""

import json
from pathlib import Path

import pytest
from layout_files import coco, karpathy, picture, write_json, write_pictures

from setclip.data.layouts import classes, flickr
from setclip.data.layouts import coco as coco_layout
from setclip.data.layouts import karpathy as karpathy_layout
from setclip.data.tables import ManifestError


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def names(found):
    return [Path(row.image).name for row in found.rows]


def test_karpathy_json(tmp_path, images):
    items = [
        ("a.jpg", "train", ["one", " two "]),
        ("b.jpg", "restval", ["three"]),
        ("c.jpg", "val", ["four"]),
        ("d.jpg", "test", []),
    ]
    found = karpathy_layout.read(karpathy(tmp_path / "dataset_rsicd.json", items), images=images)
    assert [row.image for row in found.rows] == [str(images / f"{n}.jpg") for n in "abcd"]
    assert [row.captions for row in found.rows] == [("one", "two"), ("three",), ("four",), ()]
    assert [row.part for row in found.rows] == ["train", "train", "validation", "test"]
    assert [row.number for row in found.rows] == [1, 2, 3, 4]
    assert found.bad == []


def test_karpathy_rows_that_cannot_be_used_are_listed(tmp_path, images):
    entries = [
        {"split": "train", "sentences": []},
        "no object",
        {"filename": "a.jpg", "split": "trian"},
        {"filename": "b.jpg", "sentences": [{"raw": ""}, {"tokens": []}, "bare text"]},
        {"filename": "c.jpg", "filepath": "val2014", "sentences": None},
    ]
    path = write_json(tmp_path / "d.json", {"images": entries})
    found = karpathy_layout.read(path, images=images)
    assert [(item.row, item.field) for item in found.bad] == [
        (1, "row"),
        (2, "row"),
        (3, "split"),
        (4, "caption"),
        (4, "caption"),
    ]
    assert [row.captions for row in found.rows] == [("bare text",), ()]
    assert found.rows[1].image == str(images / "val2014" / "c.jpg")


def test_coco_captions(tmp_path, images):
    path = coco(tmp_path / "captions.json", [("a.jpg", ["one", "two"]), ("b.jpg", [])])
    found = coco_layout.read(path, images=images)
    assert names(found) == ["a.jpg", "b.jpg"]
    assert [row.captions for row in found.rows] == [("one", "two"), ()]
    assert {row.part for row in found.rows} == {None}


def test_coco_entries_that_cannot_be_used_are_listed(tmp_path, images):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2}, {"id": [], "file_name": "c.jpg"}],
        "annotations": [
            {"image_id": 1, "caption": "one"},
            {"image_id": 7, "caption": "of none"},
            {"image_id": 1, "caption": None},
            {"image_id": {}, "caption": "x"},
            3,
        ],
    }
    found = coco_layout.read(write_json(tmp_path / "c.json", content), images=images)
    assert [row.captions for row in found.rows] == [("one",)]
    assert [(item.field, item.row) for item in found.bad] == [
        ("images", 2),
        ("images", 3),
        ("annotations", 2),
        ("annotations", 3),
        ("annotations", 4),
        ("annotations", 5),
    ]


def test_coco_images_of_one_id_are_not_told_apart(tmp_path, images):
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg"},
            {"id": 1, "file_name": "b.jpg"},
            {"id": 2, "file_name": "c.jpg"},
        ],
        "annotations": [{"image_id": 1, "caption": "which"}, {"image_id": 2, "caption": "two"}],
    }
    found = coco_layout.read(write_json(tmp_path / "c.json", content), images=images)
    assert [row.captions for row in found.rows] == [("two",)]
    assert sorted((item.field, item.row) for item in found.bad) == [
        ("annotations", 1),
        ("images", 1),
        ("images", 2),
    ]


FLICKR = {
    "results.csv": "image_name| comment_number| comment\n"
    "1.jpg| 0| Two men , one red .\n1.jpg| 1| A | bar\n2.jpg| 0| A dog\n2.jpg| 1|\n",
    "token.txt": "1.jpg#0\tTwo men , one red .\n1.jpg#1\tA | bar\n2.jpg#0\tA dog\nbroken\n",
    "captions.txt": "image,caption\n"
    '1.jpg,"Two men , one red ."\n1.jpg,A | bar\n2.jpg,A dog\n3.jpg,\n',
}


@pytest.mark.parametrize("name", FLICKR)
def test_flickr_captions(tmp_path, images, name):
    path = tmp_path / name
    path.write_text(FLICKR[name])
    found = flickr.read(path, images=images)
    assert names(found) == ["1.jpg", "2.jpg"]
    assert [row.captions for row in found.rows] == [("Two men , one red .", "A | bar"), ("A dog",)]
    assert [item.row for item in found.bad] == [4 if name == "token.txt" else 5]
    assert {row.part for row in found.rows} == {None}


@pytest.mark.parametrize(
    ("lists", "parts"),
    [
        ({"train_list": "1.jpg\n", "test_list": "2.jpg\n"}, ["train", "test", "validation"]),
        ({"test_list": "2.jpg\n\n"}, ["train", "test", "train"]),
        ({"train_list": "1.jpg\n3.jpg\n"}, ["train", "test", "train"]),
        ({"train_list": "1\n", "test_list": "2\n3.jpg\n"}, ["train", "test", "test"]),
    ],
)
def test_flickr_lists_say_the_parts(tmp_path, images, lists, parts):
    path = tmp_path / "token.txt"
    path.write_text("1.jpg#0\ta\n2.jpg#0\tb\n3.jpg#0\tc\n")
    files = {}
    for name, content in lists.items():
        files[name] = tmp_path / f"{name}.txt"
        files[name].write_text(content)
    found = flickr.read(path, images=images, **files)
    assert [row.part for row in found.rows] == parts
    assert found.bad == []


def test_flickr_captions_are_left_as_they_are(tmp_path, images):
    path = tmp_path / "token.txt"
    said = '"Stop", says the sign "here"', "one\u2028sentence"
    path.write_text(f"1.jpg#0\t{said[0]}\n2.jpg#0\t{said[1]}\n\n3.jpg#0\n", encoding="utf-8")
    found = flickr.read(path, images=images)
    assert [row.captions for row in found.rows] == [(caption,) for caption in said]
    assert [item.row for item in found.bad] == [4]
    path.write_text(f'1.jpg,"a ""red"" one, left"\n2.jpg,{said[0]}\n')
    assert [row.captions[0] for row in flickr.read(path, images=images).rows] == [
        'a "red" one, left',
        said[0],
    ]


def test_a_karpathy_file_may_say_nothing_of_parts(tmp_path, images):
    path = karpathy(tmp_path / "dataset.json", [("a.jpg", "", ["one"]), ("b.jpg", None, ["two"])])
    assert [row.part for row in karpathy_layout.read(path, images=images).rows] == [None, None]


def test_flickr_lists_name_what_has_captions(tmp_path, images):
    path, listed = tmp_path / "token.txt", tmp_path / "test.txt"
    path.write_text("1.jpg#0\ta\n2.jpg#0\tb\n")
    listed.write_text("1.jpg\n\n9.jpg\n")
    found = flickr.read(path, images=images, test_list=listed)
    assert [row.part for row in found.rows] == ["test", "train"]
    assert [str(item) for item in found.bad] == [
        "row 3, test.txt: listed, but there is no caption of such an image ('9.jpg')"
    ]
    listed.write_text("images/1.jpg\n")
    with pytest.raises(ManifestError, match=r"1 lines \('images/1\.jpg', …\).*like '1\.jpg'"):
        flickr.read(path, images=images, test_list=listed)


def test_class_folders(tmp_path):
    write_pictures(
        tmp_path,
        {f"{n}.jpg": picture(0) for n in ("denseResidential/1", "aGrass/b", "aGrass/deep/a")},
    )
    (tmp_path / "aGrass" / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    found = classes.read_folders(tmp_path, names={"aGrass": "grass"})
    assert names(found) == ["b.jpg", "a.jpg", "1.jpg"]
    assert [row.label for row in found.rows] == ["grass", "grass", "dense residential"]


def test_a_folder_of_lists_of_classes(tmp_path, images):
    lists = tmp_path / "txtclasses_rsicd"
    lists.mkdir()
    (lists / "airport.txt").write_text("airport_1.jpg\nairport_2.jpg\n")
    (lists / "bare_land.txt").write_text("bareland_1.jpg\n")
    found = classes.read_list(lists, images=images)
    assert names(found) == ["airport_1.jpg", "airport_2.jpg", "bareland_1.jpg"]
    assert [row.label for row in found.rows] == ["airport", "airport", "bare land"]


@pytest.mark.parametrize(
    "text",
    [
        "filename,label\na/1.jpg,0\nb 2.jpg,river-bank\n,x\n",
        "a/1.jpg\t0\nb 2.jpg\triver_bank\nlonely.jpg\t\n",
        "a/1.jpg 0\nb 2.jpg riverBank\nlonely.jpg\n",
    ],
)
def test_a_list_of_pictures_and_classes(tmp_path, images, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    found = classes.read_list(path, images=images, names={"0": "airport"})
    assert [row.image for row in found.rows] == [str(images / "a/1.jpg"), str(images / "b 2.jpg")]
    assert [row.label for row in found.rows] == ["airport", "river bank"]
    assert len(found.bad) == 1


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("BaseballField", "baseball field"),
        ("dense_residential", "dense residential"),
        ("Storage-Tanks", "storage tanks"),
        ("airport", "airport"),
        ("AID", "aid"),
    ],
)
def test_names_of_classes_become_words(written, name):
    assert classes.class_name(written) == name


READERS = [karpathy_layout.read, coco_layout.read, flickr.read, classes.read_list]


@pytest.mark.parametrize("read", READERS)
def test_missing_files_and_folders_are_named_with_what_is_near(tmp_path, images, read):
    (tmp_path / "captions.json").write_text("{}")
    with pytest.raises(ManifestError, match=r"no such file\. Did you mean 'captions\.json'"):
        read(tmp_path / "caption.json", images=images)
    with pytest.raises(ManifestError, match=r"image: there is no such folder"):
        read(tmp_path / "captions.json", images=tmp_path / "image")


@pytest.mark.parametrize("read", [karpathy_layout.read, coco_layout.read])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "has no list 'images', but 'list'"),
        ("{}", "nothing"),
        (json.dumps({"images": [{}], "annotations": []}), "holds no image.*first bad one: row 1"),
    ],
)
def test_files_of_another_layout_say_so(tmp_path, images, read, text, reason):
    path = tmp_path / "captions.json"
    path.write_text(text)
    with pytest.raises(ManifestError, match=reason):
        read(path, images=images)


def test_text_files_without_anything_usable_say_so(tmp_path, images):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not UTF-8"):
        flickr.read(path, images=images)
    path.write_text("nothing of the kind\n")
    with pytest.raises(ManifestError, match="holds no caption of a form"):
        flickr.read(path, images=images)
    with pytest.raises(ManifestError, match="one folder a class"):
        classes.read_folders(images)
