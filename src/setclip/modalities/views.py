"""Views of prepared items for self-supervision: the same item, seen a little differently.

Everything random comes from the generator that is passed in, so a batch is a function of its seed
whatever number of workers draws it; torch's and torchvision's own generators are not touched.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor

Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]

DROP = 0.2
"""Share of the words that a view of a text lacks."""
STRETCH = math.log(4 / 3)
"""Largest logarithm of a crop's width over its height."""
BLUR = (0.1, 2.0)
"""Range of the blur's standard deviation, in pixels of a picture 224 wide."""
BLUR_SIZE = 224


class ImageViews(BaseModel):
    """How far a view of an image may be from the image; all zero is the image itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    crop: BelowOne = 0.5
    """Largest share of the area that is cut away before the rest is scaled up again."""
    flip: Share = 0.5
    """Probability of a flip of left and right."""
    upend: Share = 0.0
    """Probability of a flip of top and bottom: for pictures from above, which have no top."""
    jitter: BelowOne = 0.4
    """Largest relative change of brightness, of contrast and of saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest turn of the hue, in turns of the colour circle."""
    grey: Share = 0.1
    """Probability that the colours go."""
    blur: Share = 0.2
    """Probability of a blur."""


def image_view(
    image: Tensor, rng: np.random.Generator, options: ImageViews | None = None
) -> Tensor:
    """One view of a prepared image; the image itself is not changed.

    Args:
        image: uint8. Shape [3, s, s].
        rng: Decides everything; the same state gives the same view.
        options: How far the view may go; None for the default of :class:`ImageViews`.

    Returns:
        uint8. Shape [3, s, s].

    Raises:
        ImportError: torchvision is not installed.

    Source:
        Chen et al., "A simple framework for contrastive learning", arXiv 2002.05709, appendix A.
    """
    options = options or ImageViews()
    view = _cropped(image, rng, options.crop) if options.crop else image
    transforms = _torchvision()
    if rng.random() < options.flip:
        view = transforms.horizontal_flip(view)
    if rng.random() < options.upend:
        view = transforms.vertical_flip(view)
    view = _recoloured(view, rng, options)
    if rng.random() < options.grey:
        view = transforms.rgb_to_grayscale(view, num_output_channels=3)
    if rng.random() < options.blur:
        view = _blurred(view, rng)
    return view


def text_view(text: str, rng: np.random.Generator, *, drop: float = DROP) -> str:
    """One view of a text: some of its words are missing, the others keep their order.

    Args:
        text: Words with white space between them. A text of one word stays as it is.
        rng: Decides everything; the same state gives the same view.
        drop: Probability of each word to go; one word always stays.

    Returns:
        A text that is empty only if `text` is.
    """
    words = text.split()
    keep = rng.random(len(words)) >= drop
    if keep.all():
        return text
    if not keep.any():
        keep[rng.integers(len(words))] = True
    return " ".join(word for word, kept in zip(words, keep, strict=True) if kept)


def _cropped(image: Tensor, rng: np.random.Generator, crop: float) -> Tensor:
    from torchvision.transforms import InterpolationMode

    size = image.shape[-1]
    area = rng.uniform(1 - crop, 1)
    # Beyond this stretch a rectangle of that area would stick out of the picture.
    most = min(STRETCH, -math.log(area))
    stretch = math.exp(rng.uniform(-most, most))
    width = max(1, round(size * math.sqrt(area * stretch)))
    height = max(1, round(size * math.sqrt(area / stretch)))
    left, top = (int(rng.integers(size - length + 1)) for length in (width, height))
    view: Tensor = _torchvision().resized_crop(
        image,
        top,
        left,
        height,
        width,
        size=[size, size],
        interpolation=InterpolationMode.BILINEAR,
        antialias=True,
    )
    return view


def _recoloured(view: Tensor, rng: np.random.Generator, options: ImageViews) -> Tensor:
    transforms = _torchvision()
    changes = (
        (transforms.adjust_brightness, 1.0, options.jitter),
        (transforms.adjust_contrast, 1.0, options.jitter),
        (transforms.adjust_saturation, 1.0, options.jitter),
        (transforms.adjust_hue, 0.0, options.hue),
    )
    for i in rng.permutation(len(changes)):
        change, neutral, most = changes[i]
        if most:
            view = change(view, neutral + rng.uniform(-most, most))
    return view


def _blurred(view: Tensor, rng: np.random.Generator) -> Tensor:
    sigma = rng.uniform(*BLUR) * view.shape[-1] / BLUR_SIZE
    blurred: Tensor = _torchvision().gaussian_blur(
        view, kernel_size=[2 * math.ceil(2 * sigma) + 1] * 2, sigma=[sigma] * 2
    )
    return blurred


def _torchvision() -> Any:
    try:
        from torchvision.transforms.v2 import functional
    except ImportError as error:
        raise ImportError(
            'views of images need torchvision: pip install "setclip[train]"'
        ) from error
    return functional
