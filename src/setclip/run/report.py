"""The report of a run: reads the folder and its data again, fills in what the pages show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from setclip.config import RunConfig
from setclip.data.bad_items import read_bad_items
from setclip.data.material import Material, Shown
from setclip.data.pools import FloatArray, IntArray
from setclip.diagnosis import shared_geometry
from setclip.evaluation import (
    Interval,
    chance,
    confusion,
    density_agreement,
    retrieval,
    top_k,
)
from setclip.evaluation.alignability import FEWEST_PAIRS, Alignability
from setclip.evaluation.rows import lost_apart
from setclip.model import AlignedModel
from setclip.report import (
    BadItems,
    ClassTable,
    Column,
    Curve,
    Curves,
    Densities,
    Gallery,
    Item,
    JointMap,
    Notice,
    Number,
    Query,
    ReportContent,
    ResultTable,
    Retrieved,
    Row,
    Split,
    Supervision,
    branch,
    encode_thumbnail,
    project,
    write_report,
)
from setclip.run.folder import BAD_ITEMS, run_config, run_material, run_results
from setclip.run.measure import Result, unaligned
from setclip.training.journal import read_curves

MAP_PAIRS, MAP_TEST = 60, 300
QUERIES, RETRIEVED = 8, 5
# Of a dotted label as many numbers as name a CATH topology; superfamilies are too many to list.
CLASS_DEPTH = 3


def run_report(
    folder: Path,
    *,
    tables: Sequence[ResultTable] = (),
    title: str = "",
    verdict: str = "",
    progress: bool = False,
) -> Path:
    """Write ``report.html`` and ``figures/`` of a run that has ended.

    Args:
        folder: The run.
        tables: Shown before the run's own table: a benchmark over seeds.
        title: Heading; by default names the method.
        verdict: By default says how the run did against its comparisons.
        progress: Show progress bars while data are read.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: The folder holds no run that has ended.
        ImportError: The report extra is not installed.
        ValueError: The data have changed since the run was fitted.
    """
    config, stored = run_config(folder), run_results(folder)
    results = [Result(**result) for result in stored["results"]]
    material = run_material(config, progress=progress)
    model, bad = AlignedModel.load(folder, trust=True), read_bad_items(folder / BAD_ITEMS)
    shared = _alignability(material)
    own_table = _table(
        results,
        int(stored["gallery"]),
        stored["command"],
        config.seed,
        grouped=material.held_out.grouped,
    )
    return write_report(
        ReportContent(
            title=title or f"{results[0].name} on {material.x_name} ↔ {material.y_name}",
            verdict=verdict or _verdict(results, material, shared),
            x_name=material.x_name,
            y_name=material.y_name,
            supervision=_supervision(material),
            headline=_headline(results[0], shared, len(material.x_test)),
            notices=_notices(results[0], material),
            tables=(*tables, *([own_table] if own_table else [])),
            curves=_curves(folder, results[0]),
            joint_map=_joint_map(material, model, config.seed),
            densities=_densities(material, model),
            galleries=_galleries(material, model, config.seed),
            classes=_classes(material, model),
            alignability=shared,
            bad_items=BadItems(len(bad), material.n_read, tuple(bad[:5])),
            config=_yaml(config),
            versions=stored["versions"],
            command=stored["command"],
            created=stored["created"],
        ),
        folder,
    )


def _alignability(material: Material) -> Alignability:
    """Shared geometry on the known pairs; where there are none, on the test pairs."""
    pools = material.pools
    x, y = pools.x_pairs, pools.y_pairs
    if pools.n_pairs < FEWEST_PAIRS <= len(material.x_test):
        x, y = material.x_test, material.y_test
    return shared_geometry(x, y)


def _supervision(material: Material) -> Supervision:
    pools = material.pools
    x_in_sets, y_in_sets = pools.in_shared_sets
    return Supervision(
        pairs=pools.n_pairs,
        sets=len(pools.shared_sets),
        x_in_sets=x_in_sets,
        y_in_sets=y_in_sets,
        x_pool=len(pools.x_pool) - x_in_sets,
        y_pool=len(pools.y_pool) - y_in_sets,
        test=len(material.x_test),
    )


def _telling(own: Result, gallery: int) -> str:
    """The largest k at which guessing finds no more than half of the partners, or else the least.

    Where nearly all of a gallery is among the first k, recall says little.
    """
    ks = sorted(own.recall, key=int)
    return max([k for k in ks if 2 * int(k) <= gallery] or ks[:1], key=int)


def _headline(own: Result, shared: Alignability, gallery: int) -> tuple[Number, ...]:
    if not own.recall:
        return ()
    k = _telling(own, gallery)
    mean, low, high = own.recall[k]
    numbers = [Number(f"R@{k}", f"{mean:.1f} %", f"95 % interval {low:.1f} to {high:.1f}")]
    if own.median_rank is not None:
        numbers.append(Number("median rank", f"{own.median_rank:g}", "of the true partner"))
    if shared.shared is not None and shared.level != "unknown":
        meaning = f"0 is chance, 1 the same neighbours; from {shared.pairs:,} pairs"
        numbers.append(Number("shared geometry", f"{shared.shared:.2f}", meaning))
    return tuple(numbers)


def _verdict(results: Sequence[Result], material: Material, shared: Alignability) -> str:
    own = results[0]
    if not own.recall:
        return (
            "The gallery has fewer than two items, so how well this model does is not known. "
            + shared.verdict
        )
    k = _telling(own, len(material.x_test))
    mean, low, high = own.recall[k]
    guess = chance(len(material.x_test), (int(k),))[int(k)]
    first = (
        f"{own.name} finds the true partner among the first {k} of {len(material.x_test):,} for "
        f"{mean:.0f} % of the test items ({low:.0f} to {high:.0f}; chance {guess:.1f} %)."
    )
    rivals = [r for r in results[1:] if r.recall]
    if not rivals:
        return f"{first} {shared.verdict}"
    best = max(rivals, key=lambda r: r.recall[k][0])
    gain = mean - best.recall[k][0]
    if abs(gain) < 0.05:
        second = f"That is what {best.name}, the best of the compared methods, reaches too."
    elif gain > 0:
        second = f"The best compared method, {best.name}, reaches {best.recall[k][0]:.0f} %."
    elif best.recall[k][0] > high:
        second = f"{best.name} does better ({best.recall[k][0]:.0f} %): prefer it on these data."
    else:
        second = (
            f"{best.name} reaches {best.recall[k][0]:.0f} %, within that interval: these test "
            "items do not show which of the two is better."
        )
    return f"{first} {second}"


def _notices(own: Result, material: Material) -> tuple[Notice, ...]:
    notices = []
    for warning in own.warnings:
        name, _, message = warning.partition(": ")
        notices.append(Notice(name, message))
    pairs = material.pools.n_pairs
    if 0 < pairs < FEWEST_PAIRS and not len(material.pools.shared_sets):
        notices.append(
            Notice(
                "few pairs",
                f"{pairs} pairs are too few to choose settings by.",
                "Label ten more, or give sets.",
            )
        )
    notices += [Notice("decision", note, level="note") for note in own.notes]
    return tuple(notices)


def _table(
    results: Sequence[Result], gallery: int, command: str, seed: int, *, grouped: bool
) -> ResultTable | None:
    if not results[0].recall:
        return None
    ks = list(results[0].recall)
    telling = _telling(results[0], gallery)
    columns = [
        *(Column(f"R@{k}", "%", "higher", main=k == telling) for k in ks),
        Column("median rank", "", "lower"),
        Column("fit", "s"),
    ]
    rows = []
    for i, result in enumerate(results):
        recalls = [Interval(*result.recall[k]) if result.recall else None for k in ks]
        seconds = None if result.error else result.seconds
        rows.append(
            Row(
                result.name,
                (*recalls, result.median_rank, seconds),
                ("this run",) if i == 0 else ("baseline",),
                result.error,
            )
        )
    guess = chance(gallery, tuple(int(k) for k in ks))
    rows.append(Row("chance", (*(guess[int(k)] for k in ks), (gallery + 1) / 2, None), ("chance",)))
    each = ", one of each group of near-duplicates" if grouped else ""
    return ResultTable(
        "This run",
        tuple(columns),
        tuple(rows),
        f"Gallery of {gallery:,} held-out items{each}; both directions averaged; seed {seed}; "
        "intervals over queries.",
        command,
    )


def _curves(folder: Path, own: Result) -> Curves | None:
    logged = read_curves(folder / "log.jsonl")
    # Heads are trained in folds and then on everything, encoders in one phase.
    terms = logged.get("final") or logged.get("towers", {})
    held_out = {phase: t["criterion"] for phase, t in logged.items() if "criterion" in t}
    if not terms and not held_out:
        return None
    note = "Criteria: mean log2 rank of held-out pairs and sets, by fold; the final training goes "
    note += "to the step that is best on their mean."
    if "towers" in logged:
        note = "Criterion: mean log2 rank of held-out pairs and sets." if held_out else ""
    return Curves(
        terms={name: _curve(points) for name, points in terms.items() if name != "criterion"},
        criteria={phase: _curve(points) for phase, points in held_out.items()},
        note=note,
    )


def _curve(points: Sequence[tuple[int, float]]) -> Curve:
    steps, values = zip(*points, strict=True)
    return Curve(np.asarray(steps), np.asarray(values, dtype=np.float64))


def _joint_map(material: Material, model: AlignedModel, seed: int) -> JointMap | None:
    rng = np.random.default_rng(seed)
    pools = material.pools
    known = np.sort(rng.permutation(pools.n_pairs)[:MAP_PAIRS])
    test = np.sort(rng.permutation(len(material.x_test))[:MAP_TEST])
    if len(known) + len(test) < 4:
        return None
    x = np.concatenate([pools.x_pairs[known], material.x_test[test]])
    y = np.concatenate([pools.y_pairs[known], material.y_test[test]])
    zx, zy = (
        np.concatenate([encode(pairs.at(known)), encode(tests.at(test))])
        for encode, pairs, tests in (
            (model.encode_x, pools.pairs[0], material.test_x),
            (model.encode_y, pools.pairs[1], material.test_y),
        )
    )
    view = project(x, y, zx, zy, seed)
    x_first, y_first = (
        len(shown) - len(material.x_test) for shown in (material.x_shown, material.y_shown)
    )
    rows = np.arange(len(known)), np.arange(len(known), len(known) + len(test))
    labels = [material.labels[i] for i in test] if material.labels else ()
    return JointMap(
        _items(material.x_shown, known, "pair")
        + _items(material.x_shown, x_first + test, "test", labels),
        _items(material.y_shown, known, "pair")
        + _items(material.y_shown, y_first + test, "test", labels),
        view.after,
        view.before,
        pairs=np.stack([rows[0], rows[0]], axis=1),
        matches=np.stack([rows[1], rows[1]], axis=1),
    )


def _densities(material: Material, model: AlignedModel) -> Densities | None:
    if len(material.x_test) < 3:
        return None
    embedded = _embedded(material, model)
    try:
        before, after = (density_agreement(*z) for z in (unaligned(material, model.dim), embedded))
    except ValueError:  # a side that fell onto one point has no densities, and needs its report
        return None
    return Densities(
        after,
        before,
        "Held-out items. Before: principal axes of either encoder, the first with the first.",
    )


def _embedded(material: Material, model: AlignedModel) -> tuple[FloatArray, FloatArray]:
    """The test, also where an item of it has no direction."""
    return lost_apart(model.encode_x(material.test_x), model.encode_y(material.test_y))


def _galleries(material: Material, model: AlignedModel, seed: int) -> tuple[Gallery, ...]:
    n = len(material.x_test)
    if n < 2:
        return ()
    zx, zy = _embedded(material, model)
    asked = np.sort(np.random.default_rng(seed).permutation(n)[:QUERIES])
    found = retrieval(zx, zy, ks=(1,))
    x_items = _test_items(material.x_shown, material.labels, n)
    y_items = _test_items(material.y_shown, material.labels, n)
    return (
        _gallery("x", asked, zx, zy, x_items, y_items, found.x_to_y.ranks),
        _gallery("y", asked, zy, zx, y_items, x_items, found.y_to_x.ranks),
    )


def _gallery(
    asks: str,
    asked: IntArray,
    queries: FloatArray,
    gallery: FloatArray,
    query_items: tuple[Item, ...],
    gallery_items: tuple[Item, ...],
    ranks: npt.NDArray[np.float64],
) -> Gallery:
    nearest = top_k(queries[asked], gallery, min(RETRIEVED, len(gallery)))
    rows = []
    for i, indices, scores in zip(asked, nearest.indices, nearest.scores, strict=True):
        results = tuple(
            Retrieved(gallery_items[j], float(score), correct=bool(j == i))
            for j, score in zip(indices, scores, strict=True)
        )
        rows.append(Query(query_items[i], results, round(float(ranks[i])), gallery_items[i]))
    return Gallery(
        "x" if asks == "x" else "y",
        tuple(rows),
        len(gallery),
        "Drawn at random from the test, good and bad alike.",
    )


def _classes(material: Material, model: AlignedModel) -> ClassTable | None:
    """Classes of the test items, and of the nearest item of the other modality."""
    labelled = [i for i, label in enumerate(material.labels) if label]
    true = [branch(material.labels[i], CLASS_DEPTH) for i in labelled]
    if len(set(true)) < 2:
        return None
    rows = np.array(labelled, dtype=np.int64)
    zx, zy = (z[rows] for z in _embedded(material, model))
    # An item's own partner has its class by definition: only others can tell.
    nearest = top_k(zx, zy, 2).indices
    others = np.where(nearest[:, 0] == np.arange(len(rows)), nearest[:, 1], nearest[:, 0])
    return ClassTable(
        confusion(true, [true[i] for i in others]),
        f"For each {material.x_name} of the test, the class of the nearest {material.y_name} that "
        "is not its partner.",
    )


def _test_items(shown: Sequence[Shown], labels: Sequence[str], n: int) -> tuple[Item, ...]:
    return _items(shown, np.arange(len(shown) - n, len(shown)), "test", labels)


def _items(
    shown: Sequence[Shown], rows: IntArray, split: Split, labels: Sequence[str] = ()
) -> tuple[Item, ...]:
    return tuple(
        _item(shown[row], split, label)
        for row, label in zip(rows, labels or [""] * len(rows), strict=True)
    )


def _item(shown: Shown, split: Split, label: str) -> Item:
    if shown.structure is None:
        return Item(shown.caption, _thumbnail(shown), split, label, shown.sequence)
    from setclip.proteins.packed import read_chain

    chain = read_chain(shown.structure)
    return Item(shown.caption or chain.name, None, split, label, structure=chain.ca)


def _thumbnail(shown: Shown) -> bytes | None:
    if shown.picture is None:
        return None
    from setclip.modalities.image import read_image

    return encode_thumbnail(read_image(shown.picture), size=56)


def _yaml(config: RunConfig) -> str:
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
