"""YAML as kubectl reads it, where PyYAML reads it otherwise.

Owns the loader. Input: the text of a file with YAML or JSON documents. Output: plain values. kubectl turns
YAML into JSON, which has no dates, and reads `1e6` as a number; PyYAML, which follows YAML 1.1, makes a date
of `2024-01-01` and a string of `1e6`.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
"""A number with an exponent; YAML 1.1 asks for a point and for the sign of the exponent."""


class ManifestLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of kubectl."""


ManifestLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
ManifestLoader.add_implicit_resolver(_FLOAT, re.compile(f"^{_EXPONENT.pattern}$"), list("-+.0123456789"))


def documents(text: str) -> list[Any]:
    """The documents that are not empty. Raises yaml.YAMLError, and RecursionError for very deep ones."""
    return [each for each in yaml.load_all(text, ManifestLoader) if each]
