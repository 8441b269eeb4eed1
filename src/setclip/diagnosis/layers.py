"""Which layer of an encoder sees the world most as the other modality does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from setclip.data.pools import FloatArray
from setclip.evaluation import MutualKnn, mutual_knn


@dataclass(frozen=True)
class LayerScores:
    """Mutual k-NN of each layer with the other side.

    Attributes:
        by_layer: Overlap of neighbours, by number of the block.
    """

    by_layer: Mapping[int, MutualKnn]

    @property
    def best(self) -> int:
        """The layer to take: the latest whose overlap reaches the best one's interval.

        Neighbouring layers differ by less than the pairs can tell, and the later one has more of
        what the encoder was trained for.
        """
        top = max(score.overlap.mean for score in self.by_layer.values())
        low = min(s.overlap.low for s in self.by_layer.values() if s.overlap.mean == top)
        return max(layer for layer, s in self.by_layer.items() if s.overlap.mean >= low)

    def __str__(self) -> str:
        rows = (f"block {layer}: {s.overlap:.3f}" for layer, s in sorted(self.by_layer.items()))
        return "\n".join([*rows, f"take layer: {self.best}"])


def score_layers(
    layers: Mapping[int, FloatArray], other: FloatArray, *, k: int = 10, seed: int = 0
) -> LayerScores:
    """Score each layer of an encoder by the neighbours that it shares with the other side.

    The layer that aligns best before training is often not the last one; choosing it is part of
    what STRUCTURE gains.

    Args:
        layers: Features of the items of the known pairs at each layer, as
            :func:`setclip.encoders.layers.block_features` gives them. Shapes [n, d_layer].
        other: Features of the other side, row-aligned. Shape [n, d].
        k: Neighbours compared; at most a fifth of the pairs are used.
        seed: Of the bootstrap, the same items for every layer.

    Raises:
        ValueError: No layer, differing numbers of rows, or too few pairs to have neighbours.

    Source:
        STRUCTURE, arXiv 2506.16895; mutual k-NN from arXiv 2405.07987.
    """
    if not layers:
        raise ValueError("no layer to score: give the features of at least one block.")
    near = max(1, min(k, len(other) // 5))
    return LayerScores(
        {layer: mutual_knn(x, other, k=near, seed=seed) for layer, x in layers.items()}
    )
