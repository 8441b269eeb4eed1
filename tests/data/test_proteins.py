"""Sets of protein chains: the bundled one, and the builder on tiny packages of the real layout."""

import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from proteins.backbones import chain

from setclip.data.builders import build
from setclip.data.builders.sources import SourceError, pypi_tree
from setclip.data.builders.structure_db import read_structure_db
from setclip.data.proteins import load_proteins, load_unpaired, pack_backbone, unpack_backbone

RNG = np.random.default_rng(0)
CHAINS = [chain(n, RNG) for n in (40, 12, 35, 40, 31)]
ENTRIES = [("1ABC", "A"), ("1ABC", "B"), ("2XYZ", "A"), ("3DUP", "A"), ("4ALO", "C")]
CATH = """# CathDomainList
2xyzA02     1    10     8    10     7     1     1     1     1    59 1.000
1abcA00     2    40    50   140     3     1     1     1     1    59 1.000
2xyzA01     3    20    20    80     1     1     1     1     1    59 1.000
9zzzA00     3    20    20    80     1     1     1     1     1    59 1.000
"""
ENZYMES = """# 2024/03/09
PDB,CHAIN,ACCESSION,EC_NUMBER
1abc,A,P00001,3.2.1.17
1abc,A,P00001,1.1.1.1
2xyz,A,P00002,?
9zzz,A,P00003,1.1.1.1
"""


def structure_db():
    """The bytes of the file: five stretches, the fourth with the sequence of the first."""
    chains = [*CHAINS[:3], CHAINS[0], CHAINS[4]]
    head = struct.pack("<II", 1234, 2) + bytes(65) + struct.pack("<iQ", -1, len(chains))
    start = 0
    for (pdb, letter), made in zip(ENTRIES, chains, strict=True):
        head += struct.pack("<I4sI1s", 4, pdb.encode(), 1, letter.encode())
        head += struct.pack("<IHH3f", start, len(made), 5, -100, -100, -100)
        start += len(made)
    letters = "".join(made.sequence for made in chains).encode()
    atoms = np.concatenate([np.rint(made.backbone * 100) + 10000 for made in chains])
    count = struct.pack("<Q", start)
    return head + count + letters + count + atoms.astype("<u2").tobytes() + count


def write_blast(stem, sequences):
    """Files .pin and .psq of version 4."""
    alphabet = "-ABCDEFGHIKLMNPQRSTVWXYZU*OJ"
    codes, starts = b"\0", [1]
    for sequence in sequences:
        codes += bytes(alphabet.index(c) for c in sequence) + b"\0"
        starts.append(len(codes))
    n = len(sequences)
    words = [struct.pack(">I", len(word)) + word for word in (b"title", b"a date")]
    index = struct.pack(">II", 4, 1) + b"".join(words) + struct.pack(">IQI", n, 0, 0)
    index += np.arange(n + 1, dtype=">u4").tobytes() + np.array(starts, dtype=">u4").tobytes()
    stem.with_name(stem.name + ".pin").write_bytes(index)
    stem.with_name(stem.name + ".psq").write_bytes(codes)


SEQUENCES = {"MFO": ["W" * 40], "BPO": ["Y" * 40, "ACDU" * 10, "AC"], "CCO": ["ACDU" * 10]}


@pytest.fixture
def source(tmp_path):
    """A folder with the packages' trees."""
    root = tmp_path / "source"
    database = root / "usr/share/promod3/loop_data/structure_db.dat"
    database.parent.mkdir(parents=True)
    database.write_bytes(structure_db())
    terms = {
        "MFO": "P00001\tGO:2\tGO:1\tGO:2\n",
        "BPO": "P00002\tGO:3\nQ7\tGO:3\nQ8\tGO:3\n",
        "CCO": "Q9\tGO:4\n",
    }
    for branch, lines in terms.items():
        file = root / "usr/share/metastudent-data/dataset_201401" / branch / "goasp_annot.dat"
        file.parent.mkdir(parents=True)
        file.write_text(lines)
        write_blast(file.with_name("goasp.fasta"), SEQUENCES[branch])
    tables = root / "enzymm" / "data"
    tables.mkdir(parents=True)
    (tables / "cath-domain-list.txt").write_text(CATH)
    (tables / "pdb_chain_enzyme.csv").write_text(ENZYMES)
    return root


def test_chains_are_built_with_their_labels(source, tmp_path):
    built = build("protein-chains", tmp_path / "out", source=source, progress=False)
    assert built.items == 3
    assert built.dropped == {
        "of fewer than 30 residues": 1,
        "of the same sequence as another": 1,
    }
    made = load_proteins("protein-chains", folder=built.folder)
    assert made.names == ["1abc_A", "2xyz_A", "4alo_C"]
    assert made.superfamilies == ["2.40.50.140", "", ""]
    assert made.topologies == ["2.40.50", "", ""]
    assert made.s35 == ["2.40.50.140.3", "", ""]
    assert made.ec == [["3.2.1.17", "1.1.1.1"], [], []]
    assert made.go == {
        "mf": [["GO:1", "GO:2"], [], []],
        "bp": [[], ["GO:3"], []],
        "cc": [[], [], []],
    }
    for row, original in enumerate([CHAINS[0], CHAINS[2], CHAINS[4]]):
        read = made.chain(row)
        assert (read.name, read.sequence) == (made.names[row], original.sequence)
        np.testing.assert_allclose(read.backbone - 100, original.backbone, atol=0.0051)
        np.testing.assert_array_equal(read.ca, read.backbone[:, 1])
    assert len(set(made.groups)) == 3
    assert "CC BY 4.0" in made.licence
    assert "GPL" in made.licence
    import pyarrow.parquet as pq

    table = pq.read_table(built.folder / "chains.parquet")
    assert table["domains"].to_pylist() == [["1abcA00"], ["2xyzA01", "2xyzA02"], []]
    assert table["superfamilies"].to_pylist()[1] == ["3.20.20.80", "1.10.8.10"]
    assert table["first"].to_pylist() == [5, 5, 5]
    # Neither a chain's protein, nor a sequence again, nor a short one.
    assert load_unpaired(built.folder) == {"Q7": "ACDU" * 10}


def test_packages_are_unpacked_from_a_folder(source, tmp_path):
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in ("promod3", "metastudent-data"):
        tree = tmp_path / name
        (tree / "DEBIAN").mkdir(parents=True)
        package = "promod3-data" if name == "promod3" else name
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\n"
            "Description: x\n"
        )
        (tree / "usr" / "share").mkdir(parents=True)
        (source / "usr/share" / name).rename(tree / "usr/share" / name)
        command = ["dpkg-deb", "-b", str(tree), str(folder / f"{package}_1_all.deb")]
        subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(folder / "enzymm-0.5.0-py3-none-any.whl", "w") as wheel:
        for file in (source / "enzymm" / "data").iterdir():
            wheel.write(file, f"enzymm/data/{file.name}")
    built = build("protein-chains", tmp_path / "out", source=folder, progress=False)
    assert built.items == 3


def test_what_is_missing_or_damaged_is_named(source, tmp_path):
    def refused(match):
        with pytest.raises(SourceError, match=match):
            build("protein-chains", tmp_path / "out", source=source, progress=False)
        assert not (tmp_path / "out").exists()

    database = source / "usr/share/promod3/loop_data/structure_db.dat"
    whole = database.read_bytes()
    (source / "enzymm/data/pdb_chain_enzyme.csv").unlink()
    refused("pdb_chain_enzyme.csv cannot be read")
    for length, said in [(40, "cut short"), (120, "cut short"), (900, "cut short")]:
        database.write_bytes(whole[:length])
        refused(said)
    database.write_bytes(b"\x00" * 100)
    refused("magic 0, version 0")
    (source / "enzymm").rename(tmp_path / "gone")
    refused("no enzymm/data/")


def test_damaged_sequences_are_named(source, tmp_path):
    stem = source / "usr/share/metastudent-data/dataset_201401/BPO/goasp.fasta"
    index, codes = stem.with_name("goasp.fasta.pin"), stem.with_name("goasp.fasta.psq")
    whole = index.read_bytes(), codes.read_bytes()
    cases = {
        "psq is cut short": (whole[0], whole[1][:-5]),
        "pin is cut short": (whole[0][:12], whole[1]),
        "version 5": (struct.pack(">II", 5, 1), whole[1]),
        "BPO cannot be read": (whole[0][:-3], whole[1]),
    }
    for said, (pin, psq) in cases.items():
        index.write_bytes(pin)
        codes.write_bytes(psq)
        with pytest.raises(SourceError, match=said):
            build("protein-chains", tmp_path / "out", source=source, progress=False)
        assert not (tmp_path / "out").exists()


def test_stretches_that_point_beyond_the_arrays_are_refused(tmp_path):
    content = bytearray(structure_db())
    at = content.index(b"4ALO") + 4 + 5 + 4  # the length of the last stretch
    content[at : at + 2] = struct.pack("<H", 60000)
    (tmp_path / "x.dat").write_bytes(content)
    with pytest.raises(ValueError, match="residues are missing"):
        read_structure_db(tmp_path / "x.dat")


def test_wheels_are_fetched_by_pip(tmp_path, monkeypatch):
    commands = []

    def fetch(command, cwd, **_):
        commands.append(command)
        with zipfile.ZipFile(cwd / "some-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some/data.txt", "here")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", fetch)
    tree = pypi_tree("some", "1.0", source=None, scratch=tmp_path)
    assert (tree / "some" / "data.txt").read_text() == "here"
    assert commands[0][0] == sys.executable
    assert commands[0][-1] == "some==1.0"
    (tmp_path / "some-1.0-py3-none-any.whl").write_bytes(b"no zip")
    with pytest.raises(SourceError, match="damaged"):
        pypi_tree("some", "1.0", source=tmp_path, scratch=tmp_path)


@pytest.mark.parametrize("shape", [(1, 3, 3), (50, 3, 3), (7, 4, 3)])
def test_packed_coordinates_come_back(shape):
    coordinates = RNG.integers(-32000, 32000, size=shape).astype(np.int16)
    np.testing.assert_array_equal(
        unpack_backbone(pack_backbone(coordinates), shape[0]), coordinates
    )


@pytest.fixture(scope="module")
def bundled():
    return load_proteins()


def test_the_bundled_chains_are_real_chains(bundled):
    assert len(bundled) == len(set(bundled.names)) == len(set(bundled.sequences)) == 1000
    for row in range(0, 1000, 50):
        made = bundled.chain(row)
        assert set(made.sequence) <= set("ACDEFGHIKLMNPQRSTVWY")
        bonds = np.linalg.norm(made.backbone[:, 1] - made.backbone[:, 0], axis=1)
        np.testing.assert_allclose(bonds, 1.46, atol=0.1)
        steps = np.linalg.norm(np.diff(made.ca, axis=0), axis=1)
        assert ((steps > 2.7) & (steps < 4.2)).mean() > 0.97
        assert np.isnan(made.backbone[:, 3]).all()
    for source in ("CC0", "CC BY 4.0", "SIFTS", "CATH"):
        assert source in bundled.licence


def test_bundled_superfamilies_have_several_members_and_topologies_several_of_them(bundled):
    members = np.bincount(bundled.groups)
    assert (members.min(), members.max()) == (3, 6)
    families = dict(zip(bundled.superfamilies, bundled.topologies, strict=True))
    assert len(families) == len(members) == 203
    shared = [t for t in families.values() if list(families.values()).count(t) > 1]
    assert len(set(shared)) == 30
    assert len(set(bundled.s35)) == 1000


def test_a_part_of_a_set(bundled):
    part = bundled.take([7, 3])
    assert part.names == [bundled.names[7], bundled.names[3]]
    np.testing.assert_array_equal(part.chain(1).ca, bundled.chain(3).ca)
    assert len(bundled.take([])) == 0


def test_unknown_and_unbuilt_sets(tmp_path):
    with pytest.raises(ValueError, match="proteins"):
        load_proteins("protein")
    with pytest.raises(FileNotFoundError, match="setclip data build protein-chains"):
        load_proteins("protein-chains", folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="setclip data build protein-chains"):
        load_unpaired(tmp_path)
