"""What users have deleted and still runs: within its grace it serves, afterwards it drains.

Owns which deleted objects something runs for, and the sentence, count and record of what still runs.
Input: a snapshot, whose `seen.parting` says until when each serves. Output: references, and `Draining`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from argosy.api import Fleet, FleetPlan, GPUPool, ServedModel, WorkloadClass
from argosy.api.conditions import (
    MESSAGE_LIMIT,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    condition_with_message,
    find_condition,
)
from argosy.api.fleetplan import MAX_REMOVALS, Removal
from argosy.api.kinds import kind_of
from argosy.api.schema.timestamp import rfc3339
from argosy.api.servedmodel import DRAIN_SECONDS
from argosy.control.decision import EventRecord
from argosy.control.picture.named import Makers, makers_by_deployment
from argosy.control.picture.remarks import named
from argosy.control.status.verdict import held_deployments, held_text
from argosy.keys import DeploymentKey
from argosy.plan.explain.words import counted
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot, bearer, recorded_removals
from argosy.snapshot.seen import ObjectRef

TAKEN_OVER = "ReplicasTakenOver"
"""The reason of the event of a class that begins with the replicas of a deleted one."""

K = TypeVar("K", bound=str)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Draining:
    """What still runs for deleted objects. replicas: pods; removals: what a fresh process must know."""

    sentence: str = ""
    replicas: int = 0
    removals: tuple[Removal, ...] = ()


def in_use(snapshot: FleetSnapshot, refs: Iterable[ObjectRef]) -> frozenset[ObjectRef]:
    """Those of these objects for which replicas exist or are asked for."""
    asked = frozenset(refs)
    busy = {p.deployment for p in snapshot.engine_pods}
    busy |= {key for key, state in snapshot.deployments.items() if state.replicas}
    makers = _makers_without(snapshot, asked)
    return frozenset(ref for key, each in makers.items() if key in busy for ref in each.missing & asked)


def draining(snapshot: FleetSnapshot) -> Draining:
    """What serves within a grace, and what finishes its requests after one."""
    ends = snapshot.seen.parting
    makers = _makers_without(snapshot, ends)
    groups: dict[float, set[ObjectRef]] = {}
    for ref, until_s in ends.items():
        groups.setdefault(until_s, set()).add(ref)
    sentences = [_serving(snapshot, makers, refs, until_s) for until_s, refs in sorted(groups.items())]
    serving = {key for key, each in makers.items() if each.missing & ends.keys()}
    gone = _finishing(snapshot, makers, serving)
    staying = [] if _acts(snapshot) else [pod for pod in gone if not pod.deleting]
    if staying:
        sentences.append(f"{counted(len(staying), 'replica')} of what was deleted {_stay(snapshot, staying)}")
    holding = held_deployments(snapshot)
    held = [pod for pod in gone if pod.deployment in holding and not pod.deleting and pod not in staying]
    if held:
        why = held_text(snapshot, min(pod.deployment for pod in held))
        sentences.append(f"{counted(len(held), 'replica')} of what was deleted cannot be removed: {why}")
    if finishing := [pod for pod in gone if pod not in staying and pod not in held]:
        sentences.append(_finishing_sentence(finishing, snapshot.now_s))
    num_serving = sum(p.deployment in serving for p in snapshot.engine_pods)
    sentence = "; ".join(sentences)[: MESSAGE_LIMIT - 1]
    return Draining(sentence, num_serving + len(gone), _removals(snapshot, makers))


def draining_condition(snapshot: FleetSnapshot, found: Draining) -> Condition | None:
    """The condition of the FleetPlan; None where nothing has ever drained."""
    if found.sentence:
        status, reason = ConditionStatus.TRUE, Reason.REMOVING
        message = reason.sentence(problem=found.sentence)
    elif _before(snapshot) is not None:
        status, reason = ConditionStatus.FALSE, Reason.DRAINED
        message = reason.sentence()
    else:
        return None
    return condition_with_message(ConditionType.DRAINING, status, reason, message)


def draining_event(snapshot: FleetSnapshot, found: Draining) -> tuple[EventRecord, ...]:
    """An event of Fleet for what is newly deleted."""
    if snapshot.fleet is None or not snapshot.seen.parting.keys() - recorded_removals(snapshot.plans).keys():
        return ()
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", Reason.REMOVING.value, found.sentence),)


def takeover_events(snapshot: FleetSnapshot, new_plan: FleetPlan) -> list[EventRecord]:
    """An event of each class that takes over the replicas of a deleted one whose grace has just ended."""
    applied = snapshot.applied_plan
    if applied is None:
        return []
    ended = {ref.key for ref in snapshot.seen.ended}
    gone = [cell for cell in applied.spec.cells if cell.workload_class in ended]
    former = {cell.sharing_group: cell.workload_class for cell in gone}
    known = {cell.workload_class for cell in applied.spec.cells}
    return [
        EventRecord(
            WorkloadClass.KIND,
            cell.workload_class,
            "Normal",
            TAKEN_OVER,
            f"It takes over the replicas of WorkloadClass {former[cell.sharing_group]}, which was deleted;"
            " the requests that these have in flight finish there.",
        )
        for cell in new_plan.spec.cells
        if cell.workload_class not in known and cell.sharing_group in former
    ]


def _before(snapshot: FleetSnapshot) -> Condition | None:
    plan = bearer(snapshot.plans)
    return find_condition(plan.status.conditions, ConditionType.DRAINING) if plan is not None else None


def _makers_without(snapshot: FleetSnapshot, refs: Iterable[ObjectRef]) -> dict[DeploymentKey, Makers]:
    """Makers as they are without these objects: what was made for one of them misses it."""
    gone = frozenset(refs)
    bare = replace(
        snapshot,
        classes=_left(WorkloadClass.PLURAL, snapshot.classes, gone),
        models=_left(ServedModel.PLURAL, snapshot.models, gone),
        pools=_left(GPUPool.PLURAL, snapshot.pools, gone),
        seen=replace(snapshot.seen, deleted=snapshot.seen.deleted | gone),
    )
    return makers_by_deployment(bare)


def _left(plural: str, items: Mapping[K, V], gone: frozenset[ObjectRef]) -> dict[K, V]:
    return {key: item for key, item in items.items() if ObjectRef(plural, key) not in gone}


def _serving(
    snapshot: FleetSnapshot, makers: Mapping[DeploymentKey, Makers], refs: set[ObjectRef], until_s: float
) -> str:
    keys = {key for key, each in makers.items() if each.missing & refs}
    num_pods = sum(p.deployment in keys and not p.deleting for p in snapshot.engine_pods)
    verb = "was" if len(refs) == 1 else "were"
    if not _acts(snapshot):
        pods = [p for p in snapshot.engine_pods if p.deployment in keys and not p.deleting]
        return f"{named(refs)} {verb} deleted: {counted(len(pods), 'replica')} {_stay(snapshot, pods)}"
    serve = "serves" if num_pods == 1 else "serve"
    its = "finishes its" if num_pods == 1 else "finish their"
    time = rfc3339(until_s)[11:19]
    drain_s = _drain_s(snapshot, keys)
    return (
        f"{named(refs)} {verb} deleted: {counted(num_pods, 'replica')} {serve} until {time}, then {its}"
        f" requests within {drain_s} s"
    )


def _acts(snapshot: FleetSnapshot) -> bool:
    return snapshot.acts


def _stay(snapshot: FleetSnapshot, pods: list[PodState]) -> str:
    """What becomes of these in a mode in which nothing is removed."""
    verb = "stays" if len(pods) == 1 else "stay"
    why = Reason.MODE_NOT_AUTO.sentence(mode=snapshot.fleet_spec.mode.value)
    return f"{verb}: {why.rstrip('.')}"


def _drain_s(snapshot: FleetSnapshot, keys: set[DeploymentKey]) -> int:
    """The longest drain of these Deployments' models, in seconds."""
    plan = snapshot.applied_plan
    names = {d.model_key for d in plan.spec.deployments if d.name in keys} if plan is not None else set()
    models = [snapshot.models[name] for name in names if name in snapshot.models]
    return max((m.spec.engine.drain_seconds for m in models), default=DRAIN_SECONDS)


def _finishing(
    snapshot: FleetSnapshot, makers: Mapping[DeploymentKey, Makers], serving: set[DeploymentKey]
) -> list[PodState]:
    """Pods of which a user has deleted a maker, and whose grace has ended."""
    deleted = snapshot.seen.deleted

    def is_gone(pod: PodState) -> bool:
        each = makers.get(pod.deployment)
        if each is None:  # its Deployment is gone, and so is its place in the plan
            return pod.deleting
        return pod.deployment not in serving and bool(each.missing & deleted)

    return [p for p in snapshot.engine_pods if is_gone(p)]


def _finishing_sentence(pods: list[PodState], now_s: float) -> str:
    late = [p for p in pods if p.ends_s is not None and p.ends_s < now_s]
    if late:
        return _late_sentence(late)
    ends = [p.ends_s for p in pods if p.ends_s is not None]
    limit = f", until {rfc3339(max(ends))[11:19]} at the latest" if ends else ""
    verb = "finishes its" if len(pods) == 1 else "finish their"
    return f"{counted(len(pods), 'replica')} of what was deleted {verb} requests{limit}"


def _late_sentence(late: list[PodState]) -> str:
    """Of those that should have ended, the first: its time is over, and something else holds it."""
    pod = min(late, key=lambda p: (p.ends_s or 0.0, p.key))
    verb = "has" if len(late) == 1 else "have"
    if pod.finalizers:
        why = f"its finalizer {', '.join(pod.finalizers)} holds it"
    else:
        why = f"the kubelet of node {pod.node or 'none'} has not ended it"
    return (
        f"{counted(len(late), 'replica')} of what was deleted {verb} not ended, such as pod {pod.key}, whose"
        f" time ended at {rfc3339(pod.ends_s or 0.0)[11:19]}: {why}"
    )


def _removals(snapshot: FleetSnapshot, makers: Mapping[DeploymentKey, Makers]) -> tuple[Removal, ...]:
    """Deleted objects that something runs for, each with the end of its grace, also a past one."""
    missing = frozenset(ref for each in makers.values() for ref in each.missing)
    kept = {ref: at_s for ref, at_s in recorded_removals(snapshot.plans).items() if ref in missing}
    every = sorted({**kept, **snapshot.seen.parting}.items())
    return tuple(
        Removal(kind=kind_of(ref.plural).name, key=ref.key, removed_after=rfc3339(at_s))
        for ref, at_s in every[:MAX_REMOVALS]
    )
