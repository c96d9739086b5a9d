"""Replicas that are about to be removed leave the rotation first, where others can take their requests.

Owns the exceptions: the last endpoint of a cell stays in rotation while the plan has replicas for that cell,
and so does the last that holds a LoRA adapter, until another has loaded it: a removal waits for that as it
does for an Envoy, a minute at most. Input: endpoints by cluster and, for each cell that is planned, the
clusters that may serve it. Output: the endpoints; one that is still `MARKED` gets no new request.
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


def with_last_holders_kept(
    endpoints: Endpoints,
    served_by: Iterable[Set[DeploymentKey]],
    yielding: Set[DeploymentKey],
    adapters: Set[str],
) -> Endpoints:
    """`endpoints`, where no planned cell loses the last one that holds an adapter to a mark.

    served_by, yielding: as above; adapters: those that exist
    """
    kept: set[str] = set()
    for names in served_by:
        its = [endpoint for name in names - yielding for endpoint in endpoints.get(name, ())]
        ready = [
            each for name in names for each in endpoints.get(name, ()) if each.state is EndpointState.READY
        ]
        held = {adapter for each in ready for adapter in each.adapters}
        for each in sorted(its, key=lambda endpoint: endpoint.pod):
            last = adapters & set(each.adapters) - held
            if each.state is EndpointState.MARKED and last:
                kept.add(each.pod)
                held |= last
    return {
        name: tuple(_ready(each) if each.pod in kept else each for each in found)
        for name, found in endpoints.items()
    }


def _ready(endpoint: Endpoint) -> Endpoint:
    is_marked = endpoint.state is EndpointState.MARKED
    return replace(endpoint, state=EndpointState.READY) if is_marked else endpoint
