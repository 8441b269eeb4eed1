"""Which residues see which in space, laid out so that sums over neighbours are dense products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Distances held at a time while neighbours are searched: 4 MB in float32.
BLOCK = 1 << 20
# Parts of the residues by number of neighbours; more save less memory than they cost calls.
SLABS = 4


@dataclass(frozen=True, eq=False)
class Residues:
    """The residues of several chains, one chain after the other.

    Attributes:
        positions: In A. Shape [n, 3].
        frames: Local axes as rows. Shape [n, 3, 3].
        index: Place in the sequence, increasing within a chain. Shape [n].
        lengths: Residues of each chain.
    """

    positions: Tensor
    frames: Tensor
    index: Tensor
    lengths: tuple[int, ...]

    @property
    def chain(self) -> Tensor:
        """Number of the chain of each residue. Shape [n]."""
        device = self.index.device
        counts = torch.tensor(self.lengths, device=device)
        return torch.repeat_interleave(torch.arange(len(counts), device=device), counts)


@dataclass(frozen=True, eq=False)
class Graph:
    """Edges between residues at most a radius apart, each residue to itself included.

    Edges are sorted by bucket, the clamped offset along the sequence, so that all edges that share
    a kernel are one matrix. Slots hold the same edges residue by residue, residues in order of
    their number of neighbours and cut into slabs: in a slab of `count` residues each has `m` slots,
    as many as the last of them has neighbours, so that few stay empty.

    Attributes:
        features: Direction, rotation, distance and a one of each edge. Shape [e, 8].
        fade: Weight of each edge, near 1 but far away in space and sequence; then a zero, which
            empty slots refer to. Shape [e + 1, 1].
        bounds: Bucket b holds the edges bounds[b] to bounds[b + 1].
        edge_of_slot: The edge in each slot; e where it is empty. Shape [slots].
        slot_of_edge: Shape [e].
        neighbour: The residue in each slot, any where it is empty. Shape [slots].
        reverse: For the slot of an edge i to j that of j to i; an empty slot for an empty one.
            Shape [slots].
        slabs: `count` and `m` of each slab.
        order: The residues in the order of the slabs. Shape [n].
        place: Where each residue stands in that order. Shape [n].
    """

    features: Tensor
    fade: Tensor
    bounds: tuple[int, ...]
    edge_of_slot: Tensor
    slot_of_edge: Tensor
    neighbour: Tensor
    reverse: Tensor
    slabs: tuple[tuple[int, int], ...]
    order: Tensor
    place: Tensor

    def by_slab(self, flat: Tensor) -> list[Tensor]:
        """Views [count, m, c] of an array with a row a slot, shape [slots, c]."""
        parts = torch.split(flat, [count * m for count, m in self.slabs])
        return [p.view(*slab, -1) for p, slab in zip(parts, self.slabs, strict=True)]


def neighbours(positions: Tensor, lengths: Sequence[int], radius: float) -> tuple[Tensor, Tensor]:
    """All ordered pairs of one chain that are at most `radius` apart, each residue with itself.

    Memory beyond the result is that of `BLOCK` distances, or one row of the longest chain.

    Args:
        positions: Chain after chain. Shape [n, 3].
        lengths: Residues of each chain; they sum to n.
        radius: In the unit of `positions`.

    Returns:
        First and second residue of each pair, sorted by the first, then the second. Shape [e] each.
    """
    firsts, seconds = [], []
    for start, group in _groups(lengths):
        longest = max(group)
        device = positions.device
        sizes = torch.tensor(group, device=device)
        starts = start + sizes.cumsum(0) - sizes
        place = torch.arange(longest, device=device)
        grid = (starts[:, None] + place).clamp_(max=len(positions) - 1)
        padded = positions.detach()[grid]
        # Nothing is within reach of infinity, itself neither (their distance is not a number).
        padded = padded.masked_fill((place >= sizes[:, None])[..., None], torch.inf)
        rows = max(1, BLOCK // (len(group) * longest))
        for row in range(0, longest, rows):
            # The matrix-product form would lose digits that decide about the edge of the ball.
            distances = torch.cdist(
                padded[:, row : row + rows], padded, compute_mode="donot_use_mm_for_euclid_dist"
            )
            chain, first, second = (distances <= radius).nonzero(as_tuple=True)
            offset = starts[chain]
            firsts.append(offset + first + row)
            seconds.append(offset + second)
    return torch.cat(firsts), torch.cat(seconds)


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Runs of chains that fit into a block when padded; a chain too long for one comes alone."""
    start, group = 0, list[int]()
    for length in lengths:
        if group and (len(group) + 1) * max(*group, length) ** 2 > BLOCK:
            yield start, group
            start, group = start + sum(group), []
        group.append(length)
    if group:
        yield start, group


def build_graph(residues: Residues, *, radius: float, kernel_length: int) -> Graph:
    """Find the edges and describe them by what no rotation or shift of a chain changes.

    Args:
        residues: At least one.
        radius: Reach of an edge in A.
        kernel_length: Number of buckets, odd; offsets beyond half of it share the outermost ones.
    """
    first, second = neighbours(residues.positions, residues.lengths, radius)
    n, e, half = len(residues.positions), len(first), kernel_length // 2
    offset = (residues.index[second] - residues.index[first]).clamp_(-half, half)
    bucket, by_bucket = torch.sort(offset + half, stable=True)
    counts = torch.bincount(bucket, minlength=kernel_length).cumsum(0).tolist()
    # Sorted by the second residue, then the first: the k-th is the reverse of the k-th edge.
    back = torch.sort(second, stable=True).indices

    slabs, order, place, slot = _slots(first, n)
    size = sum(count * m for count, m in slabs)
    edge_of_slot = slot.new_full((size,), e)
    edge_of_slot[slot[by_bucket]] = torch.arange(e, device=slot.device)
    neighbour = slot.new_zeros(size)
    neighbour[slot] = second
    reverse = torch.arange(size, device=slot.device)
    reverse[slot] = slot[back]

    first, second = first[by_bucket], second[by_bucket]
    features, fade = describe_edges(residues, first, second, radius=radius, half=half)
    return Graph(
        features=features,
        fade=torch.cat([fade, fade.new_zeros(1, 1)]),
        bounds=(0, *counts),
        edge_of_slot=edge_of_slot,
        slot_of_edge=slot[by_bucket],
        neighbour=neighbour,
        reverse=reverse,
        slabs=slabs,
        order=order,
        place=place,
    )


def _slots(first: Tensor, n: int) -> tuple[tuple[tuple[int, int], ...], Tensor, Tensor, Tensor]:
    """Slabs, order, place of :class:`Graph`, and the slot of each edge."""
    degree = torch.bincount(first, minlength=n)
    sorted_degree, order = torch.sort(degree, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(n, device=order.device)
    ends = [n * (q + 1) // SLABS for q in range(SLABS)]
    counts = [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    widths = sorted_degree[[max(end - 1, 0) for end in ends]].tolist()
    slabs = tuple((count, m) for count, m in zip(counts, widths, strict=True) if count)
    room = torch.cat([degree.new_full((count,), m) for count, m in slabs])
    begin = (room.cumsum(0) - room)[place]
    rank = torch.arange(len(first), device=first.device) - (degree.cumsum(0) - degree)[first]
    return slabs, order, place, begin[first] + rank


def describe_edges(
    residues: Residues, first: Tensor, second: Tensor, *, radius: float, half: int
) -> tuple[Tensor, Tensor]:
    """What no rotation or shift of a chain changes about edges from `first` to `second`.

    Args:
        residues: What the edges join.
        first: Shape [e].
        second: Shape [e].
        radius: The longest edge in A.
        half: The largest offset along the sequence that is told apart.

    Returns:
        The direction in the first residue's frame, the cosines of the two frames axis by axis, the
        distance in A, and a one. Shape [e, 8]. And the weight that fades far edges. Shape [e, 1].
    """
    step = residues.positions[second] - residues.positions[first]
    distance = _length(step)
    frames = residues.frames[first]
    direction = (frames @ (step / (distance + 1e-9))[:, :, None])[..., 0]
    turn = (frames * residues.frames[second]).sum(dim=2)
    offset = (residues.index[second] - residues.index[first]).abs().clamp_(max=half)
    far = (distance / radius) * (offset.to(distance) / max(half, 1))[:, None]
    fade = 0.5 - 0.5 * torch.tanh(16 * far - 14)
    return torch.cat([direction, turn, distance, torch.ones_like(distance)], dim=1), fade


def _length(step: Tensor) -> Tensor:
    """Euclidean length with gradient zero, not NaN, at zero. Shape [e, 1]."""
    squared = step.square().sum(dim=1, keepdim=True)
    positive = squared > 0
    return torch.where(positive, squared.where(positive, squared.new_ones(())).sqrt(), 0.0)


def pool(residues: Residues, x: Tensor) -> tuple[Residues, Tensor]:
    """Join residues 2t and 2t + 1 of a chain: means of features, positions and axes.

    Args:
        residues: What is joined.
        x: Their features. Shape [n, c].

    Returns:
        The residues left, and their features.
    """
    half = residues.index.div(2, rounding_mode="floor")
    chain = residues.chain
    # An index occurs once in a chain, so that a group has one member or two, and these adjoin.
    new = torch.ones_like(half, dtype=torch.bool)
    new[1:] = (half[1:] != half[:-1]) | (chain[1:] != chain[:-1])
    first = new.nonzero()[:, 0]
    last = torch.cat([first[1:], first.new_tensor([len(half)])]) - 1

    def mean(values: Tensor) -> Tensor:
        return (values.index_select(0, first) + values.index_select(0, last)) / 2

    left = Residues(
        positions=mean(residues.positions),
        frames=functional.normalize(mean(residues.frames), dim=2),
        index=half[first],
        lengths=tuple(torch.bincount(chain[first], minlength=len(residues.lengths)).tolist()),
    )
    return left, mean(x)
