"""Every rule and every field of the API in one table each, with the path where it applies.

Owns the walk from a kind to its fields and rules. Input: a kind. Output: rows, for tests and
documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from argosy.api.crd.resource import Resource
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Value, camel


@dataclass(frozen=True, slots=True)
class PlacedField:
    """One field: where users write it, and where Python reads it (`owner.attribute`)."""

    kind: type[Resource]
    path: str
    owner: type[Value]
    attribute: str


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """One rule and the path of the value it is about (empty: the whole object)."""

    kind: type[Resource]
    path: str
    rule: Rule


def fields_of(kind: type[Resource], part: str = "spec") -> tuple[PlacedField, ...]:
    """All fields below `part`, depth first in declaration order; list items as `path[]`."""
    return tuple(_walk(kind, part, _value_in(kind.model_fields[part].annotation)))


def rules_of(kind: type[Resource]) -> tuple[PlacedRule, ...]:
    """All rules of `kind`, those of the whole object first."""
    spec = _value_in(kind.model_fields["spec"].annotation)
    own = [(kind.RULES, ""), (spec.RULES if spec else (), "spec")]
    for field in fields_of(kind):
        value = _value_in(field.owner.model_fields[field.attribute].annotation)
        own.append((value.RULES if value else (), field.path))
    return tuple(PlacedRule(kind, path, rule) for rules, path in own for rule in rules)


def _walk(kind: type[Resource], path: str, owner: type[Value] | None) -> Iterator[PlacedField]:
    if owner is None:
        return
    for attribute, info in owner.model_fields.items():
        is_list = any(getattr(part, "__origin__", None) is tuple for part in _parts(info.annotation))
        below = f"{path}.{camel(attribute)}{'[]' if is_list else ''}"
        yield PlacedField(kind, below, owner, attribute)
        yield from _walk(kind, below, _value_in(info.annotation))


def values_in(annotation: Any) -> tuple[type[Value], ...]:
    """The value classes that an annotation is made of: `tuple[X, ...] | None` holds `X`."""
    return tuple(p for p in _parts(annotation) if isinstance(p, type) and issubclass(p, Value))


def _value_in(annotation: Any) -> type[Value] | None:
    return next(iter(values_in(annotation)), None)


def _parts(annotation: Any) -> Iterator[Any]:
    """`annotation` and everything that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
