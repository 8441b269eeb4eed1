"""Structure files of synthetic chains, written by biotite."""

import gzip
import io

import biotite.structure as struc
import numpy as np
from biotite.sequence import ProteinSequence
from biotite.structure.io import pdb, pdbx


def atoms_of(chain, letter="A"):
    """All four backbone atoms of each residue, numbered from 1."""
    n = len(chain)
    atoms = struc.AtomArray(4 * n)
    atoms.coord = chain.backbone.reshape(-1, 3).copy()
    atoms.chain_id[:] = letter
    atoms.atom_name = np.tile(["N", "CA", "C", "O"], n)
    atoms.element = np.tile(["N", "C", "C", "O"], n)
    atoms.res_id = np.repeat(np.arange(1, n + 1), 4)
    atoms.res_name = np.repeat([ProteinSequence.convert_letter_1to3(c) for c in chain.sequence], 4)
    atoms.set_annotation("occupancy", np.ones(4 * n))
    atoms.set_annotation("b_factor", np.zeros(4 * n))
    return atoms


def write(path, atoms):
    """Write atoms (an array, or a stack of models) in the format of the name."""
    kind = path.suffixes[0]
    file = pdb.PDBFile() if kind in (".pdb", ".ent") else pdbx.CIFFile()
    if kind in (".pdb", ".ent"):
        file.set_structure(atoms)
    else:
        pdbx.set_structure(file, atoms)
    text = io.StringIO()
    file.write(text)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
