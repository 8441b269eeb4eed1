"""Chains as the tensors that structure encoders take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from setclip.proteins.chains import Chain, letter_codes

StructureItem = dict[str, Tensor]
"""One chain: `codes` [n], `positions` [n, 3] in A about their mean, `frames` [n, 3, 3], `index`."""

PADDING = -1
"""Code beyond the end of a chain."""


def structure_item(chain: Chain) -> StructureItem:
    """Tensors of a chain, its frames from the positions as they are."""
    positions = torch.from_numpy(np.ascontiguousarray(chain.ca, dtype=np.float32))
    return {
        "codes": torch.from_numpy(letter_codes(chain.sequence)),
        "positions": positions - positions.mean(dim=0),
        "frames": local_frames(positions),
        "index": torch.from_numpy(chain.index.astype(np.int64)),
    }


def local_frames(positions: Tensor) -> Tensor:
    """Axes of each residue from its two neighbours along the chain, turning with it.

    With u the unit steps between alpha carbons: b = unit(u before - u after), m = unit(u before ×
    u after), b × m. The two ends copy their neighbours; chains of fewer than three residues have no
    frame, and get zeros.

    Args:
        positions: Alpha carbons of one chain. Shape [n, 3].

    Returns:
        The axes as rows. Shape [n, 3, 3].
    """
    if len(positions) < 3:
        return positions.new_zeros(len(positions), 3, 3)
    steps = functional.normalize(positions.diff(dim=0), dim=1)
    before, after = steps[:-1], steps[1:]
    b = functional.normalize(before - after, dim=1)
    m = functional.normalize(torch.linalg.cross(before, after), dim=1)
    o = functional.normalize(torch.linalg.cross(b, m), dim=1)
    inner = torch.stack([b, m, o], dim=1)
    return torch.cat([inner[:1], inner, inner[-1:]])


def pad_chains(items: Sequence[StructureItem]) -> dict[str, Tensor]:
    """A batch with one row a chain, `codes` being `PADDING` beyond a chain's end.

    Returns:
        `codes` and `index` [b, n], `positions` [b, n, 3], `frames` [b, n, 3, 3], n the longest.
    """
    fill = {"codes": PADDING}
    return {
        name: torch.nn.utils.rnn.pad_sequence(
            [item[name] for item in items], batch_first=True, padding_value=fill.get(name, 0)
        )
        for name in items[0]
    }
