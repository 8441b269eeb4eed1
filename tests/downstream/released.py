"""Released sets written small, with chains whose letters and shape tell their class."""

from __future__ import annotations

import numpy as np
from proteins.backbones import chain

KINDS = ("AG", "LV", "KE")
FOLDS = ("a.1", "b.2", "c.3")
IDENTITIES = (30, 40, 50, 70, 95)


def chains_of(n, prefix, seed):
    """n chains, the i-th of class i modulo 3: its letters say which."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        made = chain(int(rng.integers(10, 16)), rng, name=f"{prefix}{i}-A")
        letters = "".join(rng.choice(list(KINDS[i % 3]), size=len(made.sequence)))
        found.append((made.name, letters, made.ca))
    return found


def put(folder, fasta, coordinates, chains):
    coordinates.mkdir(parents=True, exist_ok=True)
    (folder / fasta).write_text("".join(f">{name}\n{letters}\n" for name, letters, _ in chains))
    for name, _, ca in chains:
        np.save(coordinates / f"{name}.npy", ca)


def write_fold(folder, train=12, other=6):
    """IEConv's fold: five parts, one of whose chains has no coordinates."""
    (folder / "class_map.txt").write_text("".join(f"{f}\t{i}\n" for i, f in enumerate(FOLDS)))
    parts = ("training", "validation", "test_fold", "test_superfamily", "test_family")
    for number, part in enumerate(parts):
        chains = chains_of(other if number else train, f"{number}f", number)
        put(folder, f"{part}.fasta", folder / "coordinates" / part, chains)
        lines = [f"{name}\tx\t{FOLDS[i % 3]}\n" for i, (name, _, _) in enumerate(chains)]
        (folder / f"{part}.txt").write_text("".join(lines))
    (folder / "coordinates" / "test_family" / "4f0-A.npy").unlink()
    return folder


def write_reaction(folder, train=12, other=6):
    """IEConv's reaction: three parts and one table of classes."""
    rows = []
    for number, part in enumerate(("training", "validation", "testing")):
        chains = chains_of(other if number else train, f"{number}r", number)
        put(folder, f"chain_{part}.fasta", folder / "coordinates", chains)
        rows += [f"{name},{i % 3}\n" for i, (name, _, _) in enumerate(chains)]
    (folder / "chain_functions.txt").write_text("".join(rows))
    return folder


def write_nrpdb(folder, train=12, other=6):
    """nrPDB's EC and GO, with the identity of each test chain to the training part."""
    terms = {0: "1.1.1.1", 1: "2.7.1.1", 2: "1.1.1.1,3.4.4.4"}
    go = {0: "GO:1\t\tGO:7", 1: "GO:1,GO:2\tGO:5\tGO:7", 2: "GO:3\tGO:6\tGO:8"}
    ec_rows, go_rows, flags = [], [], ["PDB-chain,<30%,<40%,<50%,<70%,<95%\n"]
    for number, part in enumerate(("train", "valid", "test")):
        chains = chains_of(other if number else train, f"{number}n", number)
        put(folder, f"{part}.fasta", folder / "coordinates", chains)
        for i, (name, _, _) in enumerate(chains):
            ec_rows.append(f"{name}\t{terms[i % 3]}\n")
            go_rows.append(f"{name}\t{go[i % 3]}\n")
            if part == "test":
                below = ",".join("1" if identity > 50 or i < 3 else "0" for identity in IDENTITIES)
                flags.append(f"{name},{below}\n")
    head = "### EC\n1.1.1.1\t2.7.1.1\t3.4.4.4\n### chain\tEC\n"
    (folder / "nrPDB-EC_annot.tsv").write_text(head + "".join(ec_rows))
    blocks = [
        "### MF\nGO:1\tGO:2\tGO:3\n### names\n\n",
        "### BP\nGO:5\tGO:6\n### names\n\n",
        "### CC\nGO:7\tGO:8\n### names\n\n",
        "### PDB-chain\tMF\tBP\tCC\n",
    ]
    (folder / "nrPDB-GO_2019.06.18_annot.tsv").write_text("".join(blocks + go_rows))
    for stem in ("nrPDB-EC", "nrPDB-GO_2019.06.18"):
        (folder / f"{stem}_test.csv").write_text("".join(flags))
    return folder
