"""Several sets read as one manifest, the pairing of its training part hidden as a study says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from setclip.data.layouts.rows import Part, Row, Rows
from setclip.data.manifest import NO_ID, BoolArray, Columns, Manifest
from setclip.data.pools import NO_SET, IntArray
from setclip.data.splits import Condition, draw_rows_of_pools
from setclip.data.tables import Cell, ManifestError

Learn = Literal["all", "pairs", "pools", "nothing"]
Rest = Condition | Literal["x", "y", "none"]
Words = npt.NDArray[np.str_]

COLUMNS = Columns(x="image", y="caption", x_modality="image", y_modality="text")


@dataclass(frozen=True)
class Member:
    """One set of a merge.

    Attributes:
        name: What it is called.
        found: What was read of it.
        learn: What its training part gives.
        measure: Whether its test part is measured.
        part: What the rows are of which the layout does not say it; None to hold some out.
    """

    name: str
    found: Rows
    learn: Learn = "all"
    measure: bool = True
    part: Part | None = None


@dataclass(frozen=True)
class Known:
    """What is known of the pairs of the training part.

    Attributes:
        pairs: How many pairs stay; None for as many as `share` says.
        share: Share of the pairs that stay.
        rest: What the others give: both sides in unrelated orders, one side of one half and the
            other of the other half, both sides in matched sets, pictures, captions, or nothing.
        pool: How many of the others are used at most; None for all.
        set_size: Items of a matched set.
    """

    pairs: int | None = None
    share: float = 1.0
    rest: Rest = "overlapping"
    pool: int | None = None
    set_size: int = 16


def merge(
    members: Sequence[Member],
    known: Known,
    *,
    use_validation: bool = False,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Manifest:
    """Read sets as one, split it, and hide the pairing of its training part.

    A row whose pairing is hidden becomes one or two rows of one cell, of the same number. Fewer
    pairs of one seed are a subset of more.

    Args:
        members: The sets; a picture that two of them hold is in both.
        known: What stays known.
        use_validation: Whether rows of a validation part train too.
        test_fraction: Share of the pairs to hold out of a set that has no part of its own.
        seed: Of what is held out and of what stays known.

    Raises:
        ManifestError: More pairs are asked for than there are.
    """
    manifest, parts, owners = _merged(members, use_validation)
    rng = np.random.default_rng(seed)
    for i, member in enumerate(members):
        _hold_out(parts, manifest.pairs, owners == i, member.part, test_fraction, rng)
    measured = np.asarray([member.measure for member in members])[owners]
    test = np.flatnonzero((parts == "test") & measured)
    training = parts == "train"
    learn = np.asarray([member.learn for member in members])[owners]
    paired = np.zeros(len(manifest), dtype=bool)
    paired[manifest.pairs] = True
    order = rng.permutation(np.flatnonzero(training & paired & (learn != "nothing")))
    able = order[learn[order] != "pools"]
    stay = able[: _how_many(known, len(able), manifest)]
    rest = order[(learn[order] != "pairs") & ~np.isin(order, stay)][: known.pool]
    x_rest, y_rest, x_sets, y_sets = _hidden(rest, known, seed)
    alone = training & np.isin(learn, ["all", "pools"])
    x_only, y_only = (rows[alone[rows]] for rows in (manifest.x_only, manifest.y_only))
    return _arranged(
        manifest, test, np.sort(stay), x_only, y_only, x_rest, y_rest, (x_sets, y_sets)
    )


def _merged(members: Sequence[Member], use_validation: bool) -> tuple[Manifest, Words, IntArray]:
    """All rows in one manifest, with the part ("" if nothing is said) and the set of each."""
    rows: list[Row] = [row for member in members for row in member.found.rows]
    owners = np.repeat(np.arange(len(members)), [len(member.found.rows) for member in members])
    parts = np.asarray([row.part or "" for row in rows], dtype="U10")
    if use_validation:
        parts[parts == "validation"] = "train"
    names: dict[str, int] = {}
    labels = [names.setdefault(row.label, len(names)) if row.label else NO_ID for row in rows]
    none = np.full(len(rows), NO_ID, dtype=np.int64)
    bad = [replace(item, source=member.name) for member in members for item in member.found.bad]
    manifest = Manifest(
        path=Path(", ".join(member.name for member in members)),
        columns=COLUMNS,
        rows=np.asarray([row.number for row in rows], dtype=np.int64),
        x=[row.image for row in rows],
        y=[_cell(row.captions) for row in rows],
        sets=none,
        groups=none,
        labels=np.asarray(labels, dtype=np.int64),
        set_names=[],
        group_names=[],
        label_names=list(names),
        test=None,
        bad=bad,
        n_read=len(rows) + len(bad),
        origins=[member.name for member in members for _ in member.found.rows],
    )
    return manifest, parts, owners


def _cell(captions: tuple[str, ...]) -> Cell:
    return captions if len(captions) > 1 else next(iter(captions), None)


def _hold_out(
    parts: Words,
    pairs: IntArray,
    own: BoolArray,
    part: Part | None,
    test_fraction: float,
    rng: np.random.Generator,
) -> None:
    """Say of the rows of a set what they are, where the layout does not; changes `parts`."""
    unsaid = own & (parts == "")
    if not unsaid.any():
        return
    parts[unsaid] = part or "train"
    if part is None and not (parts[own] == "test").any():
        candidates = pairs[unsaid[pairs]]
        chosen = rng.permutation(candidates)[: round(test_fraction * len(candidates))]
        parts[chosen] = "test"


def _how_many(known: Known, able: int, manifest: Manifest) -> int:
    if known.pairs is None:
        return round(known.share * able)
    if known.pairs > able:
        raise ManifestError(
            f"{manifest.path}: data.pairs is {known.pairs:,}, but the training part holds "
            f"{able:,} pairs. Ask for that many or fewer."
        )
    return known.pairs


def _hidden(
    rest: IntArray, known: Known, seed: int
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Rows that give their picture, rows that give their captions, and the sets of both."""
    none = rest[:0]
    if known.rest == "none":
        return none, none, none, none
    no_sets = np.full(len(rest), NO_SET, dtype=np.int64)
    if known.rest == "x":
        return rest, none, no_sets, none
    if known.rest == "y":
        return none, rest, none, no_sets
    drawn = draw_rows_of_pools(
        rest, pairs=0, condition=known.rest, set_size=known.set_size, seed=seed
    )
    return drawn.x_pool, drawn.y_pool, drawn.x_sets, drawn.y_sets


def _arranged(
    manifest: Manifest,
    test: IntArray,
    stay: IntArray,
    x_only: IntArray,
    y_only: IntArray,
    x_rest: IntArray,
    y_rest: IntArray,
    rest_sets: tuple[IntArray, IntArray],
) -> Manifest:
    """The rows in the order of the arguments, each with the cells that stay known."""
    parts = (test, stay, x_only, y_only, x_rest, y_rest)
    found = manifest.take(np.concatenate(parts))
    ends = np.cumsum([len(part) for part in parts])
    without_y = np.arange(ends[3], ends[4])
    without_x = np.arange(ends[4], ends[5])
    x: list[Cell] = list(found.x)
    y: list[Cell] = list(found.y)
    for i in without_y:
        y[i] = None
    for i in without_x:
        x[i] = None
    sets = found.sets.copy()
    sets[without_y], sets[without_x] = rest_sets
    names = [str(i) for i in range(int(sets.max(initial=NO_SET)) + 1)]
    is_test = np.arange(len(found)) < ends[0]
    return replace(found, x=x, y=y, sets=sets, set_names=names, test=is_test)
