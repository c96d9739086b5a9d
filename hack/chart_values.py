"""The chart's values.yaml as documented values, and what is written from it: a JSON Schema and a table.

In values.yaml a comment that begins with `# --` describes the value below it, and goes on over the following
comment lines; `# @schema {...}` adds keywords of JSON Schema. Types come from the defaults; unknown names are
refused below every mapping that has names of its own. A mapping that is empty by default takes any names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_GLOBAL = {"type": "object", "description": "Values that Helm passes to every chart of a release."}


class UndocumentedValueError(Exception):
    """A value without a description, or a comment that describes none."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value. path: `operator.replicas`; keywords: what `# @schema` adds; parts: of a mapping."""

    path: str
    default: Any
    description: str
    keywords: dict[str, Any]
    parts: tuple[Value, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]

    def leaves(self) -> Iterator[Value]:
        """The values that a user sets, in the file's order."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        found: dict[str, Any] = {"type": _TYPES[type(self.default)]}
        if self.description:
            found["description"] = self.description
        if self.parts:
            found["additionalProperties"] = False
            found["properties"] = {part.name: part.schema() for part in self.parts}
        return found | self.keywords


@dataclass(slots=True)
class _Comment:
    description: list[str] = field(default_factory=list)
    keywords: dict[str, Any] = field(default_factory=dict)


def read(text: str) -> tuple[Value, ...]:
    """The values of a values.yaml. Raises UndocumentedValueError."""
    tree = yaml.compose(text)
    if not isinstance(tree, yaml.MappingNode):
        raise UndocumentedValueError("values.yaml is no mapping")
    return _values(tree, text.splitlines(), "")


def _values(tree: yaml.MappingNode, lines: list[str], prefix: str) -> tuple[Value, ...]:
    return tuple(_value(key, value, lines, prefix) for key, value in tree.value)


def _value(key: yaml.Node, node: yaml.Node, lines: list[str], prefix: str) -> Value:
    path = f"{prefix}{key.value}"
    comment = _comment(lines, key.start_mark.line)
    default = yaml.safe_load(yaml.serialize(node))
    is_open = (
        not isinstance(node, yaml.MappingNode) or not default or "additionalProperties" in comment.keywords
    )
    parts = () if is_open else _values(node, lines, f"{path}.")  # type: ignore[arg-type]
    description = " ".join(comment.description)
    if not parts and not description:
        raise UndocumentedValueError(f"values.yaml: {path} has no comment `# -- ...` above it")
    return Value(path, default, description, comment.keywords, parts)


def _comment(lines: list[str], line: int) -> _Comment:
    """What stands above a line, up to the first that is no comment."""
    above = []
    for text in reversed(lines[:line]):
        if not text.strip().startswith("#"):
            break
        above.append(text.strip().removeprefix("#").strip())
    found = _Comment()
    for text in reversed(above):
        if text.startswith("@schema "):
            found.keywords |= yaml.safe_load(text.removeprefix("@schema "))
        elif text.startswith("-- "):
            found.description = [text.removeprefix("-- ")]
        elif found.description:
            found.description.append(text)
    return found


def schema_document(values: tuple[Value, ...], subcharts: Collection[str]) -> str:
    """values.schema.json. subcharts: values of other charts, to which Helm adds `global` as to this one's."""
    properties = {value.name: value.schema() for value in values}
    for name in subcharts:
        properties[name]["properties"]["global"] = _GLOBAL
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": properties | {"global": _GLOBAL},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def table(values: tuple[Value, ...]) -> str:
    """A table in Markdown, one row for each value that a user sets."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in (leaf for each in values for leaf in each.leaves()):
        default = json.dumps(value.default, ensure_ascii=False)
        meaning = value.description.replace("|", "\\|")
        rows.append(f"| `{value.path}` | `{default}` | {meaning}{_limits(value)} |")
    return "\n".join(rows) + "\n"


def _limits(value: Value) -> str:
    """The values that are taken, in words, where the description does not name them."""
    choices = [str(each) for each in value.keywords.get("enum", ()) if each != ""]
    low, high = value.keywords.get("minimum"), value.keywords.get("maximum")
    if choices and not all(each in value.description for each in choices):
        return f" One of {', '.join(choices)}."
    if low is not None and high is not None:
        return f" {low} to {high}."
    return f" At least {low}." if low else ""
