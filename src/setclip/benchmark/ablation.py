"""Ablated methods: Set-CLIP with one thing changed, trained for a while and stopped by nothing.

Early stopping would hide a harmful term behind its start, so nothing here stops early. All but
those of `ABLATED_STARTS` start at the CCA of the pairs, which sees no set and no partner in a pool:
what a row gains on the row "start" is what its loss drew from them.
"""

from __future__ import annotations

from typing import Any

from setclip.methods import SetCLIP
from setclip.methods.towers import CLIPTowers, Towers

Ablated = dict[str, tuple[str, SetCLIP]]

MEMORY = 1024
"""Rows of each pool in the densities of the row "memory"."""


def _ablated(**changed: Any) -> SetCLIP:
    return SetCLIP(**{"start": "cca-pairs", "steps": 100, "lr": 3e-3, "folds": 1, **changed})


ABLATED: Ablated = {
    "sdd-start": ("start", _ablated(steps=0)),
    "sdd-clip": ("CLIP", _ablated(weight_sdd=0.0)),
    "sdd": ("CLIP + SDD", _ablated()),
    "sdd-mmd": ("CLIP + MMD", _ablated(weight_sdd=0.0, weight_mmd=3.0)),
    "sdd-alone": ("SDD alone", _ablated(weight_clip=0.0)),
    "sdd-weight-1": ("CLIP + SDD, weight 1", _ablated(weight_sdd=1.0)),
    "sdd-fast": ("CLIP + SDD, rate 0.01", _ablated(lr=0.01)),
}
"""Terms and their weight, in SDD's default form."""

FORMS: Ablated = {
    "sdd-published": (
        "SDD: published (one batch, bandwidth 0.5)",
        _ablated(within_sets=False, bandwidth=0.5),
    ),
    "sdd-batch": ("SDD: over the whole batch", _ablated(within_sets=False)),
    "sdd-wide": ("SDD: bandwidth 0.5", _ablated(bandwidth=0.5)),
    "sdd-narrow": ("SDD: bandwidth 0.1", _ablated(bandwidth=0.1)),
    "sdd-several": ("SDD: bandwidths 0.1, 0.25, 0.5", _ablated(bandwidth=(0.1, 0.25, 0.5))),
    "sdd-adaptive": ("SDD: adaptive, 10th neighbour", _ablated(adaptive=10)),
    "sdd-normalised": ("SDD: normalised", _ablated(normalise=True)),
    "sdd-left-out": ("SDD: leave one out", _ablated(leave_one_out=True)),
    "sdd-memory": (f"SDD: memory of {MEMORY:,}", _ablated(memory=MEMORY)),
    "sdd-matched": ("SDD: matched batches", _ablated(matched_batches=True)),
}
"""Forms of SDD; a memory has no sets, and matched batches differ where there are no sets."""

_STARTS = {"random": "random heads", "cca": "CCA", "transport": "transport"}
ABLATED_STARTS: Ablated = {
    f"sdd-from-{start}{suffix}": (f"{words}{label}", _ablated(start=start, **changed))
    for start, words in _STARTS.items()
    for suffix, label, changed in (
        ("-start", "", {"steps": 0}),
        ("-clip", ", then CLIP", {"weight_sdd": 0.0}),
        ("", ", then CLIP + SDD", {}),
    )
}
"""Other starts. That of transport costs half a minute, that of CCA on sets ten seconds."""

_BENT: dict[str, Any] = {"x": {"kind": "efficientnet-lite0", "size": 128}}
_AT: dict[str, Any] = _BENT | {"sharpness": 0.0}

TRAINED_ENCODERS: dict[str, tuple[str, CLIPTowers | Towers]] = {
    "towers-frozen": ("auto, frozen at 128", Towers(**_AT, steps=0)),
    "towers": ("Set-CLIP end to end", Towers(**_AT)),
    "towers-no-sdd": ("… without SDD", Towers(**_AT, weight_sdd=0.0)),
    "towers-no-mmd": ("… without MMD", Towers(**_AT, weight_mmd=0.0)),
    "towers-no-ssl": ("… without SSL", Towers(**_AT, weight_ssl=0.0)),
    "towers-no-match": ("… without matching", Towers(**_AT, weight_match=0.0)),
    "clip-towers": ("CLIP end to end", CLIPTowers(**_AT)),
    "towers-kernel-frozen": ("auto, frozen at 128, kernel heads", Towers(**_BENT, steps=0)),
    "towers-kernel": ("Set-CLIP end to end, kernel heads", Towers(**_BENT)),
}
"""Set-CLIP end to end and the same without each of its terms, behind linear heads; and with heads
of kernel features."""

_CHAINS: dict[str, Any] = {
    "x": {"kind": "protein-transformer", "width": 64, "layers": 2},
    "y": {"kind": "cdconv"},
    "x_blocks": "all",
    "y_blocks": "all",
    "batch_pairs": 32,
    "lr": 1e-3,
    "steps": 400,
    "wise": 1.0,
    "sharpness": 0.0,
}
_POOLS: dict[str, Any] = _CHAINS | {"batch": 64, "batch_views": 32, "extra_negatives": False}
_LONG: dict[str, Any] = {"steps": 1200}

TRAINED_PROTEINS: dict[str, tuple[str, CLIPTowers | Towers]] = {
    "protein-frozen": ("auto, frozen", Towers(**_CHAINS | {"steps": 0})),
    "protein-clip": ("CLIP end to end", CLIPTowers(**_CHAINS)),
    "protein-towers": ("Set-CLIP end to end", Towers(**_POOLS)),
    "protein-clip-long": ("CLIP, three times the steps", CLIPTowers(**_CHAINS | _LONG)),
    "protein-long": ("Set-CLIP, three times the steps", Towers(**_POOLS | _LONG)),
    "protein-no-sdd": ("… without SDD", Towers(**_POOLS, weight_sdd=0.0)),
    "protein-no-mmd": ("… without MMD", Towers(**_POOLS, weight_mmd=0.0)),
    "protein-no-ssl": ("… without SSL", Towers(**_POOLS, weight_ssl=0.0)),
    "protein-no-match": ("… without matching", Towers(**_POOLS, weight_match=0.0)),
}
"""The same for sequences and structures; both encoders begin with random weights."""
