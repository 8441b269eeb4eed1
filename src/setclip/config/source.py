"""The YAML of a run with the line of every field, and the overrides of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FieldPath = tuple[str | int, ...]

# Sections whose choices may be written as a bare name, so `method: cca` takes `method.dim=64`.
NAMED = ("method", "compare", "encoders")


class ConfigError(ValueError):
    """A config that cannot be used.

    Attributes:
        problems: One sentence for each thing that is wrong.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source} has {count}:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = list(problems)


@dataclass
class Source:
    """Unvalidated settings, and where each came from.

    Attributes:
        name: The file, for messages.
        values: What the file and the overrides say, as plain Python.
        lines: Line of each field of the file.
        overridden: Each override by the field it sets.
    """

    name: str
    values: dict[str, Any]
    lines: dict[FieldPath, int] = field(default_factory=dict)
    overridden: dict[FieldPath, str] = field(default_factory=dict)

    def where(self, path: FieldPath) -> str:
        """Say where a field, or what was written nearest around it or inside, comes from."""
        around = [path[:length] for length in range(len(path), 0, -1)]
        # An override replaces what the file has beneath it: first of all it is to be named.
        for part in (part for part in around if part in self.overridden):
            return f"override {self.overridden[part]!r}"
        for part in (part for part in around if part in self.lines):
            return f"line {self.lines[part]}"
        inside = [text for set_, text in self.overridden.items() if set_[: len(path)] == path]
        return f"override {inside[0]!r}" if path and inside else ""

    def is_overridden(self, path: FieldPath) -> bool:
        """Whether an override set this field or a section around it."""
        return any(path[:length] in self.overridden for length in range(1, len(path) + 1))


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, with 1e-4 as a number (YAML 1.1 would make it a word)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_source(path: str | Path) -> Source:
    """Read a config file.

    Raises:
        ConfigError: No such file, not UTF-8, not YAML, a field twice, or no fields at all.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(str(path), [f"it cannot be read ({error.strerror})"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"it is not UTF-8 ({error}); save it as UTF-8"]) from error
    try:
        lines, problems = _lines(yaml.compose(text, _Loader))
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none, of the calendar's kind
        raise ConfigError(str(path), [_yaml_problem(error)]) from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        kind = type(values).__name__
        problems.append(f"it holds a {kind}, expected fields such as data: and method:")
    if problems:
        raise ConfigError(str(path), problems)
    return Source(str(path), values, lines)


def apply_overrides(source: Source, overrides: Sequence[str]) -> None:
    """Set fields from `dotted.name=value`, the value read as YAML.

    Raises:
        ConfigError: An override without name or value, not YAML, or into a field of no fields.
    """
    problems = []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        path = tuple(int(key) if key.isdigit() else key for key in dotted.strip().split("."))
        if not equals or "" in path:
            problems.append(f"override {override!r}: write it as field=value, such as seed=1")
            continue
        try:
            _set(source.values, path, yaml.load(text, _Loader))
        except (yaml.YAMLError, ValueError) as error:
            problems.append(f"override {override!r}: {_yaml_problem(error)}")
        except LookupError as error:
            problems.append(f"override {override!r}: {error.args[0]}")
        else:
            source.overridden[path] = override
    if problems:
        raise ConfigError(source.name, problems)


def _set(values: Any, path: FieldPath, value: Any) -> None:
    for depth, key in enumerate(path[:-1]):
        _require_place(values, path[: depth + 1])
        child = values.get(key) if isinstance(values, dict) else values[key]
        if child is None:
            child = {}
        elif isinstance(child, str) and path[0] in NAMED:
            child = {"kind": child}
        values[key] = child
        values = child
    _require_place(values, path)
    values[path[-1]] = value


def _require_place(values: Any, path: FieldPath) -> None:
    key = path[-1]
    if isinstance(values, dict):
        return
    if isinstance(values, list) and isinstance(key, int) and key < len(values):
        return
    outer = ".".join(map(str, path[:-1]))
    what = f"a list of {len(values)}, counted from 0" if isinstance(values, list) else repr(values)
    raise LookupError(f"{outer} is {what}, it has no field {key!r}")


def _lines(root: yaml.Node | None) -> tuple[dict[FieldPath, int], list[str]]:
    """Line of each field, and a sentence for each field that is written twice."""
    lines: dict[FieldPath, int] = {}
    problems: list[str] = []
    seen: set[int] = set()
    todo: list[tuple[FieldPath, yaml.Node]] = [] if root is None else [((), root)]
    while todo:
        path, node = todo.pop()
        if id(node) in seen:  # an alias: counted where it was first written, and maybe endless
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            children = [((*path, i), child, child) for i, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            children = [((*path, str(k.value)), k, child) for k, child in node.value]
        else:
            children = []
        for child_path, marked, child in children:
            line = marked.start_mark.line + 1
            if child_path in lines:
                name = ".".join(map(str, child_path))
                problems.append(f"line {line}, {name}: written before, in line {lines[child_path]}")
            lines[child_path] = line
            todo.append((child_path, child))
    return lines, problems


def _yaml_problem(error: yaml.YAMLError | ValueError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: not valid YAML ({error.problem})"
    return f"not valid YAML ({str(error).splitlines()[0]})"
