"""PDB and mmCIF files, plain or gzipped, read through biotite."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from setclip.modalities import BadItemError
from setclip.proteins.chains import (
    LETTERS,
    Chain,
    FloatArray,
    Repairs,
    flaw,
    joined,
    sequence_index,
)

if TYPE_CHECKING:
    from biotite.structure import AtomArray

PDB = (".pdb", ".ent")
MMCIF = (".cif", ".mmcif")
SUFFIXES = (*PDB, *MMCIF)
STANDARD = frozenset(
    [
        "ALA",
        "CYS",
        "ASP",
        "GLU",
        "PHE",
        "GLY",
        "HIS",
        "ILE",
        "LYS",
        "LEU",
        "MET",
        "ASN",
        "PRO",
        "GLN",
        "ARG",
        "SER",
        "THR",
        "VAL",
        "TRP",
        "TYR",
    ]
)
ATOM_RECORDS = ("ATOM  ", "HETATM")
BACKBONE = ("N", "CA", "C", "O")
REMEDY = 'pip install "setclip[proteins]"'
MAX_BYTES = 1_000_000_000

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StructureFile:
    """What one file holds.

    Attributes:
        chains: Its protein chains, in the file's order.
        empty_chains: Chains without a single alpha carbon: water, ligands, nucleic acids.
        short_chains: Chains of fewer residues than were asked for.
        models: Models in the file; only the first was read.
    """

    chains: tuple[Chain, ...]
    empty_chains: int
    short_chains: int
    models: int


def is_structure(path: str | Path) -> bool:
    """Whether the name ends as that of a PDB or mmCIF file does, gzipped or not."""
    return _kind(Path(path)) in SUFFIXES


def read_structure(path: str | Path, *, min_residues: int = 1, wanted: str = "") -> StructureFile:
    """Read the protein chains of the first model of a file.

    Of alternate locations the one of highest occupancy counts. Non-standard residues become their
    parent (MSE is M) or X. A residue without alpha carbon is left out.

    Args:
        path: A file that ends in .pdb, .ent, .cif or .mmcif, or in one of these and .gz.
        min_residues: Chains with fewer are left out.
        wanted: Letter of a chain that must not be left out as impossible; others are.

    Raises:
        BadItemError: The file cannot be read, no chain of it can be used, or not the one wanted.
        ImportError: biotite is not installed.
    """
    path = Path(path)
    name = path.name[: -len(".gz")] if path.suffix.lower() == ".gz" else path.name
    name = name[: -len(_kind(path))]
    atoms, models = _atoms(path)
    chains: list[Chain] = []
    flawed: dict[str, str] = {}
    empty = short = 0
    for letter in dict.fromkeys(atoms.chain_id.tolist()):
        chain = _chain(f"{name}_{letter}", atoms[atoms.chain_id == letter])
        if chain is None:
            empty += 1
        elif len(chain) < min_residues:
            short += 1
        elif reason := flaw(chain.ca):
            flawed[letter] = reason
        else:
            chains.append(chain)
    if flawed and (not chains or wanted in flawed):
        letter = wanted if wanted in flawed else next(iter(flawed))
        raise BadItemError(str(path), f"chain {letter}: {flawed[letter]}")
    if not chains:
        raise BadItemError(
            str(path),
            f"no protein chain of at least {min_residues} residues ({short} shorter, {empty} "
            "without alpha carbons)",
        )
    return StructureFile(tuple(chains), empty, short, models)


def _kind(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _atoms(path: Path) -> tuple[AtomArray, int]:
    """Atoms of the first model, all alternate locations, and the number of models."""
    try:
        from biotite.structure.io import pdb, pdbx
    except ImportError as error:
        raise ImportError(f"reading structures needs biotite: {REMEDY}") from error
    kind = _kind(path)
    if kind not in SUFFIXES:
        raise BadItemError(str(path), f"ends in none of {', '.join(SUFFIXES)} (or these and .gz)")
    content = _text(path)
    text = io.StringIO(_filled(content) if kind in PDB else content)
    wanted: dict[str, Any] = {"model": 1, "altloc": "all", "extra_fields": ["occupancy"]}
    # Parsers meet broken files with nearly any error; each means that this one file is bad.
    try:
        if kind in PDB:
            pdb_file = pdb.PDBFile.read(text)
            return pdb_file.get_structure(**wanted), pdb_file.get_model_count()
        cif = pdbx.CIFFile.read(text)
        # Predicted models may lack these columns, which biotite then fails to find.
        if not {"label_alt_id", "occupancy"} <= set(cif.block["atom_site"]):
            wanted = {"model": 1}
        return pdbx.get_structure(cif, **wanted), pdbx.get_model_count(cif)
    except Exception as error:
        told = " ".join(str(error).split())
        raise BadItemError(str(path), f"cannot be parsed ({told})") from error


def _filled(content: str) -> str:
    """Occupancy 1 and B-factor 0 where a PDB line leaves them blank, as modelling tools do."""
    lines = content.splitlines()
    for i, line in enumerate(lines):
        if line[:6] in ATOM_RECORDS and len(line) >= 54:
            occupancy, factor = line[54:60], line[60:66]
            if not (occupancy.strip() and factor.strip()):
                filled = f"{occupancy.strip() or '1.00':>6}{factor.strip() or '0.00':>6}"
                lines[i] = line[:54] + filled + line[66:]
    return "\n".join(lines)


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise BadItemError(str(path), "there is no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise BadItemError(str(path), f"cannot be read ({error})") from error
    if len(content) > MAX_BYTES:
        raise BadItemError(str(path), f"holds more than {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        if b"\x00" in content:
            raise BadItemError(str(path), "is not a text file") from None
        return content.decode("latin-1")


def _chain(name: str, atoms: AtomArray) -> Chain | None:
    """The residues of one chain that have an alpha carbon; None if there are none."""
    import biotite.structure as struc

    in_backbone = np.isin(atoms.atom_name, BACKBONE)
    # Calcium ions are called CA too.
    in_backbone &= np.isin(atoms.element, ["C", "N", "O", ""])
    in_backbone &= ~atoms.hetero | struc.filter_amino_acids(atoms)
    atoms = atoms[in_backbone]
    if not len(atoms):
        return None
    alternates = 0
    if "altloc_id" in atoms.get_annotation_categories():
        # biotite takes letters for alternates; some files count them.
        counted = str.maketrans("0123456789", "abcdefghij")
        ids = np.array([name.translate(counted) for name in atoms.altloc_id.tolist()])
        taken = struc.filter_highest_occupancy_altloc(atoms, ids, atoms.occupancy)
        alternates = len(atoms) - int(taken.sum())
        atoms = atoms[taken]
    starts = struc.get_residue_starts(atoms)
    residue = np.repeat(np.arange(len(starts)), np.diff([*starts, len(atoms)]))
    backbone = np.full((len(starts), 4, 3), np.nan, dtype=np.float32)
    for i, atom in enumerate(BACKBONE):
        here = atoms.atom_name == atom
        backbone[residue[here], i] = atoms.coord[here]
    first = atoms[starts]
    has_ca: Mask = np.asarray(np.isfinite(backbone[:, 1]).all(axis=1))
    ligands = _ligands(backbone[:, 1], first.hetero, has_ca)
    kept = has_ca & ~ligands
    if not kept.any():
        return None
    letters, modified = _letters(first.res_name[kept].tolist())
    backbone = backbone[kept]
    ca = backbone[:, 1].copy()
    index = sequence_index(ca, first.res_id[kept].astype(np.int64))
    gaps = np.isnan(backbone).any(axis=(1, 2))
    return Chain(
        name=name,
        sequence=letters,
        ca=ca,
        index=index,
        # A file of alpha carbons alone has no backbone; one with gaps has NaN in it.
        backbone=None if gaps.all() and np.isnan(backbone[:, [0, 2, 3]]).all() else backbone,
        repairs=Repairs(
            without_ca=int((~has_ca).sum()),
            incomplete=int(gaps.sum()),
            modified=modified,
            unknown=letters.count("X"),
            alternates=alternates,
            ligands=int(ligands.sum()),
            breaks=int((~joined(ca)).sum()),
        ),
    )


def _ligands(ca: FloatArray, hetero: Mask, has_ca: Mask) -> Mask:
    """Amino acids marked as hetero atoms that touch neither neighbour. Shape [n]."""
    rows = np.flatnonzero(has_ca)
    alone: Mask = np.zeros(len(ca), dtype=bool)
    if len(rows) < 2:
        return alone
    bound = joined(ca[rows])
    alone[rows] = ~np.append(bound, False) & ~np.insert(bound, 0, False)
    lonely: Mask = alone & hetero
    return lonely


def _letters(residues: list[str]) -> tuple[str, int]:
    """One letter a residue, and how many are non-standard with a known parent."""
    from biotite.structure.info import one_letter_code

    known = {}
    modified = set()
    for residue in set(residues):
        letter = one_letter_code(residue)
        known[residue] = letter if letter is not None and letter in LETTERS else "X"
        if known[residue] != "X" and residue not in STANDARD:
            modified.add(residue)
    return "".join(known[r] for r in residues), sum(r in modified for r in residues)
