"""Real protein chains with CATH, EC and GO labels, from three packages."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from setclip.data.atomic import write_text
from setclip.data.builders.blast_db import read_sequences
from setclip.data.builders.folder import Built, building
from setclip.data.builders.sources import SourceError, debian_tree, pypi_tree
from setclip.data.builders.structure_db import Stretch, StructureDb, read_structure_db

STRUCTURES, GENE_ONTOLOGY, ENZYMES = "promod3-data", "metastudent-data", ("enzymm", "0.5.0")
STRUCTURE_DB = Path("usr/share/promod3/loop_data/structure_db.dat")
ANNOTATIONS = Path("usr/share/metastudent-data/dataset_201401")
MIN_RESIDUES = 30
UNPAIRED_RESIDUES = range(MIN_RESIDUES, 1025)
BRANCHES = {"go_mf": "MFO", "go_bp": "BPO", "go_cc": "CCO"}
LICENCE = """\
Protein chains with labels, gathered by setclip from three packages.

Coordinates and sequences: Protein Data Bank (https://www.wwpdb.org), CC0 1.0; selected and
rounded to 0.01 A by ProMod3 (promod3-data, Apache-2.0), Studer et al. 2021.
CATH: CATH 4.3.0 domain list (https://www.cathdb.info), CC BY 4.0, Sillitoe et al. 2021; from the
package enzymm 0.5.0 (MIT).
EC numbers and UniProt accessions: SIFTS (https://www.ebi.ac.uk/pdbe/docs/sifts) of 2024-03-09 and
UniProt (https://www.uniprot.org), CC BY 4.0; from the package enzymm 0.5.0.
GO terms: UniProt-GOA as of January 2014 in metastudent-data 2.0.1, GPL-2+: columns go_mf, go_bp
and go_cc. unpaired.parquet: UniProt sequences (CC BY 4.0) as of the same release, from the same
package. Pass this set on without these columns and this file, or under the terms of the GPL.
"""


@dataclass(frozen=True)
class Domain:
    """One line of CATH's list.

    Attributes:
        name: PDB code, chain, number; 00 is a whole chain.
        superfamily: Class, architecture, topology, homology, as "1.10.8.10".
        s35: Cluster of the superfamily at 35 % identity, as "1.10.8.10.1".
    """

    name: str
    superfamily: str
    s35: str


def build(target: Path, *, source: Path | None = None, progress: bool = True) -> Built:
    """Build the chains: 20,648 with the packages named in this module.

    Each is a gap-free stretch of a PDB chain. Left out are those of fewer than 30 residues, and
    those with the same sequence as an earlier one.

    `chains.parquet` has one row a chain, `backbone.npy` the atoms N, CA, C, O of row i, in
    hundredths of an A, from `start` to `start + length`. Domains, EC numbers, UniProt accessions
    and GO terms are lists; `superfamily`, `topology` and `s35` are "" unless the chain has exactly
    one CATH domain.

    `unpaired.parquet` has the sequences of UniProt proteins that are none of the chains', for a
    pool: accession and letters, 30 to 1,024 of them, each sequence once.

    Args:
        target: A folder that does not exist yet, or is empty.
        source: A folder with the two .deb files and the wheel, or with their unpacked trees; None
            downloads them (615 MB).
        progress: Show progress.

    Raises:
        FileExistsError: `target` holds something already.
        SourceError: A package cannot be fetched, or `source` lacks what is needed.
    """
    with tempfile.TemporaryDirectory() as scratch, building(target) as aside:
        debian, wheel = _trees(source, Path(scratch))
        database = _read(debian / STRUCTURE_DB)
        dropped: Counter[str] = Counter()
        stretches = list(_chosen(database, dropped))
        rows = _rows(stretches, database, debian / ANNOTATIONS, wheel / "enzymm" / "data")
        _write(aside, rows, stretches, database, progress)
        _write_unpaired(aside / "unpaired.parquet", rows, debian / ANNOTATIONS)
        write_text(aside / "LICENSE.txt", LICENCE)
    return Built(target, len(stretches), dict(dropped.most_common()))


def _trees(source: Path | None, scratch: Path) -> tuple[Path, Path]:
    """Where the Debian packages and the wheel are unpacked."""
    if source is not None and (source / STRUCTURE_DB).is_file():
        for needed in (ANNOTATIONS, Path("enzymm/data")):
            if not (source / needed).is_dir():
                raise SourceError(f"{source} has {STRUCTURE_DB.name} but no {needed}/.")
        return source, source
    debian = debian_tree((STRUCTURES, GENE_ONTOLOGY), source=source, scratch=scratch)
    return debian, pypi_tree(*ENZYMES, source=source, scratch=scratch)


def _read(path: Path) -> StructureDb:
    try:
        return read_structure_db(path)
    except (OSError, ValueError) as error:
        raise SourceError(str(error)) from error


def _chosen(database: StructureDb, dropped: Counter[str]) -> Iterator[Stretch]:
    seen: set[bytes] = set()
    for stretch in database.stretches:
        letters = database.sequence[stretch.start : stretch.end].tobytes()
        if stretch.length < MIN_RESIDUES:
            dropped[f"of fewer than {MIN_RESIDUES} residues"] += 1
        elif letters in seen:
            dropped["of the same sequence as another"] += 1
        else:
            seen.add(letters)
            yield stretch


def _rows(
    stretches: list[Stretch], database: StructureDb, annotations: Path, tables: Path
) -> list[dict[str, Any]]:
    wanted = {stretch.pdb + stretch.chain for stretch in stretches}
    domains = _domains(tables / "cath-domain-list.txt", wanted)
    proteins, enzymes = _enzymes(tables / "pdb_chain_enzyme.csv", wanted)
    accessions = {accession for found in proteins.values() for accession in found}
    terms = {
        column: _terms(annotations / branch / "goasp_annot.dat", accessions)
        for column, branch in BRANCHES.items()
    }
    rows: list[dict[str, Any]] = []
    start = 0
    for stretch in stretches:
        key = stretch.pdb + stretch.chain
        cath = domains.get(key, [])
        only = cath[0] if len(cath) == 1 else Domain("", "", "")
        letters = database.sequence[stretch.start : stretch.end].tobytes().decode("ascii")
        row: dict[str, Any] = {
            "name": f"{stretch.pdb}_{stretch.chain}",
            "sequence": letters,
            "start": start,
            "length": stretch.length,
            "first": stretch.first,
            "domains": [domain.name for domain in cath],
            "superfamilies": [domain.superfamily for domain in cath],
            "superfamily": only.superfamily,
            "topology": only.superfamily.rpartition(".")[0],
            "s35": only.s35,
            "uniprot": proteins.get(key, []),
            "ec": enzymes.get(key, []),
        }
        for column, of in terms.items():
            found = {term for accession in proteins.get(key, []) for term in of.get(accession, ())}
            row[column] = sorted(found)
        rows.append(row)
        start += stretch.length
    return rows


def _write_unpaired(path: Path, rows: list[dict[str, Any]], annotations: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paired = {accession for row in rows for accession in row["uniprot"]}
    seen = {row["sequence"] for row in rows}
    unpaired: dict[str, str] = {}
    for branch in BRANCHES.values():
        # The database lists the proteins of the annotations in the same order.
        lines = _lines(annotations / branch / "goasp_annot.dat")
        accessions = (line.rstrip("\n").partition("\t")[0] for line in lines)
        try:
            found = read_sequences(annotations / branch / "goasp.fasta")
            for accession, letters in zip(accessions, found, strict=True):
                if accession in paired or letters in seen or len(letters) not in UNPAIRED_RESIDUES:
                    continue
                seen.add(letters)
                unpaired[accession] = letters
        except SourceError:
            raise
        except (OSError, ValueError) as error:
            raise SourceError(f"{annotations / branch} cannot be read: {error}") from error
    table = pa.table({"uniprot": list(unpaired), "sequence": list(unpaired.values())})
    pq.write_table(table, path, compression="zstd")


def _domains(path: Path, wanted: set[str]) -> dict[str, list[Domain]]:
    """CATH domains by PDB code and chain, in the order of their numbers."""
    found: defaultdict[str, list[Domain]] = defaultdict(list)
    for line in _lines(path):
        if line.startswith("#") or line[:5] not in wanted:
            continue
        name, *numbers = line.split()
        superfamily = ".".join(numbers[:4])
        found[name[:5]].append(Domain(name, superfamily, f"{superfamily}.{numbers[4]}"))
    return {key: sorted(domains, key=lambda d: d.name) for key, domains in found.items()}


def _enzymes(path: Path, wanted: set[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """UniProt accessions, and EC numbers, by PDB code and chain."""
    proteins: defaultdict[str, dict[str, None]] = defaultdict(dict)
    enzymes: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for pdb, chain, accession, number in _csv(path):
        key = pdb + chain
        if key in wanted:
            proteins[key][accession] = None
            if number != "?":
                enzymes[key][number] = None
    return {k: list(v) for k, v in proteins.items()}, {k: list(v) for k, v in enzymes.items()}


def _terms(path: Path, wanted: set[str]) -> dict[str, tuple[str, ...]]:
    """GO terms by UniProt accession."""
    found = {}
    for line in _lines(path):
        accession, *terms = line.rstrip("\n").split("\t")
        if accession in wanted:
            found[accession] = tuple(dict.fromkeys(terms))
    return found


def _csv(path: Path) -> Iterable[list[str]]:
    rows = csv.reader(line for line in _lines(path) if not line.startswith("#"))
    next(rows)  # names of the columns
    return rows


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error}): unpack the packages again.") from error


def _write(
    aside: Path,
    rows: list[dict[str, Any]],
    stretches: list[Stretch],
    database: StructureDb,
    progress: bool,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.lib.format import open_memmap
    from rich.progress import track

    pq.write_table(pa.Table.from_pylist(rows), aside / "chains.parquet", compression="zstd")
    total = sum(stretch.length for stretch in stretches)
    backbone = open_memmap(aside / "backbone.npy", "w+", dtype=np.uint16, shape=(total, 4, 3))
    start = 0
    for stretch in track(stretches, description="chains", disable=not progress, transient=True):
        backbone[start : start + stretch.length] = database.backbone[stretch.start : stretch.end]
        start += stretch.length
    backbone.flush()
