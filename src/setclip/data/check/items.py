"""Checks of the raw items of a manifest: can they be read, do they repeat, do they leak."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from setclip.data.bad_items import BadItem, TooManyBadItemsError, enforce_bad_limit
from setclip.data.check.findings import Finding
from setclip.data.manifest import NO_ID, BoolArray, Manifest, Modality
from setclip.data.tables import Cell
from setclip.modalities import BadItemError
from setclip.modalities.image import read_bytes, read_image
from setclip.modalities.text import clean_text, describe

# What spreadsheets and data frames write for "nothing", once it has become text.
PLACEHOLDERS = frozenset({"nan", "na", "n/a", "none", "null", "-", "--", "?", "unknown", "#n/a"})
# As names of sets and groups also what arrays write for none.
NO_NAMES = PLACEHOLDERS | {"-1", "-1.0"}
MANY_LINES = 20
_BATCH = 4096


@dataclass(frozen=True)
class Contents:
    """Digest of the content of each cell; equal digests mean equal items.

    Attributes:
        x: By row of the manifest, None where there is no (readable) item.
        y: Likewise.
    """

    x: list[str | None]
    y: list[str | None]


def read_contents(manifest: Manifest, *, progress: bool = False) -> tuple[Manifest, Contents]:
    """Open every image and clean every text.

    Returns:
        The manifest without the cells that cannot be read, its list of bad items extended, and the
        digests of the cells that can.

    Raises:
        ImportError: The manifest has images and Pillow is not installed.
    """
    columns = manifest.columns
    x, x_bad = _digests(manifest, manifest.x, columns.x, columns.x_modality, progress)
    y, y_bad = _digests(manifest, manifest.y, columns.y, columns.y_modality, progress)
    readable = manifest.without(
        x=list(x_bad), y=list(y_bad), bad=[*x_bad.values(), *y_bad.values()]
    )
    kept = [i for i in range(len(manifest)) if x[i] is not None or y[i] is not None]
    return readable, Contents([x[i] for i in kept], [y[i] for i in kept])


def item_findings(manifest: Manifest, contents: Contents) -> list[Finding]:
    """Every check of the readable items."""
    return [
        *_odd_texts(manifest),
        *_odd_names(manifest),
        *_duplicates(manifest, contents),
        *_leaks(manifest, contents),
    ]


def bad_item_findings(manifest: Manifest, limit: float) -> list[Finding]:
    """Say which items cannot be read, and whether a run would stop at them."""
    if not manifest.bad:
        return []
    try:
        enforce_bad_limit(manifest.bad, total=manifest.n_read, limit=limit, source="manifest")
    except TooManyBadItemsError as error:
        message, _, remedy = str(error).rpartition("\n")
        return [Finding("error", message, remedy)]
    first = "; ".join(str(item) for item in manifest.bad[:3])
    return [
        Finding(
            "warning",
            f"{len(manifest.bad):,} of {manifest.n_read:,} items cannot be read: {first}"
            f"{'; …' if len(manifest.bad) > 3 else ''}",
            "They will be skipped and listed in bad_items.jsonl; repair them if they matter.",
        )
    ]


def _odd_texts(manifest: Manifest) -> list[Finding]:
    """Point at texts that are probably not what was meant."""
    findings = []
    for cells, field, modality in _sides(manifest):
        if modality != "text":
            continue
        texts = _first_texts(cells)
        empty = [i for i, t in enumerate(texts) if t.casefold() in PLACEHOLDERS]
        if empty:
            word = texts[empty[0]]
            findings.append(
                Finding(
                    "warning",
                    f"{field}: {len(empty):,} texts are a placeholder such as {word!r} "
                    f"({_rows(manifest, empty)}).",
                    "Take them out, or they are learnt as captions."
                    if manifest.origins
                    else "Leave these cells empty, or they are learnt as captions.",
                )
            )
        lists = [i for i, t in enumerate(texts) if t.startswith("['") and t.endswith("']")]
        if lists:
            findings.append(
                Finding(
                    "warning",
                    f"{field}: {len(lists):,} texts are lists as Python prints them, such as "
                    f"{describe(texts[lists[0]])} ({_rows(manifest, lists)}).",
                    'Write several captions as a JSON list, ["one", "two"]; each is then one of '
                    "its item.",
                )
            )
        long = [i for i, t in enumerate(texts) if t.count("\n") >= MANY_LINES]
        if long:
            lines = texts[long[0]].count("\n") + 1
            findings.append(
                Finding(
                    "warning",
                    f"{field}: the text of row {manifest.rows[long[0]]} runs over {lines} lines.",
                    "If it was meant to be short, a quote before it is open and swallows rows.",
                )
            )
    return findings


def _odd_names(manifest: Manifest) -> list[Finding]:
    """Point at sets and groups whose name probably means that there is none."""
    findings = []
    columns = manifest.columns
    for word, field, ids, names in (
        ("set", columns.set, manifest.sets, manifest.set_names),
        ("group", columns.group, manifest.groups, manifest.group_names),
    ):
        for number in (i for i, name in enumerate(names) if name.casefold() in NO_NAMES):
            rows = np.flatnonzero(ids == number).tolist()
            if len(rows) < 2:
                continue
            findings.append(
                Finding(
                    "warning",
                    f"{field}: {len(rows):,} rows are in one {word} called {names[number]!r} "
                    f"({_rows(manifest, rows)}).",
                    f"If that means none, leave these cells empty: a {word} belongs together.",
                )
            )
    return findings


def _duplicates(manifest: Manifest, contents: Contents) -> list[Finding]:
    """Report rows and items that occur more than once."""
    findings = []
    repeated = _repeated(zip(contents.x, contents.y, strict=True))
    if repeated:
        findings.append(
            Finding(
                "warning",
                f"{len(repeated):,} rows repeat an earlier row ({_rows(manifest, repeated)}).",
                "Remove them: they count double in training.",
            )
        )
    for digests, (cells, field, modality) in zip(
        (contents.x, contents.y), _sides(manifest), strict=True
    ):
        counts = Counter(d for d in digests if d is not None)
        several = sum(n > 1 for n in counts.values())
        if not several:
            continue
        digest, times = counts.most_common(1)[0]
        example = describe(cells[digests.index(digest)])
        findings.append(
            Finding(
                "note",
                f"{field}: {several:,} {modality}s occur in several rows, most often {example} "
                f"({times:,} times).",
                _how_repeats_score(manifest, modality),
            )
        )
    return findings


def _how_repeats_score(manifest: Manifest, modality: Modality) -> str:
    if manifest.test is None:
        return "A split that setclip draws keeps them on one side, and its test holds one of them."
    own = "In the test only the partner in an item's own row counts as right."
    if modality == "image" and not manifest.origins:
        own += " data.merge_captions makes one item of a picture, and each of its captions right."
    return own


def _leaks(manifest: Manifest, contents: Contents) -> list[Finding]:
    """Report what stands in train and in test: groups, images, texts."""
    if manifest.test is None:
        return []
    findings = []
    groups = [None if g == NO_ID else manifest.group_names[g] for g in manifest.groups]
    leaks = _on_both_sides(groups, manifest.test)
    if leaks:
        shared = {groups[i] for i in leaks}
        tested = np.asarray([group in shared for group in groups])
        lost = int((tested & ~manifest.test).sum())
        findings.append(
            Finding(
                "warning",
                f"{manifest.columns.group}: {len(shared):,} groups are in train and in test, the "
                f"first is {groups[leaks[0]]!r} ({_rows(manifest, leaks)}).",
                f"Their {lost:,} rows in train will not be learned from. Put each group on one "
                "side, or drop the split column and let setclip split.",
            )
        )
    for digests, (_, field, modality) in zip(
        (contents.x, contents.y), _sides(manifest), strict=True
    ):
        leaks = _on_both_sides(digests, manifest.test)
        if leaks:
            findings.append(
                Finding(
                    "error" if modality == "image" else "warning",
                    f"{field}: {len(leaks):,} test {modality}s are also in train "
                    f"({_rows(manifest, leaks)}).",
                    "Where two sets hold the same pictures, let one of them give nothing (learn: "
                    "nothing) or not be measured (measure: false)."
                    if manifest.origins
                    else "Move them to train, or drop the split column and let setclip split by "
                    "group.",
                )
            )
    lonely = [
        i for i in np.flatnonzero(manifest.test).tolist() if None in (manifest.x[i], manifest.y[i])
    ]
    if lonely:
        findings.append(
            Finding(
                "warning",
                f"{len(lonely):,} test rows have one side only ({_rows(manifest, lonely)}).",
                "They cannot be scored; fill their other cell or move them to train.",
            )
        )
    return findings


def _digests(
    manifest: Manifest,
    cells: Sequence[Cell],
    field: str,
    modality: Modality,
    progress: bool,
) -> tuple[list[str | None], dict[int, BadItem]]:
    distinct = list(dict.fromkeys(cell for cell in cells if cell is not None))
    read: Callable[[Any], str | BadItemError] = (
        _image_digest if modality == "image" else _text_digest
    )
    found = dict(zip(distinct, _in_threads(read, distinct, field, progress), strict=True))
    digests: list[str | None] = []
    bad: dict[int, BadItem] = {}
    for i, cell in enumerate(cells):
        result = None if cell is None else found[cell]
        if isinstance(result, BadItemError):
            value = cell if modality == "image" else describe(cell)
            bad[i] = manifest.bad_item(i, field, str(value), result.reason)
        digests.append(result if isinstance(result, str) else None)
    return digests, bad


def _in_threads(
    read: Callable[[Any], str | BadItemError], items: Sequence[Any], field: str, progress: bool
) -> Iterator[str | BadItemError]:
    from rich.progress import Progress

    # Decoders release the interpreter's lock, and slow disks want several requests at once.
    workers = min(16, 2 * (os.cpu_count() or 1))
    with Progress(transient=True, disable=not progress) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task(f"reading {field}", total=len(items))
        for start in range(0, len(items), _BATCH):
            for result in pool.map(read, items[start : start + _BATCH]):
                bar.advance(task)
                yield result


def _image_digest(path: str) -> str | BadItemError:
    try:
        content = read_bytes(path)
        read_image(content)
    except BadItemError as error:
        return error
    return hashlib.sha256(content).hexdigest()


def _text_digest(text: str | tuple[str, ...]) -> str | BadItemError:
    texts = text if isinstance(text, tuple) else (text,)
    digests = []
    for single in texts:
        try:
            digests.append(clean_text(single).casefold())
        except BadItemError as error:
            reason = error
    return "\n".join(digests) if digests else reason


def _first_texts(cells: Sequence[Cell]) -> list[str]:
    """The text of each cell, the first of several, "" where there is none."""
    return [(cell[0] if isinstance(cell, tuple) else cell) or "" for cell in cells]


def _sides(manifest: Manifest) -> Iterator[tuple[list[Cell], str, Modality]]:
    yield manifest.x, manifest.columns.x, manifest.columns.x_modality
    yield manifest.y, manifest.columns.y, manifest.columns.y_modality


def _repeated(keys: Iterable[Hashable]) -> list[int]:
    """Positions whose key occurred before."""
    seen: set[Hashable] = set()
    repeated = []
    for i, key in enumerate(keys):
        if key in seen:
            repeated.append(i)
        seen.add(key)
    return repeated


def _on_both_sides(keys: Sequence[str | None], test: BoolArray) -> list[int]:
    """Test positions whose key also occurs in train."""
    train = {key for key, held_out in zip(keys, test, strict=True) if not held_out}
    return [i for i in np.flatnonzero(test).tolist() if keys[i] is not None and keys[i] in train]


def _rows(manifest: Manifest, positions: Sequence[int]) -> str:
    """The first few rows, as a person finds them."""
    shown = [f"{manifest.rows[i]:,}" for i in positions[:5]]
    word = "row" if len(positions) == 1 else "rows"
    more = f" and {len(positions) - 5:,} more" if len(positions) > 5 else ""
    return f"{word} {', '.join(shown)}{more}"
