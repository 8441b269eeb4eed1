"""Methods that misbehave, importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from setclip.data.pools import Pools
from setclip.linear.maps import AffineMap, Alignment
from setclip.methods.protocol import Options, Supervision, card, linear_model
from setclip.model import AlignedModel
from setclip.training.journal import Journal


class Odd(Options):
    """What the odd methods share."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs"})

    kind: Literal["odd"] = "odd"

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        self.misbehave()
        maps = (AffineMap(np.zeros((d, 2)), np.ones(2)) for d in (pools.x_dim, pools.y_dim))
        return linear_model(Alignment(*maps), card(self, pools, seed, journal or Journal()))

    def misbehave(self) -> None:
        """Say nothing of the data: every item lands on one point."""


class OfPools(Odd):
    """Learns from pools alone."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pools"})


class OfPoolsAndPairs(Odd):
    """Learns from all but sets."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pools", "pairs"})


class Killed(Odd):
    """Its process is killed, as for want of memory."""

    name: str = "killed"

    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Buggy(Odd):
    """Raises what no method should."""

    name: str = "buggy"

    def misbehave(self) -> None:
        raise ZeroDivisionError("a bug in the method")


class Counted(Odd):
    """Leaves a line in a file for each fit, then takes its time."""

    file: str
    seconds: float = 0.0

    def misbehave(self) -> None:
        with Path(self.file).open("a") as out:
            out.write("fit\n")
        time.sleep(self.seconds)
