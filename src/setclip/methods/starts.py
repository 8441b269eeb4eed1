"""Where the heads of `setclip` start: closed forms, transport between the pools, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from setclip.data.pools import Pools
from setclip.linear.clouds import LEAST_ROWS
from setclip.linear.maps import Alignment
from setclip.linear.transport_procrustes import AGREED
from setclip.methods.blind import blind_map
from setclip.methods.cca import CCA
from setclip.methods.pool_matching import stages
from setclip.methods.procrustes import Procrustes
from setclip.methods.ridge import Ridge
from setclip.training.journal import Journal

StartName = Literal["cca", "cca-pairs", "ridge", "procrustes", "transport", "random"]

Start = Callable[[Pools], Alignment]
"""Solves for the maps from the pools of a fold, its choices made on all there is."""

FROM_PAIRS = ("cca-pairs", "ridge")


def make_start(
    name: StartName, pools: Pools, *, folds: int, seed: int, journal: Journal
) -> Start | None:
    """Make the choices of a start, or None for heads that start at random.

    Args:
        name: Which start.
        pools: All there is to learn from.
        folds: Folds that pairs will be held out in; each starts from what its own part gives.
        seed: Of folds and of whatever a start draws.
        journal: Receives choices, and the warning that there is nothing to start from.

    Raises:
        ValueError: The start cannot work from these pools; says which one can.
    """
    if name == "random":
        return None
    if name == "transport":
        return _transport(pools, seed, journal)
    if name in FROM_PAIRS:
        _enough_pairs(name, pools.n_pairs, fewest=2 if folds == 1 else 3)
    elif pools.n_pairs < 2 and len(pools.shared_sets) < 2:
        if _can_be_matched(pools):
            return _transport(pools, seed, journal)
        journal.warn(
            "nothing to start from",
            "there are neither pairs nor sets for a closed form, nor pools of "
            f"{LEAST_ROWS} items whose shapes could be compared: the heads start at random. Expect "
            "chance.",
        )
        return None
    if name == "cca-pairs":
        tuned = CCA().tuned(pools.without_sets(), seed=seed, journal=journal)
        return lambda part: tuned.solve(part.without_sets())
    if name == "ridge":
        return Ridge().tuned(pools.without_pools(), seed=seed, journal=journal).solve
    if name == "procrustes":
        return Procrustes().solve
    return CCA().tuned(pools, seed=seed, journal=journal).solve


def _enough_pairs(name: str, pairs: int, *, fewest: int) -> None:
    if pairs < fewest:
        given = f"{pairs} pair{'' if pairs == 1 else 's'}"
        raise ValueError(
            f"`start: {name}` learns from pairs alone and was given {given}: give at least "
            f"{fewest}, or use `start: cca`, which learns from sets as well, or `start: "
            "transport`, which needs the pools alone."
        )


def _can_be_matched(pools: Pools) -> bool:
    return min(len(pools.x_pool), len(pools.y_pool)) >= LEAST_ROWS


def _transport(pools: Pools, seed: int, journal: Journal) -> Start:
    if not _can_be_matched(pools):
        raise ValueError(
            f"`start: transport` matches the two pools and was given {len(pools.x_pool):,} x and "
            f"{len(pools.y_pool):,} y: give at least {LEAST_ROWS} of each, better "
            "thousands, or use `start: cca` on pairs or sets."
        )
    # From the pools alone: a start that has seen no pair serves every fold, and it is dear.
    with stages(journal) as tell:
        found = blind_map(pools, seed=seed, progress=tell)
    said = (
        "The heads start from the shape of the pools alone: two searches for a common one agree on "
        f"{found.agreement:.0%} of the nearest neighbours"
    )
    journal.note(f"{said}.")
    if found.agreement < AGREED:
        journal.warn(
            "no shared geometry",
            f"{said}, {AGREED:.0%} are needed: as far as can be told without a pair, the pools do "
            "not show the alignment. Start from pairs or sets with `start: cca`.",
        )
    return lambda part: found.alignment
