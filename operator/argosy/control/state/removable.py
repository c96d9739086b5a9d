"""Whether a replica may be removed: no Envoy sends it new requests any more.

Owns which pods Kubernetes removes when a count falls, and which Envoys may still send requests to one of
them. A pod that is marked leaves the published endpoints first (`route.marked`); the count falls once every
Envoy has acknowledged that. An Envoy that does not within `PATIENCE_S` no longer holds the removal up, and
neither does one whose connection ended so long ago: the same times as for a new replica (`routable`). One
that had acknowledged the removal before its connection ended holds nothing up. A replica of a user's
Deployment may not finish its requests when it is deleted, as Argosy's own do: it is removed once it has none.
Input: a snapshot. Output: pods, and for each the Envoy that is waited for. Section 14 of docs/design/0004.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from argosy.control.state.routable import PATIENCE_S, RECONNECT_S
from argosy.control.state.waiting import uncounted_pods
from argosy.keys import DeploymentKey
from argosy.snapshot import Variant, fresh
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot, RoutingView
from argosy.snapshot.serving import takes_requests

COUNTED_WITHIN_S = 15.0
"""A count of an engine's requests that is older tells nothing."""


def in_order_of_removal(
    snapshot: FleetSnapshot, key: DeploymentKey, lost: Set[str], costs: Mapping[str, int] | None = None
) -> list[PodState]:
    """A Deployment's pods in the order in which the ReplicaSet controller deletes them.

    Those that are not ready first (those without a node before the others, which makes no difference to
    what serves), then those of the lowest deletion cost. Among equals, this assumes that it deletes those
    that serve. costs: deletion costs that pods will have
    """
    costs = costs or {}
    live = [p for p in snapshot.engine_pods if p.deployment == key and p.is_active and not p.deleting]
    return sorted(
        live, key=lambda p: (p.ready, costs.get(p.key, p.deletion_cost), not takes_requests(p, lost))
    )


def still_sending(
    snapshot: FleetSnapshot, pods: Iterable[PodState], lost: Set[str]
) -> Iterator[tuple[PodState, str]]:
    """Those of the pods that an Envoy may still send requests to, each with why.

    Lost pods answer nothing, so nothing has to be acknowledged for them.
    """
    for pod in pods:
        if (
            pod.address
            and pod.key not in lost
            and (why := _sender(pod.address, snapshot.routing, snapshot.now_s) or _busy(pod, snapshot))
        ):
            yield pod, why


def patience_s(pod: str, snapshot: FleetSnapshot) -> float:
    """So long the removal of a pod is waited for at most."""
    its = snapshot.pods.get(pod)
    variant = adopted_variant_of(its, snapshot) if its is not None else None
    return PATIENCE_S if variant is None else max(PATIENCE_S, float(variant.engine.drain_seconds))


def adopted_variant_of(pod: PodState, snapshot: FleetSnapshot) -> Variant | None:
    """What a pod of a user's Deployment runs; None for a pod of Argosy's own."""
    state = snapshot.deployments.get(pod.deployment)
    return state.adoption.variant if state is not None and state.adoption is not None else None


def _busy(pod: PodState, snapshot: FleetSnapshot) -> str:
    """That a pod of a user's Deployment still has requests, in a sentence; empty where it has none."""
    if adopted_variant_of(pod, snapshot) is None:
        return ""
    reading = fresh(snapshot.telemetry.engines.get(pod.address), snapshot.now_s, COUNTED_WITHIN_S)
    if reading is None:
        return "how many requests it still has is not known"
    number = reading.num_running + reading.num_waiting
    return f"it still has {number} request{'s' * (number != 1)}" if number else ""


def is_due(pod: str, awaited_s: Mapping[str, float], snapshot: FleetSnapshot) -> bool:
    """Whether this pod's removal is waited for no longer. awaited_s: since when it has been waited for."""
    return pod in awaited_s and snapshot.monotonic_s - awaited_s[pod] >= patience_s(pod, snapshot)


def acknowledged(snapshot: FleetSnapshot, awaited_s: Mapping[str, float]) -> list[str]:
    """Keys of the pods whose removal was waited for and may go on."""
    if not awaited_s:
        return []
    pods = [snapshot.pods[key] for key in awaited_s if key in snapshot.pods]
    held = {pod.key for pod, _ in still_sending(snapshot, pods, uncounted_pods(snapshot))}
    return sorted(p.key for p in pods if p.key not in held or is_due(p.key, awaited_s, snapshot))


def _sender(address: str, routing: RoutingView, now_s: float) -> str:
    """The first Envoy that may still send requests to the address, in a sentence; empty where none may."""
    for envoy in routing.envoys:
        has = routing.endpoints_by_version.get(envoy.endpoints_version)
        # What an unknown version holds is not known; an Envoy without any version has no endpoint yet.
        if envoy.endpoints_version and (has is None or address in has):
            return f"Envoy {envoy.node_id} has not acknowledged that it takes no requests any more"
    gone = [
        name
        for name, at_s in sorted(routing.gone_at_s.items())
        if now_s - at_s < PATIENCE_S and address in routing.gone_endpoints.get(name, (address,))
    ]
    if gone:
        return f"Envoy {gone[0]} is not connected any more and may still send requests to it"
    if not routing.envoys and now_s - routing.since_s < RECONNECT_S:
        return "no Envoy has connected yet since the operator started"
    return ""
