"""PDB and mmCIF: what is read, repaired, counted, and refused."""

import biotite.structure as struc
import numpy as np
import pytest
from proteins.backbones import chain
from proteins.files import atoms_of, write

from setclip.modalities import BadItemError
from setclip.proteins import structures
from setclip.proteins.chains import Repairs, joined, letter_codes, sequence_index
from setclip.proteins.structures import read_structure

FORMATS = ("pdb", "ent", "cif", "mmcif", "pdb.gz", "cif.gz")


@pytest.fixture
def made():
    return chain(40, np.random.default_rng(0))


def only(path, **options):
    (read,) = read_structure(path, **options).chains
    return read


def test_synthetic_chains_have_the_geometry_of_real_ones(made):
    distances = np.linalg.norm(np.diff(made.ca, axis=0), axis=1)
    np.testing.assert_allclose(distances, 3.80, atol=0.03)
    assert joined(made.ca).all()


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_chain_back(made, tmp_path, suffix):
    read = only(write(tmp_path / f"1abc.{suffix}", atoms_of(made)))
    assert read.name == "1abc_A"
    assert read.sequence == made.sequence
    np.testing.assert_allclose(read.backbone, made.backbone, atol=6e-4)
    np.testing.assert_array_equal(read.ca, read.backbone[:, 1])
    np.testing.assert_array_equal(read.index, np.arange(40))
    assert read.repairs == Repairs()
    assert (read.ca.dtype, read.index.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("suffix", ["pdb", "cif"])
def test_repairs_are_made_and_counted(made, tmp_path, suffix):
    atoms = atoms_of(made)
    atoms.res_name[atoms.res_id == 3] = "MSE"
    atoms.hetero[atoms.res_id == 3] = True
    atoms.res_name[atoms.res_id == 5] = "UNK"
    lost = (atoms.res_id == 10) & (atoms.atom_name == "CA")
    lost |= (atoms.res_id == 20) & (atoms.atom_name == "O")
    lost |= (atoms.res_id > 29) & (atoms.res_id < 34)
    ligand = atoms_of(made)[:4]
    ligand.coord += 60
    ligand.res_id[:] = 900
    ligand.hetero[:] = True
    calcium = ligand[1:2].copy()
    calcium.element[:], calcium.res_name[:], calcium.res_id[:] = "CA", "CA", 901
    read = only(write(tmp_path / f"x.{suffix}", atoms[~lost] + ligand + calcium))
    expected = list(made.sequence)
    expected[2], expected[4] = "M", "X"
    kept = np.r_[0:9, 10:29, 33:40]
    assert read.sequence == "".join(expected[i] for i in kept)
    np.testing.assert_array_equal(read.index, kept)
    assert np.argwhere(np.isnan(read.backbone[:, :, 0])).tolist() == [[18, 3]]
    assert read.repairs == Repairs(
        without_ca=1, incomplete=1, modified=1, unknown=1, ligands=1, breaks=2
    )
    assert str(read.repairs).startswith("1 without ca, 1 incomplete, 1 modified")
    assert str(Repairs()) == "nothing"


@pytest.mark.parametrize("ids", ["AB", "12"])
@pytest.mark.parametrize("suffix", ["pdb", "cif"])
def test_the_likelier_alternate_location_counts(made, tmp_path, suffix, ids):
    atoms = atoms_of(made)
    other = atoms[atoms.res_id == 7].copy()
    other.coord += 0.7
    atoms.set_annotation("altloc_id", np.where(atoms.res_id == 7, ids[0], ""))
    other.set_annotation("altloc_id", np.full(4, ids[1]))
    for share in (0.3, 0.7):
        other.occupancy[:] = share
        atoms.occupancy[atoms.res_id == 7] = 1 - share
        path = tmp_path / f"x.{suffix}"
        _write_alternates(path, atoms, other)
        read = only(path)
        shift = 0.7 if share > 0.5 else 0.0
        np.testing.assert_allclose(read.ca[6], made.ca[6] + shift, atol=1e-3)
        assert len(read) == 40
        assert read.repairs.alternates == 4


def _write_alternates(path, atoms, other):
    """Write by hand: biotite writes no alternate locations."""
    both = atoms[atoms.res_id <= 7] + other + atoms[atoms.res_id > 7]
    write(path, both)
    marks = iter(both.altloc_id)
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        if line.startswith("ATOM") and (mark := next(marks)):
            pdb = path.suffix == ".pdb"
            lines[i] = (
                f"{line[:16]}{mark}{line[17:]}" if pdb else line.replace(" . ", f" {mark} ", 1)
            )
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("blank", [6, 12])
def test_a_pdb_file_with_blank_occupancies_is_read(made, tmp_path, blank):
    path = write(tmp_path / "x.pdb", atoms_of(made))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"{line[:54]}{' ' * blank}{line[54 + blank :]}" for line in lines))
    assert only(path).sequence == made.sequence


def test_a_file_without_occupancies_is_read(made, tmp_path):
    path = write(tmp_path / "x.cif", atoms_of(made))
    path.write_text(path.read_text().replace("_atom_site.occupancy", "_atom_site.other"))
    assert only(path).sequence == made.sequence


@pytest.mark.parametrize("suffix", ["pdb", "cif"])
def test_of_several_models_the_first_counts(made, tmp_path, suffix):
    first = atoms_of(made)
    second = first.copy()
    second.coord += 5
    read = read_structure(write(tmp_path / f"x.{suffix}", struc.stack([first, second])))
    assert read.models == 2
    np.testing.assert_allclose(read.chains[0].ca, made.ca, atol=1e-3)


def test_chains_without_residues_or_with_few_are_counted(made, tmp_path):
    water = atoms_of(made, "W")[:3]
    water.res_name[:], water.atom_name[:], water.hetero[:] = "HOH", "O", True
    short = atoms_of(made, "S")[:12]
    acid = atoms_of(made, "L")[:4]
    acid.hetero[:] = True
    read = read_structure(
        write(tmp_path / "x.cif", atoms_of(made) + water + short + acid), min_residues=5
    )
    assert [c.name for c in read.chains] == ["x_A"]
    assert (read.empty_chains, read.short_chains) == (1, 2)


def test_alpha_carbons_alone_have_no_backbone(made, tmp_path):
    atoms = atoms_of(made)
    read = only(write(tmp_path / "x.pdb", atoms[atoms.atom_name == "CA"]))
    assert read.backbone is None
    assert read.repairs.incomplete == 40


def test_a_flawed_chain_costs_itself_alone(made, tmp_path):
    flat = atoms_of(made)
    flat.coord[:] = 0
    path = write(tmp_path / "two.pdb", flat + atoms_of(made, "B"))
    assert [c.name for c in read_structure(path).chains] == ["two_B"]
    assert len(read_structure(path, wanted="B").chains) == 1
    with pytest.raises(BadItemError, match=r"chain A: .* coincide"):
        read_structure(path, wanted="A")


def test_bad_files_say_what_is_wrong(made, tmp_path, monkeypatch):
    whole = write(tmp_path / "whole.pdb", atoms_of(made)).read_bytes()
    zipped = write(tmp_path / "whole.cif.gz", atoms_of(made)).read_bytes()
    flat = atoms_of(made)
    flat.coord[:] = 0
    write(tmp_path / "flat.pdb", flat)
    bad = {
        "missing.pdb": (None, "no such file"),
        "empty.pdb": (b"", "cannot be parsed"),
        "cut.cif.gz": (zipped[: len(zipped) // 2], "cannot be read"),
        "html.cif": (b"<html>404 not found</html>", "cannot be parsed"),
        "binary.pdb": (b"\x00\xff\x00" * 100, "not a text file"),
        "latin.pdb": (b"REMARK \xe9\n", "cannot be parsed"),
        "numbers.pdb": (whole.replace(b"  1.458", b"  x.458", 1), "cannot be parsed"),
        "flat.pdb": ((tmp_path / "flat.pdb").read_bytes(), "coincide"),
        "whole.xyz": (b"", "ends in none of"),
    }
    for name, (content, reason) in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(BadItemError, match=reason):
            read_structure(tmp_path / name)
    with pytest.raises(BadItemError, match="at least 99 residues"):
        read_structure(tmp_path / "whole.pdb", min_residues=99)
    monkeypatch.setattr(structures, "MAX_BYTES", 100)
    with pytest.raises(BadItemError, match="more than 100 bytes"):
        read_structure(tmp_path / "whole.pdb")


def test_numbers_that_repeat_or_run_back_do_not_confuse_the_index(made):
    ca = made.ca[[0, 1, 2, 3, 9, 10, 20]]
    numbers = np.array([5, 5, 4, 100, 101, 101, 50])
    assert sequence_index(ca, numbers).tolist() == [0, 1, 2, 3, 5, 6, 8]


def test_letters_outside_the_alphabet_are_unknown():
    assert letter_codes("ACYXB?é").tolist() == [0, 1, 19, 20, 20, 20, 20]


def test_without_biotite_the_message_says_what_to_install(made, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "biotite.structure.io", None)
    with pytest.raises(ImportError, match=r'pip install "setclip\[proteins\]"'):
        read_structure(tmp_path / "x.pdb")
