"""One iteration of the traffic loop: snapshot in, `Reaction` out.

Owns what follows at once from a new reading: demand is remembered, engines that fell silent are
named, calibrations are updated, weights between clusters follow usable capacity and queues. Input: a
snapshot whose telemetry was just read, the control memory, and what only the process knows. Output: a
`Reaction`; `reconcile.loops.traffic` writes the weights, posts the events and wakes the planning loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from argosy.api import Fleet
from argosy.api.conditions import Reason
from argosy.api.fleet import Mode
from argosy.control.candidates.calibration import CalibratedVariants
from argosy.control.decision import EventRecord
from argosy.control.demand import class_forecasts
from argosy.control.memory import ControlMemory, EventKey, TrafficMemory, WeightMemory
from argosy.control.state.measured import measured
from argosy.control.state.removable import acknowledged
from argosy.control.state.routable import unrouted
from argosy.control.state.silence import doubted_pods, idle_pods, silent_pods, unread_pods
from argosy.control.traffic import blindness
from argosy.control.traffic.balance import balance, published_weights, worth_publishing
from argosy.control.traffic.blindness import Blindness
from argosy.control.traffic.engine_ends import engine_ends
from argosy.control.traffic.envoys import envoy_events
from argosy.control.traffic.promises import missing_slo, slo_triggers
from argosy.control.traffic.recalibration import CalibrationMeasures, Recalibrated, recalibrated
from argosy.control.traffic.silent_engines import silent_events, silent_triggers
from argosy.control.traffic.slo_counts import ClassCounts, slo_counts
from argosy.control.triggers import Trigger
from argosy.demand import adapters as adapter_loads
from argosy.demand import observed
from argosy.demand.forecast import fallen, observe, triggers
from argosy.keys import CellName, ClassKey, DeploymentKey, ModelKey
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.liveness import DOUBT_UNTIL_S
from argosy.snapshot.telemetry import UnreadCause

EVENT_GAP_S = 3600.0
"""While a cause lasts, its event is posted once in so many seconds."""

Weights = Mapping[CellName, Mapping[DeploymentKey, float]]
"""Shares (0-1) of a cell's requests by Deployment; they sum to 1."""


@dataclass(frozen=True, slots=True)
class ReactSettings:
    """What only the process knows.

    is_leader: only the leader corrects weights and posts events; standbys measure
    variants:  the variants that are running, with what their engines are expected to need
    due_since_s: since when a decision is due that was not carried out (monotonic seconds); None: none is
    """

    is_leader: bool
    variants: CalibratedVariants = field(default_factory=dict)
    due_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """What the traffic loop shows of one iteration.

    cut:   requests cut at the end of a drain, by model
    blind: what is lost of sight
    counts: what the reading adds to the counters of each class
    unread: engines whose metrics cannot be read, by the cause
    """

    num_silent: int = 0
    calibration: CalibrationMeasures = field(default_factory=CalibrationMeasures)
    cut: Mapping[ModelKey, int] = field(default_factory=dict)
    blind: Blindness | None = None
    counts: Mapping[ClassKey, ClassCounts] = field(default_factory=dict)
    unread: Mapping[UnreadCause, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reaction:
    """The outcome of one iteration.

    memory:   the traffic loop's part of the memory after it
    triggers: why the planning loop should decide soon; empty where nothing asks for it
    weights:  of the applied plan's cells, where Envoys should get others than they have; else None
    to_keep:  calibrations to write to the state directory; None where the file is up to date
    faults:   exceptions of recalibration: bugs of Argosy; the other parts are complete all the same
    """

    memory: TrafficMemory
    triggers: tuple[Trigger, ...] = ()
    weights: Weights | None = None
    events: tuple[EventRecord, ...] = ()
    measures: Measures = field(default_factory=Measures)
    to_keep: CalibrationMemory | None = None
    faults: tuple[Exception, ...] = ()


def react(snapshot: FleetSnapshot, memory: ControlMemory, settings: ReactSettings) -> Reaction:
    """React to a new reading of telemetry."""
    seen_now = measured(snapshot)
    counts = slo_counts(snapshot, memory.traffic.observed, seen_now)
    traffic = replace(
        memory.traffic,
        demand=observe(memory.traffic.demand, snapshot.telemetry, seen_now.classes, snapshot.now_s),
        observed=observed.observe(memory.traffic.observed, seen_now),
        adapters=adapter_loads.observe(memory.traffic.adapters, snapshot),
    )
    was_silent = memory.traffic.silent
    traffic = replace(traffic, missing_slo=missing_slo(snapshot, traffic.observed, seen_now))
    silent, idle = silent_pods(snapshot), idle_pods(snapshot)
    blind = blindness.look(snapshot, memory.traffic.blind, settings.due_since_s)
    ends = engine_ends(snapshot, memory.traffic.ends)
    calibrations, faults = _recalibrated(snapshot, traffic, settings)
    traffic = replace(calibrations.memory, silent=silent, idle=idle, ends=ends.memory, blind=blind.memory)
    seen = memory.with_traffic(traffic)
    weights, traffic = _weights(snapshot, seen, settings)
    events, traffic = _events(
        snapshot,
        traffic,
        (
            *calibrations.events,
            *_doubt_events(snapshot),
            *envoy_events(snapshot),
            *blind.events(snapshot),
        ),
        (*ends.events, *silent_events(snapshot, was_silent)),
        settings,
    )
    return Reaction(
        memory=traffic,
        triggers=(
            *_demand_triggers(snapshot, seen),
            *slo_triggers(snapshot, memory.traffic.missing_slo, traffic.missing_slo),
            *silent_triggers(snapshot, was_silent),
            *_idle_triggers(memory.traffic.idle - silent, idle - silent),
            *_routed_triggers(memory.planning.unrouted - unrouted(snapshot).keys()),
            *removal_triggers(snapshot, memory),
            *blind.triggers(),
            *(Trigger(f"the step times of {key} were calibrated anew") for key in calibrations.changed),
        ),
        weights=weights,
        events=events,
        measures=Measures(
            len(silent),
            calibrations.measures,
            ends.cut if settings.is_leader else {},
            blind,
            counts,
            Counter(each.cause for each in unread_pods(snapshot).values()),
        ),
        to_keep=calibrations.to_keep,
        faults=faults,
    )


def reweighed(snapshot: FleetSnapshot, memory: ControlMemory) -> Reaction:
    """The leader's weights by the last reading, where engines have become ready since, or ceased to be.

    The memory stays as it is: the corrections by queues are made once for each reading.
    """
    weights, _ = _weights(snapshot, memory, ReactSettings(is_leader=True, variants={}))
    return Reaction(memory.traffic, weights=weights)


def _demand_triggers(snapshot: FleetSnapshot, memory: ControlMemory) -> Iterable[Trigger]:
    planned = memory.planning.forecasts
    for shift in triggers(memory.traffic.demand, planned, snapshot.now_s):
        yield Trigger(shift.message, about=f"the rate of {shift.class_key}")
    for key, message in fallen(planned, class_forecasts(snapshot, memory.traffic)).items():
        yield Trigger(message, about=f"the rate of {key}")


def _idle_triggers(before: frozenset[str], now: frozenset[str]) -> Iterable[Trigger]:
    """Nothing is lost yet: only the statuses should tell it now, not in half a minute."""
    for pod in sorted(now - before):
        yield Trigger(f"pod {pod} takes no requests", is_progress=True)
    for pod in sorted(before - now):
        yield Trigger(f"pod {pod} takes requests again", is_progress=True)


def _routed_triggers(pods: Iterable[str]) -> Iterable[Trigger]:
    """What a roll-out has waited for."""
    for pod in sorted(pods):
        yield Trigger(f"Envoys send requests to pod {pod} now", is_progress=True)


def removal_triggers(snapshot: FleetSnapshot, memory: ControlMemory) -> Iterable[Trigger]:
    """Removals that were waited for and may go on."""
    for pod in acknowledged(snapshot, memory.planning.awaited_s):
        yield Trigger(f"pod {pod}, which takes no requests any more, can be removed", is_progress=True)


def _recalibrated(
    snapshot: FleetSnapshot, traffic: TrafficMemory, settings: ReactSettings
) -> tuple[Recalibrated, tuple[Exception, ...]]:
    """Weights do not depend on it, so a bug in it must not keep them from being corrected."""
    try:
        return recalibrated(snapshot, traffic, settings.variants), ()
    except Exception as error:
        return Recalibrated(traffic), (error,)


def _weights(
    snapshot: FleetSnapshot, memory: ControlMemory, settings: ReactSettings
) -> tuple[Weights | None, TrafficMemory]:
    plan, traffic = snapshot.applied_plan, memory.traffic
    if plan is None or not settings.is_leader or not snapshot.acts:
        return None, traffic
    if doubted_pods(snapshot):  # the last weights are as good as any, until it is known what happened
        return None, traffic
    known = traffic.weights
    previous = known.by_cell if known.plan == plan.key else published_weights(plan)
    found = balance(snapshot, plan, previous, memory.planning.capacity_per_s)
    traffic = replace(traffic, weights=WeightMemory(plan.key, found))
    if not worth_publishing(plan, found):
        return None, traffic
    return {cell: each.weights for cell, each in found.items()}, traffic


def _doubt_events(snapshot: FleetSnapshot) -> tuple[EventRecord, ...]:
    """An event on the Fleet while engines are in doubt: none of the models is at fault."""
    doubted = doubted_pods(snapshot)
    if not doubted or snapshot.fleet is None:
        return ()
    parts = {"count": len(doubted), "pod": min(doubted), "until_s": round(DOUBT_UNTIL_S)}
    message = Reason.SILENCE_IN_DOUBT.sentence(**parts)
    reason = Reason.SILENCE_IN_DOUBT.value
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", reason, message),)


def _events(
    snapshot: FleetSnapshot,
    traffic: TrafficMemory,
    lasting: Iterable[EventRecord],
    once: tuple[EventRecord, ...],
    settings: ReactSettings,
) -> tuple[tuple[EventRecord, ...], TrafficMemory]:
    """The events to post: those with a cause that lasts at most once in `EVENT_GAP_S`."""
    if not settings.is_leader or snapshot.fleet_spec.mode is Mode.OBSERVE:
        return (), traffic
    now_s = snapshot.now_s
    posted = {key: at_s for key, at_s in traffic.posted_at_s.items() if 0.0 <= now_s - at_s < EVENT_GAP_S}
    new = []
    for event in lasting:
        # The first word of a message is its subject, a variant or a pod; the rest holds figures.
        key = EventKey(event.reason, event.key, event.message.split()[0])
        if key not in posted:
            posted[key] = now_s
            new.append(event)
    return (*new, *once), replace(traffic, posted_at_s=posted)
