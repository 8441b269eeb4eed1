"""Images: opened safely, turned upright, white under transparency, letter-boxed square."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from setclip.modalities import BadItemError
from setclip.modalities.members import read_member

if TYPE_CHECKING:
    from PIL.Image import Image

# Raster formats that Pillow decodes by itself; EPS would start Ghostscript on a stranger's file.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
WHITE = (255, 255, 255)


def read_image(source: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Open one picture as upright RGB on white.

    Of an animation the first frame counts. 16-bit grey is scaled to 8 bits.

    Args:
        source: The encoded file's bytes, or its path.
        max_pixels: Larger pictures are refused before they are decoded.

    Raises:
        BadItemError: A missing, unreadable, truncated, oversized or unsupported file.
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError('reading images needs Pillow: pip install "setclip[bundled]"') from error
    name = describe(source)
    content = source if isinstance(source, bytes) else read_bytes(source)
    try:
        with warnings.catch_warnings():
            # Pillow's own, looser bound only warns; the check below refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
        with opened as image:
            _check_size(image.size, name, max_pixels)
            ImageOps.exif_transpose(image, in_place=True)  # else it copies upright ones, too
            return _flatten(image, name)
    except BadItemError:
        raise
    except UnidentifiedImageError as error:
        raise BadItemError(
            name, f"not a picture in a format that can be read ({', '.join(FORMATS)})"
        ) from error
    # Decoders meet broken files with any of these; each means that this one file is bad.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadItemError(name, f"cannot be decoded ({error})") from error


def read_bytes(source: str | Path) -> bytes:
    """The bytes of a file, or of a member of a tar file (see `modalities/members.py`).

    Raises:
        BadItemError: It is missing or cannot be read.
    """
    content = read_member(source)
    if content is not None:
        return content
    try:
        return Path(source).read_bytes()
    except FileNotFoundError as error:
        raise BadItemError(str(source), "there is no such file") from error
    # ValueError and TypeError: a name with a NUL, or no name at all.
    except (OSError, ValueError, TypeError) as error:
        raise BadItemError(str(source), f"cannot be read ({error})") from error


def square(image: Image, size: int) -> Image:
    """Scale the longer side to `size` and centre the picture on a white square."""
    from PIL import Image, ImageOps

    scaled = ImageOps.contain(image, (size, size), Image.Resampling.BICUBIC)
    if scaled.size == (size, size):
        return scaled
    canvas = Image.new("RGB", (size, size), WHITE)
    canvas.paste(scaled, ((size - scaled.width) // 2, (size - scaled.height) // 2))
    return canvas


def read_square(source: bytes | str | Path, size: int) -> npt.NDArray[np.uint8]:
    """Read one picture as a square array. Shape [size, size, 3].

    Raises:
        BadItemError: As :func:`read_image`.
    """
    return np.asarray(square(read_image(source), size), dtype=np.uint8)


def describe(source: bytes | str | Path) -> str:
    """What to call a picture in a message: its path, or the number of its bytes."""
    return f"picture of {len(source):,} bytes" if isinstance(source, bytes) else str(source)


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise BadItemError(
            name,
            f"{size[0]:,} × {size[1]:,} pixels, more than the bound of {max_pixels:,}. "
            "Scale it down first.",
        )


def _flatten(image: Image, name: str) -> Image:
    from PIL import Image

    if image.mode.startswith("I;16"):
        # convert("RGB") would clip at 255 instead of scaling.
        grey = (np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise BadItemError(
            name, f"pixels of mode {image.mode} have no known white. Save it with 8 or 16 bits."
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    canvas = Image.new("RGBA", layer.size, (*WHITE, 255))
    return Image.alpha_composite(canvas, layer).convert("RGB")
