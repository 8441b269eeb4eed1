"""Features on disk, so that a frozen encoder sees each item once.

Under the cache directory each encoder fingerprint has a folder of blocks: safetensors files with
the content keys of some items and their features. A block is written whole and never changed, so
readers and writers need no lock: two processes at work on the same items at worst both encode them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from setclip.data.atomic import replacing
from setclip.data.bad_items import BadItem
from setclip.data.pools import FloatArray
from setclip.encoders.composition import prepare_sequence
from setclip.encoders.protocol import Encoder, Item
from setclip.encoders.side_by_side import side_by_side
from setclip.modalities import BadItemError, image, text
from setclip.proteins.packed import pack_chain, read_chain

T = TypeVar("T")
Key = bytes
"""SHA-256 of an item's content."""
DIGEST_BYTES = 32

# Items lost at most when encoding is killed; small enough to take seconds, large enough that a
# hundred thousand items make a few hundred files.
BLOCK = 256
HASHING_THREADS = 4

log = logging.getLogger(__name__)


def default_directory() -> Path:
    """The folder named by SETCLIP_CACHE, or ~/.cache/setclip."""
    named = os.environ.get("SETCLIP_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "setclip"


def cached_features(
    encoder: Encoder,
    items: Sequence[Item],
    *,
    directory: str | Path | None = None,
    progress: bool = True,
) -> tuple[FloatArray, list[BadItem]]:
    """Encode items, taking from the cache what was encoded before.

    An item is known by its content (a file's bytes, a text's characters): adding a file encodes one
    file, a changed file is encoded anew, a renamed one is not. What an interrupted call has
    encoded, the next one finds.

    Args:
        encoder: Its fingerprint is part of the key.
        items: Bytes, paths or texts, as the encoder takes them.
        directory: None for :func:`default_directory`.
        progress: Show a bar while items are encoded.

    Returns:
        Features, row-aligned with `items`, NaN in the rows of bad items; and the bad items, whose
        `row` counts from 0. Shape [n, dim].

    Raises:
        OSError: The cache directory cannot be written.
    """
    folder = _folder(default_directory() if directory is None else Path(directory), encoder)
    features = np.full((len(items), encoder.dim), np.nan, dtype=np.float32)
    rows, bad = _rows_by_content(items, encoder.modality)
    missing = dict(rows)
    for key, row in _stored(folder, rows, encoder.dim):
        features[rows[key]] = row
        missing.pop(key, None)
    with _bar(encoder.name, len(missing), shown=progress) as advance:
        for keys in _batched(missing, BLOCK):
            block = _encode(encoder, {key: items[rows[key][0]] for key in keys}, advance)
            _store(folder, block)
            for key, row in zip(block.keys, block.features, strict=True):
                features[rows[key]] = row
            for key, reason in block.failed.items():
                bad += [_bad(encoder.modality, items, row, reason) for row in rows[key]]
    return features, sorted(bad, key=lambda item: item.row)


@dataclass(frozen=True)
class _Block:
    """Items encoded together.

    `digests` are the contents that were encoded, `keys` those seen when the items were first read:
    they differ where a file changed in between.
    """

    keys: list[Key]
    digests: list[Key]
    features: FloatArray
    failed: dict[Key, str]


def _folder(directory: Path, encoder: Encoder) -> Path:
    version = hashlib.sha256(encoder.fingerprint.encode()).hexdigest()[:16]
    # Models are named owner/model, or by a path.
    name = re.sub(r"[^\w.-]+", "-", encoder.name)[-80:]
    folder = directory / "features" / f"{name}-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the feature cache {folder} cannot be made ({error.strerror}). Point the environment "
            "variable SETCLIP_CACHE to a folder that can be written."
        ) from error
    return folder


def _rows_by_content(
    items: Sequence[Item], modality: str
) -> tuple[dict[Key, list[int]], list[BadItem]]:
    rows: dict[Key, list[int]] = {}
    bad = []
    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        found = threads.map(lambda item: _digest_or_reason(item, modality), items)
        for row, digest in enumerate(found):
            if isinstance(digest, bytes):
                rows.setdefault(digest, []).append(row)
            else:
                bad.append(_bad(modality, items, row, digest))
    return rows, bad


def _digest_or_reason(item: Item, modality: str) -> Key | str:
    try:
        return _digest(_content(item, modality))
    except BadItemError as error:
        return error.reason


def _content(item: Item, modality: str) -> bytes | str:
    if modality == "text":
        return text.clean_text(item)
    if modality == "sequence":
        return prepare_sequence(item)
    if modality == "structure":
        # A file may hold several chains, and say more of them than an encoder reads.
        return pack_chain(read_chain(item))
    if isinstance(item, bytes):
        return item
    return image.read_bytes(item)


def _digest(content: bytes | str) -> Key:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


def _bad(modality: str, items: Sequence[Item], row: int, reason: str) -> BadItem:
    item = items[row]
    return BadItem(row, modality, _described(modality, item), reason)


def _described(modality: str, item: Item) -> str:
    if modality in ("text", "sequence"):
        return text.describe(item)
    if modality == "structure" and isinstance(item, bytes):
        return f"chain of {len(item):,} bytes"
    return image.describe(item)


def _encode(encoder: Encoder, items: dict[Key, Item], advance: Callable[[int], None]) -> _Block:
    parts = []
    for batch, count in side_by_side(
        partial(_encode_batch, encoder),
        list(_batched(items.items(), encoder.batch_size)),
        concurrent=getattr(encoder, "concurrent", False),
    ):
        parts.append(batch)
        advance(count)
    return _Block(
        [key for part in parts for key in part.keys],
        [digest for part in parts for digest in part.digests],
        np.concatenate([np.zeros((0, encoder.dim), np.float32), *(p.features for p in parts)]),
        {key: reason for part in parts for key, reason in part.failed.items()},
    )


def _encode_batch(encoder: Encoder, batch: list[tuple[Key, Item]]) -> tuple[_Block, int]:
    """What became of a batch, and how many items it had."""
    keys, digests, prepared, failed = [], [], [], {}
    for key, item in batch:
        try:
            content = _content(item, encoder.modality)
            prepared.append(encoder.prepare(content))
        except BadItemError as error:
            failed[key] = error.reason
        else:
            keys.append(key)
            digests.append(_digest(content))
    none = np.zeros((0, encoder.dim), dtype=np.float32)
    return _Block(keys, digests, encoder.embed(prepared) if prepared else none, failed), len(batch)


def _store(folder: Path, block: _Block) -> None:
    if not block.digests:
        return
    digests = np.frombuffer(b"".join(block.digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    name = hashlib.sha256(digests.tobytes()).hexdigest()[:32]
    with replacing(folder / f"{name}.safetensors") as aside:
        save_file({"digests": digests, "features": block.features}, aside)


def _stored(
    folder: Path, wanted: Container[Key], dim: int
) -> Iterator[tuple[Key, npt.NDArray[np.float32]]]:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as block:
                digests = block.get_tensor("digests")
                keys = [digest.tobytes() for digest in digests]
                if not any(key in wanted for key in keys):
                    continue
                features = block.get_tensor("features")
        except (SafetensorError, OSError) as error:
            log.warning("skipping a damaged block of the feature cache, %s: %s", path, error)
            continue
        if features.shape != (len(keys), dim):
            log.warning("skipping a block of the feature cache of another shape: %s", path)
            continue
        yield from ((k, row) for k, row in zip(keys, features, strict=True) if k in wanted)


@contextmanager
def _bar(name: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not shown or not total) as bar:
        task = bar.add_task(f"encoding with {name}", total=total)
        yield lambda done: bar.advance(task, done)


def _batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` values in order, the last one shorter (itertools has this from 3.12)."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
