"""The layouts of the released sets, written small."""

import numpy as np
import pytest
from proteins.backbones import chain

from setclip.modalities import BadItemError
from setclip.proteins.function_sets import IDENTITIES, read_ec, read_fold, read_go, read_reaction

RNG = np.random.default_rng(0)
CHAINS = [chain(12, RNG, name=f"{i}ABC-A") for i in range(4)]


def put(folder, fasta, coordinates):
    """Write the four chains; the third has an array of the wrong length, the fourth none."""
    coordinates.mkdir(parents=True)
    (folder / fasta).write_text("".join(f">{c.name} nrPDB\n{c.sequence}\n" for c in CHAINS))
    for i, c in enumerate(CHAINS[:3]):
        np.save(coordinates / f"{c.name}.npy", c.ca[: 12 - (i == 2)].astype(np.float64))


def good_two(read):
    assert [c.name for c in read.chains] == ["0ABC-A", "1ABC-A"]
    np.testing.assert_array_equal(read.chains[1].ca, CHAINS[1].ca)
    assert [error.reason.split(" (")[0] for error in read.bad] == [
        "shape [11, 3] for 12 residues",
        "cannot be read",
    ]
    return read


def test_fold(tmp_path):
    put(tmp_path, "test_fold.fasta", tmp_path / "coordinates" / "test_fold")
    (tmp_path / "class_map.txt").write_text("b.1\t1\na.2\t0\n\n")
    (tmp_path / "test_fold.txt").write_text(
        "".join(f"{c.name}\tx\t{'ab'[i % 2]}.{2 - i % 2}\n" for i, c in enumerate(CHAINS))
    )
    read = good_two(read_fold(tmp_path, "test_fold"))
    assert read.classes == ("a.2", "b.1")
    assert read.labels.tolist() == [[True, False], [False, True]]


def test_reaction(tmp_path):
    put(tmp_path, "chain_testing.fasta", tmp_path / "coordinates")
    (tmp_path / "chain_functions.txt").write_text(
        "".join(f"{c.name},{10 - i}\n" for i, c in enumerate(CHAINS))
    )
    read = good_two(read_reaction(tmp_path, "testing"))
    assert read.classes == ("7", "8", "9", "10")
    assert read.labels.tolist() == [[False, False, False, True], [False, False, True, False]]


def write_flags(tmp_path, stem, rows):
    header = "PDB-chain,<30%,<40%,<50%,<70%,<95%\n"
    (tmp_path / f"{stem}_test.csv").write_text(header + "".join(rows))


def test_ec(tmp_path):
    put(tmp_path, "test.fasta", tmp_path / "coordinates")
    rows = ["0ABC-A\t1.1\n", "1ABC-A\t1.1,2.-\n", "2ABC-A\t1.1\n", "3ABC-A\t\n"]
    annotated = "### EC\n1.1\t2.-\n### PDB-chain\tEC\n" + "".join(rows)
    (tmp_path / "nrPDB-EC_annot.tsv").write_text(annotated)
    flags = ["0ABC-A,0,0,1,1,1\n", "1ABC-A,1,1,1,1,1\n"]
    write_flags(tmp_path, "nrPDB-EC", flags)
    read = good_two(read_ec(tmp_path, "test"))
    assert read.labels.tolist() == [[True, False], [True, True]]
    assert {i: read.below[i].tolist() for i in IDENTITIES} == {
        30: [False, True],
        40: [False, True],
        50: [True, True],
        70: [True, True],
        95: [True, True],
    }
    write_flags(tmp_path, "nrPDB-EC", flags[:1])
    with pytest.raises(BadItemError, match="no line for 1ABC-A"):
        read_ec(tmp_path, "test")


def test_go(tmp_path):
    put(tmp_path, "train.fasta", tmp_path / "coordinates")
    blocks = [
        "### GO-terms (molecular_function)\nGO:1\tGO:2\n### GO-names\n\n",
        "### GO-terms (biological_process)\nGO:3\n### GO-names\nthree\n",
        "### GO-terms (cellular_component)\nGO:4\tGO:5\n### GO-names\nfour\tfive\n",
        "### PDB-chain\tMF\tBP\tCC\n",
        "0ABC-A\tGO:1,GO:2\t\tGO:5\n",
        "1ABC-A\tGO:9\tGO:3\t\n",
        "2ABC-A\t\t\t\n",
    ]
    (tmp_path / "nrPDB-GO_2019.06.18_annot.tsv").write_text("".join(blocks))
    cc = read_go(tmp_path, "train", branch="cc")
    assert cc.classes == ("GO:4", "GO:5")
    assert cc.labels.tolist() == [[False, True], [False, False]]
    assert cc.below == {}
    assert [error.reason for error in cc.bad][1] == "no label is given for it"
    mf = read_go(tmp_path, "train", branch="mf")
    assert mf.labels.tolist() == [[True, True]]
    assert mf.bad[0].reason == "its label 'GO:9' is none of the 2 classes"


def test_placeholder_coordinates_and_missing_files(tmp_path):
    put(tmp_path, "train.fasta", tmp_path / "coordinates")
    np.save(tmp_path / "coordinates" / "0ABC-A.npy", np.full((12, 3), np.nan))
    (tmp_path / "nrPDB-EC_annot.tsv").write_text(
        "#\n1.1\n#\n" + "".join(f"{c.name}\t1.1\n" for c in CHAINS)
    )
    read = read_ec(tmp_path, "train")
    assert read.bad[0].reason == "residue 1 has no finite position"
    with pytest.raises(BadItemError, match="class_map"):
        read_fold(tmp_path, "training")
