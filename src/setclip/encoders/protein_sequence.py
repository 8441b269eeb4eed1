"""A small transformer for protein sequences, and its training to guess masked residues.

For runs that must work without any downloaded weights; with weights at hand see `esm2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from setclip.encoders.backbone import Backbone, Collated
from setclip.encoders.composition import AMINO_ACIDS, prepare_sequence
from setclip.proteins.chains import LETTERS, letter_codes

PAD, MASK = len(LETTERS), len(LETTERS) + 1
TOKENS = len(LETTERS) + 2
IGNORED = -100
ROTARY_BASE = 10_000.0
LENGTH_GROUPS = 8
MASKED_SHARE = 0.15
# Of the residues to guess, as BERT does: hidden, exchanged for another, left as they are.
HIDDEN, EXCHANGED = 0.8, 0.1


@dataclass(frozen=True)
class SequenceConfig:
    """Sizes of the network.

    Attributes:
        width: Of the states and the features.
        layers: How many.
        heads: Of each attention; divides the width into even parts.
        max_residues: Longer sequences are cut at the end.
        dropout: Share of the states dropped in training.
        composition: Whether the features end with the shares of the amino acids and the log
            length, so that the encoder never knows less than that baseline.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    max_residues: int = 512
    dropout: float = 0.1
    composition: bool = False

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.width + (AMINO_ACIDS + 1 if self.composition else 0)

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} for {self.heads} heads: each head must be an even number wide."
            )


class SequenceTransformer(nn.Module):
    """Pre-norm transformer with rotary positions; the mean over its last states is the feature."""

    def __init__(self, config: SequenceConfig | None = None) -> None:
        super().__init__()
        config = config or SequenceConfig()
        self.config = config
        self.embedding = nn.Embedding(TOKENS, config.width, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.guess_bias = nn.Parameter(torch.zeros(len(LETTERS)))

    def states(self, codes: Tensor) -> Tensor:
        """State of each residue; those of padding mean nothing. Shape [b, n] to [b, n, width]."""
        here = codes != PAD
        rotation = _rotation(codes.shape[1], self.config.width // self.config.heads, codes.device)
        x: Tensor = self.embedding(codes)
        for layer in self.layers:
            x = layer(x, here, rotation)
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Features of sequences, not normalised.

        Args:
            batch: `codes`, `PAD` beyond a sequence's end. Shape [b, n].

        Returns:
            Shape [b, dim].
        """
        codes = batch["codes"]
        lengths = (codes != PAD).sum(dim=1)
        # Rows of like length go together, each part as long as its longest: most of a mixed batch
        # is padding.
        parts = lengths.argsort(stable=True).tensor_split(LENGTH_GROUPS)
        ends = [int(lengths[part].max()) if len(part) else 1 for part in parts]
        features = [self._features(codes[p, :end]) for p, end in zip(parts, ends, strict=True)]
        return torch.cat(features)[torch.cat(parts).argsort()]

    def _features(self, codes: Tensor) -> Tensor:
        here = (codes != PAD)[..., None].to(self.norm.weight.dtype)
        length = here.sum(dim=1)
        mean = (self.states(codes) * here).sum(dim=1) / length
        if not self.config.composition:
            return mean
        counts = functional.one_hot(codes, TOKENS)[..., :AMINO_ACIDS].sum(dim=1)
        return torch.cat([mean, counts / length, length.log()], dim=1)

    def guesses(self, codes: Tensor) -> Tensor:
        """Logits of the letter at each place. Shape [b, n] to [b, n, 21]."""
        letters = self.embedding.weight[: len(LETTERS)]
        return functional.linear(self.states(codes), letters, self.guess_bias)


class Layer(nn.Module):
    """Attention and a feed-forward part, each around a normalisation."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor, here: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Shape [b, n, width]; `here` says which are residues. Shape [b, n]."""
        b, n, width = x.shape
        parts = self.attention(self.attention_norm(x))
        parts = parts.view(b, n, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            _rotated(query, rotation), _rotated(key, rotation), value, here[:, None, None, :]
        )
        attended = self.out(attended.transpose(1, 2).reshape(b, n, width))
        x = x + functional.dropout(attended, self.dropout, self.training)
        fed: Tensor = x + self.feed(x)
        return fed


def _rotation(n: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angle by which each place turns each pair. Shape [n, width / 2]."""
    exponents = torch.arange(0, width, 2, device=device) / width
    angles = torch.arange(n, device=device)[:, None] * ROTARY_BASE**-exponents
    return angles.cos(), angles.sin()


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (part.to(x.dtype) for part in rotation)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def collate_sequences(sequences: Sequence[str], *, max_residues: int = 512) -> Collated:
    """`codes`, padded with `PAD` to the longest. Shape [b, n]."""
    codes = [torch.from_numpy(letter_codes(s[:max_residues])) for s in sequences]
    return {"codes": nn.utils.rnn.pad_sequence(codes, batch_first=True, padding_value=PAD)}


def backbone(network: SequenceTransformer | None = None, *, fingerprint: str = "") -> Backbone:
    """The transformer as a trainable encoder of sequences.

    Args:
        network: A trained one, or None for one with random weights.
        fingerprint: Tells apart networks of the same sizes.
    """
    network = network or SequenceTransformer()
    return Backbone(
        name="protein-transformer",
        modality="sequence",
        dim=network.config.dim,
        network=network,
        prepare=prepare_sequence,
        collate=partial(collate_sequences, max_residues=network.config.max_residues),
        blocks=[network.embedding, *network.layers],
        fingerprint=f"protein-transformer:{asdict(network.config)}:{fingerprint}",
    )


def mask_residues(
    codes: Tensor, rng: np.random.Generator, *, share: float = MASKED_SHARE
) -> tuple[Tensor, Tensor]:
    """Choose residues to guess, and hide most of them.

    Args:
        codes: `PAD` beyond a sequence's end. Shape [b, n].
        rng: Decides everything.
        share: Probability of each residue to be guessed. X is never to be guessed.

    Returns:
        What the network sees, and the letters to guess, `IGNORED` elsewhere. Shape [b, n] each.
    """
    shape = tuple(codes.shape)
    known = codes < len(LETTERS) - 1
    chosen = torch.from_numpy(rng.random(shape) < share) & known
    fate = torch.from_numpy(rng.random(shape))
    others = torch.from_numpy(rng.integers(len(LETTERS) - 1, size=shape))
    seen = torch.where(chosen & (fate < HIDDEN), MASK, codes)
    seen = torch.where(chosen & (fate >= 1 - EXCHANGED), others, seen)
    return seen, torch.where(chosen, codes, IGNORED)


def masked_loss(network: SequenceTransformer, codes: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean cross-entropy of the hidden residues, in nats; 0 where none was hidden."""
    seen, target = mask_residues(codes.cpu(), rng)
    target = target.to(codes.device)
    if not (target != IGNORED).any():
        return network.guess_bias.sum() * 0
    logits = network.guesses(seen.to(codes.device))
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)


def train_masked(
    network: SequenceTransformer,
    sequences: Sequence[str],
    *,
    steps: int,
    residues: int = 8192,
    lr: float = 1e-3,
    warmup: float = 0.05,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train to guess masked residues; leaves the network in evaluation mode.

    Args:
        network: Trained in place, on the device where it is.
        sequences: Letters of `LETTERS`; the longer ones are cut at a random place each time.
        steps: How many batches.
        residues: About how many residues a batch holds, padding included.
        lr: Highest learning rate of AdamW; warms up, then falls as a cosine to zero.
        warmup: Share of the steps in which it rises.
        seed: Decides batches and masks. Dropout comes from torch's own generator.
        advance: Called after each step.

    Returns:
        The loss of each step, in nats.

    Raises:
        ValueError: There are no sequences.
    """
    if not sequences:
        raise ValueError("there are no sequences to train on.")
    rng = np.random.default_rng(seed)
    device = network.guess_bias.device
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.01)
    rise = max(1, round(warmup * steps))
    batches = _batches(sequences, rng, residues, network.config.max_residues)
    losses = []
    network.train()
    for step in range(steps):
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - rise) / max(1, steps - rise)))
        for group in optimiser.param_groups:
            group["lr"] = lr * min((step + 1) / rise, fall)
        codes = next(batches).to(device)
        loss = masked_loss(network, codes, rng)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        advance()
    network.eval()
    return losses


def _batches(
    sequences: Sequence[str], rng: np.random.Generator, residues: int, longest: int
) -> Iterator[Tensor]:
    """Batches of sequences of like length without end; each sequence once an epoch."""
    lengths = np.array([min(len(s), longest) for s in sequences])
    while True:
        # Lengths shaken by a tenth: like ones come together, yet not the same ones each time.
        order = np.argsort(lengths * rng.uniform(0.95, 1.05, size=len(lengths)), kind="stable")
        groups, start = [], 0
        for end in range(1, len(order) + 1):
            over = (
                end == len(order)
                or lengths[order[start : end + 1]].max() * (end + 1 - start) > residues
            )
            if over:
                groups.append(order[start:end])
                start = end
        for g in rng.permutation(len(groups)):
            cut = [_cut(sequences[i], rng, longest) for i in groups[g]]
            yield collate_sequences(cut, max_residues=longest)["codes"]


def _cut(sequence: str, rng: np.random.Generator, longest: int) -> str:
    start = int(rng.integers(max(0, len(sequence) - longest) + 1))
    return sequence[start : start + longest]
