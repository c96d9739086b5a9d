"""What users are told about their objects.

Owns the statuses and conditions of the five user-made kinds. Never decides anything and never
writes: each function turns what was decided into one whole status. A class's Ready condition
gives the first reason in the order in which a user would have to mend things.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from argosy.api import Fleet, FleetPlan, GPUPool, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.conditions import (
    ConditionStatus,
    ConditionType,
    Reason,
    condition_with_message,
    set_condition,
)
from argosy.api.fleetplan import PlannedCell, PlannedDeployment
from argosy.api.timestamp import rfc3339
from argosy.control.calibration import calibration_key
from argosy.control.decision import StatusUpdate
from argosy.control.nodes import PoolNodes
from argosy.control.owners import Owners
from argosy.control.refusal import Refusal
from argosy.control.resolve import Resolution, variants_of
from argosy.perf.catalogue import find_gpu, gpus
from argosy.perf.protocol import OutOfRange
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.perf.recalibration.recalibrate import confidence
from argosy.place.solution import Placement
from argosy.plan.solution import Plan, Shortfall, ShortfallCause
from argosy.route.policies import TargetVerdict, assign_policies
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

UserObject = Fleet | GPUPool | ServedModel | WorkloadClass | RouterPolicy

MAX_ENVOYS = 50

LOADING_LIMIT_S = 600.0
"""Replicas of which none is ready after so long do not merely load: somebody should look at them."""

DRIFT_SHOWN_S = 3600.0
"""So long after its alarm a calibration is shown as drifted."""

_REFUSAL_ORDER = (
    Reason.CONFLICTED,
    Reason.MODEL_NOT_FOUND,
    Reason.SERVED_NAME_MISMATCH,
    Reason.UNKNOWN_MODEL,
    Reason.NO_NODES,
    Reason.UNPLACEABLE,
    Reason.SLO_UNREACHABLE,
    Reason.OUT_OF_RANGE,
    Reason.MODEL_TOO_LARGE,
    Reason.UNKNOWN_GPU,
)
"""Where several variants are refused for different reasons, the nearest to working comes first."""

_REF_REASONS = (Reason.MODEL_NOT_FOUND, Reason.SERVED_NAME_MISMATCH)

_SHORTFALL_REASON = {
    ShortfallCause.NO_VARIANT: Reason.SLO_UNREACHABLE,
    ShortfallCause.POOL_FULL: Reason.CAPACITY_SHORT,
    ShortfallCause.BUDGET: Reason.BUDGET_SHORT,
    ShortfallCause.REPLICA_LIMIT: Reason.REPLICAS_AT_LIMIT,
    ShortfallCause.NO_NODES: Reason.NO_NODES,
}


@dataclass(frozen=True)
class Reported:
    """Everything that statuses are made of. `lost` pods count for nothing."""

    snapshot: FleetSnapshot
    resolution: Resolution
    nodes: Mapping[str, PoolNodes]
    plan: Plan
    placement: Placement
    follow: FleetPlan | None
    mode: str
    lost: frozenset[str]
    owners: Mapping[str, Owners]
    calibration: CalibrationMemory = field(default_factory=CalibrationMemory)

    @cached_property
    def num_serving(self) -> Counter[str]:
        """Replicas that answer requests, by Deployment."""
        return Counter(p.deployment for p in self.snapshot.engine_pods if self.serves(p))

    def serves(self, pod: PodState) -> bool:
        """Whether an engine takes new requests."""
        return pod.ready and not pod.deleting and pod.key not in self.lost

    def pods_of_class(self, key: str) -> list[PodState]:
        """The engine pods of a WorkloadClass, planned or not."""
        return [p for p in self.snapshot.engine_pods if self.owners[p.deployment].workload_class == key]

    def pods_of_model(self, key: str) -> list[PodState]:
        """The engine pods of a ServedModel, planned or not."""
        return [p for p in self.snapshot.engine_pods if self.owners[p.deployment].model == key]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A condition before it is dated."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str


def status_updates(reported: Reported) -> tuple[StatusUpdate, ...]:
    """The status of every user-made object."""
    snapshot = reported.snapshot
    updates = [_class_status(reported, c) for _, c in sorted(snapshot.classes.items())]
    updates += [_model_status(reported, m) for _, m in sorted(snapshot.models.items())]
    updates += [_pool_status(reported, p) for _, p in sorted(snapshot.pools.items())]
    updates += _policy_statuses(reported)
    if snapshot.fleet is not None:
        updates.append(_fleet_status(reported, snapshot.fleet))
    return tuple(updates)


def _true(kind: ConditionType, reason: Reason, **parts: object) -> _Verdict:
    return _Verdict(kind, ConditionStatus.TRUE, reason, reason.sentence(**parts))


def _false(kind: ConditionType, reason: Reason, message: str) -> _Verdict:
    return _Verdict(kind, ConditionStatus.FALSE, reason, message)


def _update(
    reported: Reported, item: UserObject, verdicts: Iterable[_Verdict], fields: Mapping[str, Any]
) -> StatusUpdate:
    conditions = item.status.conditions
    generation = item.metadata.generation
    for verdict in verdicts:
        new = condition_with_message(verdict.type, verdict.status, verdict.reason, verdict.message)
        new = new.model_copy(update={"observed_generation": generation})
        conditions = set_condition(conditions, new, rfc3339(reported.snapshot.now_s))
    dated = [c.model_dump(by_alias=True, mode="json", exclude_none=True) for c in conditions]
    # A field that is None is written as null, which removes what an earlier status said.
    status = {"observedGeneration": generation, "conditions": dated, **fields}
    return StatusUpdate(type(item).PLURAL, item.key, status)


def _class_status(reported: Reported, item: WorkloadClass) -> StatusUpdate:
    resolved = reported.resolution.classes[item.key]
    losses = [r for r in resolved.refusals if r.reason is Reason.CONFLICTED]
    accepted = (
        _false(ConditionType.ACCEPTED, Reason.CONFLICTED, losses[0].message)
        if losses
        else _true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    )
    broken = [r for r in resolved.refusals if r.reason in _REF_REASONS]
    refs = (
        _false(ConditionType.RESOLVED_REFS, broken[0].reason, broken[0].message)
        if broken
        else _true(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS)
    )
    cells = _cells(reported, item.key)
    fields = {
        "requestsPerSecond": round(sum(c.requests_per_second for c in cells), 3) if cells else None,
        "replicasReady": sum(map(reported.serves, reported.pods_of_class(item.key))),
        "unservedShare": max((c.unserved_share for c in cells), default=None),
    }
    verdicts = (accepted, refs, _programmed(reported), _class_ready(reported, item))
    return _update(reported, item, verdicts, fields)


def _class_ready(reported: Reported, item: WorkloadClass) -> _Verdict:
    resolved = reported.resolution.classes[item.key]
    if not resolved.candidates:
        refusal = _first(resolved.refusals)
        return _false(ConditionType.READY, refusal.reason, refusal.message)
    shortfall = next((s for s in reported.plan.shortfalls if s.cell == item.key), None)
    if shortfall is not None:
        return _shortfall_verdict(shortfall)
    if reported.mode != "Auto" and not _cells(reported, item.key):
        message = Reason.MODE_NOT_AUTO.sentence(mode=reported.mode)
        return _false(ConditionType.READY, Reason.MODE_NOT_AUTO, message)
    unplaced = [u for u in reported.placement.unplaced if _is_of(reported, u.option, item.key)]
    if unplaced:
        return _false(ConditionType.READY, Reason.UNPLACEABLE, unplaced[0].message)
    wanted = sum(d.replicas for d in _planned(reported) if d.workload_class == item.key)
    return _replicas_verdict(reported, reported.pods_of_class(item.key), wanted)


def _cells(reported: Reported, class_key: str) -> tuple[PlannedCell, ...]:
    cells = reported.follow.spec.cells if reported.follow else ()
    return tuple(c for c in cells if c.workload_class == class_key)


def _shortfall_verdict(shortfall: Shortfall) -> _Verdict:
    return _false(ConditionType.READY, _SHORTFALL_REASON[shortfall.cause], shortfall.message)


def _replicas_verdict(reported: Reported, pods: list[PodState], wanted: int) -> _Verdict:
    ready = sum(map(reported.serves, pods))
    if ready >= wanted:
        return _true(ConditionType.READY, Reason.READY)
    now_s = reported.snapshot.now_s
    is_in_trouble = any(
        p.restarts > 0 or now_s - p.created_s >= LOADING_LIMIT_S for p in pods if not p.deleting
    )
    if ready == 0 and is_in_trouble:
        message = Reason.NO_REPLICAS_READY.sentence(desired=wanted)
        return _false(ConditionType.READY, Reason.NO_REPLICAS_READY, message)
    return _false(ConditionType.READY, Reason.LOADING, Reason.LOADING.sentence(ready=ready, desired=wanted))


def _first(refusals: tuple[Refusal, ...]) -> Refusal:
    ranked = sorted(refusals, key=lambda r: _REFUSAL_ORDER.index(r.reason))
    if ranked:
        return ranked[0]
    message = "there is no GPUPool that spec.models could run on; create one"
    return Refusal(Reason.NO_NODES, "", message)


def _programmed(reported: Reported) -> _Verdict:
    kind, routing = ConditionType.PROGRAMMED, reported.snapshot.routing
    if reported.snapshot.applied_plan is None:
        if reported.mode != "Auto":
            return _false(kind, Reason.MODE_NOT_AUTO, Reason.MODE_NOT_AUTO.sentence(mode=reported.mode))
        return _false(kind, Reason.NO_PLAN, Reason.NO_PLAN.sentence())
    if not routing.envoys:
        return _false(kind, Reason.NO_ENVOY, Reason.NO_ENVOY.sentence())
    for envoy in routing.envoys:
        if envoy.refused_version:
            message = Reason.ENVOY_REFUSED.sentence(
                node_id=envoy.node_id, version=envoy.refused_version, message=envoy.message
            )
            return _false(kind, Reason.ENVOY_REFUSED, message)
    pending = sum(e.acknowledged_version != routing.version for e in routing.envoys)
    if pending:
        message = Reason.ENVOY_PENDING.sentence(
            pending=pending, connected=len(routing.envoys), version=routing.version
        )
        return _Verdict(kind, ConditionStatus.UNKNOWN, Reason.ENVOY_PENDING, message)
    return _true(kind, Reason.PROGRAMMED, connected=len(routing.envoys))


def _model_status(reported: Reported, item: ServedModel) -> StatusUpdate:
    refusals = reported.resolution.model_refusals[item.key]
    planned = [d for d in _planned(reported) if f"{d.namespace}/{d.model}" == item.key]
    by_variant: dict[str, dict[str, Any]] = {}
    for entry in planned:
        variant = by_variant.setdefault(
            entry.variant, {"name": entry.variant, "pool": entry.pool, "desired": 0, "ready": 0}
        )
        variant["desired"] += entry.replicas
        variant["ready"] += reported.num_serving[entry.name]
    for name, calibration in _calibrations(reported, item).items():
        if name in by_variant:
            by_variant[name]["calibration"] = calibration
    desired = sum(v["desired"] for v in by_variant.values())
    pods = reported.pods_of_model(item.key)
    accepted = _true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    state = _replicas_verdict(reported, pods, desired)
    if refusals:
        worst = _first(refusals)
        accepted = _false(ConditionType.ACCEPTED, worst.reason, worst.message)
        state = _false(ConditionType.READY, worst.reason, worst.message)
    fields = {
        "replicasReady": sum(map(reported.serves, pods)),
        "replicasDesired": desired,
        "variants": [by_variant[name] for name in sorted(by_variant)],
    }
    verdicts = (accepted, _profile_verdict(reported, item), _programmed(reported), state)
    return _update(reported, item, verdicts, fields)


def _calibrations(reported: Reported, item: ServedModel) -> dict[str, dict[str, Any]]:
    """What the engines of a model's variants were seen to need, by variant; rounded, as statuses must
    not change with every window.
    """
    found: dict[str, dict[str, Any]] = {}
    for variant, _ in variants_of(reported.snapshot, item) if reported.calibration.states else ():
        key = calibration_key(variant)
        known = confidence(reported.calibration, key) if key else None
        if known is not None and known.num_windows > 0:
            drifted_at_s = known.drifted_at_s
            age_s = math.inf if drifted_at_s is None else reported.snapshot.now_s - drifted_at_s
            found[variant.name] = {
                "stepTimeFactor": round(1.0 + known.deviation, 2),
                "uncertainty": round(known.uncertainty, 2),
                "windows": _one_digit(known.num_windows),
                "drifted": age_s < DRIFT_SHOWN_S,
            }
    return found


def _one_digit(count: int) -> int:
    """17 -> 10: rounded down to one digit and zeros."""
    step: int = 10 ** (len(str(count)) - 1)
    return count // step * step


def _profile_verdict(reported: Reported, item: ServedModel) -> _Verdict:
    """Whether every file of spec.profiles can be used, and what is odd about those that can.

    Unknown where all that is wrong is our sight. What is odd leaves it True, with its own reason.
    """
    kind, refusals = ConditionType.RESOLVED_REFS, reported.resolution.profile_refusals[item.key]
    notes = reported.resolution.profile_notes[item.key]
    message = " ".join([*(refusal.message for refusal in refusals), *(note.message for note in notes)])
    if not refusals and not notes:
        return _true(kind, Reason.RESOLVED_REFS)
    if not refusals:
        return _Verdict(kind, ConditionStatus.TRUE, notes[0].reason, message)
    worst = next((r for r in refusals if r.reason is not Reason.PROFILE_UNREAD), refusals[0])
    unseen = worst.reason is Reason.PROFILE_UNREAD
    status = ConditionStatus.UNKNOWN if unseen else ConditionStatus.FALSE
    return _Verdict(kind, status, worst.reason, message)


def _pool_status(reported: Reported, item: GPUPool) -> StatusUpdate:
    nodes = reported.nodes[item.metadata.name]
    usable_names = {n.name for n in nodes.usable}
    held = sum(gpus for _, gpus in _held(reported, item.metadata.name))
    held_usable = sum(gpus for node, gpus in _held(reported, item.metadata.name) if node in usable_names)
    usable = sum(n.gpus for n in nodes.usable)
    unusable_nodes = len(nodes.all_names) - len(nodes.usable)
    fields = {
        "nodes": len(nodes.all_names),
        "gpusTotal": nodes.gpus_total,
        "gpusFree": max(0, usable - held_usable),
        "gpusUnhealthy": unusable_nodes * item.spec.gpus_per_node,
        "costUsdPerHour": round(held * item.spec.price_usd_per_hour, 4),
    }
    accepted = _true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    ready = _true(ConditionType.READY, Reason.READY)
    if isinstance(find_gpu(item.spec.gpu), OutOfRange):
        message = Reason.UNKNOWN_GPU.sentence(gpu=item.spec.gpu, known=", ".join(g.name for g in gpus()))
        accepted = _false(ConditionType.ACCEPTED, Reason.UNKNOWN_GPU, message)
        ready = _false(ConditionType.READY, Reason.UNKNOWN_GPU, message)
    elif nodes.older_claimant:
        winner = f"GPUPool {nodes.older_claimant}"
        message = Reason.CONFLICTED.sentence(field="spec.nodeSelector", winner=winner)
        accepted = _false(ConditionType.ACCEPTED, Reason.CONFLICTED, message)
        ready = ready if nodes.usable else _false(ConditionType.READY, Reason.CONFLICTED, message)
    elif not nodes.usable:
        selector = ", ".join(f"{k}={v}" for k, v in sorted(item.spec.node_selector.items()))
        ready = _false(ConditionType.READY, Reason.NO_NODES, Reason.NO_NODES.sentence(selector=selector))
    return _update(reported, item, (accepted, ready), fields)


def _policy_statuses(reported: Reported) -> list[StatusUpdate]:
    snapshot = reported.snapshot
    resolved = assign_policies(snapshot.policies.values(), snapshot.classes.values())
    return [
        _policy_status(reported, policy, resolved.verdicts_of(key))
        for key, policy in sorted(snapshot.policies.items())
    ]


def _policy_status(
    reported: Reported, item: RouterPolicy, targets: tuple[TargetVerdict, ...]
) -> StatusUpdate:
    lost = [t for t in targets if t.reason is Reason.CONFLICTED]
    absent = [t for t in targets if t.reason is Reason.TARGET_NOT_FOUND]
    accepted = (
        _false(ConditionType.ACCEPTED, Reason.CONFLICTED, lost[0].message)
        if lost
        else _true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    )
    refs = (
        _false(ConditionType.RESOLVED_REFS, Reason.TARGET_NOT_FOUND, absent[0].message)
        if absent
        else _true(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS)
    )
    rows = [{"name": t.target, "accepted": t.is_accepted, "message": t.message} for t in targets]
    return _update(reported, item, (accepted, refs, _programmed(reported)), {"targets": rows})


def _fleet_status(reported: Reported, item: Fleet) -> StatusUpdate:
    snapshot, routing = reported.snapshot, reported.snapshot.routing
    by_node_id = {e.node_id: e for e in reversed(routing.envoys)}  # a list keyed by it takes each once
    envoys = [
        {
            "nodeId": e.node_id,
            "acknowledgedVersion": e.acknowledged_version,
            "refusedVersion": e.refused_version,
            "message": e.message[:1024],
        }
        for _, e in sorted(by_node_id.items())[:MAX_ENVOYS]
    ]
    applied = snapshot.applied_plan
    cost = sum(
        p.spec.price_usd_per_hour * sum(gpus for _, gpus in _held(reported, name))
        for name, p in snapshot.pools.items()
    )
    fields = {
        "currentPlan": applied.metadata.name if applied else None,
        "costUsdPerHour": round(cost, 4),
        "envoys": envoys,
        "envoysConnected": len(routing.envoys),
    }
    verdicts = (_true(ConditionType.ACCEPTED, Reason.ACCEPTED), _programmed(reported), _fleet_ready(reported))
    return _update(reported, item, verdicts, fields)


def _fleet_ready(reported: Reported) -> _Verdict:
    """As ready as its classes; the reason is that of the first one that is not."""
    classes = sorted(reported.snapshot.classes.items())
    verdicts = {key: _class_ready(reported, c) for key, c in classes}
    not_ready = {key: v for key, v in verdicts.items() if v.status is not ConditionStatus.TRUE}
    if not not_ready:
        return _true(ConditionType.READY, Reason.READY)
    named = ", ".join(list(not_ready)[:5])
    message = f"not every WorkloadClass is Ready: {named}; the status of each says why."
    return _false(ConditionType.READY, next(iter(not_ready.values())).reason, message)


def _held(reported: Reported, pool: str) -> list[tuple[str, int]]:
    """Node and GPUs of every engine pod that the pool's nodes have and that is not lost."""
    resource = reported.snapshot.pools[pool].spec.resource_name
    names = set(reported.nodes[pool].all_names)
    return [
        (p.destination, p.devices.get(resource, 0))
        for p in reported.snapshot.engine_pods
        if p.holds_devices and p.destination in names and p.key not in reported.lost
    ]


def _planned(reported: Reported) -> tuple[PlannedDeployment, ...]:
    return reported.follow.spec.deployments if reported.follow else ()


def _is_of(reported: Reported, option: str, class_key: str) -> bool:
    workload = reported.resolution.workloads().get(option)
    return workload is not None and workload.class_key == class_key
