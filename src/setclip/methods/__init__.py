"""Methods: what users choose by name, all behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from setclip.methods.auto import Auto
from setclip.methods.cca import CCA
from setclip.methods.clip import CLIP
from setclip.methods.mini_vec2vec import MiniVec2Vec
from setclip.methods.procrustes import Procrustes
from setclip.methods.protocol import Method
from setclip.methods.ridge import Ridge
from setclip.methods.s_clip import SCLIP
from setclip.methods.setclip import SetCLIP
from setclip.methods.siglip import SigLIP
from setclip.methods.sotalign import SOTAlign
from setclip.methods.structure import Structure
from setclip.methods.sue import SUE
from setclip.methods.towers import CLIPTowers, Towers
from setclip.methods.transport_cca import TransportCCA
from setclip.methods.transport_procrustes import TransportProcrustes
from setclip.methods.wasserstein_procrustes import WassersteinProcrustes

AnyMethod = Annotated[
    Ridge
    | Procrustes
    | CCA
    | CLIP
    | SigLIP
    | SCLIP
    | Structure
    | SOTAlign
    | SetCLIP
    | WassersteinProcrustes
    | MiniVec2Vec
    | SUE
    | TransportProcrustes
    | TransportCCA
    | Auto
    | Towers
    | CLIPTowers,
    Field(discriminator="kind"),
]

METHODS: dict[str, Callable[..., Method]] = {
    "ridge": Ridge,
    "procrustes": Procrustes,
    "cca": CCA,
    "clip": CLIP,
    "siglip": SigLIP,
    "s-clip": SCLIP,
    "structure": Structure,
    "sotalign": SOTAlign,
    "setclip": SetCLIP,
    "gentle-clip": SetCLIP,
    "wasserstein-procrustes": WassersteinProcrustes,
    "mini-vec2vec": MiniVec2Vec,
    "sue": SUE,
    "towers": Towers,
    "clip-towers": CLIPTowers,
    "transport-procrustes": TransportProcrustes,
    "transport-cca": TransportCCA,
    "auto": Auto,
}


def make_method(name: str, **options: Any) -> Method:
    """A method by its name, for instance ``make_method("setclip", recipe="paper")``.

    Raises:
        ValueError: No method of this name, or an option it does not have.
    """
    if name not in METHODS:
        raise ValueError(f"no method is called {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name](kind=name, **options)


__all__ = [
    "CCA",
    "CLIP",
    "METHODS",
    "SCLIP",
    "SUE",
    "AnyMethod",
    "Auto",
    "CLIPTowers",
    "Method",
    "MiniVec2Vec",
    "Procrustes",
    "Ridge",
    "SOTAlign",
    "SetCLIP",
    "SigLIP",
    "Structure",
    "Towers",
    "TransportCCA",
    "TransportProcrustes",
    "WassersteinProcrustes",
    "make_method",
]
