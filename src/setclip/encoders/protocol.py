"""What every encoder offers, and the one loop that runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Item = bytes | str | Path
Modality = Literal["image", "text", "sequence", "structure"]


class Encoder(Protocol):
    """A frozen map from items of one modality to features.

    Reading an item (`prepare`) is apart from running the network (`embed`), so that a caller can
    skip a bad item and keep the rest of its batch.
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
    starts = track(
        range(0, len(items), size),
        description=f"{encoder.name}: {len(items):,} items",
        disable=not progress,
        transient=True,
    )
    features = np.empty((len(items), encoder.dim), dtype=np.float32)
    for start in starts:
        batch = items[start : start + size]
        features[start : start + size] = encoder.embed([encoder.prepare(item) for item in batch])
    return features


def file_hash(path: Path) -> str:
    """First 16 hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
