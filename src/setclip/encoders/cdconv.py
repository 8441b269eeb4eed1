"""CDConv: convolution over a protein's chain, discrete along the sequence, continuous in space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from setclip.encoders.backbone import Backbone
from setclip.encoders.residue_graph import Graph, Residues, build_graph, pool
from setclip.proteins.chains import LETTERS
from setclip.proteins.packed import read_chain
from setclip.proteins.residues import PADDING, StructureItem, pad_chains, structure_item

EDGE_FEATURES = 7
EDGE_SLOPE = 0.2
SLOPE = 0.1
BATCH_NORM_MOMENTUM = 0.2


@dataclass(frozen=True)
class CDConvConfig:
    """Sizes of the network.

    Attributes:
        kernel_length: Offsets along the sequence that have a kernel of their own; odd.
        kernel_channels: Width of what a kernel makes of an edge.
        base_width: Width of the convolutions, in 64ths of the channels.
        channels: Width of each stage; the last is that of the features.
        radii: Reach of an edge in each stage, in A.
        embedding: Width of the amino acids' embedding.
        dropout: Share of features dropped in training.
    """

    kernel_length: int = 5
    kernel_channels: int = 24
    base_width: int = 64
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    radii: tuple[float, ...] = (8.0, 12.0, 16.0, 20.0)
    embedding: int = 16
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.kernel_length < 1 or self.kernel_length % 2 == 0:
            raise ValueError(f"kernel_length is {self.kernel_length}: give an odd number.")
        if len(self.channels) != len(self.radii) or not self.channels:
            raise ValueError(
                f"{len(self.channels)} channels for {len(self.radii)} radii: give one of each a "
                "stage."
            )
        if any(channels * self.base_width < 64 for channels in self.channels):
            raise ValueError(
                f"base_width {self.base_width} leaves no convolution of {min(self.channels)} "
                f"channels: give at least {math.ceil(64 / min(self.channels))}."
            )


PRESETS: dict[str, CDConvConfig] = {
    "fold": CDConvConfig(),
    "reaction": CDConvConfig(kernel_length=21, base_width=32),
    "go": CDConvConfig(kernel_length=21, base_width=32),
    "ec": CDConvConfig(kernel_length=21, kernel_channels=32, base_width=16),
    "small": CDConvConfig(
        kernel_length=11, kernel_channels=8, base_width=32, channels=(32, 64, 128, 256)
    ),
}
"""The published sizes by task, and one that trains on a CPU."""


class CDConv(nn.Module):
    """Chains in, one vector a chain out, the same however a chain is turned or shifted.

    Stages of two residual blocks; between stages neighbours along the sequence are joined in pairs.
    The mean over what is left of a chain is its vector. Chains of a batch do not see each other,
    but through batch statistics in training.

    Args:
        config: Sizes.

    Source:
        Fan et al., Continuous-Discrete Convolution for Geometry-Sequence Modeling in Proteins,
        ICLR 2023. Pooling keys carry the chain here; the release joins the ends of short chains.
    """

    def __init__(self, config: CDConvConfig = PRESETS["small"]) -> None:
        super().__init__()
        self.config = config
        self.dim = config.channels[-1]
        self.embedding = nn.Embedding(len(LETTERS), config.embedding)
        widths = (config.embedding, *config.channels)
        self.stages = nn.ModuleList(
            nn.ModuleList([Block(c_in, c_out, config), Block(c_out, c_out, config)])
            for c_in, c_out in pairwise(widths)
        )

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Features of chains, not normalised.

        Args:
            batch: What :func:`setclip.proteins.residues.pad_chains` makes: `codes` [b, n], with
                `PADDING` beyond a chain's end, `positions` [b, n, 3] in A, `frames` [b, n, 3, 3],
                `index` [b, n].

        Returns:
            Shape [b, dim].
        """
        if not len(batch["codes"]):
            return self._of_none(batch)
        here = batch["codes"] != PADDING
        residues = Residues(
            positions=batch["positions"][here],
            frames=batch["frames"][here],
            index=batch["index"][here],
            lengths=tuple(here.sum(dim=1).tolist()),
        )
        x = self.embedding(batch["codes"][here])
        for number, (stage, radius) in enumerate(zip(self.stages, self.config.radii, strict=True)):
            if number:
                residues, x = pool(residues, x)
            length = self.config.kernel_length
            graph = build_graph(residues, radius=radius, kernel_length=length)
            for block in stage:  # type: ignore[attr-defined]
                x = block(x, graph)
        return chain_means(x, residues)

    def _of_none(self, batch: Mapping[str, Tensor]) -> Tensor:
        """No row, but with a gradient's path: a process without rows takes part in every step."""
        positions = batch["positions"]
        modes = [(module, module.training) for module in self.modules()]
        self.eval()  # batch norms need two residues, and are not to learn from this one
        out = self.forward(
            {
                "codes": batch["codes"].new_zeros(1, 1),
                "positions": positions.new_zeros(1, 1, 3),
                "frames": torch.eye(3).to(positions).expand(1, 1, 3, 3),
                "index": batch["index"].new_zeros(1, 1),
            }
        )[:0]
        for module, training in modes:  # some norms may be held still
            module.training = training
        return out


class Block(nn.Module):
    """A residual block: narrow, convolve, widen."""

    def __init__(self, c_in: int, c_out: int, config: CDConvConfig) -> None:
        super().__init__()
        width = int(c_out * config.base_width / 64)
        self.narrow = nn.Sequential(
            *_activated(c_in, config),
            nn.Linear(c_in, width, bias=False),
            *_activated(width, config),
        )
        self.convolve = Convolution(width, config)
        self.widen = nn.Sequential(*_activated(width, config), nn.Linear(width, c_out, bias=False))
        self.skip = (
            nn.Identity()
            if c_in == c_out
            else nn.Sequential(*_activated(c_in, config), nn.Linear(c_in, c_out, bias=False))
        )

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Shape [n, c_in] to [n, c_out]."""
        out: Tensor = self.widen(self.convolve(self.narrow(x), graph)) + self.skip(x)
        return out


class Convolution(nn.Module):
    """Sum over neighbours j of (kernel of the edge) ⊗ x_j, then one linear map.

    The kernel of an edge is LeakyReLU(A_s f + a_s), faded: each clamped offset s along the sequence
    has its own A and a, and f is what the edge looks like in space.
    """

    def __init__(self, width: int, config: CDConvConfig) -> None:
        super().__init__()
        length, channels = config.kernel_length, config.kernel_channels
        self.kernel = nn.Parameter(torch.empty(length, EDGE_FEATURES, channels))
        self.kernel_bias = nn.Parameter(torch.zeros(length, channels))
        self.mix = nn.Parameter(torch.empty(channels * width, width))
        for weight in (self.kernel, self.mix):
            bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Shape [n, width] to [n, width]."""
        weight = torch.cat([self.kernel, self.kernel_bias[:, None]], dim=1)
        summed = convolve(x, graph.features, graph.fade, weight, graph)
        return summed.flatten(start_dim=1) @ self.mix


def convolve(x: Tensor, features: Tensor, fade: Tensor, weight: Tensor, graph: Graph) -> Tensor:
    """Sums over the neighbours of each residue of kernel ⊗ features.

    Args:
        x: Shape [n, c].
        features: Of each edge, the last of them a one. Shape [e, f].
        fade: Positive factor of each edge, then a zero. Shape [e + 1, 1].
        weight: Kernel of each bucket. Shape [buckets, f, k].
        graph: Where the edges lie.

    Returns:
        Shape [n, k, c].
    """
    out: Tensor = _Convolve.apply(x, features, fade, weight, graph)
    return out


class _Convolve(torch.autograd.Function):
    """By hand, because autograd would keep, and scatter into, arrays of every edge × k × c.

    Each bucket is one matrix product; each residue's sum is one, over its padded row of neighbours.
    Edges come in both directions, so the gradient of x is gathered through the reverse edges: there
    is no scatter, which is slow on CPU and without a fixed order on GPU.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, features: Tensor, fade: Tensor, weight: Tensor, graph: Graph
    ) -> Tensor:
        kernel = features.new_empty(len(features) + 1, weight.shape[2])
        for s, (a, b) in enumerate(pairwise(graph.bounds)):
            torch.mm(features[a:b], weight[s], out=kernel[a:b])
        kernel[-1] = 0
        kernel = functional.leaky_relu_(kernel, EDGE_SLOPE).mul_(fade)
        ctx.graph = graph
        ctx.save_for_backward(x, features, fade, weight, kernel)
        slabs = zip(_kernels(kernel, graph, x), _neighbours(x, graph), strict=True)
        sums = torch.cat([torch.bmm(k.transpose(1, 2), rows) for k, rows in slabs])
        return sums.index_select(0, graph.place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, features, fade, weight, kernel = ctx.saved_tensors
        graph: Graph = ctx.graph
        counts = [count for count, _ in graph.slabs]
        grads = torch.split(grad.index_select(0, graph.order), counts)
        needs_x, needs_features, needs_fade, needs_weight, _ = ctx.needs_input_grad
        d_x = d_features = d_fade = d_weight = None
        if needs_x:
            slabs = zip(_kernels(kernel, graph, x), grads, strict=True)
            d_rows = torch.cat([torch.bmm(k, g).flatten(0, 1) for k, g in slabs])
            d_rows = functional.embedding(graph.reverse, d_rows)
            d_x = torch.cat([rows.sum(dim=1) for rows in graph.by_slab(d_rows)])
            d_x = d_x.index_select(0, graph.place)
        if needs_features or needs_fade or needs_weight:
            slabs = zip(_neighbours(x, graph), grads, strict=True)
            d_table = torch.cat(
                [
                    torch.bmm(g, rows.transpose(1, 2)).transpose(1, 2).flatten(0, 1)
                    for rows, g in slabs
                ]
            )
            d_kernel = functional.embedding(graph.slot_of_edge, d_table).to(kernel.dtype)
            if needs_fade:
                per_edge = (d_kernel * kernel[:-1]).sum(dim=1, keepdim=True) / fade[:-1]
                d_fade = torch.cat([per_edge, per_edge.new_zeros(1, 1)])
            # Fading is positive, so the kernel has the sign of what went into the activation.
            d_kernel *= fade[:-1]
            d_kernel = torch.where(kernel[:-1] > 0, d_kernel, EDGE_SLOPE * d_kernel)
            d_weight = torch.empty_like(weight)
            d_features = torch.empty_like(features) if needs_features else None
            for s, (a, b) in enumerate(pairwise(graph.bounds)):
                torch.mm(features[a:b].T, d_kernel[a:b], out=d_weight[s])
                if d_features is not None:
                    torch.mm(d_kernel[a:b], weight[s].T, out=d_features[a:b])
        return d_x, d_features, d_fade, d_weight, None


def _kernels(kernel: Tensor, graph: Graph, x: Tensor) -> list[Tensor]:
    """Kernels of each residue's edges, 0 in empty slots, in the type of x. Shapes [count, m, k]."""
    return graph.by_slab(functional.embedding(graph.edge_of_slot, kernel).to(x.dtype))


def _neighbours(x: Tensor, graph: Graph) -> list[Tensor]:
    """Features of each residue's neighbours. Shapes [count, m, c]."""
    return graph.by_slab(functional.embedding(graph.neighbour, x))


def _activated(width: int, config: CDConvConfig) -> list[nn.Module]:
    return [
        nn.BatchNorm1d(width, momentum=BATCH_NORM_MOMENTUM),
        nn.LeakyReLU(SLOPE),
        nn.Dropout(config.dropout),
    ]


def chain_means(x: Tensor, residues: Residues) -> Tensor:
    """Mean over the residues of each chain. Shape [n, c] to [chains, c]."""
    counts = torch.tensor(residues.lengths, device=x.device)
    sums = x.new_zeros(len(counts), x.shape[1]).index_add(0, residues.chain, x)
    return sums / counts[:, None].to(x.dtype)


def backbone(network: CDConv | None = None, *, fingerprint: str = "") -> Backbone:
    """The network as a trainable encoder of structures.

    Items are what :func:`setclip.proteins.packed.read_chain` takes.

    Args:
        network: A trained one, or None for the small preset with random weights.
        fingerprint: Tells apart networks of the same sizes.
    """
    network = network or CDConv()
    return Backbone(
        name="cdconv",
        modality="structure",
        dim=network.dim,
        network=network,
        prepare=prepare_structure,
        collate=pad_chains,
        blocks=[network.embedding, *network.stages],
        fingerprint=f"cdconv:{asdict(network.config)}:{fingerprint}",
    )


def prepare_structure(item: object) -> StructureItem:
    """Read one structure.

    Raises:
        BadItemError: It cannot be read.
    """
    return structure_item(read_chain(item))
