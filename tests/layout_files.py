"""Little sets in the files that real ones are distributed in."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: int = 8) -> bytes:
    """A picture of one colour with some noise, as PNG."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 40, (size, size, 3))
    pixels = rng.integers(0, 200, 3) + noise
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> Path:
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def karpathy(path: Path, items: Sequence[tuple[str, str, Sequence[str]]]) -> Path:
    """Items are file name, split and captions."""
    images = [
        {
            "filename": name,
            "imgid": i,
            "split": split,
            "sentences": [{"raw": text, "tokens": text.split(), "imgid": i} for text in texts],
        }
        for i, (name, split, texts) in enumerate(items)
    ]
    return write_json(path, {"images": images, "dataset": path.stem})


def coco(path: Path, items: Sequence[tuple[str, Sequence[str]]]) -> Path:
    """Items are file name and captions."""
    images = [{"id": 100 + i, "file_name": name, "height": 8} for i, (name, _) in enumerate(items)]
    texts = [(100 + i, text) for i, (_, captions) in enumerate(items) for text in captions]
    annotations = [{"id": i, "image_id": key, "caption": t} for i, (key, t) in enumerate(texts)]
    return write_json(path, {"info": {}, "images": images, "annotations": annotations})


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def shard(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar file with these members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
