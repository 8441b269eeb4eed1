"""The user's own data: which method, on these pairs, and do the unpaired items help?"""

from __future__ import annotations

import numpy as np

from setclip.benchmark.cells import TEST_FRACTION, BenchmarkMethod, Condition
from setclip.benchmark.data import BenchmarkData
from setclip.benchmark.replaced import K
from setclip.benchmark.suites import (
    OF_CONFIG,
    PAIRS,
    PAIRS_ALONE,
    SEEDS,
    Setting,
    Suite,
    named_method,
)
from setclip.config import RunConfig
from setclip.data.material import load_material
from setclip.data.pools import NO_SET, IntArray
from setclip.data.splits import split_by_group

FEWEST = 20
"""Known pairs below which a quarter of them measures nothing."""
FEWEST_GROUPS = 8
"""Groups of pairs below which a quarter of them is no gallery."""


def own_data(config: RunConfig, *, name: str, progress: bool = True) -> BenchmarkData:
    """The pairs of a config as matched items, and its unpaired items and sets.

    Near-duplicates and the config's groups stay together. Test items of the config take no part:
    they stay fresh for the method that is chosen here.

    Args:
        config: A run's; of its fields the data, encoders and seed matter.
        name: What to call it in messages.
        progress: Show a bar while items are encoded.

    Raises:
        ValueError: Too few pairs to hold some out, or the data cannot be used.
    """
    material = load_material(config, progress=progress)
    pools = material.pools
    if pools.n_pairs < FEWEST:
        raise ValueError(
            f"{name} knows {pools.n_pairs} pairs beside its test. A benchmark measures on a "
            f"quarter of them, which takes {FEWEST} or more: match some more items, or compare "
            "methods on the config's test, with `compare:` and `setclip fit`."
        )
    keys = material.keys
    # Of some data all items are distinct, however near, and their concepts alone tie them together.
    near = material.near_duplicate
    distinct, groups = np.isinf(near), material.pair_groups
    n_groups = len(np.unique(groups))
    if 1 < n_groups < FEWEST_GROUPS:
        raise ValueError(
            f"the {pools.n_pairs} pairs of {name} are {n_groups} groups (near-duplicates, or of "
            "one name), which lie whole in training or test: a quarter of them is no gallery. A "
            f"benchmark takes {FEWEST_GROUPS} or more; groups of smaller units, or a higher "
            "data.near_duplicate if the items are distinct, give more."
        )
    if n_groups < 2:
        remedy = "" if distinct else "; or raise data.near_duplicate, if they are distinct items"
        alike = "" if distinct else f"near-duplicates of each other (cosine above {near:g}) or "
        raise ValueError(
            f"all {pools.n_pairs} pairs of {name} are {alike}of one group, so none can be held out "
            "fairly: give pairs of different items and groups, or encoders that tell them apart"
            f"{remedy}."
        )
    x_any, y_any = len(pools.x_pool) > 0, len(pools.y_pool) > 0
    return BenchmarkData(
        pools.x_pairs,
        pools.y_pairs,
        groups,
        x_pool=pools.x_pool if x_any else None,
        y_pool=pools.y_pool if y_any else None,
        x_sets=pools.x_sets if x_any else None,
        y_sets=pools.y_sets if y_any else None,
        x_pool_groups=_same(keys.x_pool, keys.pairs, groups) if keys and x_any else None,
        y_pool_groups=_same(keys.y_pool, keys.pairs, groups) if keys and y_any else None,
        near=np.asarray(near, dtype=np.float32),
    )


def _same(keys: IntArray, known: IntArray, groups: IntArray) -> IntArray:
    """The group of the known pairs that have a row's key, `NO_SET` if none has."""
    named = dict(zip(known.tolist(), groups.tolist(), strict=True))
    found = [named.get(key, NO_SET) if key >= 0 else NO_SET for key in keys.tolist()]
    return np.asarray(found, dtype=np.int64)


def own_suite(config: RunConfig, data: BenchmarkData, *, name: str) -> Suite:
    """The usual numbers of pairs as far as the known ones reach, on the config's own pools.

    Its methods are `cca`, the same and `kernel cca` on the pairs alone, `clip`, `auto`, and
    `config`, the method that the config names, unless it is one of these or trains encoders.

    Args:
        config: The run's.
        data: What :func:`own_data` made of it.
        name: What its data are called in tables.
    """
    method = config.method
    assert isinstance(method, BenchmarkMethod)
    splits = [
        split_by_group(data.groups, test_fraction=TEST_FRACTION, seed=s) for s in range(SEEDS)
    ]
    most = min(len(train) for train, _ in splits)
    gallery = min(len(np.unique(data.groups[test])) for _, test in splits)
    condition: Condition = "disjoint" if data.own is None else "own"
    usual = ("cca", "cca-pairs", "kernel-cca-pairs", "clip", "auto")
    title = f"The methods on the data of {name}"
    # On the pairs alone a method is not what the config asks for.
    there = method in (named_method(name)[1] for name in usual if name not in PAIRS_ALONE)
    trains = config.method.trains_encoders
    own = () if there or trains else ("config",)
    if trains:
        title += f", on frozen features ({method.kind} trains encoders: compare by `compare:`)"
    if gallery <= K:
        title += (
            f"; a gallery holds {gallery} items, so R@{K} is 100 % whatever the method: "
            "look at R@1, or match more items"
        )
    return Suite(
        title,
        (name,),
        tuple(Setting(condition, p) for p in (*(p for p in PAIRS if p < most), most)),
        (*usual, *own),
        known={"config": (method.kind + OF_CONFIG, method)},
    )
