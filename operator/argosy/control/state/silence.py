"""Which engines have fallen silent: their capacity counts as lost at once.

Owns the verdict; Envoy's health checks take endpoints out of rotation. Input: a telemetry reading and
since when pods are ready. Output: the addresses, or the pods, whose capacity does not count.

An engine is silent when it has not answered for some seconds, or when a fresh sample of Envoy's says
that it is unhealthy. Two cases look the same and are not: an engine that has just become ready and was
not asked yet, and a scraper that has lost its network. When no engine answers, the scraper is taken to
be at fault, unless Envoy, which asks from elsewhere, agrees. Section 4 of docs/design/0004.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.snapshot import EndpointHealth, TelemetryReading, fresh
from argosy.snapshot.departure import is_up
from argosy.snapshot.fleet import FleetSnapshot

SILENT_AFTER_S = 3.0
"""Two failed scrapes of the traffic loop in a row; a single one may be a busy engine."""

FIRST_ANSWER_S = 10.0
"""An engine has this long from ready to its first answer."""

FRESH_S = 10.0
"""Envoy's sample is used while it is younger than five iterations of the traffic loop."""


def silent_endpoints(
    reading: TelemetryReading, now_s: float, ready_since_s: Mapping[str, float]
) -> frozenset[str]:
    """Addresses of the engines that have fallen silent.

    `ready_since_s`: by address, since when the pod is ready (seconds since the epoch). A pod without an
    entry is not ready and its capacity is not counted on: a restarting engine is not silent. After it
    became ready an engine has `SILENT_AFTER_S`, or `FIRST_ANSWER_S` if it has never answered.
    """
    unhealthy = {
        address
        for address, health in reading.endpoints.items()
        if fresh(health, now_s, FRESH_S) is EndpointHealth.UNHEALTHY
    }
    unanswered = {
        address
        for address, since_s in reading.unanswered_since_s.items()
        if now_s - since_s >= SILENT_AFTER_S
    }
    if _no_engine_answers(reading):
        unanswered &= unhealthy

    def is_past_its_start(address: str) -> bool:
        grace_s = SILENT_AFTER_S if address in reading.engines else FIRST_ANSWER_S
        return address in ready_since_s and now_s - ready_since_s[address] >= grace_s

    return frozenset(filter(is_past_its_start, unhealthy | unanswered))


def silent_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods whose engine has fallen silent."""
    pods = [pod for pod in snapshot.engine_pods if pod.address]
    ready_since_s = {pod.address: pod.ready_since_s for pod in pods if pod.ready_since_s is not None}
    silent = silent_endpoints(snapshot.telemetry, snapshot.now_s, ready_since_s)
    return frozenset(pod.key for pod in pods if pod.address in silent)


def lost_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods that no longer answer: silent, or on a node that is not up."""
    up = {node.name for node in snapshot.nodes.values() if is_up(node)}
    stranded = {pod.key for pod in snapshot.engine_pods if pod.node and pod.node not in up}
    return silent_pods(snapshot) | stranded


def _no_engine_answers(reading: TelemetryReading) -> bool:
    """Whether every engine that was asked has failed to answer the last time."""
    asked = reading.engines.keys() | reading.unanswered_since_s.keys()
    return bool(asked) and asked == reading.unanswered_since_s.keys()
