"""A WorkloadClass as far as the rules of matching see it.

Owns the object. Input: its key, `spec.match`, and when it was created (RFC 3339). Output: the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.api import InvalidObject, WorkloadClass


def matching_class(key: str, match: Mapping[str, Any], created: str) -> WorkloadClass:
    """key: `namespace/name`."""
    namespace, name = key.split("/")
    found = WorkloadClass.from_object(
        {
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
            "spec": {
                "match": match,
                "models": [{"name": "m"}],
                "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
                "slo": {"ttft": {"p95Milliseconds": 2000}},
            },
        }
    )
    assert not isinstance(found, InvalidObject), found.message
    return found
