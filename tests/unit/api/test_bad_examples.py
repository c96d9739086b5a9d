"""`examples/bad`: Python refuses what the API server refuses, at the same field; nothing is forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api import KINDS, RULES, InvalidObject
from argosy.api.crd.crdgen import open_api_schema

BAD = Path(__file__).parents[3] / "examples/bad"
FILES = sorted(BAD.glob("*.yaml"))
KIND_BY_NAME = {kind.KIND: kind for kind in KINDS}
MESSAGES = {placed.rule.message for placed in RULES}
WITH_VALUES = {placed.rule.message for placed in RULES if placed.rule.found is not None}

# The API server's words for each keyword of the schema.
WORDS = {
    "minimum": "should be greater than",
    "maximum": "should be less than or equal to",
    "enum": "Unsupported value",
    "pattern": "should match",
    "minLength": "chars long",
    "minItems": "should have at least",
    "minProperties": "should have at least",
    "required": "Required value",
    "x-kubernetes-list-type": "Duplicate value",
}


def refusal_of(path: Path) -> str:
    """The message that the file's first line promises."""
    return path.read_text("utf-8").splitlines()[0].removeprefix("# refused: ")


def field_of(refusal: str) -> str:
    """The path before the first colon; a key of a map may hold dots and slashes, no colon."""
    return refusal.split(": ")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_python_refuses_it_at_the_same_field(path: Path) -> None:
    obj = yaml.safe_load(path.read_text("utf-8"))
    found = KIND_BY_NAME[obj["kind"]].from_object(obj)
    assert isinstance(found, InvalidObject)
    if refusal_of(path) in WITH_VALUES:
        assert found.message.startswith("spec.engine.args: --")
    elif refusal_of(path) in MESSAGES:
        assert found.message == refusal_of(path)
    else:
        assert found.field == field_of(refusal_of(path))
        assert found.message.startswith(found.field)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_has_one_fault_only(path: Path) -> None:
    obj = yaml.safe_load(path.read_text("utf-8"))
    found = KIND_BY_NAME[obj["kind"]].from_object(obj)
    assert isinstance(found, InvalidObject)
    assert len(found.problems) == 1


def constraints(node: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """(path, keyword) of all that a schema demands; list items as `path[]`, map values as `path[key]`."""
    for keyword in WORDS:
        redundant = keyword == "minLength" and "pattern" in node
        if keyword in node and keyword != "required" and not redundant:
            yield path, keyword
    for name in node.get("required", ()):
        yield f"{path}.{name}", "required"
    for name, below in node.get("properties", {}).items():
        yield from constraints(below, f"{path}.{name}")
    if "items" in node:
        yield from constraints(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from constraints(node["additionalProperties"], f"{path}.nvidia.com/gpu.product")


def documented(path: Path) -> str:
    return re.sub(r"\[\d+\]", "[]", refusal_of(path))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.KIND != "FleetPlan"], ids=lambda kind: kind.KIND)
def test_every_bound_of_a_users_field_has_a_bad_example(kind: Any) -> None:
    shown = [documented(path) for path in FILES if path.name.startswith(f"{kind.KIND.lower()}-")]
    spec = open_api_schema(kind)["properties"]["spec"]

    def is_shown(field: str, keyword: str) -> bool:
        # A duplicate is reported at the item, any other fault at the field itself.
        at = f"{field}[]" if keyword == "x-kubernetes-list-type" else field
        return any(refusal.startswith(f"{at}: ") and WORDS[keyword] in refusal for refusal in shown)

    missing = [
        (field, keyword) for field, keyword in constraints(spec, "spec") if not is_shown(field, keyword)
    ]
    assert missing == []
