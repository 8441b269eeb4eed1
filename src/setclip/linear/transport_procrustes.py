"""Rotate one cloud onto another with no pair, or few: soft transport, Procrustes, cross-fitting.

Wasserstein Procrustes alternates a matching with the rotation that fits it best. It creeps, and
stops early, for two reasons that this module removes:

- *It confirms itself.* A rotation fitted to a matching scores the pairs of that matching too
  high, right or wrong, and they are matched again. Here the pools are split anew into halves,
  which take turns: the second half of every split is matched by the rotation of the first, and of
  the first about half of the rows are new to the rotation that it comes to.
- *It trusts all directions alike.* The polar factor gives a direction of pure noise the weight
  of the strongest. Here both sides are scaled by a power of the singular values, which is zero,
  the polar factor, only at the end; and the matching is soft, an entropic transport plan, which
  also costs a tenth of a Hungarian one.

The score of a half is a label-free measure of the map, a little too high. It picks the start:
several are tried for a few steps, and the two best go on to the end. If they end at different maps,
a third that began like the better one is taken there too; if that also ends elsewhere, nothing
found is to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from setclip.linear.clouds import Clouds, Rows, clouds, unit_rows
from setclip.linear.geometric_start import MatchedCentres, match_centres
from setclip.linear.maps import Alignment
from setclip.linear.pools import Half, entropic_plan, halves
from setclip.linear.svd import thin_svd

Progress = Callable[[str, int, int], None]

# Agreement of two starts. Found maps: 38 to 54 % on WordNet glosses, 45 to 62 % on planted clouds
# of 400 rows. Believed from AGREED on; below UNRELATED no map was there to be found.
AGREED, UNRELATED = 0.35, 0.2

# Clusters a side. Clusterings whose number is near that of the classes match best, and nobody
# knows it: several numbers stand for election.
CENTRES = (30, 16, 12)

# How a step weighs directions and how soft its plan is: bold while a start proves itself, finer
# on the way, the polar factor at the end. Measured on WordNet glosses, MiniLM to bge-small.
TRIAL = {"power": 0.4, "epsilon": 0.03}
CLIMB = {"power": 0.3, "epsilon": 0.02}
FINISH = {"power": 0.0, "epsilon": 0.02}
TRIAL_STEPS = 10
# Scores are averaged over so many steps; the climb ends when they gain less than this share.
PATIENCE, LEAST_GAIN = 10, 1e-3
FINISH_ROUNDS, FINISH_SPLITS = 3, 3
# A plan here only weighs an average: a rough one does.
PLAN_TOLERANCE, PLAN_ROUNDS = 0.05, 50
# Rows a side on which two maps are compared.
LOOKED_AT = 2000
# Defaults of the search, on which its expected time rests: averages of clusterings of each number
# of centres, steps of the chosen start, rows a side matched at once.
CANDIDATES, STEPS, BATCH = 3, 60, 2000


@dataclass(frozen=True)
class TransportProcrustes:
    """The maps, and what is known of their quality without labels.

    Attributes:
        alignment: Both maps, into ``min(d_x, d_y)`` dimensions or fewer.
        score: Mean cosine of softly matched rows, of which the map has seen most: about a fifth
            more than of fresh ones, and of unrelated pools too. Compare it between runs on the same
            pools: higher is better.
        agreement: Share of rows of x to which the two best starts, taken to the end separately, or
            else the better and a third, give the same nearest row of y. Near zero there was no map
            to be found, most often. The reverse is no proof: on pools of few hundred rows both may
            end in the same wrong place. NaN when there was one start only.
        history: The score after every step of the climb.
        others: Where the other searches ended, best first: what is built on `alignment` can be
            built on these, and the two compared.
    """

    alignment: Alignment
    score: float
    agreement: float
    history: tuple[float, ...]
    others: tuple[Alignment, ...] = ()


@dataclass(frozen=True)
class _Job:
    """What every stage needs: the clouds, and how to draw from them and report."""

    both: Clouds
    pair_cross: Rows
    batch: int
    rng: np.random.Generator
    tell: Progress

    def halves(self) -> list[Half]:
        """Rows that take turns, drawn anew."""
        return halves(len(self.both.x), len(self.both.y), self.batch, self.rng)


@dataclass(frozen=True)
class _Chain:
    """A start on its way: the cross-covariance now, and the score of every step so far."""

    cross: Rows
    scores: tuple[float, ...] = ()
    centres: int = 0

    def recent(self, before: int = 0) -> float:
        """Mean score of the last steps, or of those `before` steps earlier."""
        last = len(self.scores) - before
        return float(np.mean(self.scores[max(0, last - PATIENCE) : last]))


def transport_procrustes(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    x_pairs: npt.ArrayLike | None = None,
    y_pairs: npt.ArrayLike | None = None,
    start: Alignment | None = None,
    restarts: int = 30,
    centres: Sequence[int] = CENTRES,
    candidates: int = CANDIDATES,
    steps: int = STEPS,
    batch: int = BATCH,
    rank: int = 384,
    seed: int = 0,
    progress: Progress | None = None,
) -> TransportProcrustes:
    """Find the rotation that brings two pools together.

    For pools drawn from one distribution whose encoders share geometry; they need not hold the
    same items. Reach for `wasserstein_procrustes` for the published method.

    Args:
        x: Pool of the first modality. Shape [n, d_x].
        y: Of the second. Shape [m, d_y].
        x_pairs: Known pairs, if any. Shape [p, d_x].
        y_pairs: Row-aligned with `x_pairs`. Shape [p, d_y].
        start: Maps to begin from, for instance of pairs or of sets; by default the start is found
            from the geometry of the pools.
        restarts: Clusterings of the geometric start, of each number of centres.
        centres: Numbers of clusters a side.
        candidates: Averages of clusterings to choose from, of each number of centres: of all, and
            of random thirds.
        steps: Steps at most of the chosen start, after the trials.
        batch: Rows a side matched at once; time and memory grow with its square.
        rank: Features wider than this are cut to so many principal axes.
        seed: Of everything drawn.
        progress: Called with a stage, the steps done in it and its steps in all.

    Raises:
        ValueError: Fewer than four rows in a pool.
    """
    both = clouds(x, y, x_pairs=x_pairs, y_pairs=y_pairs, rank=rank)
    rng = np.random.default_rng(seed)
    job = _Job(both, both.pair_cross, batch, rng, progress or _silent)
    if start is None:
        found = _matched_centres(job, restarts, centres)
        chains = [chain for one in found for chain in _candidate_chains(job, one, candidates)]
    else:
        chains = [_Chain(both.inner(start))]
    finalists, others = _select(job, chains)
    climbed = [_climb(job, chain, steps) for chain in finalists]
    agreement = _agreement(job, climbed)
    best, *rest = sorted(climbed, key=_Chain.recent, reverse=True)
    chain, score = _finish(job, best)
    alike = [other for other in others if other.centres == best.centres]
    if alike and agreement < AGREED:
        # One of the two was wrong. What began much like the better one may still bear it out.
        rest.append(_climb(job, alike[0], steps))
        agreement = max(agreement, _agreement(job, [best, rest[-1]]))
    ends = tuple(both.rotation(other.cross) for other in rest)
    return TransportProcrustes(both.rotation(chain.cross), score, agreement, chain.scores, ends)


def expected_seconds(x_rows: int, y_rows: int) -> float:
    """Time of :func:`transport_procrustes` as it is by default on one laptop core, from its parts.

    Args:
        x_rows: Of the pool of x.
        y_rows: Of the pool of y.
    """
    rows = min(BATCH, x_rows // 2, y_rows // 2)
    # Every start is tried, and up to three go to the end.
    steps = CANDIDATES * len(CENTRES) * TRIAL_STEPS + 3 * STEPS
    return 4.0 * len(CENTRES) + steps * (0.02 + 0.25 * (rows / BATCH) ** 2)


def agreement(one: Alignment, other: Alignment, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Share of rows of x to which two pairs of maps give the same nearest row of y.

    Args:
        one: Maps of both modalities.
        other: Likewise, found independently.
        x: Shape [n, d_x]; of more than 2,000 rows as many are looked at, evenly spaced: the first
            of sorted pools would be of few kinds.
        y: Shape [m, d_y]; likewise.
    """
    x, y = _evenly(np.asarray(x), LOOKED_AT), _evenly(np.asarray(y), LOOKED_AT)
    return _same_nearest([(unit_rows(m.x(x)), unit_rows(m.y(y))) for m in (one, other)])


def _same_nearest(two: Sequence[tuple[Rows, Rows]]) -> float:
    """Of two embeddings of the same rows of both sides: of how many x the nearest y is the same."""
    first, second = ((zx @ zy.T).argmax(axis=1) for zx, zy in two)
    return float((first == second).mean())


def _matched_centres(job: _Job, restarts: int, centres: Sequence[int]) -> list[MatchedCentres]:
    found = []
    for before, number in enumerate(centres):

        def tell(done: int, _: int, before: int = before) -> None:
            job.tell("starts", before * restarts + done, len(centres) * restarts)

        seed = int(job.rng.integers(2**31))
        found.append(
            match_centres(job.both, restarts=restarts, centres=number, seed=seed, progress=tell)
        )
    return found


def _candidate_chains(job: _Job, found: MatchedCentres, candidates: int) -> list[_Chain]:
    """All clusterings averaged, and averages of random thirds: most are somewhere wrong."""
    drawn = [np.arange(len(found.x))]
    for _ in range(candidates - 1):
        drawn.append(job.rng.choice(len(found.x), max(1, len(found.x) // 3), replace=False))
    crosses = [found.cross(chosen).astype(np.float32) + job.pair_cross for chosen in drawn]
    return [_Chain(cross, centres=found.x.shape[1]) for cross in crosses]


def _select(job: _Job, chains: list[_Chain]) -> tuple[list[_Chain], list[_Chain]]:
    """Advance all on the same rows, so that their scores compare; keep the better third, to two.

    Returns the two, and the others in their order.
    """
    total, others = len(chains), list[_Chain]()
    while len(chains) > 2:
        for _ in range(TRIAL_STEPS // 2):
            for half in job.halves():
                chains = [_step(job, chain, half, **TRIAL) for chain in chains]
        chains = sorted(chains, key=_Chain.recent, reverse=True)
        kept = max(2, len(chains) // 3)
        chains, others = chains[:kept], chains[kept:] + others
        job.tell("trials", total - len(chains), total)
    return chains, others


def _climb(job: _Job, chain: _Chain, steps: int) -> _Chain:
    chain = replace(chain, scores=())
    while len(chain.scores) < steps:
        for half in job.halves():
            chain = _step(job, chain, half, **CLIMB)
        done = len(chain.scores)
        job.tell("climb", done, steps)
        if done >= 2 * PATIENCE and chain.recent() < (1 + LEAST_GAIN) * chain.recent(PATIENCE):
            break
    return chain


def _finish(job: _Job, chain: _Chain) -> tuple[_Chain, float]:
    """Average over several splits under one map, a few times: all rows count, none is reused."""
    score = float("nan")
    for done in range(FINISH_ROUNDS):
        ends = [
            _step(job, chain, half, **FINISH) for _ in range(FINISH_SPLITS) for half in job.halves()
        ]
        chain = replace(chain, cross=np.mean([end.cross for end in ends], axis=0, dtype=np.float32))
        score = float(np.mean([end.scores[-1] for end in ends]))
        job.tell("finish", done + 1, FINISH_ROUNDS)
    return chain, score


def _step(job: _Job, chain: _Chain, half: Half, *, power: float, epsilon: float) -> _Chain:
    x, y = job.both.x[half[0]], job.both.y[half[1]]
    zx, zy = _embed(chain.cross, x, y, power)
    scores = zx @ zy.T
    plan = entropic_plan(scores, epsilon, rounds=PLAN_ROUNDS, tolerance=PLAN_TOLERANCE)
    matched = np.asarray(x.T @ (plan @ y), dtype=np.float32)
    scored = (*chain.scores, float((plan * scores).sum()))
    return replace(chain, cross=matched + job.pair_cross, scores=scored)


def _embed(cross: Rows, x: Rows, y: Rows, power: float) -> tuple[Rows, Rows]:
    u, s, vt = thin_svd(cross)
    # No covariance carries no direction: none is to be preferred.
    weight = (s / s[0]) ** (power / 2) if s[0] > 0 else np.ones_like(s)
    return unit_rows(x @ (u * weight)), unit_rows(y @ (vt.T * weight))


def _agreement(job: _Job, chains: list[_Chain]) -> float:
    if len(chains) < 2:
        return float("nan")
    x, y = _evenly(job.both.x, job.batch), _evenly(job.both.y, job.batch)
    return _same_nearest([_embed(chain.cross, x, y, CLIMB["power"]) for chain in chains])


def _evenly(rows: Rows, most: int) -> Rows:
    """All rows, or so many of them, evenly spaced."""
    spaced: Rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
    return spaced


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
