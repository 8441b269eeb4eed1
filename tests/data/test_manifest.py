"""Manifests as people really write them: every format, every mess, every message."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setclip.data.bad_items import BadItem
from setclip.data.manifest import Columns, read_manifest
from setclip.data.tables import ManifestError

COLUMNS = Columns(x="image", y="caption")
TEXTS = Columns(x="a", y="b", x_modality="text")


def write(folder: Path, text: str | bytes, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path, columns: Columns = COLUMNS, **options: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, columns, **options)
    return str(caught.value)


def test_rows_become_pairs_and_pools_with_their_sets(tmp_path):
    path = write(
        tmp_path,
        "image,caption,room,patient,kind,part\n"
        "a.png,a cat,r1,p1,cat,train\n"
        "b.png,,r1,p2,dog,\n"
        ",a dog,r2,p1,,TEST\n",
    )
    columns = Columns("image", "caption", set="room", group="patient", label="kind", split="part")
    m = read_manifest(path, columns)
    assert m.pairs.tolist() == [0]
    assert m.x_only.tolist() == [1]
    assert m.y_only.tolist() == [2]
    assert m.x_at(m.x_only) == [str(tmp_path / "b.png")]
    assert m.y_at([0, 2]) == ["a cat", "a dog"]
    assert m.sets.tolist() == [0, 0, 1]
    assert m.set_names == ["r1", "r2"]
    assert m.groups.tolist() == [0, 1, 0]
    assert m.labels.tolist() == [0, 1, -1]
    assert m.label_names == ["cat", "dog"]
    assert m.test is not None
    assert m.test.tolist() == [False, False, True]
    assert m.rows.tolist() == [2, 3, 4]
    assert m.bad == []
    with pytest.raises(ValueError, match="position 1 of the manifest has no y"):
        m.y_at([1])


def test_without_optional_columns_every_id_is_none(tmp_path):
    m = read_manifest(write(tmp_path, "image,caption\na.png,x\n"), COLUMNS)
    assert m.sets.tolist() == m.groups.tolist() == m.labels.tolist() == [-1]
    assert m.test is None


def test_words_that_look_like_missing_values_are_captions(tmp_path):
    m = read_manifest(write(tmp_path, "a,b\nNA,null\nnan,None\n"), TEXTS)
    assert m.x == ["NA", "nan"]
    assert m.y == ["null", "None"]


def test_numbers_and_dates_stay_as_written(tmp_path):
    m = read_manifest(write(tmp_path, "a,b\n007,2024-01-02\n1.50,true\n"), TEXTS)
    assert m.x == ["007", "1.50"]
    assert m.y == ["2024-01-02", "true"]


def test_ragged_rows_are_skipped_and_listed_with_the_row_a_spreadsheet_shows(tmp_path):
    path = write(tmp_path, 'a,b\n1,"two\nlines"\n\n3\n4,5,6\n,,\n7,8\n')
    m = read_manifest(path, TEXTS)
    assert m.x == ["1", "7"]
    assert m.rows.tolist() == [2, 7]
    assert [item.row for item in m.bad] == [4, 5, 6]
    assert m.bad[0] == BadItem(4, "row", "'3'", "1 cells where the header has 2")
    assert m.bad[1].reason == "3 cells where the header has 2"
    assert m.n_read == 5


def test_blank_lines_and_rows_are_not_an_error(tmp_path):
    m = read_manifest(write(tmp_path, "a,b,c\n1,2,3\n\n,,\n4,5,6\n\n"), TEXTS)
    assert m.rows.tolist() == [2, 5]
    assert m.bad == []


def test_a_row_without_an_item_is_bad(tmp_path):
    m = read_manifest(write(tmp_path, "a,b,id\n1,2,x\n,,y\n"), TEXTS)
    assert m.bad == [BadItem(3, "a, b", "", "both cells are empty: there is no item")]
    assert m.rows.tolist() == [2]


def test_white_space_counts_as_empty_and_is_listed_once(tmp_path):
    m = read_manifest(write(tmp_path, "a,b\n  x ,   \n   ,\n"), TEXTS)
    assert m.x == ["x"]
    assert m.y == [None]
    assert [(item.row, item.field) for item in m.bad] == [(2, "b"), (3, "a")]
    assert "only white space: leave the cell empty" in m.bad[0].reason


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "m.csv"), ("\t", "m.csv"), ("\t", "m.tsv"), (",", "m.tsv")]
)
def test_the_delimiter_is_the_one_that_shows_the_named_columns(tmp_path, delimiter, name):
    path = write(
        tmp_path,
        f"a{delimiter}b\nx, y{delimiter}z\n" if delimiter != "," else 'a,b\n"x, y",z\n',
        name,
    )
    m = read_manifest(path, TEXTS)
    assert (m.x, m.y) == (["x, y"], ["z"])


def test_a_given_delimiter_is_kept(tmp_path):
    path = write(tmp_path, "a|b\n1|2\n")
    assert read_manifest(path, TEXTS, delimiter="|").y == ["2"]
    assert "there is no column 'a'" in refusal(path, TEXTS)


def test_byte_order_marks_are_understood(tmp_path):
    for mark in ("utf-8-sig", "utf-16"):
        path = write(tmp_path, "a,b\né,ü\n".encode(mark))
        m = read_manifest(path, TEXTS)
        assert (m.x, m.y) == (["é"], ["ü"])
        path = write(tmp_path, '{"a": "é", "b": "ü"}\n'.encode(mark), "m.jsonl")
        assert read_manifest(path, TEXTS).x == ["é"]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_latin1_is_named_with_line_byte_and_remedy_and_then_read(tmp_path, name):
    text = "a,b\nx,y\nz,café\n" if name == "m.csv" else '{"a":1,"b":2}\n\n{"a":"z","b":"café"}\n'
    path = write(tmp_path, text.encode("latin-1"), name)
    message = refusal(path, TEXTS)
    assert message.startswith(f"{path}: not in utf-8. Line 3, byte")
    assert "café" in message
    assert "data.encoding: latin-1" in message
    assert read_manifest(path, TEXTS, encoding="latin-1").y[-1] == "café"


def test_latin1_far_down_a_file_is_found_too(tmp_path):
    path = write(tmp_path, "a,b\n" + "plain,plain\n" * 3000)
    with path.open("ab") as file:
        file.write("z,café\n".encode("latin-1"))
    assert "not in utf-8. Line 3002, byte 6" in refusal(path, TEXTS)


def test_a_latin1_header_gets_the_same_message(tmp_path):
    path = write(tmp_path, "a,b,naïve\n1,2,3\n".encode("latin-1"))
    assert "not in utf-8. Line 1, byte 7" in refusal(path, TEXTS)


def test_a_misspelt_column_lists_those_present_and_the_nearest(tmp_path):
    path = write(tmp_path, "image,Caption \n1,2\n")
    assert refusal(path) == (
        f"{path}: there is no column 'caption'. Did you mean 'Caption '? "
        "Columns present: 'image', 'Caption '."
    )
    path = write(tmp_path, '{"image": 1}\n{"captions": 2}\n', "m.jsonl")
    assert "Did you mean 'captions'? Columns present: 'image', 'captions'." in refusal(path)
    pq.write_table(pa.table({"image": ["1"], "text": ["2"]}), tmp_path / "m.parquet")
    assert "Columns present: 'image', 'text'." in refusal(tmp_path / "m.parquet")


def test_a_doubled_column_is_refused(tmp_path):
    path = write(tmp_path, "image,caption,image\n1,2,3\n")
    assert refusal(path) == f"{path}: the header has 'image' more than once. Rename one."


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, "a,b\n", "train.csv")
    path = tmp_path / "trian.csv"
    assert refusal(path) == f"{path}: there is no such file. Did you mean 'train.csv'?"
    nowhere = tmp_path / "no" / "m.csv"
    assert refusal(nowhere) == f"{nowhere}: there is no such file."


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("m.csv", b"", "there is no column 'image'. Columns present: none."),
        ("m.csv", b'image,"' + 200_000 * b"x", "not readable as .csv (field larger than"),
        ("m.csv", b"image,caption\n", "no row has anything in 'image' or 'caption'"),
        ("m.csv", b"image,caption\nx\n", "The first bad row: row 2, row: 1 cells"),
        ("m.xlsx", b"PK", ".xlsx is not a manifest; give a CSV"),
        ("m.xlsx", b"PK", "Save the sheet as CSV (UTF-8)."),
        ("manifest", b"PK", "no suffix is not a manifest"),
        ("m.parquet", b"not parquet", "not readable as .parquet"),
        ("m.json", b'[{"image": 1}]', "jq -c '.[]' m.json > m.jsonl"),
        ("m.jsonl", b'{"image":\n1}\n', "no line holds a JSON object; row 1, row: not valid JSON"),
        ("m.jsonl", b"", "there is no column 'image'. Columns present: none."),
    ],
)
def test_unusable_files_say_what_to_do(tmp_path, name, content, expected):
    message = refusal(write(tmp_path, content, name))
    assert message.startswith(str(tmp_path / name))
    assert expected in message


def test_json_lines_keep_good_rows_and_list_bad_ones(tmp_path):
    lines = [
        '{"a": "x", "b": 3}',
        "",
        "{oops",
        "[1]",
        '{"a": {"p": "q"}, "b": "y"}',
        '{"b": NaN, "a": true}',
        '{"a": "z", "b": null, "c": {}}',
        '{"a": "z", "b": ""}',
    ]
    m = read_manifest(write(tmp_path, "\n".join(lines), "m.jsonl"), TEXTS)
    assert m.rows.tolist() == [1, 5, 6, 7, 8]
    assert m.x == ["x", None, "True", "z", "z"]
    assert m.y == ["3", "y", None, None, None]
    assert [(item.row, item.field) for item in m.bad] == [(3, "row"), (4, "row"), (5, "a")]
    assert "not valid JSON" in m.bad[0].reason
    assert "a JSON list, expected an object" in m.bad[1].reason
    assert "holds a dict, expected text: write one row for each item" in m.bad[2].reason
    assert m.n_read == 7


def test_parquet_cells_become_text_and_missing_numbers_stay_missing(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table(
        {
            "a": pa.array(["x", None, "", "w"]).dictionary_encode(),
            "b": pa.array([1.5, float("nan"), None, 2.0]),
            "s": pa.array([7, 7, None, 8]),
        }
    )
    pq.write_table(table, path)
    m = read_manifest(path, Columns("a", "b", x_modality="text", set="s"))
    assert m.x == ["x", "w"]
    assert m.y == ["1.5", "2"]
    assert m.rows.tolist() == [1, 4]
    assert m.set_names == ["7", "8"]
    assert [item.row for item in m.bad] == [2, 3]


def test_parquet_of_image_bytes_is_refused_with_its_type(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"image": [{"bytes": b"\xff\xd8"}], "caption": ["x"]}), path)
    message = refusal(path)
    assert message.startswith(f"{path}, column 'image': holds struct<bytes: binary>")
    assert "Write images to files and give their paths" in message


def test_compressed_text_is_read(tmp_path):
    for name, text in (("m.csv.gz", "a,b\n1,2\n"), ("m.jsonl.gz", '{"a": "1", "b": "2"}\n')):
        m = read_manifest(write(tmp_path, gzip.compress(text.encode()), name), TEXTS)
        assert (m.x, m.y) == (["1"], ["2"])


def test_image_paths_count_from_the_manifest_and_windows_slashes_turn(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", "image,caption\nimgs\\a.png,x\n../b.png,y\n/abs/c.png,z\n")
    monkeypatch.chdir(tmp_path)
    m = read_manifest(Path("sub/m.csv"), COLUMNS)
    expected = [path.parent / "imgs" / "a.png", path.parent / "../b.png", "/abs/c.png"]
    assert m.x == [str(p) for p in expected]


def test_web_addresses_are_not_paths(tmp_path):
    m = read_manifest(write(tmp_path, "image,caption\nhttps://e.org/a.png,x\n"), COLUMNS)
    assert m.x == [None]
    assert m.y == ["x"]
    assert m.bad[0].row == 2
    assert m.bad[0].value == "https://e.org/a.png"
    assert "download the image and give its path" in m.bad[0].reason


def test_an_unknown_split_names_row_value_and_remedy(tmp_path):
    columns = Columns("a", "b", x_modality="text", split="part")
    path = write(tmp_path, "a,b,part\n1,2,train\n3,4,tset\n")
    message = refusal(path, columns)
    assert message.startswith(f"{path}, row 3, part: 'tset' is not a split; write train or test.")
    assert "Did you mean 'test'?" in message
    write(tmp_path, "a,b,part\n1,2,validation\n")
    assert "Validation rows belong to train" in refusal(path, columns)


def test_a_folder_pairs_images_with_texts_of_the_same_name(tmp_path):
    for name in ("a.png", "b.JPG", "room/c.webp", ".hidden.png", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text("\ufeffa cat\n", encoding="utf-8")
    (tmp_path / "room" / "d.txt").write_text("a dog", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    m = read_manifest(tmp_path, Columns("image", "text", set="folder"))
    assert m.x == [str(tmp_path / n) for n in ("a.png", "b.JPG", "room/c.webp")] + [None]
    assert m.y == ["a cat", None, None, "a dog"]
    assert m.sets.tolist() == [-1, -1, 0, 0]
    assert m.set_names == ["room"]
    assert m.bad[0].value == str(tmp_path / "b.txt")
    assert "Columns present: 'image', 'text', 'folder'." in refusal(tmp_path)


def test_figures_of_a_run_kept_among_the_pictures_are_no_data(tmp_path):
    figures = tmp_path / "runs" / "owls" / "figures"
    figures.mkdir(parents=True)
    (figures.parent / "model.json").touch()
    for path in (tmp_path / "a.png", figures / "joint-map.png"):
        path.touch()
    assert list(read_manifest(tmp_path, Columns("image", "text")).x) == [str(tmp_path / "a.png")]


def test_an_empty_folder_is_refused(tmp_path):
    message = refusal(tmp_path, Columns("image", "text"))
    assert message.startswith(f"{tmp_path}: the folder has neither images nor .txt files")


def test_emptied_cells_leave_the_other_half_in_its_pool(tmp_path):
    m = read_manifest(write(tmp_path, "a,b\n1,2\n3,4\n5,\n"), TEXTS)
    bad = [BadItem(2, "a", "1", "broken")]
    kept = m.without(x=[0, 2], bad=bad)
    assert kept.rows.tolist() == [2, 3]
    assert kept.y_only.tolist() == [0]
    assert kept.pairs.tolist() == [1]
    assert kept.bad == bad
    assert m.x == ["1", "3", "5"]


CELLS = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"), max_size=12
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_every_format_says_the_same(tmp_path, rows):
    """The law behind four readers: one table, one manifest, whichever way it was written."""
    rows = [(a, b, s or "s") for a, b, s in rows]
    if not any(a.strip() or b.strip() for a, b, _ in rows):
        rows.append(("x", "y", "s"))
    columns = Columns("a", "b", x_modality="text", set="s")
    with (tmp_path / "m.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a", "b", "s"), *rows])
    records = [dict(zip("abs", row, strict=True)) for row in rows]
    write(tmp_path, "\n".join(map(json.dumps, records)), "m.jsonl")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "m.parquet")
    read = [read_manifest(tmp_path / f"m.{kind}", columns) for kind in ("csv", "jsonl", "parquet")]
    for m in read:
        assert m.x == [a.strip() or None for a, b, _ in rows if a.strip() or b.strip()]
        assert m.y == [b.strip() or None for a, b, _ in rows if a.strip() or b.strip()]
        assert m.sets.tolist() == read[0].sets.tolist()
        assert m.n_read == len(rows)
        parts = np.concatenate([m.pairs, m.x_only, m.y_only])
        assert sorted(parts.tolist()) == list(range(len(m)))
    offsets = [m.rows[0] - read[1].rows[0] for m in read]
    assert offsets == [1, 0, 0]


def test_a_quote_that_is_never_closed_is_named_with_its_line(tmp_path):
    rows = "".join(f"{i}.png,caption {i}\n" for i in range(5))
    path = write(tmp_path, f'image,caption\n{rows}q.png,"open\n{rows}')
    assert "line 7: a quote is opened and never closed" in refusal(path)
    whole = write(tmp_path, f'image,caption\n{rows}q.png,"two\nlines"\n')
    assert len(read_manifest(whole, COLUMNS)) == 6


@pytest.mark.parametrize("rows", [5, 20_000])
def test_a_quote_opened_in_a_column_before_the_last_is_named_too(tmp_path, rows):
    """What it swallows has too few cells: a single bad row, were nobody to look."""
    some = "".join(f"{i}.png,caption {i},page\n" for i in range(rows))
    path = write(tmp_path, f'image,caption,page\n{some}q.png,"open,page\n{some}')
    with pytest.raises(ManifestError, match=f"line {rows + 2}: a quote is opened"):
        read_manifest(path, COLUMNS)


def test_names_that_look_alike_are_one_set(tmp_path):
    rows = "a.png,,caf\u00e9\n,b,cafe\u0301\n"
    table = write(tmp_path, f"image,caption,page\n{rows}")
    assert read_manifest(table, replace(COLUMNS, set="page")).sets.tolist() == [0, 0]


def test_hidden_folders_are_passed_over_and_linked_ones_told(tmp_path):
    inside, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    for path in (inside / ".checkpoints" / "a.png", inside / "b.png", elsewhere / "c.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (inside / "link").symlink_to(elsewhere)
    found = read_manifest(inside, Columns("image", "text"))
    assert found.x == [str(inside / "b.png")]
    assert [(item.row, item.value) for item in found.bad] == [(2, str(inside / "link"))]


def test_names_may_begin_with_a_tilde(tmp_path):
    (row,) = read_manifest(write(tmp_path, "image,caption\n~owl.png,an owl\n"), COLUMNS).x
    assert row == str(tmp_path / "~owl.png")


def test_odd_quotes_and_long_cells_are_not_taken_for_open_ones(tmp_path):
    long = "x" * 200_000  # above what Python's reader takes
    rows = f'a.png,a "b" c\nb.png,{long}\nc.png,"two\nlines"\n'
    assert len(read_manifest(write(tmp_path, f"image,caption\n{rows}"), COLUMNS)) == 3
