"""Align two modalities when matched pairs are scarce: few pairs, matched sets, or two piles.

Start with :func:`align`. Names load when they are first used, so that ``import setclip`` is
instant and brings in neither PyTorch nor anything of the extras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from setclip import losses, methods
    from setclip.api import align, load
    from setclip.data.pools import Pools, make_pools
    from setclip.diagnosis import diagnose
    from setclip.estimators import Aligner
    from setclip.model import AlignedModel

    __version__: str

__all__ = [
    "AlignedModel",
    "Aligner",
    "Pools",
    "__version__",
    "align",
    "diagnose",
    "load",
    "losses",
    "make_pools",
    "methods",
]

_HOMES = {
    "AlignedModel": "setclip.model",
    "Aligner": "setclip.estimators",
    "Pools": "setclip.data.pools",
    "align": "setclip.api",
    "diagnose": "setclip.diagnosis",
    "load": "setclip.api",
    "make_pools": "setclip.data.pools",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("setclip")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        value = import_module(f"setclip.{name}")
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
