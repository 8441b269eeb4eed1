"""What the test of a run shows of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from setclip.config import RunConfig
from setclip.data.material import Material
from setclip.data.pools import Examples, FloatArray, IntArray
from setclip.data.splits import near_duplicate_groups, split_by_group
from setclip.evaluation import (
    Interval,
    Retrieval,
    bootstrap,
    encode_prototypes,
    evaluate,
    knn_probe,
    linear_probe,
    proportion,
    retrieval,
    retrieval_numbers,
    zero_shot,
    zero_shot_numbers,
)
from setclip.evaluation.rows import DoubleArray, lost_apart
from setclip.methods import Method
from setclip.model import AlignedModel


@dataclass(frozen=True)
class Result:
    """What one method reached on the test of a run.

    Attributes:
        name: How the table names it.
        recall: Recall in percent by k, as (mean, low, high) of its 95 % interval.
        median_rank: Median rank over both directions.
        seconds: Time of the fit, its tuning included; None where it went on from a checkpoint, or
            was not fitted.
        metrics: Everything measured, by name.
        notes: What the method decided.
        warnings: Named problems.
        error: Why it could not work from this supervision, empty if it could.
    """

    name: str
    recall: dict[str, tuple[float, float, float]]
    median_rank: float | None
    seconds: float | None
    metrics: dict[str, float]
    notes: list[str]
    warnings: list[str]
    error: str = ""


def method_names(methods: Sequence[Method]) -> list[str]:
    """How tables name methods: kind, recipe where there is one, a number from the second alike."""
    names: list[str] = []
    for method in methods:
        recipe = getattr(method, "recipe", None)
        name = f"{method.kind} ({recipe})" if recipe else method.kind
        alike = sum(other == name or other.startswith(f"{name}, number ") for other in names)
        names.append(f"{name}, number {alike + 1}" if alike else name)
    return names


def measure(
    name: str, model: AlignedModel, material: Material, config: RunConfig, seconds: float | None
) -> Result:
    """Everything that the test of a run shows of a model."""
    if len(material.x_test) < 2:
        return Result(name, {}, None, seconds, {}, model.card.notes, model.card.warnings)
    zx, zy = lost_apart(model.encode_x(material.test_x), model.encode_y(material.test_y))
    # Among the first n of n everything is found.
    ks = tuple(k for k in config.evaluation.ks if k < len(zx)) or (1,)
    rows = _test_rows(model, material, zx, zy)
    found = _retrieval(rows, ks)
    recall = {}
    for k in ks:
        interval = _interval(found.per_item(k), config.evaluation.draws)
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


def _interval(credits: DoubleArray, draws: int) -> Interval:
    """Of the mean; where all or none were found resampling would know no doubt, and Wilson does."""
    for every, hits in ((0.0, 0), (100.0, len(credits))):
        if np.allclose(credits, every):
            return proportion(hits, len(credits))
    return bootstrap([credits], draws=draws)


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
    if not material.class_tests:
        return metrics
    encode = _text_encoder(model, material)
    for test in material.class_tests:
        metrics |= zero_shot_numbers(
            test.name,
            model.encode_x(Examples(test.features, test.items)),
            test.labels,
            encode,
            templates=test.templates,
        )
        metrics[f"zero_shot_seen.{test.name}"] = float(test.seen)
    return metrics


def unaligned(material: Material, dim: int) -> tuple[FloatArray, FloatArray]:
    """The test in the encoders' own spaces, cut to a common width: what aligning starts from.

    Principal axes of either side, the first with the first, so that distances are kept while
    nothing is known of which axis goes with which.
    """
    from setclip.linear.maps import principal, unit_rows

    axes = principal(material.pools.all_x()), principal(material.pools.all_y())
    width = min(dim, *(len(a.variance) for a in axes))
    out = []
    for a, test in zip(axes, (material.x_test, material.y_test), strict=True):
        out.append(unit_rows(a(test)[:, :width]).astype(np.float32))
    return lost_apart(out[0], out[1])


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
    groups = _test_groups(material)[keep]
    if len(np.unique(groups)) < 2:
        return metrics
    parts = split_by_group(groups, test_fraction=0.5, seed=config.seed)
    train, test = (keep[part] for part in parts)
    if not len(train) or not len(test) or min(len(set(labels[train])), len(set(labels[test]))) < 2:
        return metrics
    for side, z in (("x", zx), ("y", zy)):
        knn = knn_probe(z[train], labels[train], z[test], labels[test], k=min(20, len(train)))
        metrics[f"knn_{side}"] = knn.accuracy
        if max(Counter(labels[train]).values()) > 1:
            probe = linear_probe(
                *(z[train], labels[train], z[test], labels[test]),
                train_groups=groups[parts[0]],
            )
            metrics[f"linear_probe_{side}"] = probe.accuracy
    return metrics


def _test_groups(material: Material) -> IntArray:
    """Which items of the test a probe must see on one side, or it would know them by themselves."""
    near = material.near_duplicate
    if np.isinf(near) or material.held_out.grouped:  # a drawn test holds one of each group
        return np.arange(len(material.x_test))
    return near_duplicate_groups(material.x_test, material.y_test, threshold=near)


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
