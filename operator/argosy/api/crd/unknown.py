"""Fields that a kind does not have, as the API server's strict validation of fields finds them.

Input: an object in JSON form, valid or not. Output: a problem for each such field, with the field that was
probably meant. `kubectl apply` refuses them; `from_object` ignores them, as the API server does for what it
has stored.
"""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from argosy.api.crd.resource import CustomResource, Problem, path_of, without_nulls

_OF_EVERY_OBJECT = ("apiVersion", "kind")
_SIMILAR = 0.6


def unknown_fields(kind: type[CustomResource], obj: Mapping[str, Any]) -> tuple[Problem, ...]:
    """The fields beside and below `spec` that the kind does not have; the server owns those of `status`."""
    try:
        text = json.dumps(without_nulls(obj))
    except (TypeError, ValueError, RecursionError):
        return ()  # no JSON at all, which `from_object` refuses
    try:
        kind.model_validate_json(text, by_alias=True, by_name=False, extra="forbid")
    except ValidationError as error:
        found = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        return tuple(_problem(kind, location) for location in found if _is_checked(location))
    return ()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the one that was probably meant; empty for none."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=_SIMILAR)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def _is_checked(location: tuple[int | str, ...]) -> bool:
    return location[0] == "spec" or (len(location) == 1 and location[0] not in _OF_EVERY_OBJECT)


def _problem(kind: type[CustomResource], location: tuple[int | str, ...]) -> Problem:
    path, name = path_of(*location), str(location[-1])
    around = _models_around(kind, location)
    known = [*(_OF_EVERY_OBJECT if len(location) == 1 else ()), *(n for m in around for n, _ in _fields(m))]
    meant = did_you_mean(name, known) or "".join(f"; did you mean {each}?" for each in _within(around, name))
    return Problem(path, f"{path} is not a field of this kind{meant}")


def _within(models: Iterable[type[BaseModel]], name: str) -> list[str]:
    """Where a field of this name is one level below, as a path: `engine.volumes` for `volumes`."""
    below = ((field, inner) for m in models for field, kind in _fields(m) for inner in _models(kind))
    found = [f"{field}.{name}" for field, inner in below if any(name == each for each, _ in _fields(inner))]
    return found[:1]


def _models_around(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """What the object that holds the last step of `location` may be; empty where it cannot be found."""
    models = [kind]
    for step in location[:-1]:
        by_name = [
            field.annotation
            for model in models
            for name, field in model.model_fields.items()
            if step in (name, field.alias)
        ]
        # An index, or the key of a map, stays with the models of the elements.
        models = [model for each in by_name for model in _models(each)] or models
    return models


def _fields(model: type[BaseModel]) -> list[tuple[str, Any]]:
    """The fields of an object with their types, by the names that users write."""
    return [(field.alias or name, field.annotation) for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in typing.get_args(annotation) for model in _models(each)]
