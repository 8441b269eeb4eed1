"""The config of a run: one YAML schema, dotted overrides, errors as people read them."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from setclip.config.errors import explain
from setclip.config.layouts import LayoutData
from setclip.config.models import (
    ArraysData,
    BundledData,
    Encoders,
    EvaluationConfig,
    ManifestData,
    RunConfig,
    Side,
)
from setclip.config.source import ConfigError, FieldPath, Source, apply_overrides, read_source

__all__ = [
    "ArraysData",
    "BundledData",
    "ConfigError",
    "Encoders",
    "EvaluationConfig",
    "LayoutData",
    "ManifestData",
    "RunConfig",
    "Side",
    "changed_fields",
    "load_config",
    "parse_config",
    "schema_json",
]

_INPUT_FILES = ("path", "folder", *(name for name in ArraysData.model_fields if name != "kind"))
_SET_FILES = ("path", "images", "train_list", "test_list")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, set the overrides and validate both together.

    Data files named in the config count from its folder, those named in an override from the
    working folder, as the shell completes them; the config returned has absolute paths. `output`
    counts from the working folder and is runs/<name of the file> by default.

    Args:
        path: The YAML file.
        overrides: `dotted.name=value`, the value read as YAML: `method.weight_sdd=0.1`.

    Raises:
        ConfigError: With every problem: line or override, field, value, what is allowed.
    """
    path = Path(path)
    source = read_source(path)
    source.values.setdefault("output", str(Path("runs") / path.stem))
    apply_overrides(source, overrides)
    _locate_inputs(source, path.parent)
    return _validated(source)


def parse_config(values: dict[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """`load_config` for settings that are already in Python; paths are left as they are.

    Raises:
        ConfigError: With every problem.
    """
    source = Source("the config", copy.deepcopy(values))
    apply_overrides(source, overrides)
    return _validated(source)


def schema_json() -> str:
    """JSON Schema of a config file, for editors."""
    return json.dumps(RunConfig.model_json_schema(), indent=2)


def changed_fields(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Fields that decide the fitted weights and differ: dotted name → old and new value.

    A run is resumed only if there are none. A field that one side lacks counts as None there.
    """
    before, after = _flat(_identity(old)), _flat(_identity(new))
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _validated(source: Source) -> RunConfig:
    try:
        return RunConfig.model_validate(source.values)
    except ValidationError as error:
        raise ConfigError(source.name, explain(error, source, RunConfig)) from None


def _locate_inputs(source: Source, folder: Path) -> None:
    _locate(source, ("data",), _INPUT_FILES, folder)
    for place in (("data", "sets"), ("evaluation", "zero_shot")):
        sets = source.values.get(place[0])
        sets = sets.get(place[1]) if isinstance(sets, dict) else None
        for i in range(len(sets) if isinstance(sets, list) else 0):
            _locate(source, (*place, i), _SET_FILES, folder)
            _locate_local(source, (*place, i), folder)


def _locate(source: Source, place: FieldPath, names: Sequence[str], folder: Path) -> None:
    """Make the paths among the fields at `place` absolute."""
    fields = _at(source.values, place)
    if not isinstance(fields, dict):
        return
    for name in names:
        if isinstance(fields.get(name), str):
            base = Path.cwd() if source.is_overridden((*place, name)) else folder
            fields[name] = str((base / Path(fields[name]).expanduser()).absolute())


def _locate_local(source: Source, place: FieldPath, folder: Path) -> None:
    """A data set of the hub may be a folder instead, if there is one of that name."""
    fields = _at(source.values, place)
    name = fields.get("dataset") if isinstance(fields, dict) else None
    if isinstance(name, str) and (folder / name).is_dir():
        _locate(source, place, ["dataset"], folder)


def _at(values: Any, place: FieldPath) -> Any:
    for key in place:
        values = values.get(key) if isinstance(key, str) else values[key]
    return values


def _identity(config: RunConfig) -> dict[str, Any]:
    fields = config.model_dump(mode="json", include={"data", "seed"})
    fields["method"] = config.method.decisive()
    encoders = {side: options.described for side, options in config.encoder_options.items()}
    return fields | {"encoders": encoders}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return flat
