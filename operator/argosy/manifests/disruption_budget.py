"""The PodDisruptionBudget of a Deployment: an eviction waits until the pod's successor serves.

Owns the object. Input: a Deployment's key, and how many of its replicas must stay ready. Output: an
object for server-side apply. It counts with `minAvailable`: `maxUnavailable` is subtracted from the
Deployment's count, which is higher while a successor loads, so that 0 would never let an eviction pass
and 1 would let it pass before the successor serves. Pods that are not ready may be evicted always.
"""

from __future__ import annotations

from typing import Any

from argosy.keys import DeploymentKey
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGED_BY


def disruption_budget_manifest(key: DeploymentKey, min_available: int) -> dict[str, Any]:
    """The budget of the Deployment, under the same name."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_DEPLOYMENT: key.name},
        },
        "spec": {
            "minAvailable": min_available,
            "selector": {"matchLabels": {LABEL_DEPLOYMENT: key.name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
