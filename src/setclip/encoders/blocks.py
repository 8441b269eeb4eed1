"""The trunk of a network as a list of blocks, found by how libraries lay out their modules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

_CONTAINERS = (nn.ModuleList, nn.Sequential)
_STAGES = re.compile(r"features|layer\d+|stages?")


class Parts(nn.Module):
    """Weights that make one block without being one module: a view to freeze them by."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        taken = set(names)
        owners = dict.fromkeys(name.rpartition(".")[0] for name in names)
        self.whole = nn.ModuleList()
        self.single = nn.ParameterList()
        for path in owners:
            owner = network.get_submodule(path)
            inside = {f"{path}.{n}" for n, _ in owner.named_parameters()}
            if path and inside <= taken:
                self.whole.append(owner)
            else:
                mine = [name for name in names if name.rpartition(".")[0] == path]
                self.single.extend(network.get_parameter(name) for name in mine)


def trunk(network: nn.Module, *, end: Sequence[str] = ()) -> list[nn.Module]:
    """Blocks from input to output: a stem, then the layers; what follows them is in none.

    Stages of convolutions (`features`, `layer1` …) are taken apart into their blocks. Otherwise
    the layers are the longest run of modules of one class, by weights; what is registered before
    them is the stem. A network that shows neither gives its children.

    Args:
        network: Whose blocks to find.
        end: Names of weights that belong to the end though they are registered at the front.
    """
    stages = [
        name
        for name, child in network.named_children()
        if _STAGES.fullmatch(name) and isinstance(child, _CONTAINERS)
    ]
    if stages:
        return _staged(network, stages)
    runs = {n: m for n, m in network.named_modules() if n and _is_run(m)}
    if not runs:
        return [child for child in network.children() if _weights(child)]
    path = max(runs, key=lambda name: _weights(runs[name]))
    names = [n for n, _ in network.named_parameters() if n not in end]
    start = next(i for i, name in enumerate(names) if name.startswith(f"{path}."))
    return [*_stem(network, names[:start]), *runs[path].children()]


def from_names(network: nn.Module, groups: Sequence[Sequence[str]]) -> list[nn.Module]:
    """Blocks given as lists of names of parameters; modules where a list is one module's."""
    return [_block(network, list(names)) for names in groups]


def _staged(network: nn.Module, stages: Sequence[str]) -> list[nn.Module]:
    names = [name for name, _ in network.named_parameters()]
    start = next(i for i, name in enumerate(names) if name.startswith(f"{stages[0]}."))
    inside = [
        child
        for stage in stages
        for child in network.get_submodule(stage).children()
        if _weights(child)
    ]
    return [*_stem(network, names[:start]), *inside]


def _stem(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    return from_names(network, [names]) if names else []


def _block(network: nn.Module, names: list[str]) -> nn.Module:
    """The smallest module that holds these weights, if it holds no others."""
    paths = [name.split(".")[:-1] for name in names]
    depth = 0
    while all(len(path) > depth and path[depth] == paths[0][depth] for path in paths):
        depth += 1
    path = ".".join(paths[0][:depth])
    inside = {f"{path}.{n}" for n, _ in network.get_submodule(path).named_parameters()}
    return network.get_submodule(path) if path and inside == {*names} else Parts(network, names)


def _is_run(module: nn.Module) -> bool:
    """Whether a module lists modules of one class, and these have weights."""
    classes = {type(child) for child in module.children()}
    return isinstance(module, _CONTAINERS) and len(classes) == 1 and _weights(module) > 0


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
