"""A run: one config, fitted, measured, kept in a folder, and told in a report.

A run folder holds ``config.json`` (as validated), ``log.jsonl`` (every term), ``checkpoints/``,
the model, ``results.json``, ``bad_items.jsonl`` and the report. Whatever moment it is killed at,
fitting the same config again goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from setclip.config import RunConfig, changed_fields
from setclip.data.atomic import write_json
from setclip.data.bad_items import BadItem, TooManyBadItemsError, located, write_bad_items
from setclip.data.material import Material, load_material
from setclip.data.pools import Examples, FloatArray, IntArray, digest, make_pools
from setclip.evaluation import (
    Retrieval,
    bootstrap,
    chance,
    encode_prototypes,
    evaluate,
    knn_probe,
    linear_probe,
    retrieval,
    retrieval_numbers,
    zero_shot,
    zero_shot_numbers,
)
from setclip.methods import Method
from setclip.model import AlignedModel
from setclip.training.distributed import join, rank, wait
from setclip.training.journal import Journal

CONFIG, RESULTS, BAD_ITEMS = "config.json", "results.json", "bad_items.jsonl"
PACKAGES = ("setclip", "torch", "numpy", "scipy", "scikit-learn", "transformers")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What one method reached on the test of a run.

    Attributes:
        name: How the table names it.
        recall: Recall in percent by k, as (mean, low, high) of its 95 % interval.
        median_rank: Median rank over both directions.
        seconds: Time of the fit, its tuning included; of the last call only, if it was resumed.
        metrics: Everything measured, by name.
        notes: What the method decided.
        warnings: Named problems.
        error: Why it could not work from this supervision, empty if it could.
    """

    name: str
    recall: dict[str, tuple[float, float, float]]
    median_rank: float | None
    seconds: float
    metrics: dict[str, float]
    notes: list[str]
    warnings: list[str]
    error: str = ""


def run_fit(
    config: RunConfig, *, command: str = "", progress: bool = False, say: Say = print
) -> list[Result]:
    """Fit the config's method and those it is compared with, measure all, write the folder.

    Args:
        config: The run.
        command: The command that started it, for the report.
        progress: Show progress bars.
        say: Receives a sentence at each stage.

    Returns:
        Results, the run's own method first; empty recalls where the data hold no test.

    Raises:
        NotADirectoryError: The config's output is a file.
        ValueError: The data cannot be used, or the folder holds the weights of another config.
    """
    join()
    folder = config.output
    if rank() == 0:
        _claim(config)
        material = _first_read(config, progress)
    wait()
    if rank():
        material = load_material(config)  # from the cache that the first process filled
    else:
        write_bad_items(folder / BAD_ITEMS, material.bad)
    say = say if rank() == 0 else _silent
    say(f"Learning from {material.pools.describe()}.")
    say(material.held_out.describe())
    journal = Journal(folder, progress=progress)
    journals = [journal]
    if material.leaks:
        journal.warn(
            "leak",
            f"{material.leaks:,} of {len(material.x_test):,} test items have a near-duplicate "
            "in training: the test flatters. Give a group column, or remove duplicates.",
        )
    own, model = _fit(config.method, material, config, journal)
    results = [own]
    for other in config.compare:
        name = method_name(other)
        say(f"Comparing with {name}.")
        side = folder / "compare" / name.replace(" ", "-")
        journals.append(Journal(side, progress=progress))
        results.append(_compared(other, material, config, journals[-1]))
    if rank():
        return results
    _list_bad(folder, material, journals, say)
    model.card.metrics = own.metrics
    if not model.trained_encoders:  # those name their own
        model.card.x_encoder, model.card.y_encoder = material.x_encoder, material.y_encoder
    model.save(folder)
    write_json(
        folder / RESULTS,
        {
            "command": command,
            "created": time.strftime("%Y-%m-%d %H:%M"),
            "versions": versions(),
            "gallery": len(material.x_test),
            "data": _data(material),
            "results": [asdict(result) for result in results],
        },
    )
    return results


def _list_bad(folder: Path, material: Material, journals: Sequence[Journal], say: Say) -> None:
    """List what reading the data found and what training did, each item once."""
    found = [item for journal in journals for item in located(journal.bad, material.places)]
    # Several methods meet the same item, and may word differently what ails it.
    once = {(item.source, item.row, item.field): item for item in reversed(found)}
    bad: list[BadItem] = [*material.bad, *sorted(once.values(), key=lambda i: (i.source, i.row))]
    write_bad_items(folder / BAD_ITEMS, bad)
    if bad:
        say(f"Items that could not be read and were left out: {len(bad):,}, see {BAD_ITEMS}.")


def _silent(sentence: str) -> None:
    """Say nothing."""


def run_evaluate(folder: Path, *, progress: bool = False) -> Result:
    """Measure a fitted run again on its test.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The run's data hold no test, or have changed since it was fitted.
    """
    config = run_config(folder)
    material = run_material(config, progress=progress)
    if not len(material.x_test):
        raise ValueError(
            f"the data of {folder} hold no test: set data.test_fraction, a split column, or "
            "x_test and y_test."
        )
    model = AlignedModel.load(folder, trust=True)
    return measure(method_name(config.method), model, material, config, 0.0)


def run_config(folder: Path) -> RunConfig:
    """The config that a run folder was made from.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: Its ``config.json`` is not that of a run.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no run ({CONFIG} is missing): give a folder that `setclip fit` wrote."
        )
    try:
        config = RunConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        problem = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise ValueError(
            f"{path} is not the config of a run of this version ({problem}). Give a folder that "
            "`setclip fit` wrote, or fit into another one with output=…"
        ) from None
    return config.model_copy(update={"output": folder})


def run_results(folder: Path) -> dict[str, Any]:
    """What ``results.json`` of a run holds.

    Raises:
        FileNotFoundError: The run has not ended.
        ValueError: The file does not hold what a run writes.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, the run has not ended: `setclip fit` with the same config "
            "goes on where it stopped."
        )
    try:
        results: dict[str, Any] = json.loads(path.read_bytes())
        lacking = {"command", "created", "versions", "gallery", "results"} - set(results)
    except ValueError as error:
        raise _not_results(path, str(error)) from None
    if lacking:
        raise _not_results(path, f"it lacks {', '.join(sorted(lacking))}")
    return results


def _not_results(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} does not hold the results of a run ({why}): delete it, and `setclip fit` with "
        "the same config writes it again."
    )


def run_material(config: RunConfig, *, progress: bool = False) -> Material:
    """The data of a run, in the very parts that it was fitted to and is tested on.

    Raises:
        ValueError: They have changed since: a split drawn anew tests on what was learned.
    """
    material = load_material(config, progress=progress)
    folder = config.output
    # A run that has not ended, or is of an earlier version, has not written what it was fitted to.
    fitted = run_results(folder).get("data") if (folder / RESULTS).is_file() else None
    found = _data(material)
    if fitted and fitted["digest"] != found["digest"]:
        raise ValueError(
            f"the data have changed since {folder} was fitted: then {fitted['parts']}, now "
            f"{found['parts']}{', of other content' if fitted['parts'] == found['parts'] else ''}. "
            "Its model may have learned from what would be its test now. Fit again, into another "
            "folder (output=…), or give the run the data that it had."
        )
    return material


def _data(material: Material) -> dict[str, str]:
    """What a run is fitted to and tested on: in words, and as a fingerprint."""
    return {
        "parts": f"{material.pools.describe()}; {len(material.x_test):,} test items",
        "digest": _fingerprint(material),
    }


def _fingerprint(material: Material) -> str:
    """Of ready features their bytes; of raw items which of them stand where.

    What an encoder makes of the same items differs in its last digits between machines.
    """
    if not material.x_encoder and not material.y_encoder:
        parts = material.pools, make_pools(material.x_test, material.y_test)
        return "/".join(map(digest, parts))
    hasher = hashlib.sha256()
    for stream, places in sorted(material.places.items()):
        hasher.update("\0".join([stream, *places.sources]).encode())
        hasher.update(np.ascontiguousarray(places.rows).data)
    for item in (*material.x_test_items, *material.y_test_items):
        raw = item.name if isinstance(item, Path) else item
        hasher.update(raw if isinstance(raw, bytes) else str(raw).encode())
    return hasher.hexdigest()[:16]


def method_name(method: Method) -> str:
    """How tables name a method: its kind, and its recipe where it has one."""
    recipe = getattr(method, "recipe", None)
    return f"{method.kind} ({recipe})" if recipe else method.kind


def measure(
    name: str, model: AlignedModel, material: Material, config: RunConfig, seconds: float
) -> Result:
    """Everything that the test of a run shows of a model."""
    if len(material.x_test) < 2:
        return Result(name, {}, None, seconds, {}, model.card.notes, model.card.warnings)
    zx, zy = model.encode_x(material.test_x), model.encode_y(material.test_y)
    ks = tuple(k for k in config.evaluation.ks if k <= len(zx)) or (1,)
    rows = _test_rows(model, material, zx, zy)
    found = _retrieval(rows, ks)
    recall = {}
    for k in ks:
        interval = bootstrap([found.per_item(k)], draws=config.evaluation.draws)
        recall[str(k)] = (interval.mean, interval.low, interval.high)
    metrics = evaluate(zx, zy, ks=ks, found=found)
    before_x, before_y = unaligned(material, model.dim)
    before = evaluate(before_x, before_y, ks=ks)
    metrics |= {f"before.{term}": before[term] for term in ("sdd", "mmd", "modality_gap")}
    metrics |= _labelled(model, material, config, zx, zy)
    metrics |= _by_origin(material, rows, ks)
    metrics |= _class_tests(model, material)
    metrics = {key: value for key, value in metrics.items() if np.isfinite(value)}
    return Result(
        name,
        recall,
        found.median_rank,
        seconds,
        metrics,
        list(model.card.notes),
        list(model.card.warnings),
    )


TestRows = tuple[FloatArray, IntArray, FloatArray, IntArray]


def _test_rows(model: AlignedModel, material: Material, zx: FloatArray, zy: FloatArray) -> TestRows:
    """Embeddings of either side with the test item of each: every caption of an item is a row."""
    x_items = y_items = np.arange(len(zx))
    if material.x_captions is not None:
        zx, x_items = model.encode_x(material.x_captions.examples), material.x_captions.rows
    if material.y_captions is not None:
        zy, y_items = model.encode_y(material.y_captions.examples), material.y_captions.rows
    return zx, x_items, zy, y_items


def _retrieval(rows: TestRows, ks: Sequence[int], *, among: IntArray | None = None) -> Retrieval:
    """Retrieval of the test, or of only the items `among` it."""
    zx, x_items, zy, y_items = rows
    if among is not None:
        x_rows, y_rows = np.isin(x_items, among), np.isin(y_items, among)
        zx, x_items, zy, y_items = zx[x_rows], x_items[x_rows], zy[y_rows], y_items[y_rows]
    return retrieval(zx, zy, x_ids=x_items, y_ids=y_items, ks=ks)


def _by_origin(material: Material, rows: TestRows, ks: Sequence[int]) -> dict[str, float]:
    """Retrieval inside each data set, where several were merged: their usual test."""
    metrics: dict[str, float] = {}
    origins = np.asarray(material.test_origins)
    for origin in np.unique(origins) if len(set(material.test_origins)) > 1 else ():
        own = np.flatnonzero(origins == origin)
        if len(own) > 1:
            found = _retrieval(rows, [k for k in ks if k <= len(own)] or [1], among=own)
            metrics |= {f"{origin}.{k}": value for k, value in retrieval_numbers(found).items()}
    return metrics


def _class_tests(model: AlignedModel, material: Material) -> dict[str, float]:
    """The further zero-shot tests of the config."""
    metrics: dict[str, float] = {}
    for test in material.class_tests:
        metrics |= zero_shot_numbers(
            test.name,
            model.encode_x(Examples(test.features, test.items)),
            test.labels,
            _text_encoder(model, material),
            templates=test.templates,
        )
        metrics[f"zero_shot_seen.{test.name}"] = float(test.seen)
    return metrics


def unaligned(material: Material, dim: int) -> tuple[FloatArray, FloatArray]:
    """The test in the encoders' own spaces, cut to a common width: what aligning starts from.

    Principal axes of either side, the first with the first, so that distances are kept while
    nothing is known of which axis goes with which.
    """
    from setclip.linear.maps import principal

    axes = principal(material.pools.all_x()), principal(material.pools.all_y())
    width = min(dim, *(len(a.variance) for a in axes))
    out = []
    for a, test in zip(axes, (material.x_test, material.y_test), strict=True):
        z = a(test)[:, :width]
        out.append((z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32))
    return out[0], out[1]


def versions() -> dict[str, str]:
    """Version by package, of those installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def chance_recall(gallery: int, ks: Sequence[int]) -> dict[int, float]:
    """Recall in percent of guessing."""
    return chance(gallery, tuple(k for k in ks if k <= gallery)) if gallery else {}


def _claim(config: RunConfig) -> None:
    """Take the folder for this config, or refuse if it holds a run of another one."""
    folder = config.output
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if there.is_file():
        raise NotADirectoryError(
            f"output is {folder}, but {there} is a file: give a folder, for instance "
            "output=runs/first."
        )
    path = folder / CONFIG
    changed = changed_fields(run_config(folder), config) if path.is_file() else {}
    if changed and _holds_weights(folder):
        listed = "; ".join(f"{n}: {old!r} → {new!r}" for n, (old, new) in changed.items())
        raise ValueError(
            f"{folder} holds a run of another config ({listed}). Choose another folder "
            f"with output=…, or delete {folder} to start again."
        )
    if changed:  # a fit that failed: its curves are not to be read as this one's
        for log in (folder / "log.jsonl", *folder.glob("compare/*/log.jsonl")):
            log.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, config.model_dump(mode="json"))


def _holds_weights(folder: Path) -> bool:
    """Whether a fit came as far as to leave a model or a checkpoint."""
    left = ("model.*", RESULTS, "checkpoints/*", "compare/*/checkpoints/*")
    return any(path for pattern in left for path in folder.glob(pattern))


def _first_read(config: RunConfig, progress: bool) -> Material:
    """The data of a run; where too many items are bad, all of them are listed in its folder."""
    try:
        return load_material(config, progress=progress)
    except TooManyBadItemsError as error:
        write_bad_items(config.output / BAD_ITEMS, error.items)
        raise


def _fit(
    method: Method, material: Material, config: RunConfig, journal: Journal
) -> tuple[Result, AlignedModel]:
    assert journal.directory is not None
    journal.directory.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model = method.fit(material.pools, seed=config.seed, journal=journal)
    seconds = time.perf_counter() - started
    return measure(method_name(method), model, material, config, seconds), model


def _compared(method: Method, material: Material, config: RunConfig, journal: Journal) -> Result:
    """A compared method's result; that it cannot work here is a result too."""
    try:
        return _fit(method, material, config, journal)[0]
    except ValueError as error:
        return Result(method_name(method), {}, None, 0.0, {}, [], [], error=str(error))


def _labelled(
    model: AlignedModel,
    material: Material,
    config: RunConfig,
    zx: FloatArray,
    zy: FloatArray,
) -> dict[str, float]:
    """Zero-shot and probes, where test items have classes."""
    labels = np.asarray(material.labels)
    keep = np.flatnonzero(labels != "") if len(labels) else np.zeros(0, dtype=np.int64)
    names = sorted(set(labels[keep])) if len(keep) else []
    if len(names) < 2:
        return {}
    metrics: dict[str, float] = {}
    if _reads_text(material.y_encoder):
        prompts = encode_prototypes(
            names, _text_encoder(model, material), templates=config.evaluation.templates
        )
        numbers = np.searchsorted(names, labels[keep])
        shot = zero_shot(zx[keep], numbers, prompts, ks=(1, min(5, len(names))))
        metrics |= {f"zero_shot@{k}": value for k, value in shot.accuracy.items()}
        metrics |= {f"zero_shot_chance@{k}": value for k, value in shot.chance.items()}
    half = np.random.default_rng(config.seed).permutation(keep)
    train, test = half[: len(half) // 2], half[len(half) // 2 :]
    if min(len(set(labels[train])), len(set(labels[test]))) < 2:
        return metrics
    for side, z in (("x", zx), ("y", zy)):
        knn = knn_probe(z[train], labels[train], z[test], labels[test], k=min(20, len(train)))
        metrics[f"knn_{side}"] = knn.accuracy
        if max(Counter(labels[train]).values()) > 1:
            probe = linear_probe(z[train], labels[train], z[test], labels[test])
            metrics[f"linear_probe_{side}"] = probe.accuracy
    return metrics


def _reads_text(encoder: str | dict[str, Any]) -> bool:
    from setclip.encoders.choices import parsed

    return encoder != "" and parsed(encoder).reads == "text"


def _text_encoder(model: AlignedModel, material: Material) -> Callable[[Sequence[str]], FloatArray]:
    from setclip.encoders import open_encoder
    from setclip.encoders.choices import parsed

    if model.trained_encoders:
        return lambda texts: model.encode_y(list(texts))
    encoder = open_encoder(parsed(material.y_encoder))
    return lambda texts: model.encode_y(encoder.encode(list(texts)))
