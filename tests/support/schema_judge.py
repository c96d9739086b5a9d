"""What the API server of each Kubernetes version would say to an object, by that version's OpenAPI document.

Owns reading tests/data/kubernetes/schemas.json.gz, which hack/kubernetes_schemas.py writes. Input: an
object, or a merge patch. Output: its faults in sentences (an unknown field is one, as with `kubectl apply
--validate=strict`), and the fields whose stage is noted: a schema does not know which gates are on.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kubernetes_schemas import SCHEMAS

Object = dict[str, Any]

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
IN_CRDS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
SCHEMA = {"$ref": f"{IN_CRDS}JSONSchemaProps"}
EITHER = {
    f"{IN_CRDS}JSONSchemaPropsOrArray": (SCHEMA, {"type": "array", "items": SCHEMA}),
    f"{IN_CRDS}JSONSchemaPropsOrBool": (SCHEMA, {"type": "boolean"}),
    f"{IN_CRDS}JSONSchemaPropsOrStringArray": (SCHEMA, {"type": "array", "items": {"type": "string"}}),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ({"type": "string"}, {"type": "integer"}),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ({"type": "string"}, {"type": "number"}),
}
"""What Swagger 2 cannot say, or leaves out: definitions that are read in two ways."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@cache
def _document() -> Any:
    return json.loads(gzip.decompress(SCHEMAS.read_bytes()))


VERSIONS: tuple[str, ...] = tuple(_document()["modules"])
"""`1.29` and later, the oldest first."""


def modules() -> dict[str, str]:
    """By version: `path@version checksum` of the Go module that its schemas are from."""
    found: dict[str, str] = _document()["modules"]
    return found


def is_on(gate: str, version: str) -> bool | None:
    """Whether a feature gate is on by default; None where the version does not list it."""
    found: bool | None = _document()["gates"][version].get(gate)
    return found


@dataclass(frozen=True)
class Staged:
    """A field that an object sets and whose stage a version notes: `Definition.field`, and the note."""

    version: str
    name: str
    value: str
    words: str


@dataclass
class Verdict:
    """Of one object in one version."""

    version: str
    is_patch: bool = False
    faults: list[str] = field(default_factory=list)
    staged: set[Staged] = field(default_factory=set)

    def say(self, path: str, what: str) -> None:
        self.faults.append(f"Kubernetes {self.version}: {path}: {what}")


@cache
def _definitions(version: str) -> dict[str, Object]:
    return {
        name: each["schema"]
        for name, variants in _document()["definitions"].items()
        for each in variants
        if version in each["versions"]
    }


def judge(item: Object, version: str, *, patched: str = "") -> Verdict:
    """What a version has against an object; patched: `apiVersion Kind` that a merge patch is for."""
    verdict = Verdict(version, bool(patched))
    kind = patched or f"{item.get('apiVersion')} {item.get('kind')}"
    definition = _document()["kinds"][version].get(kind)
    if definition is None:
        verdict.say(kind, "there is no such kind")
    else:
        name = (item.get("metadata") or {}).get("name", "")
        _look(verdict, {"$ref": definition}, item, f"{kind.split()[1]} {name}".strip())
    return verdict


def _look(verdict: Verdict, schema: Object, value: Any, path: str) -> None:
    if value is None:  # left out, or removed by a patch
        return
    definition = schema.get("$ref", "")
    if definition in EITHER:
        schema = _alternative(EITHER[definition], value)
        definition = schema.get("$ref", "")
    if definition:
        schema = _definitions(verdict.version)[definition]
    kind = schema.get("type")
    if kind and not _is(kind, value):
        verdict.say(path, f"{value!r} is no {kind}")
        return
    for what in _wrong_values(schema, value):
        verdict.say(path, what)
    if isinstance(value, dict):
        _look_into(verdict, schema, value, (path, definition.rpartition(".")[2]))
    elif isinstance(value, list):
        for what in _wrong_rows(schema, value):
            verdict.say(path, what)
        for number, each in enumerate(value):
            _look(verdict, schema.get("items", {}), each, f"{path}[{number}]")


def _look_into(verdict: Verdict, schema: Object, value: Object, where: tuple[str, str]) -> None:
    path, definition = where
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    for name, each in value.items():
        inner = f"{path}.{name}"
        if properties is not None and name in properties:
            if stage := properties[name].get("stage"):
                verdict.staged.add(Staged(verdict.version, f"{definition}.{name}", str(each), stage))
            _look(verdict, properties[name], each, inner)
        elif others is not None:
            _look(verdict, others, each, inner)
        elif properties is not None and not name.startswith("$"):
            verdict.say(inner, "there is no such field")
    for name in () if verdict.is_patch else schema.get("required", ()):
        if value.get(name) is None:
            verdict.say(path, f"{name} is missing")


def _alternative(schemas: tuple[Object, Object], value: Any) -> Object:
    first, second = schemas
    return second if "type" in second and _is(second["type"], value) else first


def _is(kind: str, value: Any) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _wrong_values(schema: Object, value: Any) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is none of {schema['enum']}"
    match schema.get("format"):
        case "int32" if not -(2**31) <= value < 2**31:
            yield f"{value} needs more than 32 bits"
        case "date-time" if not TIME.fullmatch(value):
            yield f"{value!r} is no time"
        case "byte":
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                yield f"{value!r} is no base64"


def _wrong_rows(schema: Object, value: list[Any]) -> Iterator[str]:
    """Rows of the same key: server-side apply refuses them."""
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if schema.get("x-kubernetes-list-type") == "set":
        rows = [json.dumps(each) for each in value]
    elif keys and all(isinstance(each, dict) for each in value):
        rows = [json.dumps([each.get(key) for key in keys]) for each in value]
    else:
        return
    if len(set(rows)) < len(rows):
        yield f"rows of the same key {', '.join(keys)}".strip()
