"""Names and namespaces of objects from files, checked before they are read.

Owns the bounds that the API server has for them: an object that it would refuse must not be planned with.
Input: a plain mapping. Output: the name or the namespace, both plain strings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from argosy.errors import SpecError

DEFAULT_NAMESPACE = "default"
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME = 253
"""The API server accepts a DNS subdomain of at most so many characters as the name of an object."""
_MAX_SHOWN = 60


def name_of(item: Mapping[str, Any], kind: str) -> str:
    """The name of an object of this kind. Raises SpecError for one that the API server refuses."""
    name = _metadata(item).get("name")
    if not (isinstance(name, str) and len(name) <= _MAX_NAME and _OBJECT_NAME.fullmatch(name)):
        needed = f"at most {_MAX_NAME} lower-case letters, digits, '-' and '.', as in chat-eu"
        raise SpecError(f"metadata.name must be {needed}", f"{kind} {_shown(name)}")
    return name


def namespace_of(item: Mapping[str, Any], kind: str) -> str:
    """The namespace, `default` where none is named, as kubectl does. Raises SpecError for no string."""
    metadata = _metadata(item)
    namespace = metadata.get("namespace")
    if not isinstance(namespace, str | None):
        raise SpecError(
            f"metadata.namespace must be a string; got {namespace!r:.{_MAX_SHOWN}}",
            f"{kind} {metadata.get('name')}",
        )
    return namespace or DEFAULT_NAMESPACE


def _metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of an object that `read_manifests` gave; empty where it has none."""
    return item.get("metadata") or {}


def _shown(name: object) -> str:
    text = "(no name)" if name is None else repr(name)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
