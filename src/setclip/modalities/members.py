"""Pictures inside tar files, read where they lie: one seek, nothing is unpacked.

A member is written as a path, `shard.tar#offset+size/name.jpg`, so that whatever takes the path of
a picture takes this too, in any process, without an index.
"""

from __future__ import annotations

import re
from pathlib import Path

from setclip.modalities import BadItemError

_MEMBER = re.compile(r"^(?P<shard>.*\.tar)#(?P<offset>\d+)\+(?P<size>\d+)/(?P<name>.*)$", re.DOTALL)


def member_path(shard: str | Path, *, offset: int, size: int, name: str) -> str:
    """How to write a member of a tar file.

    Args:
        shard: The tar file, not compressed.
        offset: Of the member's first byte of content.
        size: Bytes of content.
        name: What to call it in messages; folders in it are kept.
    """
    return f"{shard}#{offset}+{size}/{name}"


def read_member(path: str | Path) -> bytes | None:
    """The content of a member; None where the path is that of a plain file.

    Raises:
        BadItemError: The tar file is missing, cannot be read, or ends before the member does.
    """
    match = _MEMBER.match(str(path))
    if match is None:
        return None
    size = int(match["size"])
    try:
        with Path(match["shard"]).open("rb") as file:
            file.seek(int(match["offset"]))
            content = file.read(size)
    except (OSError, ValueError, OverflowError) as error:
        raise BadItemError(str(path), f"cannot be read ({error})") from error
    if len(content) < size:
        raise BadItemError(str(path), f"the tar file ends after {len(content):,} of {size:,} bytes")
    return content
