"""Look at the data of a run before training: read everything, train nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from setclip.config import ArraysData, BundledData, LayoutData, ManifestData, RunConfig
from setclip.config.layouts import AnyZeroShot
from setclip.data.arrays import ArrayFileError
from setclip.data.captions import encode_items
from setclip.data.check.advice import (
    advise,
    method_findings,
    raw_items_findings,
    supervision_findings,
)
from setclip.data.check.features import (
    grouping_findings,
    leak_findings,
    matrix_findings,
    near_leak_findings,
)
from setclip.data.check.findings import (
    CheckResult,
    Finding,
    Supervision,
    by_severity,
    count_supervision,
)
from setclip.data.check.items import bad_item_findings, item_findings, read_contents
from setclip.data.datasets import Dataset, load_dataset
from setclip.data.feature_files import FeatureFiles, read_feature_files
from setclip.data.held_out import held_out_about
from setclip.data.manifest import Manifest
from setclip.data.pools import NO_SET, FloatArray, IntArray, Pools, make_pools
from setclip.data.splits import NEAR_DUPLICATE, PoolRows, draw_rows_of_pools
from setclip.data.tables import ManifestError
from setclip.diagnosis import Diagnosis, diagnose_pools, shared_geometry
from setclip.encoders import open_encoder
from setclip.encoders.hub import WeightsUnavailableError
from setclip.encoders.options import EncoderOptions
from setclip.evaluation.alignability import FEWEST_PAIRS, Alignability
from setclip.linear.clouds import LEAST_ROWS

__all__ = ["CheckResult", "Finding", "Supervision", "check"]

ENCODED_PAIRS = 1_000
"""Pairs encoded to measure alignability: enough for an interval of a few points."""

ENCODED_POOL = 4_000
"""Unpaired items a side encoded to compare shapes: as many as the search of a map looks at."""


def check(
    config: RunConfig, *, features: bool = True, deep: bool = False, progress: bool = False
) -> CheckResult:
    """Read all the data of a run and say what stands in its way; nothing is trained.

    Args:
        config: A valid config.
        features: Also encode up to 1,000 pairs of raw items to measure shared geometry. What is
            encoded is cached, so that the run itself need not encode it again.
        deep: Also fit a map without any pair, for which up to 4,000 unpaired items a side are
            encoded, and say whether it can be believed; minutes.
        progress: Show progress bars.

    Returns:
        Findings, counts and advice. Data that cannot be read are an error finding, not an
        exception.
    """
    result = _of_data(config, features=features, deep=deep, progress=progress)
    tests = [finding for test in config.evaluation.zero_shot for finding in _of_test(test)]
    return replace(result, findings=by_severity([*result.findings, *tests]))


def _of_data(config: RunConfig, *, features: bool, deep: bool, progress: bool) -> CheckResult:
    data = config.data
    if isinstance(data, ArraysData):
        return _check_arrays(config, data, deep=deep)
    if isinstance(data, ManifestData | LayoutData):
        return _check_manifest(config, data, features=features, deep=deep, progress=progress)
    return _check_bundled(config, data, features=features, deep=deep, progress=progress)


def _of_test(test: AnyZeroShot) -> list[Finding]:
    """What stands in the way of a further test on classes."""
    try:
        found = test.read()
    except (ManifestError, ImportError) as error:
        return [_as_finding(error)]
    if not found.bad:
        return []
    message = f"evaluation.zero_shot {test.name}: {len(found.bad):,} entries cannot be used"
    remedy = "They will be skipped and listed in bad_items.jsonl; repair them if they matter."
    return [Finding("warning", f"{message}, the first: {found.bad[0]}.", remedy)]


def _check_arrays(config: RunConfig, data: ArraysData, *, deep: bool) -> CheckResult:
    source = ", ".join(data.files.values())
    try:
        files = read_feature_files(**data.files)
    except ArrayFileError as error:
        return CheckResult(source, [_as_finding(error)])
    pools = files.pools
    findings = _array_findings(files, threshold=data.near_duplicate)
    findings += raw_items_findings(config.method, config.compare)
    few = pools.n_pairs < FEWEST_PAIRS <= len(files.x_test)
    shown = (files.x_test, files.y_test) if few else (pools.x_pairs, pools.y_pairs)
    shared, unmeasured = _alignability(*shown)
    supervision = count_supervision(
        pools.n_pairs, pools.x_sets, pools.y_sets, test_pairs=len(files.x_test)
    )
    return CheckResult(
        source,
        by_severity([*findings, *unmeasured, *_count_findings(config, supervision, deep=deep)]),
        supervision,
        shared,
        advise(supervision),
        diagnosis=_diagnosis(pools, shared, data.near_duplicate, deep, config.seed),
    )


def _array_findings(files: FeatureFiles, *, threshold: float) -> list[Finding]:
    pools = files.pools
    named = {
        "x_pairs": pools.x_pairs,
        "y_pairs": pools.y_pairs,
        "x_pool": pools.x_pool,
        "y_pool": pools.y_pool,
        "x_test": files.x_test,
        "y_test": files.y_test,
    }
    findings = [f for name, rows in named.items() for f in matrix_findings(name, rows)]
    if len(files.x_test):
        findings += leak_findings("x", files.x_test, pools.all_x(), threshold=threshold)
        findings += leak_findings("y", files.y_test, pools.all_y(), threshold=threshold)
    return findings


def _check_manifest(
    config: RunConfig,
    data: ManifestData | LayoutData,
    *,
    features: bool,
    deep: bool,
    progress: bool,
) -> CheckResult:
    try:
        manifest, contents = read_contents(data.read(seed=config.seed), progress=progress)
    except (ManifestError, ImportError) as error:
        return CheckResult(data.source, [_as_finding(error)])
    findings = bad_item_findings(manifest, data.bad_limit)
    findings += item_findings(manifest, contents)
    supervision = _manifest_supervision(manifest, data)
    findings += _count_findings(config, supervision, deep=deep)
    shared = None
    diagnosis = None
    if features:
        shared, diagnosis, unmeasured = _measure(
            config, manifest, data.near_duplicate, deep=deep, progress=progress
        )
        findings += unmeasured
    return CheckResult(
        data.source,
        by_severity(findings),
        supervision,
        shared,
        advise(supervision),
        manifest.bad,
        diagnosis,
    )


def _manifest_supervision(manifest: Manifest, data: ManifestData | LayoutData) -> Supervision:
    test = np.zeros(len(manifest), dtype=bool) if manifest.test is None else manifest.test
    pairs = manifest.pairs
    held_out = (
        int(test[pairs].sum())
        if data.held_out is None
        else held_out_about(len(pairs), data.held_out)
    )
    # What is of a group of a given test is not learned from.
    tested = np.unique(manifest.groups[pairs[test[pairs]]])
    near = ~test & np.isin(manifest.groups, tested[tested != NO_SET])
    hidden = test | near
    x_only, y_only = (rows[~hidden[rows]] for rows in (manifest.x_only, manifest.y_only))
    return count_supervision(
        len(pairs) - held_out - int(near[pairs].sum()),
        manifest.sets[x_only],
        manifest.sets[y_only],
        test_pairs=held_out,
        test_drawn=data.held_out is not None,
    )


def _measure(
    config: RunConfig, manifest: Manifest, threshold: float, *, deep: bool, progress: bool
) -> tuple[Alignability | None, Diagnosis | None, list[Finding]]:
    """Encode some pairs: shared geometry, recall to expect, near-duplicates, leaks.

    If `deep`, some of the pools as well.
    """
    rows = _sample(manifest.pairs, ENCODED_PAIRS, config.seed)
    test = np.zeros(len(manifest), dtype=bool) if manifest.test is None else manifest.test
    x_only, y_only = (
        _sample(side[~test[side]], ENCODED_POOL, config.seed)
        for side in (manifest.x_only, manifest.y_only)
    )
    options = config.encoder_options
    try:
        x = _encode(options["x"], manifest.x_at(rows), progress=progress)
        y = _encode(options["y"], manifest.y_at(rows), progress=progress)
        x_pool, y_pool = x[:0], y[:0]
        if deep:
            x_pool = _encode(options["x"], manifest.x_at(x_only), progress=progress)
            y_pool = _encode(options["y"], manifest.y_at(y_only), progress=progress)
    except (ImportError, WeightsUnavailableError) as error:
        return None, None, [_as_finding(error)]
    # Whatever an encoder refuses, beyond what reading the items has found, is NaN here.
    usable = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    x, y, rows = x[usable], y[usable], rows[usable]
    shared, findings = _alignability(x, y)
    test = test[rows]
    x_pool, y_pool = (pool[np.isfinite(pool).all(axis=1)] for pool in (x_pool, y_pool))
    pools = make_pools(x[~test], y[~test], x_pool=x_pool, y_pool=y_pool)
    diagnosis = _diagnosis(pools, shared, threshold, deep, config.seed)
    if manifest.test is None:
        return shared, diagnosis, findings + grouping_findings(x, y, threshold=threshold)
    for side, values in ((manifest.columns.x, x), (manifest.columns.y, y)):
        findings += near_leak_findings(side, values[test], values[~test], threshold=threshold)
    return shared, diagnosis, findings


def _check_bundled(
    config: RunConfig, data: BundledData, *, features: bool, deep: bool, progress: bool
) -> CheckResult:
    try:
        dataset = load_dataset(data.name, folder=data.folder)
    except FileNotFoundError as error:
        return CheckResult(data.name, [_as_finding(error)])
    train = len(dataset) - round(data.test_fraction * len(dataset))
    if data.pairs > train:
        message = f"data.pairs is {data.pairs:,}, but about {train:,} items are left to train on."
        return CheckResult(data.name, [Finding("error", message, "Give fewer pairs.")])
    supervision = _bundled_supervision(data, dataset, train)
    shared, diagnosis, findings = None, None, _count_findings(config, supervision, deep=deep)
    if features:
        try:
            x, y = dataset.features(progress=progress)
        except ImportError as error:
            findings.append(_as_finding(error))
        else:
            rows = _bundled_rows(data, dataset, train, config.seed)
            known = rows.pairs
            if len(known) < FEWEST_PAIRS:
                # All partners are known of data that are bundled: some show the geometry.
                known = np.random.default_rng(config.seed).permutation(len(dataset))[:ENCODED_PAIRS]
            near = np.inf if dataset.distinct else NEAR_DUPLICATE
            shared, unmeasured = _alignability(x[known], y[known])
            findings += unmeasured
            diagnosis = _diagnosis(rows.pools(x, y), shared, near, deep, config.seed)
    return CheckResult(
        data.name,
        by_severity(findings),
        supervision,
        shared,
        advise(supervision),
        diagnosis=diagnosis,
    )


def _bundled_rows(data: BundledData, dataset: Dataset, train: int, seed: int) -> PoolRows:
    """Pools like the run's: a split by group would cost more than it could change here."""
    rows = np.random.default_rng(seed).permutation(len(dataset))[:train]
    return draw_rows_of_pools(
        rows,
        pairs=data.pairs,
        condition=data.condition,
        set_size=data.set_size,
        concepts=dataset.concepts,
        seed=seed,
    )


def _diagnosis(
    pools: Pools, shared: Alignability | None, threshold: float, deep: bool, seed: int
) -> Diagnosis | None:
    if shared is None:
        return None
    deep = deep and min(len(pools.x_pool), len(pools.y_pool)) >= LEAST_ROWS
    try:
        return diagnose_pools(pools, shared, deep=deep, near_duplicate=threshold, seed=seed)
    except ValueError:  # a side without variance, which the findings name
        return None


def _bundled_supervision(data: BundledData, dataset: Dataset, train: int) -> Supervision:
    """About how much the condition leaves: the split by group moves it by a few items."""
    rest = train - data.pairs
    x_rest, y_rest = (rest // 2, rest - rest // 2) if data.condition == "disjoint" else (rest, rest)
    x_sets, y_sets = np.full(x_rest, NO_SET), np.full(y_rest, NO_SET)
    if data.condition == "sets":
        x_sets = y_sets = np.arange(rest) // data.set_size
    if data.condition == "concept-sets":
        # About as many concepts lie in the training part as rows do.
        x_sets = y_sets = np.sort(dataset.concepts)[:rest]
    return count_supervision(
        data.pairs, x_sets, y_sets, test_pairs=len(dataset) - train, test_drawn=True
    )


def _encode(
    options: EncoderOptions, items: list[str | tuple[str, ...]], *, progress: bool
) -> FloatArray:
    return encode_items(open_encoder(options), items, progress=progress).features


def _alignability(x: FloatArray, y: FloatArray) -> tuple[Alignability | None, list[Finding]]:
    try:
        return shared_geometry(x, y), []
    except ValueError as error:
        return None, [Finding("note", f"Alignability was not measured: {error}")]


def _sample(rows: IntArray, most: int, seed: int) -> IntArray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _count_findings(config: RunConfig, counts: Supervision, *, deep: bool) -> list[Finding]:
    findings = supervision_findings(counts)
    findings += method_findings(config.method, config.compare, counts)
    if deep and min(counts.x_pool, counts.y_pool) < LEAST_ROWS:
        message = (
            f"No map without pairs was tried: it needs {LEAST_ROWS} unpaired items a side, and "
            f"there are {counts.x_pool} x and {counts.y_pool} y."
        )
        findings.append(Finding("note", message))
    return findings


def _as_finding(error: Exception) -> Finding:
    return Finding("error", str(error))
