"""What every encoder offers, and the one loop that runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from setclip.encoders.side_by_side import side_by_side

FloatArray = npt.NDArray[np.float32]
Item = bytes | str | Path
Modality = Literal["image", "text", "sequence", "structure"]


class Encoder(Protocol):
    """A frozen map from items of one modality to features.

    Reading an item (`prepare`) is apart from running the network (`embed`), so that a caller can
    skip a bad item and keep the rest of its batch.

    One whose `embed` may be called by several threads at once, and is the quicker for it, says so
    by an attribute `concurrent = True`.
    """

    @property
    def name(self) -> str:
        """The name under which :func:`setclip.encoders.get` knows it."""
        ...

    @property
    def modality(self) -> Modality:
        """What it reads: bytes or paths of images or of structures, texts, or sequences."""
        ...

    @property
    def dim(self) -> int:
        """Width of the features."""
        ...

    @property
    def batch_size(self) -> int:
        """How many prepared items to embed at once."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when weights or preprocessing do; equal fingerprints give equal features."""
        ...

    def prepare(self, item: Item) -> Any:
        """Read one item.

        Raises:
            BadItemError: The item cannot be used.
        """
        ...

    def embed(self, prepared: Sequence[Any]) -> FloatArray:
        """Features of prepared items, in order. Shape [n, dim]; rows are not normalised."""
        ...

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of items, in order. Shape [n, dim].

        Raises:
            BadItemError: The first item that cannot be used.
        """
        ...


def encode_all(encoder: Encoder, items: Sequence[Item], *, progress: bool) -> FloatArray:
    """Prepare and embed batch after batch under a progress bar. Shape [n, dim]."""
    from rich.progress import track

    size = encoder.batch_size
    starts = range(0, len(items), size)
    made: Iterable[FloatArray] = side_by_side(
        lambda start: encoder.embed([encoder.prepare(i) for i in items[start : start + size]]),
        starts,
        concurrent=getattr(encoder, "concurrent", False),
    )
    made = track(
        made,
        total=len(starts),
        description=f"{encoder.name}: {len(items):,} items",
        disable=not progress,
        transient=True,
    )
    features = np.empty((len(items), encoder.dim), dtype=np.float32)
    for start, rows in zip(starts, made, strict=True):
        features[start : start + size] = rows
    return features


def file_hash(path: Path) -> str:
    """First 16 hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
