"""Whether the installed CustomResourceDefinitions are those of this program.

Input: the definitions as the API server has them. Output: `Finding`s, which name the fields that differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from argosy.api.crd.crdgen import open_api_schema
from argosy.api.crd.resource import GROUP, VERSION, CustomResource
from argosy.api.kinds import CUSTOM, kind_of
from argosy.control.survey.installation import Finding, Installation, Severity
from argosy.snapshot.seen import INSTALL

Object = Mapping[str, Any]

MOST_FIELDS = 3
"""Fields that a finding names; of more, it gives the number."""


def definition_findings(found: Installation) -> Iterator[Finding]:
    """What is wrong with the definitions, those that are missing first and together."""
    missing = [kind_of(p).name for p in CUSTOM if p in found.definitions and found.definitions[p] is None]
    if missing:
        yield Finding(
            Severity.BROKEN,
            "CustomResourceDefinitions",
            f"the API server has no kinds {', '.join(missing)} (group {GROUP})",
            f"install them: {INSTALL}",
        )
    for plural in CUSTOM:
        definition, model = found.definitions.get(plural), kind_of(plural).model
        if definition is not None and model is not None:
            yield from _of_one(definition, model)


def _of_one(definition: Object, model: type[CustomResource]) -> Iterator[Finding]:
    about = f"CustomResourceDefinition {model.PLURAL}.{GROUP}"
    if definition["metadata"].get("deletionTimestamp"):
        yield Finding(
            Severity.BROKEN,
            about,
            f"it is being deleted, and every {model.KIND} with it",
            f"once it is gone, install it again ({INSTALL}) and apply your objects; argosy doctor then",
        )
        return
    version = next((v for v in definition["spec"].get("versions") or () if v.get("name") == VERSION), None)
    if version is None or not version.get("served"):
        yield Finding(
            Severity.BROKEN, about, f"it does not serve version {VERSION}", f"apply this one's: {INSTALL}"
        )
        return
    if differing := _difference(version, model):
        yield Finding(
            Severity.WARNING,
            about,
            f"it is of another version of Argosy than this command: {differing}",
            f"apply the definitions of the operator's version ({INSTALL}), and use its argosy command",
        )


def _difference(version: Object, model: type[CustomResource]) -> str:
    """Which fields one has and the other lacks or describes differently; empty where all are the same."""
    installed = dict(_fields((version.get("schema") or {}).get("openAPIV3Schema") or {}))
    wanted = dict(_fields(open_api_schema(model)))
    parts = (
        ("it lacks", [path for path in wanted if path not in installed]),
        ("it has besides", [path for path in installed if path not in wanted]),
        ("other rules of", [p for p in wanted if p in installed and installed[p] != wanted[p]]),
    )
    return "; ".join(f"{words} {_named(paths)}" for words, paths in parts if paths)


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - MOST_FIELDS} more" if len(paths) > MOST_FIELDS else ""
    return ", ".join(paths[:MOST_FIELDS]) + more


def _fields(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every field below, with what is said of itself; descriptions do not count."""
    for name, field in (schema.get("properties") or {}).items():
        below = f"{path}.{name}" if path else name
        if below == "metadata":
            continue
        yield below, _own(field)
        yield from _fields(field, below)
        yield from _fields(field.get("items") or {}, f"{below}[]")


def _own(field: Object) -> Object:
    left_out = ("properties", "items", "description")
    return {name: value for name, value in field.items() if name not in left_out}
