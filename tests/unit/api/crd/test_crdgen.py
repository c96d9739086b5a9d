"""The generator: what it translates, what it refuses, and that `crds/` is what it makes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api import KINDS, CustomResource
from argosy.api.crd.crdgen import custom_resource_definition, file_name, open_api_schema, render, structural
from argosy.errors import InvariantError

ROOT = Path(__file__).parents[4]


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a structural schema with its path."""
    yield path, node
    for name, below in node.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in node:
            yield from nodes(node[keyword], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_the_file_in_crds_is_plan_current(kind: type[CustomResource]) -> None:
    assert (ROOT / "crds" / file_name(kind)).read_text("utf-8") == render(kind)


def test_crds_holds_nothing_else() -> None:
    assert {path.name for path in (ROOT / "crds").iterdir()} == {file_name(kind) for kind in KINDS}


def test_the_script_finds_nothing_to_do() -> None:
    script = ROOT / "hack/generate_crds.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_a_crd_is_known_by_its_names(kind: type[CustomResource]) -> None:
    spec = custom_resource_definition(kind)["spec"]
    assert spec["names"]["categories"] == ["argosy"]
    assert spec["names"]["shortNames"] == list(kind.SHORT_NAMES)
    assert spec["scope"] == kind.SCOPE
    assert [version["subresources"] for version in spec["versions"]] == [{"status": {}}]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_column_shows_a_field_that_exists(kind: type[CustomResource]) -> None:
    known = {path for path, _ in nodes(open_api_schema(kind))} | {".metadata.creationTimestamp"}
    shown = [column.json_path.split("[?")[0] for column in kind.COLUMNS]
    assert [path for path in shown if path not in known] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_field_is_described_in_a_sentence(kind: type[CustomResource]) -> None:
    for path, node in nodes(open_api_schema(kind)):
        if "[]" not in path.rsplit(".", 1)[-1] and path != ".metadata":
            assert node["description"].endswith("."), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_a_status_has_no_defaults(kind: type[CustomResource]) -> None:
    status = open_api_schema(kind)["properties"]["status"]
    assert [path for path, node in nodes(status) if "default" in node] == []


def test_yaml_says_what_the_generator_said() -> None:
    for kind in KINDS:
        assert yaml.safe_load(render(kind)) == custom_resource_definition(kind)
        assert "&id" not in render(kind)


TEXT = {"type": "string", "maxLength": 8, "description": "Text."}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            {"anyOf": [TEXT, {"type": "null"}], "default": None, "title": "T"},
            TEXT,
            id="optional-becomes-plain",
        ),
        pytest.param(
            {"const": "WorkloadClass", "type": "string"},
            {"type": "string", "enum": ["WorkloadClass"]},
            id="const-becomes-one-element-enum",
        ),
        pytest.param(
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            id="exclusive-minimum",
        ),
        pytest.param(
            {"type": "number", "exclusiveMaximum": 1},
            {"type": "number", "maximum": 1, "exclusiveMaximum": True},
            id="exclusive-maximum",
        ),
        pytest.param(
            {"$ref": "#/$defs/Text", "description": "Mine."},
            {**TEXT, "description": "Mine."},
            id="reference-is-inlined-and-what-stands-beside-it-wins",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": TEXT},
                "additionalProperties": False,
                "default": {"a": "x"},
            },
            {"type": "object", "default": {}, "properties": {"a": TEXT}},
            id="children-have-their-own-defaults",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": TEXT},
                "default": {"a": "x"},
                "x-kubernetes-validations": [{"rule": "self.a != ''"}],
            },
            {
                "type": "object",
                "default": {"a": "x"},
                "properties": {"a": TEXT},
                "x-kubernetes-validations": [{"rule": "self.a != ''"}],
            },
            id="a-default-under-rules-is-written-out",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": {**TEXT, "default": "x"}, "b": {"anyOf": [TEXT, {"type": "null"}]}},
                "default": {"a": "x", "b": None},
                "x-kubernetes-validations": [{"rule": "self.a != ''"}],
            },
            {
                "type": "object",
                "default": {"a": "x"},
                "properties": {"a": {**TEXT, "default": "x"}, "b": TEXT},
                "x-kubernetes-validations": [{"rule": "self.a != ''"}],
            },
            id="what-is-absent-is-absent-from-a-default-too",
        ),
        pytest.param(
            {"type": "boolean", "description": "Two\n    lines."},
            {"description": "Two lines.", "type": "boolean"},
            id="descriptions-flow",
        ),
    ],
)
def test_a_node_is_translated(source: dict[str, Any], expected: dict[str, Any]) -> None:
    assert structural(source, {"Text": TEXT}, "Kind") == expected


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        pytest.param({"type": "string"}, "Kind.a: string without maxLength", id="unbounded-string"),
        pytest.param({"type": "array", "items": TEXT}, "Kind.a: array without maxItems", id="unbounded-list"),
        pytest.param(
            {"type": "object", "additionalProperties": TEXT},
            "Kind.a: object without maxProperties",
            id="unbounded-map",
        ),
        pytest.param(
            {"type": "object", "maxProperties": 1}, "Kind.a: an object needs fields", id="anything-goes"
        ),
        pytest.param({"anyOf": [TEXT, {"type": "integer"}]}, "Kind.a: a union has no place", id="union"),
        pytest.param({"oneOf": [TEXT]}, "Kind.a: type None has no place", id="tagged-union"),
        pytest.param({"type": "null"}, "Kind.a: type 'null' has no place", id="null"),
        pytest.param(
            {"type": "integer", "multipleOf": 2}, "Kind.a: keywords ['multipleOf'] have", id="unknown-keyword"
        ),
        pytest.param(
            {"type": "boolean", "description": None}, "Kind.a: a field needs a description", id="silent"
        ),
        pytest.param(
            {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            "Kind.a[]: string without",
            id="in-a-list",
        ),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_first(source: dict[str, Any], complaint: str) -> None:
    described = {"description": "A field.", **source}
    described = {keyword: value for keyword, value in described.items() if value is not None}
    with pytest.raises(InvariantError) as caught:
        structural({"type": "object", "properties": {"a": described}}, {}, "Kind")
    assert str(caught.value).startswith(complaint)
