"""Tar shards: read in place, indexed once, damaged ones as far as they go."""

import json
import tarfile

import numpy as np
import pytest
from layout_files import picture, shard

from setclip.data.layouts import webdataset
from setclip.data.tables import ManifestError
from setclip.modalities import BadItemError
from setclip.modalities.image import read_bytes, read_image
from setclip.modalities.members import member_path


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def members(*keys):
    return [
        member
        for key in keys
        for member in (
            (f"{key}.jpg", picture(int(key))),
            (f"{key}.txt", f" caption {key}\n".encode()),
            (f"{key}.json", json.dumps({"caption": "another", "width": 8}).encode()),
        )
    ]


def test_pictures_are_read_where_they_lie(tmp_path):
    shard(tmp_path / "00000.tar", members("000", "001"))
    shard(tmp_path / "00001.tar", members("002"))
    found = webdataset.read(tmp_path)
    assert [row.captions for row in found.rows] == [(f"caption 00{i}",) for i in range(3)]
    assert [row.number for row in found.rows] == [1, 2, 3]
    assert found.bad == []
    for i, row in enumerate(found.rows):
        assert row.image.endswith(f"/00{i}.jpg")
        assert read_bytes(row.image) == picture(i)
    assert read_image(found.rows[2].image).size == (8, 8)


def test_suffixes_folders_and_other_members(tmp_path):
    content = [
        ("set/a.b/1.JPG", picture(1)),
        ("set/a.b/1.cls", b"owl\n"),
        ("set/a.b/1.seg.png", picture(2)),
        ("set/2.txt", b"only a text"),
        ("set/3.json", json.dumps({"text": ["one", " two ", 3]}).encode()),
        ("set/4.npy", b"neither"),
        ("nosuffix", b"neither"),
        (".hidden", b"neither"),
    ]
    shard(tmp_path / "s.tar", content)
    found = webdataset.read(tmp_path / "s.tar", caption_key="text")
    assert [row.captions for row in found.rows] == [(), ("only a text",), ("one", "two")]
    assert [row.label for row in found.rows] == ["owl", "", ""]
    assert read_bytes(found.rows[0].image) == picture(1)
    assert found.rows[1].image is None
    assert [(item.row, item.field, item.reason) for item in found.bad] == [
        (3, "text", "not a text"),
        (4, "row", "no picture and no text that can be read, but .npy"),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", ""),
        (b"{}", ""),
        (b'{"caption": 3}', "not a text"),
        (b'{"caption": [" "]}', "empty caption"),
        (b'{"caption": null}', ""),
        (b"null", ""),
    ],
)
def test_json_without_a_caption_leaves_a_picture_alone(tmp_path, content, told):
    shard(tmp_path / "s.tar", [("1.jpg", picture(1)), ("1.json", content), ("2.txt", b"a")])
    found = webdataset.read(tmp_path / "s.tar")
    assert found.rows[0].captions == ()
    assert [row.number for row in found.rows] == [1, 2]
    assert [item.row for item in found.bad] == ([1] if told else [])
    assert all(told in item.reason for item in found.bad)


def test_a_shard_whose_members_are_not_in_order_is_refused(tmp_path):
    content = [*((f"{i}.jpg", picture(i)) for i in range(3)), ("0.txt", b"zero"), ("1.txt", b"one")]
    shard(tmp_path / "s.tar", content)
    with pytest.raises(ManifestError, match=r"0\.txt stands apart .* of 0, .*tar --sort=name"):
        webdataset.read(tmp_path / "s.tar")


def test_pictures_of_a_kind_that_is_not_read_are_told(tmp_path):
    """Or their captions would silently be unpaired."""
    content = [
        *[("1.heic", b"?"), ("1.txt", b"a")],
        *[("2.SVG", b"?"), ("2.png", picture(2)), ("2.txt", b"b")],
    ]
    shard(tmp_path / "s.tar", content)
    found = webdataset.read(tmp_path / "s.tar")
    assert [row.number for row in found.rows] == [2]
    assert [item.reason for item in found.bad] == [
        "its picture is .heic: convert it to .jpg, .png or .webp"
    ]


def test_members_that_cannot_be_captions_are_listed(tmp_path):
    content = [
        *[("1.jpg", picture(1)), ("1.txt", b"\xff")],
        *[("2.jpg", picture(2)), ("2.txt", b"x" * 200_000)],
        *[("3.jpg", picture(3)), ("3.txt", b"fine")],
    ]
    shard(tmp_path / "s.tar", content)
    found = webdataset.read(tmp_path / "s.tar")
    assert [item.row for item in found.bad] == [1, 2]
    assert "not UTF-8" in found.bad[0].reason
    assert "200,000 bytes" in found.bad[1].reason
    assert found.bad[0].value.endswith("s.tar#1")
    assert [row.number for row in found.rows] == [3]


def test_the_index_is_made_once_and_anew_when_the_shard_changes(tmp_path, monkeypatch, cache):
    path = shard(tmp_path / "s.tar", members("001"))
    before = webdataset.read(path)
    assert len(list((cache / "shards").iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *_: pytest.fail("opened again"))
        assert webdataset.read(path) == before
    shard(path, members("001", "002"))
    assert len(webdataset.read(path).rows) == 2
    for file in (cache / "shards").iterdir():
        file.write_bytes(b"damaged")
    assert len(webdataset.read(path).rows) == 2


def test_a_shard_cut_short_gives_what_is_whole(tmp_path):
    path = shard(tmp_path / "s.tar", members("001", "002", "003"))
    whole = path.read_bytes()
    last = webdataset.read(path).rows[2].image
    offset = int(last.partition("#")[2].partition("+")[0])
    path.write_bytes(whole[: offset + 20])
    found = webdataset.read(path)
    assert [row.captions for row in found.rows] == [("caption 001",), ("caption 002",)]
    assert "damaged" in found.bad[0].reason
    with pytest.raises(BadItemError, match="ends after 20 of"):
        read_bytes(last)


def test_patterns(tmp_path):
    for i in range(3):
        shard(tmp_path / f"{i:03d}.tar", members(f"{i}"))
    for pattern in ("{000..002}.tar", "*.tar"):
        assert len(webdataset.shards(tmp_path / pattern)) == 3
    with pytest.raises(ManifestError, match=r"003\.tar: .* nor 1 others of 5"):
        webdataset.shards(tmp_path / "{000..004}.tar")
    for missing in ("none-*.tar", "none.tar"):
        with pytest.raises(ManifestError, match="no such tar file"):
            webdataset.shards(tmp_path / missing)


def test_what_is_no_plain_tar_file_is_refused(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w:gz") as tar:
        tar.add(__file__, "a.txt")
    with pytest.raises(ManifestError, match=r"not an uncompressed tar file.*Unpack"):
        webdataset.read(tmp_path / "s.tar")
    shard(tmp_path / "none.tar", [("a.npy", b"")])
    with pytest.raises(ManifestError, match="holds no picture or text"):
        webdataset.read(tmp_path / "none.tar")


def test_links_in_a_shard_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ManifestError, match=r"holds no picture.*\.jpg \(no file but a link"):
        webdataset.read(tmp_path / "s.tar")


def test_a_member_of_a_file_that_is_gone(tmp_path):
    for offset in (0, 10**30):
        path = member_path(tmp_path / "gone.tar", offset=offset, size=5, name="a/1.jpg")
        with pytest.raises(BadItemError, match="cannot be read"):
            read_bytes(path)


def test_random_access_gives_every_member(tmp_path):
    path = shard(tmp_path / "s.tar", members(*[f"{i:03d}" for i in range(30)]))
    rows = webdataset.read(path).rows
    for i in np.random.default_rng(0).permutation(30):
        assert read_bytes(rows[i].image) == picture(int(i))
