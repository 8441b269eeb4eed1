"""Planted clouds: data whose true alignment is known, to show where each method breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from setclip.data.pools import FloatArray, IntArray


@dataclass(frozen=True)
class Planting:
    """How a cloud is made.

    Attributes:
        items: Rows.
        latent: Dimensions that both modalities show.
        x_width: Width of x features.
        y_width: Width of y features.
        noise: Standard deviation of the noise of a feature, in units of the signal's.
        classes: Clusters of the latent points.
        spread: Standard deviation inside a cluster, in units of that of the cluster centres.
        imbalance: Class k has a share proportional to 1 / k ** imbalance.
        private: Dimensions of each modality that the other knows nothing of.
        stretch: Ratio of the largest to the smallest singular value of the maps; 1 is a rotation.
        seed: Of everything.
    """

    items: int = 2400
    latent: int = 32
    x_width: int = 128
    y_width: int = 96
    noise: float = 0.8
    classes: int = 12
    spread: float = 1.0
    imbalance: float = 0.0
    private: int = 0
    stretch: float = 2.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Cloud:
    """A planted cloud.

    Attributes:
        x: Shape [items, x_width].
        y: Row-aligned. Shape [items, y_width].
        labels: Class of each item. Shape [items].
        x_map: Latent dimensions, shared ones first, to x. Shape [latent + private, x_width].
        y_map: Shape [latent + private, y_width].
    """

    x: FloatArray
    y: FloatArray
    labels: IntArray
    x_map: FloatArray
    y_map: FloatArray


# Hard enough that 10 to 200 pairs tell closed forms apart: R@1 of 1 to 99.
PLANTED: dict[str, Planting] = {
    "planted": Planting(),
    "planted-isometric": Planting(noise=0.5, stretch=1.0),
    "planted-stretched": Planting(noise=0.5, stretch=8.0),
    "planted-noisy": Planting(noise=1.6),
    "planted-wide": Planting(x_width=1024, y_width=768, noise=2.0),
    "planted-private": Planting(noise=0.5, private=32),
    "planted-imbalanced": Planting(imbalance=1.5, spread=0.5),
    "planted-small": Planting(items=320, latent=8, x_width=32, y_width=24, classes=4),
}


def planted(planting: Planting) -> Cloud:
    """Make a cloud; the same planting always gives the same numbers."""
    p = planting
    rng = np.random.default_rng(p.seed)
    shares = 1.0 / np.arange(1, p.classes + 1) ** p.imbalance
    labels = rng.choice(p.classes, size=p.items, p=shares / shares.sum())
    centres = rng.standard_normal((p.classes, p.latent))
    shared = centres[labels] + p.spread * rng.standard_normal((p.items, p.latent))
    sides = []
    for width in (p.x_width, p.y_width):
        own = rng.standard_normal((p.items, p.private)) * np.sqrt(1 + p.spread**2)
        weight = _map(p.latent + p.private, width, p.stretch, rng)
        signal = np.concatenate([shared, own], axis=1) @ weight
        features = signal + p.noise * signal.std() * rng.standard_normal(signal.shape)
        sides.append((features.astype(np.float32), weight.astype(np.float32)))
    (x, x_map), (y, y_map) = sides
    return Cloud(x, y, labels.astype(np.int64), x_map, y_map)


def _map(d_in: int, d_out: int, stretch: float, rng: np.random.Generator) -> FloatArray:
    rotated = np.linalg.qr(rng.standard_normal((d_in, d_in)))[0]
    spread_out = np.linalg.qr(rng.standard_normal((d_out, d_in)))[0].T
    weight: FloatArray = rotated * np.geomspace(1.0, 1.0 / stretch, d_in) @ spread_out
    return weight
