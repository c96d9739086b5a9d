"""The annotations of a pod that is chosen to go, and finishes its requests first.

Owns what a ReplicaSet, Karpenter and the cluster autoscaler read of it. Input: the pod as the API server
has it, and its deletion cost. Output: annotations for a merge patch (None: remove).

While a pod finishes, its node looks less used, and a consolidation would end its requests. Sources:
Karpenter's "Disruption" page (`karpenter.sh/do-not-disrupt`), the cluster autoscaler's FAQ
(`safe-to-evict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.snapshot.cluster import ANNOTATION_KEPT, DELETION_COST

KEEPS = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def victim_annotations(pod: Mapping[str, Any], cost: int) -> dict[str, str | None]:
    """What to set on a pod that is to go; where `cost` is 0, what to remove from one that stays."""
    present = pod["metadata"].get("annotations") or {}
    ours = [name for name in str(present.get(ANNOTATION_KEPT, "")).split(",") if name in KEEPS]
    if not cost:
        return dict.fromkeys(
            (DELETION_COST, *ours, *([ANNOTATION_KEPT] if ANNOTATION_KEPT in present else []))
        )
    new = {name: value for name, value in KEEPS.items() if name not in present}
    return {DELETION_COST: str(cost), **new, ANNOTATION_KEPT: ",".join(sorted({*ours, *new}))}
