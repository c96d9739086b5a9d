"""How a cell's traffic is divided among the clusters that can take it now.

Owns what happens to a share whose cluster has no ready endpoint. Input: the published weights
(`weights` corrects them), the plan's shares and the ready endpoints. Output: backends.

The first of three sources that has a usable cluster: the published weights, the plan's shares, and
the ready endpoints of all clusters of the class. The last keeps a class served while a new plan's
replicas load and the old plan's are still there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from argosy.keys import DeploymentKey
from argosy.route.table import Backend


def divide(
    published: Mapping[DeploymentKey, float],
    planned: Mapping[DeploymentKey, float],
    num_ready: Mapping[DeploymentKey, int],
) -> tuple[Backend, ...]:
    """Backends whose shares sum to 1, by cluster name; empty where nothing is ready.

    published: weights by cluster, may be empty; a cluster without ready endpoints is ignored, one that
        the plan no longer names but whose replicas still run is not
    planned:   the plan's shares by cluster
    num_ready: ready endpoints by cluster, for every cluster that may serve the class
    """
    by_endpoints = {cluster: float(count) for cluster, count in num_ready.items()}
    for wanted in (published, planned, by_endpoints):
        usable = {cluster: share for cluster, share in wanted.items() if _counts(share, cluster, num_ready)}
        total = math.fsum(usable.values())
        if total > 0:
            return tuple(Backend(cluster, usable[cluster] / total) for cluster in sorted(usable))
    return ()


def _counts(share: float, cluster: DeploymentKey, num_ready: Mapping[DeploymentKey, int]) -> bool:
    return math.isfinite(share) and share > 0 and num_ready.get(cluster, 0) > 0
