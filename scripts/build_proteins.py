"""Make src/setclip/data/bundled/proteins.parquet from the set `setclip data build protein-chains`.

    setclip data build protein-chains --target chains
    python scripts/build_proteins.py chains

Chosen are chains that are one CATH domain as a whole, of 40 to 150 residues, one of each cluster of
35 % identity, from superfamilies that have several of them: first all superfamilies whose topology
holds another such superfamily, for what is measured across superfamilies, then the largest. GO
terms stay behind: their source is under the GPL.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from setclip.data.atomic import replacing, write_text
from setclip.data.datasets import BUNDLED
from setclip.data.proteins import ProteinSet, load_proteins, pack_backbone

RESIDUES = range(40, 151)
FEWEST, MOST = 3, 6  # chains of a superfamily
CHAINS = 1000
LICENCE = """\
1,000 protein chains that are one CATH domain each: sequence, backbone atoms N, CA and C, labels.

Coordinates and sequences: Protein Data Bank (https://www.wwpdb.org), CC0 1.0; taken from ProMod3's
structure database (promod3-data 3.2.1, Apache-2.0, Studer et al., PLOS Computational Biology 2021),
centred and rounded to 0.01 A. Each row names its PDB entry.

superfamily and s35: CATH 4.3.0 (https://www.cathdb.info, Sillitoe et al., Nucleic Acids Research
2021), CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/); a selection of its domain list.

ec: SIFTS (https://www.ebi.ac.uk/pdbe/docs/sifts, Dana et al., Nucleic Acids Research 2019) of
2024-03-09 with UniProt (https://www.uniprot.org), CC BY 4.0; a selection.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what `setclip data build` made")
    parser.add_argument("--target", type=Path, default=BUNDLED)
    options = parser.parse_args()
    chains = load_proteins("protein-chains", folder=options.folder)
    domains = pq.read_table(options.folder / "chains.parquet")["domains"].to_pylist()
    rows = choose(chains, [len(d) == 1 and d[0].endswith("00") for d in domains])
    table = pa.table(
        {
            "name": [chains.names[i] for i in rows],
            "sequence": [chains.sequences[i] for i in rows],
            "superfamily": [chains.superfamilies[i] for i in rows],
            "s35": [chains.s35[i] for i in rows],
            "ec": pa.array([chains.ec[i] for i in rows], pa.list_(pa.string())),
            "backbone": pa.array([packed(chains, i) for i in rows], pa.binary()),
        }
    )
    path = options.target / "proteins.parquet"
    with replacing(path) as aside:
        pq.write_table(
            table, aside, compression="zstd", compression_level=22, use_dictionary=["superfamily"]
        )
    write_text(options.target / "proteins.LICENSE.txt", LICENCE)
    print(f"{path}: {len(rows):,} chains, {path.stat().st_size / 1e6:.2f} MB")


def choose(chains: ProteinSet, whole: list[bool]) -> list[int]:
    members: defaultdict[str, dict[str, int]] = defaultdict(dict)
    lengths = np.diff(chains.starts)
    for i in sorted(range(len(chains)), key=chains.names.__getitem__):
        if whole[i] and lengths[i] in RESIDUES:
            members[chains.superfamilies[i]].setdefault(chains.s35[i], i)
    rich = {name: list(of.values()) for name, of in members.items() if len(of) >= FEWEST}
    neighbours = Counter(name.rpartition(".")[0] for name in rich)
    order = sorted(rich, key=lambda s: (neighbours[s.rpartition(".")[0]] < 2, -len(rich[s]), s))
    rows = [i for name in order for i in rich[name][:MOST]][:CHAINS]
    counts = Counter(chains.superfamilies[i] for i in rows)
    return sorted(
        (i for i in rows if counts[chains.superfamilies[i]] >= FEWEST), key=chains.names.__getitem__
    )


def packed(chains: ProteinSet, row: int) -> bytes:
    atoms = chains.coordinates[chains.starts[row] : chains.starts[row + 1], :3].astype(np.int32)
    centred = atoms - np.rint(atoms[:, 1].mean(axis=0)).astype(np.int32)
    return pack_backbone(centred.astype(np.int16))


if __name__ == "__main__":
    main()
