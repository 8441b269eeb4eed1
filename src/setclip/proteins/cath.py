"""CATH 4.2 as the generative-model papers share it: chain_set.jsonl and its splits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from setclip.modalities import BadItemError
from setclip.proteins.chains import Chain, Repairs, flaw, joined
from setclip.proteins.fasta import clean_sequence

ATOMS = ("N", "CA", "C", "O")


@dataclass(frozen=True)
class ChainSet:
    """The chains of a chain_set.jsonl.

    Attributes:
        chains: In the file's order, those that can be used.
        topologies: CATH topologies (such as "1.10.530") of each chain.
        bad: Lines that cannot be used.
    """

    chains: tuple[Chain, ...]
    topologies: tuple[tuple[str, ...], ...]
    bad: tuple[BadItemError, ...]


def read_chain_set(path: str | Path) -> ChainSet:
    """Read chains and their CATH topologies, one JSON object a line.

    Residues without alpha carbon (null or NaN) are left out; `index` keeps their place.

    Raises:
        FileNotFoundError: There is no such file.
    """
    chains, topologies, bad = [], [], []
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                chain = _chain(record)
                topology = tuple(str(node) for node in record.get("CATH") or [])
            except BadItemError as error:
                bad.append(BadItemError(f"{path}, line {number}", f"{error.item}: {error.reason}"))
                continue
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                reason = f"not a chain of this format ({type(error).__name__}: {error})"
                bad.append(BadItemError(f"{path}, line {number}", reason))
                continue
            chains.append(chain)
            topologies.append(topology)
    return ChainSet(tuple(chains), tuple(topologies), tuple(bad))


def read_splits(path: str | Path) -> dict[str, list[str]]:
    """Names of the chains of each split, from chain_set_splits.json.

    Raises:
        ValueError: The file lacks one of the splits train, validation and test.
    """
    held = json.loads(Path(path).read_text(encoding="utf-8"))
    missing = [s for s in ("train", "validation", "test") if s not in held]
    if missing:
        raise ValueError(f"{path} has no split {missing[0]!r}; is it chain_set_splits.json?")
    return {split: list(held[split]) for split in ("train", "validation", "test")}


def _chain(record: dict[str, Any]) -> Chain:
    name = str(record["name"])
    letters = clean_sequence(record["seq"], name=name)
    atoms = [np.array(record["coords"][atom], dtype=np.float32) for atom in ATOMS]
    backbone = np.stack(atoms, axis=1)
    if backbone.shape != (len(letters), 4, 3):
        raise BadItemError(
            name, f"{len(letters)} letters for coordinates of shape {list(backbone.shape)}"
        )
    has_ca = np.isfinite(backbone[:, 1]).all(axis=1)
    if not has_ca.any():
        raise BadItemError(name, "no residue has an alpha carbon")
    index = np.flatnonzero(has_ca).astype(np.int32)
    backbone = backbone[has_ca]
    ca = backbone[:, 1].copy()
    if reason := flaw(ca):
        raise BadItemError(name, reason)
    letters = "".join(letters[i] for i in index)
    return Chain(
        name=name,
        sequence=letters,
        ca=ca,
        index=index - index[0],
        backbone=backbone,
        repairs=Repairs(
            without_ca=int((~has_ca).sum()),
            incomplete=int((~np.isfinite(backbone).all(axis=(1, 2))).sum()),
            unknown=letters.count("X"),
            breaks=int((~joined(ca)).sum()),
        ),
    )
