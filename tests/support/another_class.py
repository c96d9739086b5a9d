"""A class beside those of the operator's stage, which a test adds and deletes.

Owns its manifest. Input: a name and a priority. Output: the object as it is applied.
"""

from __future__ import annotations

from typing import Any


def another_class(
    name: str, priority: int = 100, rate_per_s: float = 1, namespace: str = "default", **spec: Any
) -> dict[str, Any]:
    """Of llama-8b, by the header x-argosy-class. spec: further fields."""
    return {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "WorkloadClass",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "match": {"headers": [{"name": "x-argosy-class", "value": name}]},
            "models": [{"name": "llama-8b"}],
            "traffic": {
                "requestsPerSecond": rate_per_s,
                "source": "Declared",
                "lengths": {"table": [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]},
            },
            "slo": {"ttft": {"p95Milliseconds": 2000}},
            "priority": priority,
            **spec,
        },
    }
