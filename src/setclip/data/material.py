"""From a config to what a run needs: features, supervision, a test, things to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from setclip.config import ArraysData, BundledData, LayoutData, ManifestData, RunConfig
from setclip.config.layouts import AnyZeroShot
from setclip.data.bad_items import BAD_LIMIT, BadItem, Places, enforce_bad_limit
from setclip.data.class_tests import ClassTest, encode_class_test
from setclip.data.datasets import Dataset, load_dataset
from setclip.data.encoded import EncodedSide, encode_manifest, raw_items
from setclip.data.feature_files import read_feature_files
from setclip.data.held_out import HeldOut, held_out_about
from setclip.data.manifest import Manifest
from setclip.data.pools import (
    NO_SET,
    Examples,
    FloatArray,
    IntArray,
    Item,
    Pools,
    RawItems,
    make_pools,
)
from setclip.data.splits import (
    NEAR_DUPLICATE,
    draw_rows_of_pools,
    near_duplicate_groups,
    near_duplicates_of,
    one_per_group,
    split_by_group,
)
from setclip.encoders import open_encoder
from setclip.encoders.choices import parsed

RowsData = ManifestData | LayoutData


@dataclass(frozen=True)
class Shown:
    """How an item looks in a report.

    Attributes:
        caption: Its text, name or number.
        picture: Encoded image, or None.
        sequence: Its letters, where it is a protein's sequence.
        structure: What `proteins.packed.read_chain` reads, where it is a protein's structure.
        found_by: What finds it again where the caption does not: its path, or the first of several
            texts.
    """

    caption: str
    picture: bytes | Path | None = None
    sequence: str = ""
    structure: Item | None = None
    found_by: str = ""


@dataclass(frozen=True, eq=False)
class Captions:
    """Every caption of the test items by itself: each is right when retrieval is scored.

    Attributes:
        features: Shape [c, d].
        rows: Test item of each caption. Shape [c].
        texts: The captions. Length c.
    """

    features: FloatArray
    rows: IntArray
    texts: Sequence[str]

    @property
    def examples(self) -> Examples:
        """The captions, as features and raw."""
        return Examples(self.features, self.texts)


@dataclass(frozen=True, eq=False)
class Keys:
    """Numbers of training items: those of one number that is not negative belong together.

    Attributes:
        pairs: Negative numbers do not repeat. Shape [p].
        x_pool: Shape [n].
        y_pool: Shape [m].
    """

    pairs: IntArray
    x_pool: IntArray
    y_pool: IntArray


@dataclass(frozen=True)
class Material:
    """All that a run works with.

    Attributes:
        pools: What methods learn from.
        x_test: Features of the gallery, row-aligned with `y_test`; may have no rows. [t, d_x].
        y_test: Shape [t, d_y].
        x_shown: How each x looks: pairs, then pool, then test.
        y_shown: How each y looks: pairs, then pool, then test.
        labels: Class name of each test item, empty where there are none.
        x_name: What an x is called.
        y_name: What a y is called.
        x_encoder: Encoder of x, a name or kind and options; empty for ready features.
        y_encoder: Encoder of y.
        bad: Items that had to be left out.
        n_read: Items read, good and bad.
        leaks: Test items with a near-duplicate among the training items.
        x_test_items: What `x_test` was made of, row-aligned; empty for ready features.
        y_test_items: What `y_test` was made of.
        x_captions: Every caption of the test by itself, where x are texts and an item has several.
        y_captions: The same where y are texts.
        test_origins: Data set of each test item, where several were read as one.
        class_tests: Further sets of pictures and classes to test on.
        places: Where the items of the pools stand in what was read, by stream ("x pairs").
        held_out: What is kept out of training, in numbers.
        keys: What another split must not tear apart; None where nothing ties items together.
        near_duplicate: Cosine above which two items count as near-duplicates; infinite where all
            are distinct, however near.
    """

    pools: Pools
    x_test: FloatArray
    y_test: FloatArray
    x_shown: Sequence[Shown]
    y_shown: Sequence[Shown]
    labels: Sequence[str] = ()
    x_name: str = "x"
    y_name: str = "y"
    x_encoder: str | dict[str, Any] = ""
    y_encoder: str | dict[str, Any] = ""
    bad: Sequence[BadItem] = ()
    n_read: int = 0
    leaks: int = 0
    x_test_items: Sequence[Item] = ()
    y_test_items: Sequence[Item] = ()
    x_captions: Captions | None = None
    y_captions: Captions | None = None
    test_origins: Sequence[str] = ()
    class_tests: Sequence[ClassTest] = ()
    places: Mapping[str, Places] = field(default_factory=dict)
    held_out: HeldOut = field(default_factory=HeldOut)
    keys: Keys | None = None
    near_duplicate: float = NEAR_DUPLICATE

    @property
    def pair_groups(self) -> IntArray:
        """Known pairs of one number are learned from together or not at all. Shape [p]."""
        distinct = np.isinf(self.near_duplicate)
        alike = () if distinct else (self.pools.x_pairs, self.pools.y_pairs)
        own = np.arange(self.pools.n_pairs) if self.keys is None else self.keys.pairs
        return near_duplicate_groups(*alike, threshold=self.near_duplicate, keys=[own])

    @property
    def test_x(self) -> Examples:
        """The gallery's first modality, as features and raw."""
        return Examples(self.x_test, self.x_test_items)

    @property
    def test_y(self) -> Examples:
        """Its partners."""
        return Examples(self.y_test, self.y_test_items)

    def row_of(self, stream: str, position: int) -> int:
        """Row of an item in what was read, as a person counts it; of arrays its place, from 0.

        Args:
            stream: As "x pool".
            position: Of the item in the stream.
        """
        place = self.places.get(stream)
        return position if place is None else int(place.rows[position])


def load_material(config: RunConfig, *, progress: bool = False) -> Material:
    """Read the data of a run, encode what is raw, hold out the test.

    Raises:
        ValueError: The data cannot be used, or too many items are bad; says which and why.
    """
    material = _of_data(config, progress)
    tests = [_class_test(test, material, config, progress) for test in config.evaluation.zero_shot]
    return replace(
        material,
        class_tests=tests,
        bad=[*material.bad, *(item for test in tests for item in test.bad)],
        n_read=material.n_read
        + sum(len(test.labels) + len(test.bad) + test.seen for test in tests),
    )


def _of_data(config: RunConfig, progress: bool) -> Material:
    data = config.data
    if isinstance(data, ArraysData):
        return _from_arrays(data)
    if isinstance(data, ManifestData | LayoutData):
        return _from_rows(config, data, data.read(seed=config.seed), progress)
    return _from_dataset(data, config.seed, progress)


def _from_arrays(data: ArraysData) -> Material:
    files = read_feature_files(**data.files)
    pools = files.pools
    return Material(
        pools,
        files.x_test,
        files.y_test,
        _numbered("x", pools.n_pairs, len(pools.x_pool), len(files.x_test)),
        _numbered("y", pools.n_pairs, len(pools.y_pool), len(files.y_test)),
        n_read=pools.n_pairs + len(pools.x_pool) + len(pools.y_pool) + len(files.x_test),
        leaks=count_leaks(pools, files.x_test, files.y_test, threshold=data.near_duplicate),
        held_out=HeldOut(
            len(files.x_test), len(files.x_test), why="data.x_test and data.y_test are not given"
        ),
        near_duplicate=data.near_duplicate,
    )


def _class_test(
    test: AnyZeroShot, material: Material, config: RunConfig, progress: bool
) -> ClassTest:
    templates = test.templates or config.evaluation.templates
    encoder = open_encoder(parsed(material.x_encoder))
    found = encode_class_test(
        test.name,
        test.read(),
        encoder,
        templates=templates,
        seen=(material.pools.x_pairs, material.pools.x_pool),
        progress=progress,
    )
    limit = getattr(config.data, "bad_limit", BAD_LIMIT)
    total = len(found.labels) + len(found.bad) + found.seen
    enforce_bad_limit(found.bad, total=total, limit=limit, source=test.name)
    return found


def _numbered(side: str, pairs: int, pool: int, test: int) -> list[Shown]:
    counts = (("pair", pairs), ("pool", pool), ("test", test))
    return [Shown(f"{side} {part} {i}") for part, n in counts for i in range(n)]


def _from_dataset(data: BundledData, seed: int, progress: bool) -> Material:
    dataset = load_dataset(data.name, folder=data.folder)
    x, y = dataset.features(progress=progress)
    groups = dataset.groups(x, y)
    train, held = split_by_group(groups, test_fraction=data.test_fraction, seed=seed)
    test = held if dataset.distinct else one_per_group(held, groups, seed=seed)
    rows = draw_rows_of_pools(
        train,
        pairs=data.pairs,
        condition=data.condition,
        set_size=data.set_size,
        concepts=dataset.concepts,
        seed=seed,
    )
    items = RawItems(
        *(_chosen(dataset.x_items, rows.pairs), _chosen(dataset.y_items, rows.pairs)),
        *(_chosen(dataset.x_items, rows.x_pool), _chosen(dataset.y_items, rows.y_pool)),
        *(dataset.x_encoder, dataset.y_encoder),
    )
    return Material(
        replace(rows.pools(x, y), items=items),
        x[test],
        y[test],
        _shown(dataset, dataset.x_items, rows.pairs, rows.x_pool, test),
        _shown(dataset, dataset.y_items, rows.pairs, rows.y_pool, test),
        [dataset.labels[i] for i in test] if any(dataset.labels) else (),
        *dataset.called,
        dataset.x_encoder if dataset.ready is None else "",
        dataset.y_encoder if dataset.ready is None else "",
        n_read=len(dataset),
        x_test_items=_chosen(dataset.x_items, test),
        y_test_items=_chosen(dataset.y_items, test),
        places=_places(
            np.arange(len(dataset)), dataset.called, rows.pairs, rows.x_pool, rows.y_pool
        ),
        held_out=HeldOut(len(held), len(test), not dataset.distinct),
        keys=Keys(groups[rows.pairs], groups[rows.x_pool], groups[rows.y_pool]),
        near_duplicate=np.inf if dataset.distinct else NEAR_DUPLICATE,
    )


def _places(
    numbers: IntArray,
    fields: tuple[str, str],
    pairs: IntArray,
    x_pool: IntArray,
    y_pool: IntArray,
    sources: Sequence[str] = (),
) -> dict[str, Places]:
    """Where the items of each stream stand, of positions in data whose rows have these numbers."""
    streams = {"x pairs": pairs, "y pairs": pairs, "x pool": x_pool, "y pool": y_pool}
    return {
        stream: Places(
            fields[0] if stream.startswith("x") else fields[1],
            numbers[positions],
            [sources[i] for i in positions] if sources else (),
        )
        for stream, positions in streams.items()
    }


def _chosen(items: Sequence[Item], rows: IntArray) -> list[Item]:
    return [items[row] for row in rows]


def _shown(dataset: Dataset, items: Sequence[Item], *parts: IntArray) -> list[Shown]:
    rows = np.concatenate(parts)
    captions = dataset.captions
    if dataset.called == ("sequence", "structure"):
        letters = isinstance(items[0], str)
        return [
            Shown(captions[row], sequence=str(items[row]))
            if letters
            else Shown(captions[row], structure=items[row])
            for row in rows
        ]
    return [Shown(captions[row], dataset.thumbnail(row)) for row in rows]


def _from_rows(config: RunConfig, data: RowsData, manifest: Manifest, progress: bool) -> Material:
    encoders = config.encoder_options
    manifest, x_side, y_side = encode_manifest(
        manifest, open_encoder(encoders["x"]), open_encoder(encoders["y"]), progress=progress
    )
    x, y = x_side.features, y_side.features
    enforce_bad_limit(manifest.bad, total=manifest.n_read, limit=data.bad_limit, source=data.source)
    pairs = manifest.pairs
    held, test, held_out = _test_pairs(manifest, data, x, y, config.seed)
    known = np.setdiff1d(pairs, held)
    known = known[~np.isin(manifest.groups[known], _groups_of(manifest, held))]
    # Unpaired rows of the test part, of a group that the test holds, or much like a test item
    # would leak.
    hidden = np.zeros(len(manifest), dtype=bool) if manifest.test is None else manifest.test
    hidden = hidden | np.isin(manifest.groups, _groups_of(manifest, held))
    x_pool, y_pool = (rows[~hidden[rows]] for rows in (manifest.x_only, manifest.y_only))
    if manifest.test is None:
        like = partial(near_duplicates_of, threshold=data.near_duplicate)
        x_pool = x_pool[~like(x[x_pool], x[held])]
        y_pool = y_pool[~like(y[y_pool], y[held])]
    left_out = (
        len(pairs) - len(held) - len(known),
        len(manifest.x_only) - len(x_pool),
        len(manifest.y_only) - len(y_pool),
    )
    pools = make_pools(
        x[known],
        y[known],
        x_pool=x[x_pool],
        y_pool=y[y_pool],
        x_sets=manifest.sets[x_pool],
        y_sets=manifest.sets[y_pool],
    )
    x_modality, y_modality = data.modalities["x"], data.modalities["y"]
    x_items = [raw_items(manifest.x, x_modality, rows) for rows in (known, x_pool, test)]
    y_items = [raw_items(manifest.y, y_modality, rows) for rows in (known, y_pool, test)]
    return Material(
        replace(
            pools,
            items=RawItems(
                *(x_items[0], y_items[0], x_items[1], y_items[1]), encoders["x"], encoders["y"]
            ),
        ),
        x[test],
        y[test],
        [look(item, x_modality) for part in x_items for item in part],
        [look(item, y_modality) for part in y_items for item in part],
        [manifest.label_names[i] if i >= 0 else "" for i in manifest.labels[test]]
        if manifest.label_names
        else (),
        x_modality,
        "caption" if (x_modality, y_modality) == ("image", "text") else y_modality,
        encoders["x"].described,
        encoders["y"].described,
        manifest.bad,
        manifest.n_read,
        count_leaks(pools, x[test], y[test], threshold=data.near_duplicate),
        x_test_items=x_items[2],
        y_test_items=y_items[2],
        x_captions=_captions(x_side, x_items[2], test),
        y_captions=_captions(y_side, y_items[2], test),
        test_origins=[manifest.origins[i] for i in test] if manifest.origins else (),
        places=_places(
            manifest.rows,
            (manifest.columns.x, manifest.columns.y),
            *(known, x_pool, y_pool),
            manifest.origins,
        ),
        held_out=replace(held_out, left_out=left_out),
        keys=Keys(_keys(manifest, known), _keys(manifest, x_pool), _keys(manifest, y_pool)),
        near_duplicate=data.near_duplicate,
    )


def _captions(side: EncodedSide, items: Sequence[Item], test: IntArray) -> Captions | None:
    if not any(isinstance(item, tuple) for item in items):
        return None
    features, rows = side.of(test)
    left = [iter(item if isinstance(item, tuple) else (str(item),)) for item in items]
    return Captions(features, rows, [next(left[row]) for row in rows])


def _test_pairs(
    manifest: Manifest, data: RowsData, x: FloatArray, y: FloatArray, seed: int
) -> tuple[IntArray, IntArray, HeldOut]:
    """Pairs kept out of training, those of them that make the gallery, and both in numbers."""
    pairs = manifest.pairs
    none = pairs[:0]
    if manifest.test is not None or data.held_out is None:
        given = none if manifest.test is None else pairs[manifest.test[pairs]]
        return given, given, HeldOut(len(given), len(given), why="no pair is marked as test")
    if not held_out_about(len(pairs), data.held_out):
        why = f"a share of {data.held_out:g} of {len(pairs)} pairs is less than 2"
        return none, none, HeldOut(why=why)
    groups = near_duplicate_groups(
        x[pairs], y[pairs], threshold=data.near_duplicate, keys=[_keys(manifest, pairs)]
    )
    if len(np.unique(groups)) < 2:
        why = f"all {len(pairs)} pairs are near-duplicates of each other, or of one group"
        return none, none, HeldOut(why=why)
    _, held = split_by_group(groups, test_fraction=data.held_out, seed=seed)
    test = one_per_group(held, groups, seed=seed)
    return pairs[held], pairs[test], HeldOut(len(held), len(test), grouped=True)


def _keys(manifest: Manifest, rows: IntArray) -> IntArray:
    """The named group of each row; a number of its own for a row of none."""
    named = manifest.groups[rows]
    keys: IntArray = np.where(named == NO_SET, -1 - np.arange(len(rows)), named)
    return keys


def _groups_of(manifest: Manifest, rows: IntArray) -> IntArray:
    groups = np.unique(manifest.groups[rows])
    named: IntArray = groups[groups != NO_SET]
    return named


def look(item: Item, modality: str) -> Shown:
    """How a raw item is shown: a picture, a text, or a protein's sequence or structure."""
    if isinstance(item, tuple):
        return Shown(f"{item[0]} (and {len(item) - 1} more)", found_by=item[0])
    if modality == "sequence":
        return Shown("", sequence=str(item))
    if modality == "structure":
        if isinstance(item, bytes):
            return Shown("", structure=item)
        return Shown(Path(item).name, structure=item, found_by=str(item))
    return Shown(item.name, item) if isinstance(item, Path) else Shown(str(item))


def count_leaks(pools: Pools, x_test: FloatArray, y_test: FloatArray, *, threshold: float) -> int:
    """Test items whose x or y has a near-duplicate (cosine above `threshold`) in training."""
    near = np.zeros(len(x_test), dtype=bool)
    for test, parts in (
        (x_test, (pools.x_pairs, pools.x_pool)),
        (y_test, (pools.y_pairs, pools.y_pool)),
    ):
        for part in parts:
            near |= near_duplicates_of(test, part, threshold=threshold)
    return int(near.sum())
