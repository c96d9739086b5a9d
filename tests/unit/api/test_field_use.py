"""No field without an effect: every field of every spec is used by some module outside `argosy.api`.

A field of the kinds that users write must be read: an attribute access in the source. Since names
such as `name` or `value` occur everywhere, the same module must also handle the field's owner:
access the field that holds it, or name its class. A FleetPlan is Argosy's own report, some of it
for people alone: there it is enough that a module which makes the owner sets the field.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy.api import KINDS, FleetPlan
from argosy.api.table import PlacedField, fields_of

SOURCE = Path(__file__).parents[3] / "operator/argosy"
FIELDS = [field for kind in KINDS for field in fields_of(kind)]


@dataclass(frozen=True)
class Words:
    """What occurs in a module: attributes that are read, names, keywords of calls."""

    attributes: frozenset[str]
    names: frozenset[str]
    keywords: frozenset[str]


def words_of(path: Path) -> Words:
    tree = ast.parse(path.read_text("utf-8"))
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    return Words(frozenset(attributes), frozenset(names), frozenset(keywords))


WORDS = {
    path.relative_to(SOURCE).as_posix(): words_of(path)
    for path in sorted(SOURCE.rglob("*.py"))
    if "api" not in path.relative_to(SOURCE).parts
}


def attribute_holding(field: PlacedField) -> str:
    """Name of the attribute that holds the field's owner: `spec`, or the field above."""
    above = field.path.rsplit(".", 1)[0]
    return next((f.attribute for f in FIELDS if f.kind is field.kind and f.path == above), "spec")


def users(field: PlacedField) -> list[str]:
    """Modules in which the field has its effect."""
    holder, owner = attribute_holding(field), field.owner.__name__
    readers = [
        module
        for module, words in WORDS.items()
        if field.attribute in words.attributes and (holder in words.attributes or owner in words.names)
    ]
    writers = [
        module
        for module, words in WORDS.items()
        if field.attribute in words.keywords and owner in words.names
    ]
    return readers + (writers if field.kind is FleetPlan else [])


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: f"{field.kind.KIND}.{field.path}")
def test_a_field_has_an_effect(field: PlacedField) -> None:
    assert users(field) != [], f"nothing reads {field.owner.__name__}.{field.attribute}"


def test_the_scan_sees_code() -> None:
    assert "errors.py" in WORDS
