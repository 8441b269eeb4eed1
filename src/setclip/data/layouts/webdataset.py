"""WebDataset: tar files whose members of one name and several suffixes are one item (CC3M, …).

    000000000.jpg  000000000.txt  000000000.json     one item of a shard

Shards are read in one pass of their headers and texts; pictures stay where they are and are read by
offset (`modalities/members.py`). What a shard holds is kept in the cache, so the pass is made once.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from setclip.data.atomic import replacing
from setclip.data.bad_items import BadItem
from setclip.data.cache import default_directory
from setclip.data.layouts.rows import Row, Rows, checked, texts_of
from setclip.data.tables import IMAGE_SUFFIXES, ManifestError
from setclip.modalities.members import member_path
from setclip.modalities.text import MAX_CHARS

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_TEXTS = frozenset({"txt", "json", "cls"})
# A caption of the longest kind in any encoding; a larger "text" member is something else.
_MAX_TEXT_BYTES = 8 * MAX_CHARS
# What else is a picture, and would leave its caption without one.
_UNREAD_PICTURES = frozenset({".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".svg"})
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("txt", pa.string()),
        ("json", pa.string()),
        ("cls", pa.string()),
        ("reason", pa.string()),
    ]
)


def read(path: str | Path, *, caption_key: str = "caption") -> Rows:
    """Read what the shards hold; pictures stay inside them.

    An item with a picture and a text is a pair, one that lacks either is unpaired.

    Args:
        path: One tar file, a folder of them, or a pattern: `cc3m/{00000..00331}.tar`, `cc3m/*.tar`.
        caption_key: Where an item has no .txt member, the field of its .json member that holds its
            caption, or a list of captions.

    Raises:
        ManifestError: No shard is there, one is compressed or no tar file, or there is no item.
    """
    rows: list[Row] = []
    bad: list[BadItem] = []
    items = ((shard, item) for shard in shards(path) for item in _index(shard))
    for number, (shard, item) in enumerate(items, start=1):
        if item["reason"]:
            bad.append(BadItem(number, "row", f"{shard}#{item['key']}", item["reason"]))
        else:
            rows.append(_row(shard, item, number, caption_key, bad))
    return checked(Rows(Path(path), rows, bad), "picture or text in its shards")


def shards(path: str | Path) -> list[Path]:
    """The tar files that a path, a folder or a pattern stands for, in order.

    Raises:
        ManifestError: There is none, or one of a numbered range is missing.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.tar"))
    elif match := _BRACES.search(str(path)):
        first, last = match.groups()
        found = [
            Path(f"{str(path)[: match.start()]}{n:0{len(first)}d}{str(path)[match.end() :]}")
            for n in range(int(first), int(last) + 1)
        ]
    else:
        found = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    missing = [shard for shard in found if not shard.is_file()]
    if missing or not found:
        raise ManifestError(
            f"{missing[0] if missing else path}: there is no such tar file"
            f"{f', nor {len(missing) - 1:,} others of {len(found):,}' if len(missing) > 1 else ''}."
            " Give a tar file, a folder of them, or a pattern such as shards/{000..099}.tar."
        )
    return [shard.absolute() for shard in found]


def _row(
    shard: Path, item: dict[str, Any], number: int, caption_key: str, bad: list[BadItem]
) -> Row:
    image = None
    if item["image"]:
        image = member_path(shard, offset=item["offset"], size=item["size"], name=item["image"])
    captions = _captions(item, number, f"{shard}#{item['key']}", caption_key, bad)
    return Row(number, image, captions, label=(item["cls"] or "").strip())


def _captions(
    item: dict[str, Any], number: int, name: str, caption_key: str, bad: list[BadItem]
) -> tuple[str, ...]:
    """Captions of an item; what its .json has in their place is listed, and the picture stays."""
    if item["txt"] and item["txt"].strip():
        return (item["txt"].strip(),)
    try:
        content = json.loads(item["json"] or "{}")
    except (json.JSONDecodeError, RecursionError) as error:
        bad.append(BadItem(number, "json", name, f"not valid JSON ({error})"))
        return ()
    value = content.get(caption_key) if isinstance(content, dict) else None
    if value is None:
        return ()
    return texts_of(value if isinstance(value, list) else [value], number, caption_key, bad)


def _index(shard: Path) -> list[dict[str, Any]]:
    """Items of a shard, from the cache if it was read before and has not changed."""
    state = shard.stat()
    version = f"2:{shard}:{state.st_size}:{state.st_mtime_ns}"
    file = hashlib.sha256(version.encode()).hexdigest()[:32]
    path = default_directory() / "shards" / f"{file}.parquet"
    try:
        items: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException):
        items = list(_read_shard(shard))
        with replacing(path) as aside:
            pq.write_table(pa.Table.from_pylist(items, schema=_SCHEMA), aside)
    return items


def _read_shard(shard: Path) -> Iterator[dict[str, Any]]:
    item: dict[str, Any] = {}
    seen: set[str] = set()
    try:
        with tarfile.open(shard, "r:") as tar:  # not compressed, else there are no offsets
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, dot, suffix = name.partition(".")
                if member.isdir() or not dot or not stem:
                    continue
                key = folder + slash + stem
                if item and item["key"] != key:
                    yield from _complete(item)
                    item = {}
                if not item and key in seen:
                    raise ManifestError(
                        f"{shard}: {member.name} stands apart from the other members of {key}, so "
                        "that what belongs together cannot be known. Pack it again in the order of "
                        "names: tar --sort=name -cf shard.tar …"
                    )
                seen.add(key)
                item = item or {"key": key, "reason": "", "others": []}
                _add(item, tar, member, suffix.lower())
    except tarfile.ReadError as error:
        if not item:
            raise ManifestError(
                f"{shard}: not an uncompressed tar file ({error}). Unpack .tar.gz to .tar first: "
                "pictures are read by their place in it."
            ) from error
        # Cut short by a broken download: what came before is whole, the last item may not be.
        item["reason"] = f"the tar file is damaged here ({error})"
    yield from _complete(item)


def _add(item: dict[str, Any], tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> None:
    if not member.isreg():
        item["others"].append(f".{suffix} (no file but a link or device)")
    elif f".{suffix}" in IMAGE_SUFFIXES:
        if member.sparse is not None:
            item["reason"] = "a sparse member, which does not lie in one piece"
        item |= {"image": member.name, "offset": member.offset_data, "size": member.size}
    elif suffix in _TEXTS:
        if member.size > _MAX_TEXT_BYTES:
            item["reason"] = f"its .{suffix} has {member.size:,} bytes, too many for a caption"
            return
        file = tar.extractfile(member)
        assert file is not None  # a regular member
        try:
            item[suffix] = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            item["reason"] = f"its .{suffix} is not UTF-8 ({error})"
    else:
        item["others"].append(f".{suffix}")


def _complete(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The item, and the reason if nothing of it can be used."""
    if not item:
        return
    if not any(item.get(name) for name in ("image", "txt", "json", "reason")):
        kinds = ", ".join(item["others"]) or "empty files"
        item["reason"] = f"no picture and no text that can be read, but {kinds}"
    unread = [kind for kind in item["others"] if kind in _UNREAD_PICTURES]
    if unread and not item.get("image"):
        item["reason"] = f"its picture is {unread[0]}: convert it to .jpg, .png or .webp"
    yield {name: item.get(name) for name in _SCHEMA.names}
