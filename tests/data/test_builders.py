"""Builders on tiny packages of the real layout: what is kept, dropped, named, grouped."""

import io
import json
import shutil
import subprocess
import tarfile
from collections import Counter

import pytest
from PIL import Image

from setclip.data.builders import build, mdi
from setclip.data.builders.folder import Row, write_folder
from setclip.data.builders.openclipart import Work, caption_of, name_of, read_work
from setclip.data.builders.sources import SourceError, npm_tree
from setclip.data.datasets import load_folder

RDF = """<svg xmlns="http://www.w3.org/2000/svg"><metadata>
<rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about="">
<dc:title>{title}</dc:title><dc:description>{description}</dc:description>
<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject>
<dc:creator><cc:Agent><dc:title>{author}</dc:title></cc:Agent></dc:creator>
<cc:license rdf:resource="{licence}"/></cc:Work></rdf:RDF></metadata></svg>"""
PUBLIC = "http://web.resource.org/cc/PublicDomain"


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), colour).save(buffer, "PNG")
    return buffer.getvalue()


def add_drawing(root, path, title, *, colour, keywords=(), licence=PUBLIC, description=""):
    svg, picture = root / "svg" / f"{path}.svg", root / "png" / f"{path}.png"
    for file in (svg, picture):
        file.parent.mkdir(parents=True, exist_ok=True)
    items = "".join(f"<rdf:li>{k}</rdf:li>" for k in keywords)
    svg.write_text(
        RDF.format(
            title=title,
            description=description,
            keywords=items,
            author="Linda Kim",
            licence=licence,
        )
    )
    picture.write_bytes(png(colour))


@pytest.fixture
def clipart(tmp_path):
    root = tmp_path / "openclipart"
    add_drawing(root, "food/pop_can", "Pop Can", colour=1, keywords=["food", "", "hash(0x8)"])
    add_drawing(root, "food/again", "Pop can copy", colour=1)
    add_drawing(root, "tools/pop_can_2", "Pop Can", colour=2, keywords=["food"])
    add_drawing(root, "tools/gpl", "Not Free", colour=3, licence="http://x/GPL")
    add_drawing(root, "tools/untitled", " ", colour=4)
    add_drawing(root, "shapes/star", "gramastar", colour=5)
    for i, word in enumerate(["start", "stop", "viewMag", "back_linda_k", "stop_02"]):
        add_drawing(root, f"icons/{word}", "Lemon theme", colour=100 + i, keywords=["big_icon"])
    broken = root / "png" / "icons" / "back_linda_k.png"
    broken.write_bytes(broken.read_bytes()[:50])
    return root


def test_openclipart(clipart, tmp_path):
    made = build("openclipart", tmp_path / "out", source=clipart, progress=False)
    assert made.dropped == {
        "same picture as another": 1,
        "same caption as another": 1,
        "not tagged public domain": 1,
        "without title": 1,
        "stars of one series": 1,
        "picture missing, unreadable or oversized": 1,
    }
    data = load_folder(made.folder, name="openclipart")
    # The files are read in the order of their names, so "again" is the first of the equal pictures.
    assert list(zip(data.names, data.captions, data.labels, strict=True)) == [
        ("Pop can copy", "Pop can copy", "food"),
        ("start", "start: big icon", "icons"),
        ("stop", "stop: big icon", "icons"),
        ("view Mag", "view Mag: big icon", "icons"),
        ("Pop Can", "Pop Can: food", "tools"),
    ]
    assert Image.open(io.BytesIO(data.thumbnail(0))).size == (256, 171)
    assert "public domain" in data.licence
    assert str(made).startswith(f"{made.folder}: 5 items; left out: 1 ")


def test_names_from_files_leave_out_authors_numbers_and_extensions():
    def named(path, author="Linda Kim", title="Series"):
        return name_of(Work(path, title, author, "", (), True))

    assert named("tools/bullet_hole_linda_k") == "bullet hole"
    assert named("a/books-aj.svg_aj_ash_01", "AJ Ashton") == "books"
    assert named("a/RayonnementLaser") == "Rayonnement Laser"
    assert named("icons/70a027", title="gold-theme") == "gold-theme"


def test_captions_leave_out_what_tools_and_authors_left():
    assert caption_of("cat", ["HASH(0x85a831c)", "", "unsorted", "cat"], "") == "cat"
    assert caption_of("cat", ["wild_cat", "pet", "pet"], "Sits.") == "cat: wild cat, pet. Sits."
    for description in ("a.b@c.de", "see http://x", "HASH(0x1)", "Cat"):
        assert caption_of("cat", [], description) == "cat"


def test_broken_metadata_come_out_empty(tmp_path):
    (tmp_path / "a.svg").write_text("<svg><metadata>")
    (tmp_path / "b.svg").write_text("<svg/>")
    for name in "ab":
        assert not read_work(tmp_path / f"{name}.svg", name).public_domain


@pytest.fixture
def icons(tmp_path):
    tree = tmp_path / "package"
    (tree / "svg").mkdir(parents=True)
    meta = []
    for name, base, aliases, tags, deprecated in [
        ("account", "account", ["user"], ["Account / User"], False),
        ("account-alert-outline", "account", ["user-warning"], [], False),
        ("bare", "bare", [], [], False),
        ("logo", "logo", ["brand"], [], True),
    ]:
        meta.append(
            {
                "id": name,
                "baseIconId": base,
                "name": name,
                "aliases": aliases,
                "tags": tags,
                "deprecated": deprecated,
            }
        )
        (tree / "svg" / f"{name}.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2">'
            '<path d="M0,0h1v2h-1z"/></svg>'
        )
    (tree / "meta.json").write_text(json.dumps(meta))
    (tree / "LICENSE").write_text("Pictogrammers")
    return tree


def test_icons(icons, tmp_path):
    pytest.importorskip("cairosvg")
    made = build("mdi-icons", tmp_path / "out", source=icons, progress=False)
    assert made.dropped == {"without alias or tag": 1, "deprecated": 1}
    data = load_folder(made.folder, name="mdi-icons")
    assert data.captions == [
        "account: user, Account / User",
        "account alert outline: user warning",
    ]
    assert data.labels == ["Account / User", ""]
    assert data.concepts.tolist() == [0, 0]
    drawn = Image.open(io.BytesIO(data.thumbnail(0))).convert("RGBA")
    assert drawn.size == (224, 224)
    assert [drawn.getpixel((x, 112))[3] for x in (50, 170)] == [255, 0]


def test_icons_from_the_packed_file(icons, tmp_path, monkeypatch):
    monkeypatch.setattr(mdi, "_renderer", lambda: lambda svg: png(0))
    with tarfile.open(tmp_path / "mdi-svg-7.4.47.tgz", "w:gz") as tar:
        tar.add(icons, "package")
    shutil.rmtree(icons)
    assert build("mdi-icons", tmp_path / "out", source=tmp_path, progress=False).items == 2


def test_a_package_writes_nothing_beside_its_folder(tmp_path):
    with tarfile.open(tmp_path / "a-b-1.tgz", "w:gz") as tar:
        for name in ("package/package.json", "package/svg/../svg/a.svg", "../out.txt", "/out.txt"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    scratch = tmp_path / "scratch"
    tree = npm_tree("@a/b", "1", source=tmp_path, scratch=scratch)
    found = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert found == {"package.json", "svg/a.svg"}
    assert {path.name for path in tmp_path.iterdir()} == {"a-b-1.tgz", "scratch"}
    assert {path.name for path in scratch.iterdir()} == {"tree"}


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_drawings_from_debian_packages(clipart, tmp_path):
    for kind in ("png", "svg"):
        tree = tmp_path / f"openclipart-{kind}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: openclipart-{kind}\nVersion: 1\nArchitecture: all\n"
            "Maintainer: A <a@b.c>\nDescription: d\n"
        )
        target = tree / "usr/share/openclipart" / kind
        target.parent.mkdir(parents=True)
        shutil.copytree(clipart / kind, target)
        command = [
            "dpkg-deb",
            "--build",
            str(tree),
            str(tmp_path / f"openclipart-{kind}_1_all.deb"),
        ]
        subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(clipart)
    assert build("openclipart", tmp_path / "out", source=tmp_path, progress=False).items == 5


def test_a_source_that_lacks_something_says_what(icons, clipart, tmp_path, monkeypatch):
    monkeypatch.setattr(mdi, "_renderer", lambda: None)
    empty = tmp_path / "empty"
    empty.mkdir()
    (icons / "LICENSE").unlink()
    shutil.rmtree(clipart / "png")
    for name, source, message in [
        ("mdi-icons", empty, r"holds no mdi-svg-7\.4\.47\.tgz"),
        ("mdi-icons", icons, "has a meta.json but no LICENSE"),
        ("openclipart", clipart, "openclipart-png"),
        ("openclipart", empty, r"holds no openclipart-png_\*\.deb|dpkg-deb is not installed"),
    ]:
        with pytest.raises(SourceError, match=message):
            build(name, tmp_path / "out", source=source, progress=False)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="npm is not installed"):
        build("mdi-icons", tmp_path / "out", progress=False)


def test_a_failing_command_is_quoted(tmp_path, monkeypatch):
    client = tmp_path / "npm"
    client.write_text("#!/bin/sh\necho no such package >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(mdi, "_renderer", lambda: None)
    with pytest.raises(
        SourceError, match=r"`npm pack .*@mdi/svg@7\.4\.47` failed: no such package"
    ):
        build("mdi-icons", tmp_path / "out", progress=False)


def test_a_target_in_use_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    for name in ("openclipart", "mdi-icons"):
        with pytest.raises(FileExistsError, match="holds something already"):
            build(name, tmp_path / "out", source=tmp_path / "nowhere")


def test_an_interrupted_build_leaves_nothing(tmp_path):
    def rows():
        yield Row("a", png(1), "a", "a", "", "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", rows(), licence="", dropped=Counter())
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_are_guessed(tmp_path):
    with pytest.raises(ValueError, match=r"Did you mean 'openclipart'\?"):
        build("openclipartt", tmp_path)
