"""What the scheduler keeps free for a pod beside its devices.

Owns the sum over containers as Kubernetes makes it. Input: a pod's spec. Output: thousandths by resource
(`cpu` in CPUs, the others in bytes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.cluster import ROOM


def pod_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """Of the containers together, or of an init container that asks for more; sidecars count in both."""
    running, starting = Counter[str](), Counter[str]()
    for each in spec.get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            running += _of(each)
            starting |= running
        else:
            starting |= running + _of(each)
    for each in spec.get("containers") or ():
        running += _of(each)
    return dict(running | starting)


def _of(container: Mapping[str, Any]) -> Counter[str]:
    """A limit without a request is the request."""
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return Counter({name: thousandths(asked[name]) or 0 for name in ROOM if name in asked})
