"""The control memory as JSON. Nothing writes it yet: it is there for the simulator.

Of an operator, only the calibrations survive a restart (`files.calibrations`).

Owns the document's version and the JSON form of `ControlMemory`; the history of demand and the
calibrations have their own, in `demand` and `perf`. Input and output: a memory, and what `json.dumps`
takes. What is damaged, or of another version, is discarded with a reason, and the rest is kept.

Not written: what requests got in the last minutes, those of LoRA adapters, the open windows of
recalibration and the lags of single replicas, which are formed again within minutes, the confidence in
calibrations, which is derived from them, what is lost of sight, what large removals wait for and edits by
hand: a restart begins each look anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.control.memory import (
    ControlMemory,
    EventKey,
    PlanningMemory,
    Quarantine,
    TrafficMemory,
    WeightMemory,
)
from argosy.demand.forecast import Basis, ClassForecast, ForecastNote
from argosy.demand.history_json import history_from_json, history_to_json
from argosy.documents import (
    LARGEST,
    Discarded,
    Salvage,
    array,
    choice,
    instant,
    mapping,
    member,
    milliseconds,
    number,
    optional,
    short,
    text,
    version_fault,
)
from argosy.keys import CellName, ClassKey, DeploymentKey, NamespacedName
from argosy.perf.recalibration import memory as recalibration
from argosy.route.weights import CellWeights, WeightReason
from argosy.snapshot.admission.words import ClusterRefusal, Refuser

FORMAT_VERSION = 1


def memory_to_json(memory: ControlMemory) -> dict[str, Any]:
    """What `json.dumps` takes, `allow_nan=False` included; for 100 classes at most 256 KiB."""
    return {
        "version": FORMAT_VERSION,
        "traffic": _traffic_to_json(memory.traffic),
        "planning": _planning_to_json(memory.planning),
    }


def memory_from_json(document: object) -> tuple[ControlMemory, tuple[Discarded, ...]]:
    """The memory that was written, and what of it could not be used.

    `started_s` says since when demand is remembered, and 0 is what it is where it was discarded. A caller
    that reads that anything was discarded sets it to now: the forecasts then do not fall below the
    applied plan until demand is known again.
    """
    if fault := version_fault(document, FORMAT_VERSION, "all control memory"):
        return ControlMemory(), (fault,)
    salvage = Salvage()
    traffic = salvage.part("the traffic loop's memory", lambda: mapping(member(document, "traffic")), None)
    planning = salvage.part("the planning loop's memory", lambda: mapping(member(document, "planning")), None)
    memory = ControlMemory(
        TrafficMemory() if traffic is None else _traffic(traffic, salvage),
        PlanningMemory() if planning is None else _planning(planning, salvage),
    )
    return memory, tuple(salvage.discarded)


def _traffic_to_json(traffic: TrafficMemory) -> dict[str, Any]:
    return {
        "startedMs": milliseconds(traffic.started_s),
        "demand": history_to_json(traffic.demand),
        "calibration": recalibration.memory_to_json(traffic.calibration),
        "silent": sorted(traffic.silent),
        "weights": {
            "plan": traffic.weights.plan,
            "cells": {cell: _weights_to_json(found) for cell, found in traffic.weights.by_cell.items()},
        },
        "posted": [
            [key.reason, key.object, key.subject, milliseconds(at_s)]
            for key, at_s in traffic.posted_at_s.items()
        ],
    }


def _traffic(found: Mapping[str, Any], salvage: Salvage) -> TrafficMemory:
    demand, unread_demand = history_from_json(found.get("demand"))
    calibration, unread_calibrations = recalibration.memory_from_json(found.get("calibration"))
    salvage.discarded += [*unread_demand, *unread_calibrations]
    return TrafficMemory(
        demand=demand,
        started_s=salvage.part(
            "the start of demand's history", lambda: instant(member(found, "startedMs")), 0.0
        ),
        calibration=calibration,
        silent=frozenset(salvage.entries("silent pod", lambda: member(found, "silent"), text)),
        weights=_weights(found, salvage),
        posted_at_s=dict(salvage.entries("posted event", lambda: member(found, "posted"), _posted)),
    )


def _posted(found: object) -> tuple[EventKey, float]:
    reason, subject_of, subject, at = array(found, 4)
    return EventKey(text(reason), text(subject_of), text(subject)), instant(at)


def _weights(found: Mapping[str, Any], salvage: Salvage) -> WeightMemory:
    """The weights; none where their plan is unknown, because those of one plan mean nothing for another."""
    plan = salvage.part("the weights' plan", lambda: text(member(member(found, "weights"), "plan")), None)
    if plan is None:
        return WeightMemory()
    cells = salvage.values(
        "traffic split of cell", lambda: member(member(found, "weights"), "cells"), _cell_weights
    )
    return WeightMemory(plan, {CellName(cell): weights for cell, weights in cells.items()})


def _weights_to_json(found: CellWeights) -> dict[str, Any]:
    """By cluster: weight, reason and correction, null where there is none."""
    reasons = {cluster: reason.name for cluster, reason in found.reasons.items()}
    columns: tuple[Mapping[DeploymentKey, Any], ...] = (found.weights, reasons, found.corrections)
    clusters = sorted({cluster for column in columns for cluster in column})
    return {cluster: [column.get(cluster) for column in columns] for cluster in clusters}


def _cell_weights(found: object) -> CellWeights:
    weights: dict[DeploymentKey, float] = {}
    reasons: dict[DeploymentKey, WeightReason] = {}
    corrections: dict[DeploymentKey, float] = {}
    for cluster, row in mapping(found).items():
        key, (weight, reason, correction) = DeploymentKey(cluster), array(row, 3)
        if weight is not None:
            weights[key] = _amount(weight)
        if reason is not None:
            reasons[key] = choice(reason, WeightReason)
        if correction is not None:
            corrections[key] = number(correction, -1.0, 1.0)
    return CellWeights(weights, reasons, corrections)


def _planning_to_json(planning: PlanningMemory) -> dict[str, Any]:
    capacities: dict[CellName, dict[DeploymentKey, float]] = {}
    for (cell, deployment), capacity in planning.capacity_per_s.items():
        capacities.setdefault(cell, {})[deployment] = short(capacity)
    forecasts = {key: _forecast_to_json(each) for key, each in planning.forecasts.items()}
    refused = {key: _quarantine_to_json(each) for key, each in planning.quarantines.items()}
    return {"forecasts": forecasts, "capacityPerSecond": capacities, "refused": refused}


def _planning(found: Mapping[str, Any], salvage: Salvage) -> PlanningMemory:
    forecasts = salvage.values("forecast of class", lambda: member(found, "forecasts"), _forecast)
    capacities = salvage.values("capacity of cell", lambda: member(found, "capacityPerSecond"), _capacities)
    refused = salvage.values("refused option", lambda: member(found, "refused"), _quarantine)
    return PlanningMemory(
        {ClassKey(key): each for key, each in forecasts.items()},
        {
            (CellName(cell), deployment): capacity
            for cell, by_deployment in capacities.items()
            for deployment, capacity in by_deployment.items()
        },
        quarantines={NamespacedName(key): each for key, each in refused.items()},
    )


def _quarantine_to_json(found: Quarantine) -> list[Any]:
    """Until when, how often in a row, what had refused, since when refusals are believed, the refusal."""
    refusal = found.refusal
    words = [refusal.name, refusal.problem, refusal.remedy, refusal.key, refusal.resource]
    believed = optional(found.believed_s, milliseconds)
    return [milliseconds(found.until_s), found.num, found.content, believed, refusal.refuser.name, words]


def _quarantine(found: object) -> Quarantine:
    until, num, content, believed, refuser, words = array(found, 6)
    name, problem, remedy, key, resource = map(text, array(words, 5))
    return Quarantine(
        refusal=ClusterRefusal(choice(refuser, Refuser), name, problem, remedy, key, resource),
        until_s=instant(until),
        num=int(_amount(num)),
        content=text(content),
        believed_s=optional(believed, instant),
    )


def _capacities(found: object) -> dict[DeploymentKey, float]:
    return {DeploymentKey(key): _amount(each) for key, each in mapping(found).items()}


def _forecast_to_json(found: ClassForecast) -> list[Any]:
    """Rates planned for, observed and declared (requests/s), the basis, the note."""
    return [
        short(found.rate_per_s),
        optional(found.observed_per_s, short),
        short(found.declared_per_s),
        found.basis.name,
        optional(found.note, lambda note: note.name),
    ]


def _forecast(found: object) -> ClassForecast:
    rate, observed, declared, basis, note = array(found, 5)
    return ClassForecast(
        rate_per_s=_amount(rate),
        observed_per_s=optional(observed, _amount),
        declared_per_s=_amount(declared),
        basis=choice(basis, Basis),
        note=optional(note, lambda each: choice(each, ForecastNote)),
    )


def _amount(found: object) -> float:
    return number(found, 0.0, LARGEST)
