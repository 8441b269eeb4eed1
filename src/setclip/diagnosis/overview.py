"""The diagnosis: what was measured, and what it means, in sentences."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.data.pools import FloatArray, Pools, make_pools, matrix
from setclip.data.splits import NEAR_DUPLICATE, distinct_rows, single_pairs
from setclip.diagnosis.expectation import FEWEST_PAIRS, SLOPE, Expectation, expect
from setclip.diagnosis.measured import NEAR, measured_curves, nearest_curve
from setclip.evaluation.alignability import FEWEST_PAIRS as FEWEST_FOR_GEOMETRY
from setclip.evaluation.alignability import (
    SOME,
    Alignability,
    alignability,
    linear_cka,
    with_directions,
)
from setclip.evaluation.rows import sample_rows
from setclip.linear.transport_procrustes import AGREED, UNRELATED
from setclip.methods.blind import blind_map
from setclip.seeds import as_seed

GALLERY, MORE, MOST_PAIRS = 1000, 100, 5000
SHIFT_AXES, SHIFT_ROWS = 20, 1000
# Area under the curve: ½ where nothing tells pairs from pool.
SHIFTED = 0.65
# In pools of 12 unrelated items two maps agreed on two thirds, in pools of 16 on a quarter.
FEWEST_BLIND = 50
# Cosine of copies. What is merely alike is geometry: without it the emoji, of which a quarter have
# a neighbour above 0.9, would fall from 0.18 to 0.13 of shared geometry; at 0.99 they stay.
COPY = 0.99


@dataclass(frozen=True)
class Blind:
    """A map fitted without any pair.

    Attributes:
        agreement: Share of x to which two searches give the same nearest y.
        seconds: What it cost.
        pool: Items of the smaller pool.
    """

    agreement: float
    seconds: float
    pool: int


@dataclass(frozen=True)
class Diagnosis:
    """What to expect of these features before training.

    Attributes:
        pairs: Known pairs.
        pools: Items known only by x, and only by y.
        alignability: Shared geometry of the two frozen spaces.
        x_shift: How well a classifier tells x of the pairs from x of the pool, as the area under
            its curve: ½ not at all, 1 perfectly; None with fewer than 20 of either.
        y_shift: The same for y.
        expectation: Recall to expect; None with fewer than 20 pairs.
        blind: The map without pairs, if one was asked for.
    """

    pairs: int
    pools: tuple[int, int]
    alignability: Alignability
    x_shift: float | None
    y_shift: float | None
    expectation: Expectation | None
    blind: Blind | None = None

    @property
    def sentences(self) -> list[str]:
        """All of it for people, with what cannot be known."""
        told = [self.alignability.verdict, _on_recall(self), _on_more(self)]
        told += [_on_zero_pairs(self), _on_shift(self)]
        return [sentence for sentence in told if sentence]

    def __str__(self) -> str:
        return "\n".join(f"• {sentence}" for sentence in self.sentences)


def diagnose(
    x_pairs: npt.ArrayLike | None = None,
    y_pairs: npt.ArrayLike | None = None,
    *,
    x_pool: npt.ArrayLike | None = None,
    y_pool: npt.ArrayLike | None = None,
    x_held_out: npt.ArrayLike | None = None,
    y_held_out: npt.ArrayLike | None = None,
    deep: bool = False,
    near_duplicate: float = NEAR_DUPLICATE,
    seed: int = 0,
) -> Diagnosis:
    """Say what to expect of an alignment before training anything.

    Takes seconds to a minute: shared geometry on the pairs, shift between pairs and pools, and
    small CCA fits on nested parts of the pairs, with the others held out.

    Args:
        x_pairs: Features of the first modality of the known pairs. Shape [p, d_x].
        y_pairs: Of the second, row-aligned. Shape [p, d_y].
        x_pool: Items known only by x. Shape [n, d_x].
        y_pool: Items known only by y. Shape [m, d_y].
        x_held_out: Pairs of a test, which show shared geometry where there are fewer than ten known
            pairs, and nothing else. Shape [t, d_x].
        y_held_out: Row-aligned. Shape [t, d_y].
        deep: Also fit a map without any pair and say whether it can be believed. Minutes.
        near_duplicate: Cosine above which two pairs count as one item, which is never both learnt
            from and asked about; above 1 if all are distinct however near.
        seed: Of folds and samples.

    Raises:
        ValueError: Arrays that do not fit together, `deep` with fewer than four rows in a pool, or
            a seed that is none.

    Example:
        >>> print(setclip.diagnose(x_pairs, y_pairs, x_pool=x, y_pool=y))
    """
    seed = as_seed(seed)
    pools = make_pools(x_pairs, y_pairs, x_pool=x_pool, y_pool=y_pool)
    held_out = _held_out(pools, x_held_out, y_held_out)
    shown = pools.x_pairs, pools.y_pairs
    if held_out is not None and pools.n_pairs < FEWEST_FOR_GEOMETRY <= len(held_out[0]):
        shown = held_out
    shared = shared_geometry(*shown, seed=seed)
    return diagnose_pools(pools, shared, deep=deep, near_duplicate=near_duplicate, seed=seed)


def shared_geometry(x: FloatArray, y: FloatArray, *, seed: int = 0) -> Alignability:
    """:func:`setclip.evaluation.alignability.alignability` of pairs of any kind.

    Pairs with a row of zeros have no direction, and of copies one is looked at: that they lie near
    each other on both sides says nothing of the two spaces.

    Args:
        x: Shape [p, d_x].
        y: Row-aligned. Shape [p, d_y].
        seed: Of the sample of 5,000 pairs, and of the bootstrap.

    Raises:
        ValueError: A side without variance.
    """
    x, y = with_directions(x, y)
    rows = sample_rows(len(x), MOST_PAIRS, seed)
    x, y = x[rows], y[rows]
    kept = distinct_rows(x, y, threshold=COPY)
    if len(kept) < FEWEST_FOR_GEOMETRY <= len(x):
        linear_cka(x, y)  # which names a side without variance
    return alignability(x[kept], y[kept], seed=seed)


def _held_out(
    pools: Pools, x_values: npt.ArrayLike | None, y_values: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray] | None:
    """Pairs of a test, checked as those of the pools are."""
    x, y = matrix("x_held_out", x_values), matrix("y_held_out", y_values)
    if x is None and y is None:
        return None
    if x is None or y is None:
        lacking = "x_held_out" if x is None else "y_held_out"
        raise ValueError(
            f"x_held_out and y_held_out come together: {lacking} is missing. Give both or neither."
        )
    if len(x) != len(y):
        raise ValueError(
            f"x_held_out has {len(x)} rows and y_held_out {len(y)}: row i of one must match row i "
            "of the other."
        )
    for side, rows, width in (("x", x, pools.x_dim), ("y", y, pools.y_dim)):
        if rows.shape[1] != width:
            raise ValueError(
                f"{side}_held_out is {rows.shape[1]} wide and the other {side} {width}: all must "
                "come from the same encoder."
            )
    return x, y


def diagnose_pools(
    pools: Pools,
    shared: Alignability,
    *,
    deep: bool = False,
    near_duplicate: float = NEAR_DUPLICATE,
    seed: int = 0,
) -> Diagnosis:
    """:func:`diagnose` of pools whose shared geometry was measured already."""
    curve = None if shared.shared is None else nearest_curve(shared.shared)
    single = single_pairs(pools.x_pairs, pools.y_pairs)
    slope = SLOPE if curve is None else (curve.slope(max(pools.n_pairs, 1)), SLOPE[1])
    return Diagnosis(
        pools.n_pairs,
        (len(pools.x_pool), len(pools.y_pool)),
        shared,
        shift(pools.x_pairs[single], pools.x_pool, seed=seed),
        shift(pools.y_pairs[single], pools.y_pool, seed=seed),
        expect(
            pools,
            gallery=GALLERY,
            more=MORE,
            slope=slope,
            near_duplicate=near_duplicate,
            seed=seed,
        ),
        _blind(pools, seed) if deep else None,
    )


def shift(pairs: FloatArray, pool: FloatArray, *, seed: int = 0) -> float | None:
    """How well a classifier tells the two apart: cross-validated area under the curve.

    Logistic regression on at most 20 principal axes, 5 folds.

    Args:
        pairs: Shape [p, d].
        pool: Shape [n, d].
        seed: Of sample and folds.

    Returns:
        ½ for no shift, up to 1; None with fewer than 20 rows of either.
    """
    if min(len(pairs), len(pool)) < FEWEST_PAIRS:
        return None
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    sides = [z[rng.permutation(len(z))[:SHIFT_ROWS]] for z in (pairs, pool)]
    rows = np.concatenate(sides)
    labels = np.repeat([0, 1], [len(z) for z in sides])
    width = min(SHIFT_AXES, rows.shape[1], len(sides[0]) // 3)
    classifier = make_pipeline(
        PCA(width, random_state=seed),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", C=0.1),
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(classifier, rows, labels, cv=folds, method="decision_function")
    return float(roc_auc_score(labels, scores))


def _blind(pools: Pools, seed: int) -> Blind:
    started = time.perf_counter()
    found = blind_map(pools, seed=seed)
    smaller = min(len(pools.x_pool), len(pools.y_pool))
    return Blind(found.agreement, time.perf_counter() - started, smaller)


def _on_recall(found: Diagnosis) -> str:
    expected = found.expectation
    if expected is None:
        return (
            f"What recall to expect cannot be told from {found.pairs} pairs; {FEWEST_PAIRS} or "
            "more, of different items, would show it."
        )
    return (
        f"With your {expected.pairs:,} pairs expect R@10 about {expected.low:.0f} to "
        f"{expected.high:.0f} % in a gallery of {expected.gallery:,} of ridge CCA, "
        f"and {expected.more_low:.0f} to {expected.more_high:.0f} % with {MORE} pairs more."
    )


def _on_more(found: Diagnosis) -> str:
    """What pools were worth where as much geometry is shared."""
    shared = found.alignability.shared
    if shared is None or found.alignability.level == "unknown":
        return "What unpaired data is worth here is not known: shared geometry could not be told."
    curve = nearest_curve(shared)
    worth = curve.worth_of_pools(found.pairs) if curve and found.pairs else None
    if curve is None or (found.pairs and worth is None):
        scales = [f"{c.suite} at {c.shared:.2f}" for c in measured_curves()]
        where = f"{found.pairs:,} pairs with shared geometry {shared:.2f}"
        return (
            f"What unpaired data is worth at {where} was not measured: the suites are "
            f"{', '.join(scales)}, each taken for data within {NEAR} of it."
        )
    like = f"On {curve.suite}, where as much geometry is shared ({curve.shared:.2f}),"
    if worth is None:
        return (
            f"{like} method auto found {curve.without_pairs:.1f} % of the partners among the first "
            f"ten of {curve.gallery:,} from pools of {curve.pool:,} items a side, without a pair."
        )
    replaced = "more pairs than were measured" if np.isinf(worth) else f"about {worth:.0f} pairs"
    verdict = "more" if worth < MORE else "less"
    return (
        f"{like} pools of {curve.pool:,} items a side replaced {replaced} at {found.pairs:,} "
        f"pairs: expect {MORE} more pairs to be worth {verdict} than so many more unpaired items."
    )


def _on_zero_pairs(found: Diagnosis) -> str:
    if found.blind is not None:
        return _on_blind(found.blind)
    if found.pairs:
        return ""
    shared = found.alignability.shared
    if found.alignability.level in ("none", "little") and shared is not None and shared < SOME:
        return (
            "Zero pairs cannot work here: the two spaces share too little geometry for any method "
            "to find which x goes with which y. Label pairs, or name sets."
        )
    return (
        "Whether zero pairs can work here can be tried: a map fitted without pairs (deep=True, "
        "`setclip check --deep`; minutes) shows it. Ten labelled pairs would tell in seconds."
    )


def _on_blind(blind: Blind) -> str:
    measured = (
        f"two maps fitted without pairs agree on {blind.agreement:.0%} of the items "
        f"({blind.seconds:.0f} s)"
    )
    if blind.agreement < UNRELATED:
        return (
            f"Zero pairs cannot work here, as far as can be told without one: {measured}. Label "
            "pairs, or name sets; ten pairs would tell whether one of the two was right."
        )
    if blind.pool < FEWEST_BLIND:
        return (
            f"Whether zero pairs can work here cannot be told: {measured}, but so they may by "
            f"chance in a pool of {blind.pool}; {FEWEST_BLIND} items or more a side would show it."
        )
    if blind.agreement < AGREED:
        return f"Zero pairs are a gamble here: {measured}. Label some pairs to make sure."
    return (
        f"Zero pairs can work here: {measured}. Pools of some hundred items may agree on a wrong "
        "map; ten pairs, held out, would prove it right."
    )


def _on_shift(found: Diagnosis) -> str:
    shifted = [
        f"{side} ({value:.2f})"
        for side, value in (("x", found.x_shift), ("y", found.y_shift))
        if value is not None and value >= SHIFTED
    ]
    if not shifted:
        return ""
    return (
        f"The pairs are not a random sample of the pool in {' and '.join(shifted)}; ½ would be: "
        "what is expected above holds for items like the pairs. Label items drawn from the pool."
    )
