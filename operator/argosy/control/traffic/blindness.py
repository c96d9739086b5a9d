"""What the operator has lost sight of for a while: telemetry, every Envoy, or a plan that is not applied.

Owns when each counts as lost, and its sentence. Input: a snapshot whose telemetry was just read, what was
seen before, and since when a decision is due. Output: the causes that have lasted, which turn /readyz back,
are shown as a metric and posted as events of Fleet; and the memory for the next look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from argosy.api import Fleet
from argosy.control.decision import EventRecord
from argosy.control.memory import BlindMemory
from argosy.control.triggers import Trigger
from argosy.snapshot import Sample
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.liveness import UNREAD_AFTER_S
from argosy.snapshot.telemetry import UnreadCause

STALE_S = 10.0
"""A sample that is older than five readings is not of now."""


class Blind(StrEnum):
    """What is lost; the values are those of the metric's label `what`."""

    TELEMETRY = "telemetry"
    ENVOYS = "envoys"
    PLAN = "plan"


LIMIT_S: Mapping[str, float] = {Blind.TELEMETRY: UNREAD_AFTER_S, Blind.ENVOYS: 60.0, Blind.PLAN: 120.0}
"""Longer than a restart of an Envoy, of an engine or of the API server takes."""

EVENT_REASONS = {
    Blind.TELEMETRY: "TelemetryLost",
    Blind.ENVOYS: "EnvoysLost",
    Blind.PLAN: "PlanNotApplied",
}


@dataclass(frozen=True, slots=True)
class Blindness:
    """What has been lost for longer than its limit.

    lasting: by what is lost, the sentence
    since_s: of these, since when (monotonic seconds)
    changed: what became lost, or is seen again, with this look
    """

    lasting: Mapping[Blind, str]
    since_s: Mapping[Blind, float]
    changed: frozenset[Blind]
    memory: BlindMemory

    def triggers(self) -> Iterable[Trigger]:
        """The statuses should tell it now, not in half a minute."""
        for what in sorted(self.changed - {Blind.PLAN}):
            seen = "has been lost for a minute" if what in self.lasting else "is seen again"
            yield Trigger(f"{_NOUNS[what]} {seen}", is_progress=True)

    def events(self, snapshot: FleetSnapshot) -> Iterable[EventRecord]:
        """One for each cause while it lasts: of Fleet, because no other object is at fault."""
        if snapshot.fleet is None:
            return
        for what, sentence in self.lasting.items():
            message = f"{what}: {sentence}"  # the first word is what tells it from the others
            yield EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", EVENT_REASONS[what], message)


_NOUNS = {Blind.TELEMETRY: "telemetry", Blind.ENVOYS: "every Envoy", Blind.PLAN: "the plan"}


def look(snapshot: FleetSnapshot, before: BlindMemory, due_since_s: float | None) -> Blindness:
    """What is lost now. due_since_s: since when a decision is due that was not carried out (monotonic)."""
    now_s = snapshot.monotonic_s
    had_envoys = before.had_envoys or bool(snapshot.routing.envoys)
    unread = _unread(snapshot)
    sentences = {
        Blind.TELEMETRY: _telemetry_lost(unread) if unread else "",
        Blind.ENVOYS: _envoys_lost(snapshot) if had_envoys else "",
        Blind.PLAN: "" if due_since_s is None else _PLAN,
    }
    since_s = {what: before.since_s.get(what, now_s) for what in Blind if sentences[what]}
    if due_since_s is not None:
        since_s[Blind.PLAN] = due_since_s
    lasting = {what: sentences[what] for what, at_s in since_s.items() if now_s - at_s >= LIMIT_S[what]}
    return Blindness(
        lasting=lasting,
        since_s={what: since_s[what] for what in lasting},
        changed=frozenset(lasting) ^ {Blind(what) for what in before.lasting},
        memory=BlindMemory(
            since_s={str(what): at_s for what, at_s in since_s.items()},
            had_envoys=had_envoys,
            lasting=frozenset(lasting),
            unread=unread if Blind.TELEMETRY in lasting else "",
        ),
    )


def _unread(snapshot: FleetSnapshot) -> str:
    """Which of the engines that run and of the Envoys that serve cannot be read at all; else empty."""
    telemetry, now_s = snapshot.telemetry, snapshot.now_s
    # Of an engine that answers in another way its ServedModel tells: the operator sees it.
    odd = {at for at, each in telemetry.unread.items() if each.cause is not UnreadCause.UNREACHABLE}
    engines = {pod.address for pod in snapshot.engine_pods if pod.should_answer} - odd
    of_engines = [sample for address, sample in telemetry.engines.items() if address in engines]
    of_envoys: list[Sample[Any]] = [*telemetry.arrivals.values(), *telemetry.routes.values()]
    # Before it has a listener, an Envoy counts nothing.
    has_envoys = any(e.stats_url and e.acknowledged_version for e in snapshot.routing.envoys)
    unread = []
    if engines and not any(sample.age_s(now_s) <= STALE_S for sample in of_engines):
        unread.append("engines")
    if (has_envoys or of_envoys) and not any(sample.age_s(now_s) <= STALE_S for sample in of_envoys):
        unread.append("Envoys")
    return f"all {' and '.join(unread)}" if unread else ""


def _telemetry_lost(unread: str) -> str:
    return (
        f"the last readings of {unread} are more than {UNREAD_AFTER_S:.0f} s old, so plans follow"
        " the last and the declared rates, and failing engines are noticed late; check that they can be"
        " reached from the operator, or Prometheus where --prometheus names one"
    )


def _envoys_lost(snapshot: FleetSnapshot) -> str:
    """While nothing is to be routed, Envoys may be gone for good."""
    if snapshot.routing.envoys or not snapshot.classes:
        return ""
    return (
        "every Envoy that was connected is gone, so that changes of routes and endpoints reach none;"
        " check that they run and reach --xds-address, or delete the WorkloadClasses if the gateway was"
        " removed for good"
    )


_PLAN = (
    f"no decision was carried out for {LIMIT_S[Blind.PLAN]:.0f} s, so the plan stays as it was and no"
    " replica is replaced; the operator's log and /readyz name the cause"
)
