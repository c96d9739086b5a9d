"""YAML and JSON as kubectl reads them, where the libraries read them otherwise.

Owns the loader. Input: the bytes of a file with YAML or JSON documents. Output: plain values. kubectl turns
YAML into JSON, which has no dates, and reads `1e6` as a number; PyYAML, which follows YAML 1.1, makes a date
of `2024-01-01` and a string of `1e6`. A field that occurs twice in one object is refused, of which both
libraries keep the last. JSON documents may follow each other and be indented by tabs; a byte order mark and
UTF-16 are what editors and shells of Windows write.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Hashable
from typing import Any

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
"""A number with an exponent; YAML 1.1 asks for a point and for the sign of the exponent."""


class TwiceError(yaml.YAMLError):
    """A field that occurs twice in one object."""


class ManifestLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of kubectl, and without a field that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Raises TwiceError with the field and its line."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if key.value in seen:
                    raise TwiceError(f"the field {key.value} occurs twice; line {key.start_mark.line + 1}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


ManifestLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
ManifestLoader.add_implicit_resolver(_FLOAT, re.compile(f"^{_EXPONENT.pattern}$"), list("-+.0123456789"))


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""The byte order mark, also before a later document of files that were put together."""


def documents(content: bytes) -> list[Any]:
    """The documents that are not empty.

    Raises yaml.YAMLError, UnicodeDecodeError, and RecursionError for very deep ones.
    """
    text = content.decode("utf-16" if content[:2] in _UTF_16 else "utf-8")
    text = re.sub(f"^{_MARK}", "", text, flags=re.MULTILINE)
    if not text.lstrip().startswith("{"):
        return [each for each in yaml.load_all(text, ManifestLoader) if each]
    try:
        return [each for each in _json_documents(text) if each]
    except json.JSONDecodeError as broken:
        try:
            return [each for each in yaml.load_all(text, ManifestLoader) if each]
        except TwiceError:
            raise
        except yaml.YAMLError:
            raise yaml.YAMLError(str(broken)) from broken


def _json_documents(text: str) -> list[Any]:
    """One after the other, as two calls of `kubectl get -o json` leave them in a file."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_twice)
    found, position = [], _next(text, 0)
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        found.append(value)
        position = _next(text, position)
    return found


def _next(text: str, position: int) -> int:
    """Where the next document begins: JSON's white space, and lines of `---`, are between them."""
    found = re.compile(r"(?:\s|^---\s*$)*", re.MULTILINE).match(text, position)
    return position if found is None else found.end()


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = (
        next((name for name in names if names.count(name) > 1), None) if len({*names}) < len(names) else None
    )
    if twice is not None:
        raise TwiceError(f"the field {twice} occurs twice in one object")
    return dict(pairs)
