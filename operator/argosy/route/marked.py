"""Replicas that are about to be removed leave the rotation first, where others can take their requests.

Owns the exception: the last endpoint of a cell stays in rotation while the plan has replicas for that cell.
Input: endpoints by cluster and, for each cell that is planned, the clusters that may serve it. Output: the
endpoints; one that is still `MARKED` gets no new request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from argosy.keys import DeploymentKey
from argosy.route.table import Endpoint, EndpointState

Endpoints = Mapping[DeploymentKey, tuple[Endpoint, ...]]


def with_last_ones_kept(
    endpoints: Endpoints, served_by: Iterable[Set[DeploymentKey]], yielding: Set[DeploymentKey]
) -> Endpoints:
    """`endpoints`, where no planned cell loses its last one to a mark.

    served_by: the clusters of each planned cell. yielding: clusters whose users let the last one go
    """
    kept: set[DeploymentKey] = set()
    for names in served_by:
        states = {endpoint.state for name in names for endpoint in endpoints.get(name, ())}
        if EndpointState.READY not in states:
            kept |= names - yielding
    return {
        name: tuple(_ready(each) if name in kept else each for each in found)
        for name, found in endpoints.items()
    }


def _ready(endpoint: Endpoint) -> Endpoint:
    is_marked = endpoint.state is EndpointState.MARKED
    return replace(endpoint, state=EndpointState.READY) if is_marked else endpoint
