"""A map that saw neither pair nor set, and how far it bears itself out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from setclip.data.pools import Pools, make_pools
from setclip.linear.maps import Alignment
from setclip.linear.transport_procrustes import agreement, transport_procrustes
from setclip.methods.closed_form import solve
from setclip.methods.transport_cca import TransportCCA

# Ridge penalties of CCA that goes on from the map of the shape, the first where no pair can judge.
PENALTIES = ((2.0, 6.0), (10.0, 30.0))


@dataclass(frozen=True)
class BlindMap:
    """Maps fitted to two pools by their shape alone.

    Attributes:
        alignment: Both maps.
        agreement: Share of rows of x to which the maps of another search give the same nearest row
            of y: where two searches end alike there was something to find.
    """

    alignment: Alignment
    agreement: float


def blind_map(
    pools: Pools,
    *,
    penalties: tuple[float, ...] = PENALTIES[0],
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> BlindMap:
    """Lay the pools onto each other by a rotation, and go on with CCA and soft matching.

    A rotation trusts all directions alike, CCA those that both sides share. Each search of the
    rotation is gone on with, so that the ends can be compared.

    Args:
        pools: Of four rows a side or more; pairs and sets are not looked at.
        penalties: Ridge penalties of the CCAs that are averaged.
        seed: Of everything drawn.
        progress: Called with a stage, the steps done in it and its steps in all.

    Raises:
        ValueError: Fewer than four rows in a pool.
    """
    pools = make_pools(x_pool=pools.x_pool, y_pool=pools.y_pool)
    found = transport_procrustes(pools.x_pool, pools.y_pool, seed=seed, progress=progress)
    going_on = TransportCCA(penalties=(penalties,))
    (candidate,) = going_on.candidates(pools, seed)
    fit = partial(solve, pools, candidate, name="auto", rank=going_on.rank)
    best, *others = (fit(start=start) for start in (found.alignment, *found.others))
    agreed = max(agreement(best, other, pools.x_pool, pools.y_pool) for other in others)
    return BlindMap(best, agreed)
