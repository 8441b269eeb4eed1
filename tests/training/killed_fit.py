"""A fit of a second or two, with everything in it that a resumed one could get wrong.

It stands in a module of its own because the process that is killed has to import it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny_encoders as tiny

from setclip.data.pools import RawItems, make_pools
from setclip.methods.setclip import SetCLIP
from setclip.methods.towers import Towers
from setclip.training.journal import Journal


def fit(folder: Path) -> None:
    """Fit random heads with dropout and a closed form's refinement on pairs and sets, and save."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((72, 6))
    y = x @ rng.standard_normal((6, 5)) + 0.3 * rng.standard_normal((72, 5))
    sets, order = np.arange(60) // 4, rng.permutation(60)
    pools = make_pools(
        x[60:], y[60:], x_pool=x[:60], y_pool=y[:60][order], x_sets=sets, y_sets=sets[order]
    )
    short = SetCLIP(steps=30, folds=2, batch=24, dim=8)
    heads = {"start": "random", "head": "projection", "dropout": 0.2, "weight_ssl": 0.1}
    for name, change in {"random": heads, "cca": {"steps": 10}}.items():
        journal = Journal(folder / name, checkpoint_every=7)
        short.model_copy(update=change).fit(pools, seed=3, journal=journal).save(folder / name)


def fit_towers(folder: Path) -> None:
    """Train encoders with dropout, views and averaged weights, read by two workers, and save."""
    x, y = tiny.items(60)
    blank, sets = np.zeros((60, 1)), np.arange(40) // 4
    pools = make_pools(
        blank[40:], blank[40:], x_pool=blank[:40], y_pool=blank[:40], x_sets=sets, y_sets=sets
    )
    pools = replace(pools, items=RawItems(x[40:], y[40:], x[:40], y[:40]))
    options = {"x": tiny.X, "y": tiny.Y, "x_blocks": "all", "y_blocks": 2, "device": "cpu"}
    sizes = {"steps": 24, "batch": 12, "batch_pairs": 8, "batch_views": 6}
    method = Towers(**options, **sizes, start="random", ema=0.9, workers=2, keep_prefix=False)
    journal = Journal(folder / "towers", checkpoint_every=3)
    method.fit(pools, seed=3, journal=journal).save(folder / "towers")
