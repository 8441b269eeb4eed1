"""A folder of structure files: every chain that can be read, every file that cannot be listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from setclip.data.bad_items import BAD_LIMIT, BadItem, enforce_bad_limit
from setclip.modalities import BadItemError
from setclip.proteins.chains import Chain, Repairs
from setclip.proteins.structures import is_structure, read_structure


@dataclass(frozen=True)
class StructureFolder:
    """What a folder of PDB and mmCIF files holds.

    Attributes:
        chains: Every chain of every good file, files in the order of their names.
        bad: One entry a file that could not be used; its row is the file's number, from 1.
        files: How many files were read, good and bad.
        repairs: Sums over all chains.
    """

    chains: tuple[Chain, ...]
    bad: tuple[BadItem, ...]
    files: int
    repairs: Repairs


def read_structures(
    folder: str | Path,
    *,
    min_residues: int = 1,
    bad_limit: float = BAD_LIMIT,
    progress: bool = True,
) -> StructureFolder:
    """Read all PDB and mmCIF files under a folder, also gzipped ones and those in subfolders.

    Args:
        folder: Other files in it are passed over.
        min_residues: Chains with fewer are left out.
        bad_limit: Largest share of bad files to go on with, from 0 (none) to 1 (any).
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: The folder holds no structure file.
        TooManyBadItemsError: More than `bad_limit` of the files are bad.
        ImportError: biotite is not installed.
    """
    from rich.progress import track

    folder = Path(folder)
    files = sorted(f for f in folder.rglob("*") if is_structure(f) and f.is_file())
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no structure file (.pdb, .ent, .cif, .mmcif, or these and .gz)."
        )
    chains: list[Chain] = []
    bad: list[BadItem] = []
    listed = track(files, description="structures", disable=not progress, transient=True)
    for row, file in enumerate(listed, start=1):
        try:
            chains += read_structure(file, min_residues=min_residues).chains
        except BadItemError as error:
            bad.append(BadItem(row, "structure", str(file), error.reason))
    enforce_bad_limit(bad, total=len(files), limit=bad_limit, source=str(folder))
    return StructureFolder(
        tuple(chains), tuple(bad), len(files), sum(_repairs(chains), start=Repairs())
    )


def _repairs(chains: list[Chain]) -> Iterator[Repairs]:
    return (chain.repairs for chain in chains)
