"""Which replicas the published routes have in rotation, and which marked ones they leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from argosy.control.routes import route_inputs
from argosy.route.compile import compile_routes
from argosy.route.table import Endpoint, EndpointState
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

if TYPE_CHECKING:
    from small_fleet import World


def _endpoints(snapshot: FleetSnapshot) -> list[Endpoint]:
    clusters = compile_routes(route_inputs(snapshot, snapshot.applied_plan)).clusters
    return [endpoint for cluster in clusters for endpoint in cluster.endpoints]


def in_rotation(snapshot: FleetSnapshot) -> set[str]:
    """Keys of the pods that may get new requests."""
    return {e.pod for e in _endpoints(snapshot) if e.state is EndpointState.READY}


def withdrawn(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the marked pods that are out of rotation."""
    marked = {pod.key for pod in snapshot.pods.values() if pod.is_marked}
    if not marked:
        return frozenset()
    endpoints = _endpoints(snapshot)
    ready = {e.pod for e in endpoints if e.state is EndpointState.READY}
    return frozenset(marked & ({e.pod for e in endpoints} - ready))


def in_order_of_removal(pods: Mapping[str, PodState], deployment: str) -> list[PodState]:
    """As the ReplicaSet controller ranks the pods that it may delete: lowest first."""
    live = [p for p in pods.values() if p.deployment == deployment and not p.deleting and not p.lacking]
    return sorted(live, key=lambda p: (bool(p.node), p.ready, p.deletion_cost, -p.created_s))


def ensure_unused(world: World, deployment: str, count: int) -> None:
    """No count falls while an Envoy that is not frozen has a victim's address; lost pods do not matter."""
    if world.is_envoy_frozen:
        return
    used = frozenset[str]().union(*world.snapshot().routing.endpoints_by_version.values())
    live = in_order_of_removal(world.pods, deployment)
    going = live[: max(0, len(live) - count)]
    alive = [p for p in going if p.key not in world.silent and p.node not in world.dead_nodes]
    assert [p.key for p in alive if p.address in used] == []
