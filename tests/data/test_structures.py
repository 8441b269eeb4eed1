"""A folder of structures with damaged files among them (criterion 5, at small size)."""

import numpy as np
import pytest
from proteins.backbones import chain
from proteins.files import atoms_of, write

from setclip.data.bad_items import TooManyBadItemsError, write_bad_items
from setclip.data.structures import read_structures

SUFFIXES = ("pdb", "cif", "pdb.gz", "cif.gz")


@pytest.fixture
def folder(tmp_path):
    """60 files of one or two chains, three of them damaged; a README; a subfolder."""
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "more").mkdir(parents=True)
    for i in range(60):
        where = tmp_path / "in" / ("more" if i % 2 else "")
        atoms = atoms_of(chain(20, rng))
        if i % 3 == 0:
            atoms += atoms_of(chain(25, rng), "B")
        path = write(where / f"p{i:02}.{SUFFIXES[i % 4]}", atoms)
        if i in (8, 9, 11):
            path.write_bytes(path.read_bytes()[:60])
    (tmp_path / "in" / "README").write_text("not a structure")
    return tmp_path / "in"


def test_good_chains_are_kept_and_bad_files_listed(folder, tmp_path):
    read = read_structures(folder, bad_limit=0.1, progress=False)
    good = [i for i in range(60) if i not in (8, 9, 11)]
    expected = {f"p{i:02}_{c}" for i in good for c in ("AB" if i % 3 == 0 else "A")}
    assert {c.name for c in read.chains} == expected
    assert len(read.chains) == len(expected)
    assert {b.value.rsplit("/")[-1].split(".")[0] for b in read.bad} == {"p08", "p09", "p11"}
    assert (read.files, read.repairs.breaks) == (60, 0)
    write_bad_items(tmp_path / "bad_items.jsonl", read.bad)
    assert len((tmp_path / "bad_items.jsonl").read_text().splitlines()) == 3


def test_too_many_bad_files_and_none_at_all(folder, tmp_path):
    with pytest.raises(TooManyBadItemsError, match="3 of 60 items"):
        read_structures(folder, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no structure file"):
        read_structures(tmp_path / "empty")
