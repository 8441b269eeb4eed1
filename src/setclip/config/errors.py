"""Turn pydantic's errors into sentences a person can act on."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from setclip.config.source import FieldPath, Source
from setclip.suggest import nearest

_SHOWN = 80
_TAGS = ("kind", "layout")


def explain(error: ValidationError, source: Source, model: type[BaseModel]) -> list[str]:
    """One sentence a field: where, which field, what is wrong and what is allowed.

    Args:
        error: What validating `source.values` as `model` raised.
        source: Settings with their lines.
        model: Outermost model, to look up which fields exist.
    """
    sentences: dict[FieldPath, list[str]] = {}
    items = error.errors(include_url=False)
    for item in items:
        if item["type"] == "too_short" and _is_around(item["loc"], items):
            continue  # what is wrong with its entries left it without any
        path = _written_path(item["loc"], source.values)
        if item["type"] == "union_tag_invalid":
            kind = (*path, item["ctx"]["discriminator"].strip("'"))
            path = kind if kind in source.lines or kind in source.overridden else path
        sentences.setdefault(path, []).append(_sentence(item, path, source.values, model))
    problems = []
    for path, branches in sentences.items():
        place = ", ".join(filter(None, [source.where(path), ".".join(map(str, path))]))
        problems.append(": ".join(filter(None, [place, "; or ".join(branches)])))
    return problems


def _is_around(loc: FieldPath, items: Sequence[Any]) -> bool:
    """Whether one of the errors lies inside a field."""
    return any(len(i["loc"]) > len(loc) and i["loc"][: len(loc)] == loc for i in items)


def _written_path(loc: FieldPath, values: Any) -> FieldPath:
    """Pydantic's location without the tags of unions, which are not written in the file."""
    path: list[str | int] = []
    for key in loc:
        if not isinstance(values, dict | list):
            break  # what follows is about a branch of a union, or the choice a bare name stands for
        if isinstance(values, dict) and _tag(values) == key and key not in values:
            continue
        path.append(key)
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
    return tuple(path)


def _sentence(item: Any, path: FieldPath, values: Any, model: type[BaseModel]) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    shown = _shown(value)
    if kind == "extra_forbidden":
        return _unknown_field(str(path[-1]), path, values, model)
    if kind == "missing":
        return "is missing and has no default"
    if kind == "union_tag_invalid":
        allowed = re.findall(r"'([^']*)'", context["expected_tags"])
        what = context["discriminator"].strip("'()")
        return f"there is no {what} {context['tag']!r}.{_choice(context['tag'], allowed)}"
    if kind == "union_tag_not_found":
        allowed = [k for m in _models(_annotation(path, values, model)) for k in _kinds(m)]
        what = context["discriminator"].strip("'()")
        return f"needs a {what}.{_choice('', allowed)}"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return f"{shown} is not allowed.{_choice(str(value), allowed)}"
    if kind == "value_error":
        return f"{context['error']}"
    if kind in ("model_type", "model_attributes_type"):
        models = _models(_annotation(path, values, model))
        fields = dict.fromkeys(f for m in models for f in m.model_fields)
        return f"{shown} where fields were expected: {', '.join(fields)}"
    if kind == "string_type" and not isinstance(value, dict | list):
        return f"{shown} is not text; write it in quotes"
    message = item["msg"].replace("tuple", "list")
    return f"{shown}: {message[0].lower()}{message[1:]}"


def _unknown_field(name: str, path: FieldPath, values: Any, model: type[BaseModel]) -> str:
    around = _annotation(path[:-1], values, model)
    fields = list(dict.fromkeys(f for m in _models(around) for f in m.model_fields))
    hint = nearest(name, fields) or _home(name, path, values, model)
    return f"there is no such field.{hint} Fields here: {', '.join(fields)}"


def _home(name: str, path: FieldPath, values: Any, model: type[BaseModel]) -> str:
    """Where a field that was written in the wrong section belongs, if that is clear."""
    if name in model.model_fields:
        return " It belongs at the top level."
    for section, info in model.model_fields.items():
        models = list(_models(_chosen(info.annotation, values, section)))
        if section != path[0] and len(models) == 1 and name in models[0].model_fields:
            return f" It belongs under {section}."
    return ""


def _choice(given: str, allowed: list[str]) -> str:
    return f"{nearest(given, allowed)} Allowed: {', '.join(allowed)}"


def _annotation(path: FieldPath, values: Any, model: type[BaseModel]) -> Any:
    """The type of the field at `path`, unions narrowed by the kinds that were written."""
    annotation: Any = model
    for key in path:
        if isinstance(key, str):
            fields = [m.model_fields[key] for m in _models(annotation) if key in m.model_fields]
            annotation = fields[0].annotation if fields else None
        annotation = _chosen(annotation, values, key)
        if isinstance(values, dict):
            values = values.get(str(key))
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
    return annotation


def _chosen(annotation: Any, values: Any, key: str | int) -> Any:
    """Of the models of a union, the one whose kind the value at `key` names."""
    if isinstance(values, dict):
        value = values.get(str(key))
    else:
        value = values[key] if isinstance(values, list) and isinstance(key, int) else None
    kind = _tag(value) if isinstance(value, dict) else value
    fitting = [m for m in _models(annotation) if isinstance(kind, str) and kind in _kinds(m)]
    return fitting[0] if fitting else annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model in a type: through Annotated, unions, lists and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing.Union, types.UnionType, list, tuple):
        for inner in typing.get_args(annotation):
            yield from _models(inner)


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    fields = [model.model_fields[tag] for tag in _TAGS if tag in model.model_fields]
    return tuple(
        value
        for field in fields
        if typing.get_origin(field.annotation) is Literal
        for value in typing.get_args(field.annotation)
    )


def _tag(values: dict[str, Any]) -> Any:
    """What names the branch of a union that a section was written as."""
    return next((values[tag] for tag in _TAGS if tag in values), None)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
