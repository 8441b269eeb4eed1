"""Recall to expect, from a learning curve on the user's own pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import betabinom
from sklearn.model_selection import GroupKFold

from setclip.data.pools import FloatArray, IntArray, Pools
from setclip.data.splits import NEAR_DUPLICATE, near_duplicate_groups
from setclip.evaluation import ranks
from setclip.evaluation.rows import lost_apart
from setclip.linear.cca import cca
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.maps import Alignment, Principal, principal

Array = npt.NDArray[np.float64]

FEWEST_PAIRS = 20
"""Below, a fold leaves so few pairs to learn from and to ask about that any line fits."""

SHARES = (0.25, 0.5, 1.0)
FOLDS, DRAWS, RANK = 5, 500, 256
PENALTY, POWER = 10.0, 0.5
# Of the logit of R@10 over the logarithm of the number of pairs on the suites: 0.5 to 0.8 on emoji,
# 2 to 3 on the glosses.
SLOPE = (0.8, 0.6)
# What level and slope miss beyond the noise of the held-out pairs: other draws of the pairs, and
# held-out pairs that have relatives among the others. With these the truth on emoji lay inside in
# 11 of 12 draws of 20 to 100 pairs, and in 9 of 12 with 100 pairs more.
LEVEL_ERROR, SLOPE_ERROR = 0.35, 0.3
MOST_PAIRS, MOST_DISTRACTORS = 1000, 4000


@dataclass(frozen=True)
class Expectation:
    """R@10 in percent, mean of both directions, as 95 % intervals.

    Attributes:
        gallery: Items among which the partner is sought: as asked, or twice those that there are to
            rank among if that is less, since few rivals cannot show how many of many lie ahead.
        pairs: Known pairs.
        low: Lower end with these pairs.
        high: Upper end.
        more_low: Lower end with 100 pairs more.
        more_high: Upper end.
        curve: Numbers of pairs learnt from, and the mean R@10 of held-out pairs at each.
    """

    gallery: int
    pairs: int
    low: float
    high: float
    more_low: float
    more_high: float
    curve: tuple[tuple[int, float], ...]


def expect(
    pools: Pools,
    *,
    gallery: int = 1000,
    more: int = 100,
    slope: tuple[float, float] = SLOPE,
    near_duplicate: float = NEAR_DUPLICATE,
    seed: int = 0,
) -> Expectation | None:
    """What ridge CCA should reach, by fits on nested parts of the pairs.

    Each fold fits CCA, once with the covariances of all data and once with those of the pairs, on a
    quarter, a half and all of its training pairs, and ranks the held-out pairs among all pairs and
    the pools; of the two the better counts. Ranks are carried to the asked gallery by the
    beta-binomial, and the logit of R@10 is drawn as a line over the logarithm of the number of
    pairs. The interval resamples the held-out pairs, those of a group together.

    Args:
        pools: Pairs, and pools as distractors.
        gallery: Items to rank among, above 10; at most, see :class:`Expectation`.
        more: Pairs more, to say what they would add.
        slope: Of the logit of R@10 over the natural logarithm of the number of pairs, expected
            beforehand, and its standard deviation: few pairs show little of it.
        near_duplicate: Cosine above which two pairs are never learnt from and asked about.
        seed: Of folds and draws.

    Returns:
        None with fewer than 20 pairs, pairs that are one group of near-duplicates, or parts of
        them that hold nothing to fit.
    """
    if pools.n_pairs < FEWEST_PAIRS:
        return None
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(pools.n_pairs)[:MOST_PAIRS])
    x, y = pools.x_pairs[kept], pools.y_pairs[kept]
    groups = near_duplicate_groups(x, y, threshold=near_duplicate)
    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 2:
        return None
    there = len(x) + min(min(len(pools.x_pool), len(pools.y_pool)), MOST_DISTRACTORS)
    gallery = max(min(gallery, 2 * there), 11)
    both, counts = _held_out_hits(pools, x, y, groups, folds, gallery, rng)
    if not len(counts):
        return None
    here, later = pools.n_pairs, pools.n_pairs + more
    hits = max(both, key=lambda found: float(found[-1].mean()))
    line = _line(np.log(counts), _logit(_resampled(hits, groups, rng)), slope)
    low, high = line.interval(np.log([here, later]))
    curve = [(round(c), 100 * float(h)) for c, h in zip(counts, hits.mean(axis=1), strict=True)]
    return Expectation(gallery, here, low[0], high[0], low[1], high[1], tuple(curve))


def _resampled(hits: Array, groups: IntArray, rng: np.random.Generator) -> Array:
    """Means of hits [shares, pairs] over groups drawn anew: pairs of one are no two observations.

    Returns:
        Shape [shares, draws].
    """
    _, unit = np.unique(groups, return_inverse=True)
    sizes = np.bincount(unit)
    sums = np.stack([np.bincount(unit, row) for row in hits])
    drawn = rng.integers(len(sizes), size=(DRAWS, len(sizes)))
    return np.asarray(sums[:, drawn].sum(axis=2) / sizes[drawn].sum(axis=1))


def _held_out_hits(
    pools: Pools,
    x: FloatArray,
    y: FloatArray,
    groups: IntArray,
    folds: int,
    gallery: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Hits of held-out pairs, [2 sources of covariances, shares, pairs]; and mean pairs learnt.

    Of the shares that can be fitted in every fold.
    """
    axes = (
        principal(pools.all_x(), rank=RANK, side="x"),
        principal(pools.all_y(), rank=RANK, side="y"),
    )
    left, right = axes[0](x), axes[1](y)
    others = tuple(
        axis(pool[rng.permutation(len(pool))[:MOST_DISTRACTORS]])
        for axis, pool in zip(axes, (pools.x_pool, pools.y_pool), strict=True)
    )
    hits, counts = np.zeros((2, len(SHARES), len(x))), np.zeros(len(SHARES))
    fitted = np.ones(len(SHARES), dtype=bool)
    for train, test in GroupKFold(folds).split(x, groups=groups):
        order = rng.permutation(train)
        for i, share in enumerate(SHARES):
            rows = order[: max(3, round(share * len(order)))]
            counts[i] += len(rows) / folds
            try:
                fits = list(_fits(axes, left[rows], right[rows]))
            except ValueError:  # so few rows may be all the same on a side
                fitted[i] = False
                continue
            for source, maps in enumerate(fits):
                zx, zy = lost_apart(
                    *(
                        maps_of(np.concatenate([z, pool])).astype(np.float32)
                        for maps_of, z, pool in zip(
                            (maps.x, maps.y), (left, right), others, strict=True
                        )
                    )
                )
                there = _hit(zx, zy, groups, test, gallery), _hit(zy, zx, groups, test, gallery)
                hits[source, i, test] = (there[0] + there[1]) / 2
    return hits[:, fitted], counts[fitted]


def _fits(axes: tuple[Principal, Principal], x: Array, y: Array) -> Iterator[Alignment]:
    """CCA with the covariances of all data, then of the pairs, on coordinates along the axes.

    One fixed setting each, since tuning would cost a hundredfold.
    """
    # Penalties count by features, not by the axes that they were cut to.
    own = [replace(principal(z), features=a.features) for z, a in zip((x, y), axes, strict=True)]
    of_all = axes[0].inner(), axes[1].inner()
    centred = x - x.mean(axis=0), y - y.mean(axis=0)
    yield cca(*of_all, from_pairs(*centred), penalty=PENALTY, power=POWER)
    cross = from_pairs(own[0](x), own[1](y))
    yield cca(own[0], own[1], cross, penalty=PENALTY, power=POWER)


def _hit(zx: FloatArray, zy: FloatArray, groups: IntArray, asked: IntArray, gallery: int) -> Array:
    """Probability that the partner is among the first 10 of a gallery of another size.

    Args:
        zx: The pairs, then the pool, in the shared space.
        zy: Likewise of the side where partners are sought.
        groups: Near-duplicates among the pairs: any of a group is as good as the partner.
        asked: Pairs that were held out.
        gallery: Its size.
    """
    alone = groups.max() + 1 + np.arange(len(zy) - len(groups))
    found = ranks(zx[asked], zy, groups[asked], np.concatenate([groups, alone]))
    rivals = len(zy) - found.positives
    ahead = found.better + found.tied / 2
    # Jeffreys' prior on the share of rivals ahead: none of 50 ahead is not none of 1,000.
    return np.asarray(
        betabinom.cdf(9, gallery - 1, ahead + 0.5, rivals - ahead + 0.5), dtype=np.float64
    )


def _logit(share: Array) -> Array:
    return np.asarray(logit(np.clip(share, 1e-3, 1 - 1e-3)), dtype=np.float64)


@dataclass(frozen=True)
class _Line:
    """Logit of recall over the logarithm of the number of pairs, in mean and variance."""

    origin: float
    level: tuple[float, float]
    slope: tuple[float, float]

    def interval(self, along: Array) -> tuple[Array, Array]:
        """Lower and upper ends in percent."""
        away = along - self.origin
        centre = self.level[0] + self.slope[0] * away
        half = 1.96 * np.sqrt(self.level[1] + self.slope[1] * away**2)
        return 100 * expit(centre - half), 100 * expit(centre + half)


def _line(along: Array, heights: Array, prior: tuple[float, float]) -> _Line:
    """A line through the last point; its slope that of the draws, drawn towards the prior's.

    A single point has the prior's slope.

    Args:
        along: Logarithms of the numbers of pairs. Shape [k].
        heights: Logits of recall, one column a draw. Shape [k, draws].
        prior: Slope expected beforehand, and its standard deviation.
    """
    level = float(heights[-1].mean()), float(heights[-1].var()) + LEVEL_ERROR**2
    if len(along) == 1:
        return _Line(float(along[-1]), level, (prior[0], prior[1] ** 2))
    slopes = np.polyfit(along, heights, 1)[0]
    own, doubt = float(slopes.mean()), float(slopes.var()) + SLOPE_ERROR**2
    weight = prior[1] ** 2 / (prior[1] ** 2 + doubt)
    slope = weight * own + (1 - weight) * prior[0]
    return _Line(float(along[-1]), level, (max(slope, 0.0), weight * doubt))
