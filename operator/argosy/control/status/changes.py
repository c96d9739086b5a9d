"""Events about what has changed in an object's status: unserved, served again, replicas or nodes lost.

Owns which change is an event, and its sentence. A pure function of the status that the API server holds
and the one that replaces it, so that each change is one event, whichever process leads. Input: the
snapshot and `StatusUpdate`s. Output: `EventRecord`s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from argosy.api import Fleet, GPUPool, ServedModel, WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.fleet import FleetStatus
from argosy.api.gpupool import GPUPoolStatus
from argosy.api.kinds import kind_of
from argosy.api.servedmodel import ServedModelStatus
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.decision import EventRecord, StatusUpdate
from argosy.control.state.nodes import unusable_text
from argosy.control.state.waiting import uncounted_pods
from argosy.control.status.rollout.adopted import adoption_events
from argosy.keys import ClassKey, ModelKey
from argosy.snapshot.fleet import FleetSnapshot

NORMAL, WARNING = "Normal", "Warning"
REPLICA_LOST, NODE_LOST, GPUS_LOST = "ReplicaLost", "NodeLost", "GpusUnusable"
NODE_LEAVING = "NodeLeaving"

_TOLD = {
    WorkloadClass.PLURAL: (ConditionType.READY,),
    ServedModel.PLURAL: (ConditionType.READY, ConditionType.METRICS_READ, ConditionType.ADAPTERS_READY),
    GPUPool.PLURAL: (ConditionType.READY,),
    # The same for every object: told once.
    Fleet.PLURAL: (ConditionType.PROGRAMMED,),
}
"""By kind, the conditions whose changes are events."""

_EXPECTED = frozenset(
    (Reason.LOADING, Reason.NO_PLAN, Reason.ENVOY_PENDING, Reason.MODE_NOT_AUTO, Reason.EXCHANGE_QUEUED)
)
"""Reasons that pass by themselves, or that a user chose: no warning where the object was not Ready before."""


_TOLD_BY_PLAN = frozenset(
    (Reason.CAPACITY_SHORT, Reason.BUDGET_SHORT, Reason.REPLICAS_AT_LIMIT, Reason.REPLICAS_AUTOSCALED)
)
"""Reasons of which a new plan's own events tell, with the rate that is missing."""

_TOLD_OF_FLEET = frozenset((Reason.SILENCE_IN_DOUBT, Reason.PICTURE_INCOMPLETE, Reason.ENVOY_AHEAD))
"""Reasons of which one event of Fleet tells: no class, model or pool is at fault."""


def change_events(snapshot: FleetSnapshot, updates: Iterable[StatusUpdate]) -> tuple[EventRecord, ...]:
    """One event for each change that users should hear of."""
    found: list[EventRecord] = []
    for update in updates:
        before = _status_before(snapshot, update)
        if before is None:
            continue
        kind = kind_of(update.kind).name
        for each in _TOLD.get(update.kind, ()):
            found += _condition_events(kind, update, before.conditions, each)
        found += adoption_events(kind, update, before.conditions)
        acts = snapshot.acts
        found += _count_events(snapshot, update, before, "a successor does" if acts else "it is gone")
    return tuple(found)


def _condition_events(
    kind: str, update: StatusUpdate, before: tuple[Condition, ...], which: ConditionType
) -> list[EventRecord]:
    old, new = find_condition(before, which), find_condition(update.status.conditions, which)
    if new is None or new.reason in _TOLD_BY_PLAN | _TOLD_OF_FLEET:
        return []
    if old is not None and old.reason in _TOLD_OF_FLEET:
        return []
    is_true, was_true = (c is not None and c.status is ConditionStatus.TRUE for c in (new, old))
    if is_true:
        if old is None or was_true:
            return []
        return [EventRecord(kind, update.key, NORMAL, new.reason, f"{which} again: {new.message}")]
    if was_true and new.reason == Reason.ENVOY_PENDING:
        # Each new version of the routes is acknowledged a moment after it was published.
        return [EventRecord(kind, update.key, NORMAL, new.reason, new.message)]
    if was_true:
        return [EventRecord(kind, update.key, WARNING, new.reason, f"No longer {which}: {new.message}")]
    if new.reason in _EXPECTED or (old is not None and old.reason == new.reason):
        return []
    return [EventRecord(kind, update.key, WARNING, new.reason, f"Not {which}: {new.message}")]


def _count_events(
    snapshot: FleetSnapshot, update: StatusUpdate, before: object, until: str
) -> list[EventRecord]:
    """The event of a class that lost replicas which it needs, or of a pool that lost nodes or GPUs.

    until: how long replicas on a leaving node serve
    """
    new, kind = update.status, kind_of(update.kind).name
    if isinstance(new, WorkloadClassStatus) and isinstance(before, WorkloadClassStatus):
        return _replica_events(snapshot, ClassKey(update.key), before, new)
    if isinstance(new, GPUPoolStatus) and isinstance(before, GPUPoolStatus):
        leaving = _leaving_events(
            EventRecord(kind, update.key, WARNING, NODE_LEAVING, ""), before, new, until
        )
        return [*leaving, *_pool_events(snapshot, update.key, before, new)]
    return []


def _replica_events(
    snapshot: FleetSnapshot, key: ClassKey, before: WorkloadClassStatus, new: WorkloadClassStatus
) -> list[EventRecord]:
    """That a class has fewer replicas than it needs; those beyond its plan may go."""
    ready = find_condition(new.conditions, ConditionType.READY)
    left, needed = new.replicas_ready or 0, _needed(snapshot, key)
    lost = (before.replicas_ready or 0) - left
    if lost <= 0 or ready is None or ready.status is ConditionStatus.TRUE:
        return []
    if needed is not None and left >= needed:
        return []
    verb = "takes" if left == 1 else "take"
    of = "" if needed is None else f", and it needs {needed}"
    message = f"{_count(lost, 'replica')} fewer: {left} {verb} requests now{of}."
    return [EventRecord(WorkloadClass.KIND, key, WARNING, REPLICA_LOST, message)]


def _needed(snapshot: FleetSnapshot, key: ClassKey) -> int | None:
    """The replicas that the applied plan has for a class; None without such a plan."""
    plan = snapshot.applied_plan
    if plan is None:
        return None
    groups = {cell.sharing_group for cell in plan.spec.cells if cell.workload_class == key}
    return sum(d.replicas for d in plan.spec.deployments if d.sharing_group in groups)


def _leaving_events(
    event: EventRecord, before: GPUPoolStatus, new: GPUPoolStatus, until: str
) -> Iterable[EventRecord]:
    """One for each node whose removal is announced, and again where another announcement replaces it."""
    known = {(node.name, node.reason) for node in before.leaving or ()}
    for node in new.leaving or ():
        if (node.name, node.reason) not in known:
            verb = "serves" if node.replicas == 1 else "serve"
            served = f"{_count(node.replicas, 'replica')} on it {verb} until {until}."
            what_runs = served if node.replicas else "no replica serves on it."
            message = f"Node {node.name} is leaving: {node.reason.rstrip('.')}; {what_runs}"
            yield replace(event, message=message)


def _pool_events(
    snapshot: FleetSnapshot, key: str, before: GPUPoolStatus, new: GPUPoolStatus
) -> list[EventRecord]:
    kind = GPUPool.KIND
    num_gone = (before.nodes or 0) - (new.nodes or 0)
    if num_gone > 0:
        message = f"{_count(num_gone, 'node')} fewer: {new.nodes or 0} match spec.nodeSelector now."
        return [EventRecord(kind, key, WARNING, NODE_LOST, message)]
    num_unusable = (new.gpus_unhealthy or 0) - (before.gpus_unhealthy or 0)
    if num_unusable > 0 and before.nodes:
        why = unusable_text(snapshot, key, uncounted_pods(snapshot))
        message = (
            f"{_count(num_unusable, 'GPU')} more cannot be used: {why};"
            f" {new.gpus_unhealthy} of {new.gpus_total or 0} in all."
        )
        return [EventRecord(kind, key, WARNING, GPUS_LOST, message)]
    return []


def _status_before(
    snapshot: FleetSnapshot, update: StatusUpdate
) -> WorkloadClassStatus | ServedModelStatus | GPUPoolStatus | FleetStatus | None:
    """The status that the update replaces; None for a kind or an object whose changes are not told."""
    if update.kind == WorkloadClass.PLURAL:
        workload = snapshot.classes.get(ClassKey(update.key))
        return workload.status if workload else None
    if update.kind == ServedModel.PLURAL:
        model = snapshot.models.get(ModelKey(update.key))
        return model.status if model else None
    if update.kind == GPUPool.PLURAL:
        pool = snapshot.pools.get(update.key)
        return pool.status if pool else None
    return snapshot.fleet.status if update.kind == Fleet.PLURAL and snapshot.fleet else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
