"""Whether Envoys send requests to a replica: ready for Kubernetes is not yet served.

Owns the verdict. Input: a snapshot. Output: the pods that Envoys do not route to, each with the Envoy
that is missing and why; roll-outs remove nothing for the sake of such a pod, and statuses do not count it.

An Envoy routes to a pod when it finds it healthy, by a fresh reading of its own; where Envoy cannot be
read, when it has acknowledged the endpoint two health-check intervals ago. Every connected Envoy must, and
one whose connection ended a moment ago as well: it still serves. One that does not hold nothing up for ever:
after `PATIENCE_S` the others decide. Section 14 of docs/design/0004.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.snapshot import EndpointHealth, fresh
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot
from argosy.snapshot.liveness import ENVOY_FRESH_S, HEALTH_INTERVAL_S, READING_S
from argosy.snapshot.serving import takes_requests

SETTLED_S = 2 * HEALTH_INTERVAL_S
"""An Envoy that cannot be read has checked a new endpoint this long after it acknowledged it."""

ROUTED_WITHIN_S = SETTLED_S + 2 * READING_S
"""Envoys send requests to a pod this long after it became ready, and a reading has shown it: an ordinary
start, of which nothing is reported."""

PATIENCE_S = 60.0
"""An Envoy that does not route to a pod which has been ready for so long no longer holds anything up, if
others do; nor does one whose connection ended so long ago."""

RECONNECT_S = 10.0
"""Envoys connect to an operator that has just started within so long: their tries are a second apart."""


PORTLESS = "none of its containers has a container port named http"
MARKED = "it is about to be removed, so Envoys send it no new requests where others can take them"


@dataclass(frozen=True, slots=True)
class Unrouted:
    """A ready pod that gets no requests: the first Envoy that does not route to it, and why."""

    pod: str
    why: str


def unrouted(snapshot: FleetSnapshot) -> dict[str, Unrouted]:
    """By the key of the pod. While no plan is applied and nothing is routed: those that never can be."""
    is_routing = snapshot.applied_plan is not None and snapshot.acts
    found = {}
    for pod in snapshot.engine_pods:
        if not takes_requests(pod, frozenset()):
            continue
        why = PORTLESS if pod.portless else ""
        if is_routing:
            why = why or (MARKED if pod.is_marked else _why(pod, snapshot))
        if why:
            found[pod.key] = Unrouted(pod.key, why)
    return found


def _why(pod: PodState, snapshot: FleetSnapshot) -> str:
    """Why the pod gets no requests yet; empty where it does, or where that is waited for no longer."""
    routing, now_s = snapshot.routing, snapshot.now_s
    blocking = [why for envoy in routing.envoys if (why := _not_routed(envoy, pod, snapshot))]
    gone = [name for name, at_s in sorted(routing.gone_at_s.items()) if now_s - at_s < PATIENCE_S]
    if not routing.envoys:
        if gone:
            return f"Envoy {gone[0]} is not connected any more and may not know it"
        return "no Envoy has connected yet" if now_s - routing.since_s < RECONNECT_S else ""
    ready_s = now_s - pod.ready_since_s if pod.ready_since_s is not None else 0.0
    others_do = len(blocking) < len(routing.envoys)
    if blocking:
        return "" if others_do and ready_s >= PATIENCE_S else blocking[0]
    is_new = pod.ready_since_s is not None and any(
        pod.ready_since_s > routing.gone_at_s[name] for name in gone
    )
    return f"Envoy {gone[0]} is not connected any more and may not know it" if is_new else ""


def _not_routed(envoy: EnvoyState, pod: PodState, snapshot: FleetSnapshot) -> str:
    """Why this Envoy does not send requests to the pod; empty where it does."""
    view = fresh(snapshot.telemetry.envoys.get(envoy.node_id), snapshot.now_s, ENVOY_FRESH_S)
    if view is not None:
        health = view.get(pod.address)
        if health is EndpointHealth.HEALTHY:
            return ""
        if health is None:
            return f"Envoy {envoy.node_id} does not have it as an endpoint"
        return f"Envoy {envoy.node_id} finds it {health.value.lower()}"
    has = snapshot.routing.endpoints_by_version.get(envoy.endpoints_version, frozenset())
    if pod.address not in has:
        return f"Envoy {envoy.node_id} has not acknowledged it as an endpoint"
    since_s = envoy.endpoints_since_s
    if since_s is None or snapshot.now_s - since_s < SETTLED_S:
        return f"Envoy {envoy.node_id} acknowledged it as an endpoint a moment ago"
    return ""
