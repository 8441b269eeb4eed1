"""Named data sets: what ships is whole, its groups hold, its rounding is harmless."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from setclip.data import datasets, proteins
from setclip.data.datasets import BUNDLED, built_folder, load_dataset, load_folder
from setclip.data.proteins import load_proteins
from setclip.encoders import from_card, get
from setclip.modalities.image import read_image
from setclip.modalities.text import clean_text
from setclip.proteins.packed import unpack_chain


@pytest.fixture(scope="module")
def emoji():
    return load_dataset("emoji")


@pytest.fixture(scope="module")
def glosses():
    return load_dataset("glosses")


def test_emoji_is_whole(emoji):
    assert len(emoji) == len(emoji.x_items) == len(emoji.names) == len(emoji.concepts) == 1906
    assert len(set(emoji.labels)) == 9
    assert len(set(emoji.captions)) == 1906
    assert all(clean_text(caption) == caption for caption in emoji.captions)
    assert {read_image(png).size for png in emoji.x_items[::50]} == {(64, 64)}
    assert emoji.thumbnail(3) == emoji.x_items[3]


def test_emoji_have_no_skin_tones(emoji):
    assert not any("skin tone" in name for name in emoji.names)
    ids = pq.read_table(BUNDLED / "emoji.parquet")["id"].to_pylist()
    assert len(set(ids)) == 1906
    assert not any(f"1f3f{tone}" in emoji_id.split("-") for emoji_id in ids for tone in "bcdef")


def test_concepts_join_gender_direction_family_and_clocks(emoji):
    members = defaultdict(set)
    for name, concept in zip(emoji.names, emoji.concepts.tolist(), strict=True):
        members[concept].add(name)
    of = {name: group for group in members.values() for name in group}
    assert of["astronaut"] == {"astronaut", "man astronaut", "woman astronaut"}
    assert of["Santa Claus"] == {"Santa Claus", "Mrs. Claus", "Mx Claus"}
    assert {"person running", "woman running: facing right"} <= of["man running"]
    assert len(of["three o’clock"]) == 24
    assert {"family", "family: man, woman, boy"} <= of["family: woman, girl"]
    # What only looks like a gender or an arrow stands alone.
    for name in ("female sign", "male sign", "right arrow", "red apple", "flag: Spain"):
        assert of[name] == {name}


@pytest.mark.parametrize("name", ["emoji", "glosses"])
def test_licences_travel_with_the_data(name):
    licence = load_dataset(name).licence
    assert "MIT licence" in licence
    assert "APACHE-2.0.txt" in licence
    assert "Apache License" in (BUNDLED / "APACHE-2.0.txt").read_text()
    assert ("Noto" if name == "emoji" else "WordNet 3.0 Copyright 2006") in licence


def test_the_package_stays_small():
    size = {
        kind: sum(f.stat().st_size for f in BUNDLED.glob(f"{kind}.*"))
        for kind in ("emoji", "glosses")
    }
    assert all(bytes_ < 8_000_000 for bytes_ in size.values())


def test_glosses_come_with_features(glosses, tmp_path):
    x, y = glosses.features(directory=tmp_path)
    assert x.shape == y.shape == (9000, 384)
    assert x.dtype == y.dtype == np.float32
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    assert not list(tmp_path.iterdir())
    assert len(set(glosses.captions)) == 9000
    assert len(set(glosses.labels)) > 40
    assert glosses.thumbnail(0) is None


def test_rounding_left_the_features_what_the_encoder_gives(glosses):
    shipped = glosses.features()[0][:16]
    exact = get("minilm-l6").encode(glosses.captions[:16])
    cosine = (shipped * exact).sum(1)
    cosine /= np.linalg.norm(shipped, axis=1) * np.linalg.norm(exact, axis=1)
    assert cosine.min() > 0.9998


def test_one_word_is_one_concept(glosses):
    words = np.array([name.casefold() for name in glosses.names])
    for concept in glosses.concepts[:50]:
        assert len(set(words[glosses.concepts == concept])) == 1
    assert len(set(glosses.concepts.tolist())) == len(set(words.tolist())) < 9000


@pytest.fixture
def built(tmp_path, emoji):
    folder = tmp_path / "built"
    (folder / "images").mkdir(parents=True)
    rows = []
    for i, name in enumerate(["red apple", "green apple", "teapot"]):
        row = emoji.names.index(name)
        (folder / "images" / f"{i}.png").write_bytes(emoji.x_items[row])
        group = name.split()[-1]
        rows.append(
            {"image": f"images/{i}.png", "caption": name, "name": name, "label": "", "group": group}
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    (folder / "LICENSE.txt").write_text("free")
    return folder


def test_a_built_folder_loads_and_encodes_through_the_cache(built, tmp_path):
    data = load_folder(built, name="apples")
    assert data.concepts.tolist() == [0, 0, 1]
    assert data.licence == "free"
    assert data.thumbnail(0) == (built / "images/0.png").read_bytes()
    x, y = data.features(progress=False, directory=tmp_path / "cache")
    assert x.shape == (3, 1280)
    assert y.shape == (3, 384)
    np.testing.assert_array_equal(x, data.features(progress=False, directory=tmp_path / "cache")[0])

    (built / "images/2.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"apples is damaged, 1 items cannot be read: row 2"):
        data.features(progress=False, directory=tmp_path / "cache")


def test_where_a_built_set_is_looked_for(built, tmp_path, monkeypatch):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="setclip data build openclipart"):
        load_dataset("openclipart")
    built_folder("openclipart").parent.mkdir()
    built.rename(built_folder("openclipart"))
    assert len(load_dataset("openclipart")) == 3
    assert len(load_dataset("openclipart", folder=built_folder("openclipart"))) == 3


def test_proteins_are_sequences_and_structures_by_superfamily():
    data, chains = load_dataset("proteins"), load_proteins()
    assert len(data) == len(data.x_items) == len(data.y_items) == len(data.captions) == 1000
    assert data.called == ("sequence", "structure")
    assert data.captions[7] == f"{chains.names[7]} · CATH {chains.superfamilies[7]}"
    for row in (0, 7, 999):
        chain = unpack_chain(data.y_items[row])
        assert chain.sequence == data.x_items[row]
        np.testing.assert_array_equal(chain.ca, chains.chain(row).ca)
    assert data.y_items[-2:] == [data.y_items[998], data.y_items[999]]
    with pytest.raises(IndexError, match="row 1000 of 1000 chains"):
        data.y_items[1000]
    blank = np.zeros((1000, 2), dtype=np.float32)
    np.testing.assert_array_equal(data.groups(blank, blank), chains.groups)
    assert data.thumbnail(0) is None


def test_of_the_built_chains_those_of_one_domain_stay_one_a_cluster(monkeypatch):
    three = load_proteins().take([0, 1, 2, 3])
    built = replace(three, name="protein-chains", s35=["a", "", "b", "a"])
    monkeypatch.setattr(proteins, "load_proteins", lambda *_, **__: built)
    data = load_dataset("protein-chains")
    assert data.name == "protein-chains"
    assert data.x_items == [three.sequences[0], three.sequences[2]]


def test_of_the_short_chains_the_structure_encoder_sees_residues(monkeypatch):
    chains = load_proteins()
    kept = [0, int(np.argmax(np.diff(chains.starts)))]
    built = replace(chains.take(kept), name="protein-chains", s35=["a", "b"])
    monkeypatch.setattr(proteins, "load_proteins", lambda *_, **__: built)
    monkeypatch.setattr(datasets, "SHORT", int(np.diff(built.starts)[0]))
    short, every = load_dataset("protein-chains-150"), load_dataset("protein-chains")
    assert short.x_items == [built.sequences[0]]
    assert len(every) == 2
    typed, plain = load_dataset("proteins-typed"), load_dataset("proteins")
    assert typed.x_items == plain.x_items
    hidden, seen = (from_card(d.y_encoder).fingerprint for d in (every, short))
    assert hidden != seen
    assert [from_card(d.y_encoder).fingerprint for d in (plain, typed)] == [hidden, seen]


def test_unknown_names_are_guessed():
    with pytest.raises(ValueError, match=r"'emojis'.*Did you mean 'emoji'\?.*mdi-icons"):
        datasets.load_dataset("emojis")
