import json

import numpy as np
import pytest
from proteins.backbones import chain

from setclip.proteins.cath import read_chain_set, read_splits


def record(made, **changes):
    coords = {atom: made.backbone[:, i].tolist() for i, atom in enumerate(("N", "CA", "C", "O"))}
    return {"name": "1abc.A", "seq": made.sequence, "coords": coords, "CATH": ["1.10.8"], **changes}


def test_chain_set(tmp_path):
    made = chain(30, np.random.default_rng(0))
    gap = record(made, name="2gap.A")
    nan = [float("nan")] * 3
    for atom in ("N", "CA", "C", "O"):
        gap["coords"][atom][0] = nan
        gap["coords"][atom][12] = nan
    gap["coords"]["O"][5] = nan
    flat = record(made, name="flat")
    flat["coords"] = {atom: [[0, 0, 0]] * 30 for atom in flat["coords"]}
    none = record(made, name="none")
    none["coords"] = {atom: [nan] * 30 for atom in none["coords"]}
    unlabelled = record(made, name="3abc.A")
    del unlabelled["CATH"]
    null = record(made, name="4abc.A")
    null["CATH"] = None
    lines = [
        record(made),
        gap,
        record(made, seq="ACD"),
        flat,
        none,
        unlabelled,
        {"name": "x"},
        [1],
        null,
    ]
    path = tmp_path / "chain_set.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines[:2]), "", *map(json.dumps, lines[2:]), "{"]))
    read = read_chain_set(path)
    assert [c.name for c in read.chains] == ["1abc.A", "2gap.A", "3abc.A", "4abc.A"]
    assert read.topologies == (("1.10.8",), ("1.10.8",), (), ())
    np.testing.assert_array_equal(read.chains[0].backbone, made.backbone)
    gapped = read.chains[1]
    kept = np.r_[1:12, 13:30]
    assert gapped.sequence == "".join(made.sequence[i] for i in kept)
    np.testing.assert_array_equal(gapped.index, kept - 1)
    r = gapped.repairs
    assert (r.without_ca, r.incomplete, r.breaks, r.unknown) == (2, 1, 1, 0)
    wrong = [str(error).removeprefix(f"{path}, ") for error in read.bad]
    for said, expected in zip(
        wrong,
        [
            "line 4: 1abc.A: 3 letters",
            "line 5: flat: 29 of 29",
            "line 6: none: no residue",
            "line 8: not a chain of this format (KeyError",
            "line 9: not a chain of this format (TypeError",
            "line 11: not a chain of this format (JSONDecodeError",
        ],
        strict=True,
    ):
        assert said.startswith(expected)


def test_splits(tmp_path):
    path = tmp_path / "chain_set_splits.json"
    path.write_text(json.dumps({"train": ["a"], "validation": [], "test": ["b"], "cath_nodes": {}}))
    assert read_splits(path) == {"train": ["a"], "validation": [], "test": ["b"]}
    path.write_text('{"train": []}')
    with pytest.raises(ValueError, match="no split 'validation'"):
        read_splits(path)
