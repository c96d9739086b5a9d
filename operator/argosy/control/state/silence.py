"""Which engines have fallen silent: their capacity counts as lost at once.

Owns the verdict. Never scrapes, never reads a clock, and never takes an endpoint out of rotation
(Envoy's health checks do). Input: a telemetry reading and since when pods are ready. Output: the
addresses, or the pods, that count no more.

Silent is who has not answered for a while, or whom Envoy calls unhealthy by a fresh sample. Two
things look alike and are not: an engine that has just come and was never asked in time, and a
scraper that has lost its network. When nobody answers any more, the fault is taken to be ours,
unless Envoy, which looks from elsewhere, agrees.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.snapshot import EndpointHealth, TelemetryReading, fresh
from argosy.snapshot.fleet import FleetSnapshot

SILENT_AFTER_S = 3.0
"""Two failed scrapes of the fast loop in a row; a single one may be a busy engine."""

FIRST_ANSWER_S = 10.0
"""Time that an engine has from being ready to its first answer."""

FRESH_S = 10.0
"""Envoy's opinion counts while it is younger than five rounds of the fast loop."""


def silent_endpoints(
    reading: TelemetryReading,
    now_s: float,
    ready_since_s: Mapping[str, float],
    after_s: float = SILENT_AFTER_S,
) -> frozenset[str]:
    """Addresses of the engines that have fallen silent.

    `ready_since_s`: by address, since when the pod is ready. One without an entry is not ready, so
    nobody counts on it: a restarting engine is no silent one. Just after it became ready an engine
    has `after_s`, and one that has never answered `FIRST_ANSWER_S`, before it is judged.
    """
    unhealthy = {
        address
        for address, health in reading.endpoints.items()
        if fresh(health, now_s, FRESH_S) is EndpointHealth.UNHEALTHY
    }
    unanswered = {
        address for address, since_s in reading.unanswered_since_s.items() if now_s - since_s >= after_s
    }
    if _nobody_answers(reading):
        unanswered &= unhealthy

    def is_past_its_start(address: str) -> bool:
        grace_s = after_s if address in reading.engines else max(after_s, FIRST_ANSWER_S)
        return address in ready_since_s and now_s - ready_since_s[address] >= grace_s

    return frozenset(filter(is_past_its_start, unhealthy | unanswered))


def silent_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods whose engine has fallen silent."""
    pods = [pod for pod in snapshot.engine_pods if pod.address]
    ready_since_s = {pod.address: pod.ready_since_s for pod in pods if pod.ready_since_s is not None}
    silent = silent_endpoints(snapshot.telemetry, snapshot.now_s, ready_since_s)
    return frozenset(pod.key for pod in pods if pod.address in silent)


def lost_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods whose capacity counts no more: silent, or on a node that is not ready."""
    ready = {node.name for node in snapshot.nodes.values() if node.ready}
    stranded = {pod.key for pod in snapshot.engine_pods if pod.node and pod.node not in ready}
    return silent_pods(snapshot) | stranded


def _nobody_answers(reading: TelemetryReading) -> bool:
    """Whether all engines that were asked have failed to answer the last time."""
    asked = reading.engines.keys() | reading.unanswered_since_s.keys()
    return bool(asked) and asked == reading.unanswered_since_s.keys()
