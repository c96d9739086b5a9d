"""Turns a kind into its CustomResourceDefinition.

Owns the translation of pydantic's JSON schema into the structural OpenAPI schema of Kubernetes, and
the other fields of the CRD. Input: a kind. Output: YAML text. A union, an unbounded list, map or
string, a field without a description or an unknown keyword raises an `InvariantError` that names the
field: the API server would refuse it, or estimate its rules as too costly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from argosy.api.crd.resource import GROUP, VERSION, Column, CustomResource
from argosy.errors import InvariantError

_HEADER = "# Generated from operator/argosy/api by hack/generate_crds.py; do not edit.\n"

# Keywords with the same meaning in both schemas, in the order in which they are written.
_KEPT = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "items",
    "additionalProperties",
    "properties",
    "required",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
_BOUND_BY_TYPE = {"string": "maxLength", "array": "maxItems"}
_ANY_FIELDS = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean"})

Schema = dict[str, Any]


def file_name(kind: type[CustomResource]) -> str:
    """Name of the file in `crds/`."""
    return f"{GROUP}_{kind.PLURAL}.yaml"


def render(kind: type[CustomResource]) -> str:
    """The CRD as YAML, with a header: a pure function of the models. Raises as the translation does."""
    body = yaml.dump(custom_resource_definition(kind), Dumper=_Dumper, sort_keys=False, width=110)
    return _HEADER + body


def custom_resource_definition(kind: type[CustomResource]) -> Schema:
    """The CRD as a JSON object."""
    names = {
        "kind": kind.KIND,
        "listKind": f"{kind.KIND}List",
        "plural": kind.PLURAL,
        "singular": kind.KIND.lower(),
        "shortNames": list(kind.SHORT_NAMES),
        "categories": ["argosy"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.COLUMNS],
        "schema": {"openAPIV3Schema": open_api_schema(kind)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": str(kind.SCOPE), "versions": [version]},
    }


def open_api_schema(kind: type[CustomResource]) -> Schema:
    """The structural schema of a whole object of `kind`."""
    source = kind.model_json_schema(by_alias=True, mode="validation")
    # Kubernetes owns the schema of metadata: a CRD may only name it.
    below = {name: source["properties"][name] for name in ("spec", "status")}
    whole = structural({**source, "properties": below}, source.get("$defs", {}), kind.KIND)
    whole["properties"]["status"] = _without_defaults(whole["properties"]["status"])
    whole["properties"] = {
        "apiVersion": {"description": "Version of the schema of this object.", "type": "string"},
        "kind": {"description": "Kind of this object.", "type": "string"},
        "metadata": {"type": "object"},
        **whole["properties"],
    }
    return whole


def structural(source: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Schema:
    """One node of pydantic's JSON schema, and all nodes below it, as Kubernetes expects them.

    Raises InvariantError, with `path`, where there is no translation.
    """
    node = _resolved(source, definitions, path)
    if node.get("type") not in _TYPES:
        raise InvariantError(f"{path}: type {node.get('type')!r} has no place in a CRD")
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for bound in ("Minimum", "Maximum"):
        if f"exclusive{bound}" in node:
            node[bound.lower()], node[f"exclusive{bound}"] = node[f"exclusive{bound}"], True
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    if node.get(_ANY_FIELDS):
        node.pop("additionalProperties", None)
        return {keyword: node[keyword] for keyword in _KEPT if keyword in node}
    _refuse_unbounded(node, path)
    if node.get(_INT_OR_STRING):
        del node["type"]  # the keyword stands for both types
        return {keyword: node[keyword] for keyword in _KEPT if keyword in node}
    if node["type"] == "array":
        node["items"] = structural(node["items"], definitions, f"{path}[]")
    elif "properties" in node:
        _translate_properties(node, definitions, path)
    elif node["type"] == "object":
        node["additionalProperties"] = structural(node["additionalProperties"], definitions, f"{path}[key]")
    unknown = set(node) - set(_KEPT)
    if unknown:
        raise InvariantError(f"{path}: keywords {sorted(unknown)} have no translation")
    return {keyword: node[keyword] for keyword in _KEPT if keyword in node}


def _resolved(source: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Schema:
    """`source` with `$ref` and "or null" resolved; keywords beside them take precedence."""
    node = {keyword: value for keyword, value in source.items() if keyword not in ("title", "$defs")}
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    if "$ref" in node:
        target = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        return {**_resolved(target, definitions, path), **node}
    if "anyOf" in node:
        options = [option for option in node.pop("anyOf") if option != {"type": "null"}]
        if len(options) != 1:
            raise InvariantError(f"{path}: a union has no place in a structural schema")
        if node.get("default", "") is None:
            del node["default"]
        return {**_resolved(options[0], definitions, path), **node}
    return node


def _translate_properties(node: Schema, definitions: Mapping[str, Any], path: str) -> None:
    node.pop("additionalProperties", None)
    properties = {}
    for name, source in node["properties"].items():
        below = structural(source, definitions, f"{path}.{name}")
        if "description" not in below:
            raise InvariantError(f"{path}.{name}: a field needs a description")
        properties[name] = below
    node["properties"] = properties
    if "default" in node:
        # The children have their own defaults, which the API server fills into {}. Not where there are
        # rules: the API server evaluates them on the default as it is written here.
        has_rules = "x-kubernetes-validations" in node
        node["default"] = _without_nulls(node["default"]) if has_rules else {}


def _without_nulls(value: Any) -> Any:
    """Drop nulls: the API server takes null as a value, and no structural type admits it."""
    if isinstance(value, dict):
        return {name: _without_nulls(below) for name, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value


def _refuse_unbounded(node: Schema, path: str) -> None:
    bound = _BOUND_BY_TYPE.get(node["type"])
    if node["type"] == "object" and "properties" not in node:
        if not isinstance(node.get("additionalProperties"), dict):
            raise InvariantError(f"{path}: an object needs fields, or a schema of its values")
        bound = "maxProperties"
    if bound and bound not in node and "enum" not in node:
        raise InvariantError(
            f"{path}: {node['type']} without {bound}, from which the API server estimates the cost of rules"
        )


def _without_defaults(node: Schema) -> Schema:
    # A status field that Argosy did not write must stay absent.
    kept = {keyword: value for keyword, value in node.items() if keyword != "default"}
    if "items" in kept:
        kept["items"] = _without_defaults(kept["items"])
    if "properties" in kept:
        kept["properties"] = {name: _without_defaults(below) for name, below in kept["properties"].items()}
    return kept


def _column(column: Column) -> Schema:
    written: Schema = {"name": column.name, "type": column.type, "description": column.description}
    if column.wide:
        written["priority"] = 1
    return {**written, "jsonPath": column.json_path}


class _Dumper(yaml.SafeDumper):
    """Writes lists indented, and equal values each in full instead of as anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
