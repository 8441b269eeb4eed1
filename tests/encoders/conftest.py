"""Pictures, and the two bundled networks to be trained."""

import io

import numpy as np
import pytest
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> bytes:
    """A PNG of smooth random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return [picture(seed) for seed in range(4)]


TEXTS = ["a red apple", "a much longer text about a green apple and a dog", "fire", "two cats"]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS
