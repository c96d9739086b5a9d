"""What is wrong with requests and engines, as far as objects show it.

Input: a snapshot, with the statuses that the operator wrote. Output: `Finding`s.
"""

from __future__ import annotations

from collections.abc import Iterator

from argosy.api import WorkloadClass
from argosy.control.survey.installation import Finding, Severity
from argosy.plan.explain.words import rate
from argosy.route.precedence import match_of
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

MOST_EXITS = 3
"""An engine that has ended by itself so often does not run."""

UNSCHEDULED_S = 120.0
"""The scheduler places a pod within seconds where there is room."""


def traffic_findings(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """Classes that get no request although they declare some, and those that refuse or fail some."""
    for key, item in sorted(snapshot.classes.items()):
        observed, declared_per_s = item.status.observed, item.spec.traffic.requests_per_second
        if observed is None or observed.requests_per_second is None:
            continue
        if observed.requests_per_second == 0 and declared_per_s > 0:
            yield Finding(
                Severity.HINT,
                f"WorkloadClass {key}",
                f"no request of the last minutes matched it; it declares {rate(declared_per_s)}, and replicas"
                " are planned for them",
                f"send requests with {needs(item)}, or lower spec.traffic.requestsPerSecond",
            )
        if observed.refused_per_second:
            yield Finding(
                Severity.WARNING,
                f"WorkloadClass {key}",
                f"Envoy refuses {rate(observed.refused_per_second)} of {rate(observed.requests_per_second)}"
                " with 429: its replicas have as many as they can answer in time",
                "give it room: declare the rate that comes (spec.traffic), raise the budget, or add nodes",
            )
        if observed.errors_per_second:
            yield Finding(
                Severity.WARNING,
                f"WorkloadClass {key}",
                f"{rate(observed.errors_per_second)} of {rate(observed.requests_per_second)} are answered"
                " with a 5xx",
                "look at its engines (kubectl logs) and at Envoy's access log (Fleet spec.gateway.accessLog)",
            )


def engine_findings(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """Engines that do not start or have no node."""
    for pod in snapshot.engine_pods:
        if pod.exits >= MOST_EXITS and not pod.ready:
            yield _broken(
                pod,
                f"its engine has ended {pod.exits} times by itself ({pod.last_exit or 'without a reason'})",
                f"read why: kubectl -n {pod.namespace} logs {pod.name} --previous",
            )
        since_s = pod.unschedulable_since_s
        if since_s is not None and snapshot.now_s - since_s > UNSCHEDULED_S and not pod.node:
            yield _broken(
                pod,
                f"the scheduler has found no node for it for {snapshot.now_s - since_s:.0f} s",
                f"read why: kubectl -n {pod.namespace} describe pod {pod.name}",
            )


def _broken(pod: PodState, message: str, remedy: str) -> Finding:
    return Finding(Severity.BROKEN, f"Pod {pod.key}", message, remedy)


def needs(item: WorkloadClass) -> str:
    """What a request must have to be of the class: its path, headers and model."""
    match = match_of(item)
    parts = [f"the header {name}: {value}" for name, value in match.headers]
    if match.path is not None:
        parts.insert(0, f"the path {match.path.value}{'' if match.path.exact else ' or one below'}")
    if match.models:
        parts.append(f"the model {' or '.join(match.models)}")
    return " and ".join(parts)
