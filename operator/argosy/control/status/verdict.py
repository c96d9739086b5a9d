"""Conditions before they are dated, and the ones that several kinds share.

Owns `Verdict`, how verdicts become dated conditions, and the two conditions that read the same on
several kinds: Programmed (whether Envoys acknowledged the routes) and Ready of replicas. Input: `Reported`.
Output: `Verdict`s and conditions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy.api.conditions import (
    Conditions,
    ConditionStatus,
    ConditionType,
    Reason,
    condition_with_message,
    set_condition,
)
from argosy.api.crd.resource import ObjectMeta
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import rfc3339
from argosy.control.candidates.refusal import Refusal
from argosy.control.state.routable import PATIENCE_S
from argosy.control.state.silence import consequence
from argosy.control.status.reported import Reported
from argosy.keys import DeploymentKey
from argosy.snapshot.admission.words import Refuser
from argosy.snapshot.cluster import KUEUE, LABEL_QUEUE, PodState
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot
from argosy.snapshot.liveness import DOUBT_UNTIL_S, SILENT_AFTER_S
from argosy.snapshot.variant import Variant

LOADING_LIMIT_S = 600.0
"""Where no replica is ready after this long, loading is not the reason: look at the pods."""

_CANNOT_BIND = re.compile(r"cannot bind '([^']+)': (.*[^.])")
"""Envoy's words where the gateway's address is not free or not allowed."""

MAX_TEXT = 1024
"""The API's bound on other sentences of a status."""

FOREGROUND = "foregroundDeletion"
"""The finalizer of `kubectl delete --cascade=foreground`: Kubernetes removes it after the replicas."""

_REFUSAL_ORDER = (
    Reason.NAMESPACE_ENDING,
    Reason.CONFLICTED,
    Reason.MODEL_NOT_FOUND,
    Reason.SERVED_NAME_MISMATCH,
    Reason.SERVED_NAME_UNKNOWN,
    Reason.POD_TEMPLATE_REFUSED,
    Reason.UNKNOWN_MODEL,
    Reason.NODES_NOT_COMING,
    Reason.NODES_NOT_READY,
    Reason.NO_NODES,
    Reason.NODES_CLOSED,
    Reason.GPU_MISMATCH,
    Reason.UNPLACEABLE,
    Reason.SLO_UNREACHABLE,
    Reason.OUT_OF_RANGE,
    Reason.MODEL_TOO_LARGE,
    Reason.GPU_CONTRADICTED,
    Reason.UNKNOWN_GPU,
)
"""Where variants are refused for different reasons, the one closest to serving comes first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition before it is dated."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str


def true(kind: ConditionType, reason: Reason, **parts: object) -> Verdict:
    """A condition that is True, with the reason's own sentence."""
    return Verdict(kind, ConditionStatus.TRUE, reason, reason.sentence(**parts))


def false(kind: ConditionType, reason: Reason, **parts: object) -> Verdict:
    """A condition that is False, with the reason's own sentence."""
    return Verdict(kind, ConditionStatus.FALSE, reason, reason.sentence(**parts))


def unknown(kind: ConditionType, reason: Reason, **parts: object) -> Verdict:
    """A condition that is not known yet, with the reason's own sentence."""
    return Verdict(kind, ConditionStatus.UNKNOWN, reason, reason.sentence(**parts))


def because(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """A condition that is False for a reason that was found elsewhere, with the sentence found there."""
    return Verdict(kind, ConditionStatus.FALSE, reason, message)


def dated(
    conditions: Conditions, metadata: ObjectMeta, verdicts: Iterable[Verdict], now_s: float
) -> Conditions:
    """An object's conditions after these verdicts, each with the time of its last transition."""
    for verdict in verdicts:
        message = verdict.message
        if verdict.type is ConditionType.ACCEPTED and metadata.deletion_timestamp:
            message = f"{message} {_held(metadata)}"
        new = condition_with_message(
            verdict.type, verdict.status, verdict.reason, message, generation=metadata.generation
        )
        conditions = set_condition(conditions, new, rfc3339(now_s))
    return conditions


def _held(metadata: ObjectMeta) -> str:
    why = holder(metadata.finalizers or ())
    return (
        f"Its deletion was requested at {metadata.deletion_timestamp}, and {why}: until then it counts as"
        " before, and its grace begins once it is gone."
    )


def holding(finalizers: Iterable[str]) -> list[str]:
    """The finalizers that something else than Kubernetes' own removal of the replicas has to remove."""
    return [name for name in finalizers if name != FOREGROUND]


def holder(finalizers: Iterable[str]) -> str:
    """What a deleted object is still there for, as the end of a sentence."""
    named = holding(finalizers)
    if named:
        s = "" if len(named) == 1 else "s"
        hold, them = ("holds", "it") if len(named) == 1 else ("hold", "them")
        return f"finalizer{s} {', '.join(named)} {hold} it (remove {them} from metadata.finalizers)"
    return "it goes once its replicas have finished their requests"


def held_deployments(snapshot: FleetSnapshot) -> frozenset[DeploymentKey]:
    """Those whose deletion is requested and of which a finalizer keeps the replicas: they never change."""
    return frozenset(
        key for key, state in snapshot.deployments.items() if state.is_going and holding(state.finalizers)
    )


def held_text(snapshot: FleetSnapshot, key: DeploymentKey) -> str:
    """`the deletion of Deployment default/a was requested at ..., and finalizer b holds it (...)`."""
    state = snapshot.deployments[key]
    since = rfc3339(state.deleted_s or 0.0)
    return f"the deletion of Deployment {key} was requested at {since}, and {holder(state.finalizers)}"


def conditions_of(verdicts: Iterable[Verdict], now_s: float) -> Conditions:
    """The conditions of an object that has none yet."""
    return dated((), ObjectMeta(name="new"), verdicts, now_s)


def nearest(refusals: tuple[Refusal, ...]) -> Refusal:
    """Of several refusals the one to remedy first; where there is none, no GPUPool exists."""
    ranked = sorted(refusals, key=lambda r: _REFUSAL_ORDER.index(r.reason))
    if ranked:
        return ranked[0]
    message = "there is no GPUPool that spec.models could run on; create one"
    return Refusal(Reason.NO_NODES, message)


def replicas_verdict(reported: Reported, pods: list[PodState], wanted: int) -> Verdict:
    """The condition Ready of an object that needs `wanted` replicas and has these pods."""
    ready = sum(map(reported.serves, pods))
    if ready >= wanted:
        return true(ConditionType.READY, Reason.READY)
    if stopped := reported.stopped(pods):
        return _stopped_verdict(reported, stopped, ready, wanted)
    if waiting := gated_text(pods):
        return false(ConditionType.READY, Reason.PODS_GATED, ready=ready, desired=wanted, waiting=waiting)
    now_s = reported.snapshot.now_s
    is_in_trouble = any(
        p.restarts > 0 or now_s - p.created_s >= LOADING_LIMIT_S for p in pods if not p.deleting
    )
    if ready == 0 and is_in_trouble:
        return false(ConditionType.READY, Reason.NO_REPLICAS_READY, desired=wanted)
    return false(ConditionType.READY, Reason.LOADING, ready=ready, desired=wanted)


def gated_text(pods: Iterable[PodState]) -> str:
    """Which of these replicas another client holds back, in a sentence without its full stop; empty: none.

    They are not late, and nothing replaces them.
    """
    held = [p for p in pods if p.other_gates and p.is_active and not p.deleting]
    if not held:
        return ""
    pod = min(held, key=lambda p: p.key)
    gate = pod.other_gates[0]
    if gate.startswith(KUEUE):
        queue = f"LocalQueue {pod.labels[LABEL_QUEUE]}" if LABEL_QUEUE in pod.labels else "its queue"
        remedy = f"Kueue removes it once {queue} admits the pod (kubectl -n {pod.namespace} get workloads)"
    else:
        remedy = "the client that set it has to remove it"
    waits = "1 waits with its" if len(held) == 1 else f"{len(held)} wait with their"
    return f"{waits} GPUs reserved, pod {pod.key} for the scheduling gate {gate}: {remedy}"


def portless_verdict(pods: Iterable[PodState], ready: int, wanted: int) -> Verdict | None:
    """That the engine of one of these pods cannot be reached; None where all can."""
    for pod in sorted(pods, key=lambda p: p.key):
        if pod.portless and pod.ready and not pod.deleting:
            found = ", ".join(pod.portless)[:MAX_TEXT]
            parts = {"ready": ready, "desired": wanted, "pod": pod.key, "containers": found}
            return false(ConditionType.READY, Reason.ENGINE_PORT_MISSING, **parts)
    return None


def _stopped_verdict(reported: Reported, stopped: list[PodState], ready: int, wanted: int) -> Verdict:
    """Engines that Kubernetes calls ready and that do not serve."""
    if (portless := portless_verdict(stopped, ready, wanted)) is not None:
        return portless
    named = min(p.key for p in stopped)
    # Before what Envoys make of it: they send a silent engine no requests either.
    if any(p.key in reported.doubted for p in stopped):
        said = doubted_verdict(reported, ConditionType.READY, named)
        return because(said.type, said.reason, said.message)
    if silent := sorted(p.key for p in stopped if p.key in reported.silent_s):
        return _silent_verdict(reported, silent, ready, wanted)
    not_routed = [p.key for p in stopped if p.key in reported.unrouted]
    if len(not_routed) == len(stopped):
        why = reported.unrouted[named].why
        return false(ConditionType.READY, Reason.NOT_ROUTED, ready=ready, desired=wanted, pod=named, why=why)
    parts = {"ready": ready, "desired": wanted, "count": len(stopped), "pod": named}
    return false(ConditionType.READY, Reason.NOT_ANSWERING, silent_s=round(SILENT_AFTER_S), **parts)


def doubted_verdict(reported: Reported, kind: ConditionType, pod: str = "") -> Verdict:
    """That engines stopped answering together, so that it is not known. pod: the one to name"""
    parts = {"count": len(reported.doubted), "pod": pod or min(reported.doubted)}
    return unknown(kind, Reason.SILENCE_IN_DOUBT, until_s=round(DOUBT_UNTIL_S), **parts)


def _silent_verdict(reported: Reported, silent: list[str], ready: int, wanted: int) -> Verdict:
    """Engines that have answered nothing for long, until others serve in their place."""
    pod = reported.snapshot.pods[silent[0]]
    return false(
        ConditionType.READY,
        Reason.ENGINE_SILENT,
        ready=ready,
        desired=wanted,
        silent="1 engine has" if len(silent) == 1 else f"{len(silent)} engines have",
        pod=pod.key,
        node=pod.node,
        since=rfc3339(reported.silent_s[pod.key]),
        consequence=consequence(reported.mode),
    )


def refused_verdict(reported: Reported, planned: Iterable[DeploymentKey], served: Verdict) -> Verdict:
    """`served`, or the cluster's words where it refuses the pods that are missing."""
    if served.status is ConditionStatus.TRUE:
        return served
    names = sorted(set(planned))
    for name in names:
        if (ending := ending_verdict(reported, name.namespace)) is not None:
            return ending
    if (held := held_verdict(reported, names)) is not None:
        return held
    return admission_verdict(reported, names) or served


def admission_verdict(reported: Reported, planned: Iterable[DeploymentKey]) -> Verdict | None:
    """That the cluster refuses replicas which are missing, and which object does; None where it does not."""
    names = sorted(set(planned))
    wanted = {d.name: d.replicas for d in reported.planned if d.name in names}
    for name in names:
        found = reported.refused.get(name)
        if found is None or reported.num_serving[name] >= wanted.get(name, 0):
            continue
        parts = {
            "ready": sum(reported.num_serving[each] for each in names),
            "desired": sum(wanted.values()),
            "what": found.what,
            "problem": found.refusal.problem,
            "remedy": found.refusal.remedy,
        }
        if found.refusal.refuser is Refuser.SCHEDULER:
            return false(ConditionType.READY, Reason.PODS_UNSCHEDULABLE, **parts)
        return false(ConditionType.READY, Reason.PODS_REFUSED, refuser=found.refusal.name, **parts)
    return None


def others_serve(reported: Reported, variants: Iterable[Variant]) -> Verdict | None:
    """That an option is left alone because the cluster refuses it, while other ones serve; None: none is."""
    planned = {(d.namespace, d.variant) for d in reported.planned if d.replicas}
    for variant in sorted(variants, key=lambda v: v.name):
        namespace = variant.model_key.namespace
        found = reported.left_alone(namespace, variant.name)
        if found is None or (namespace, variant.name) in planned:
            continue
        return true(
            ConditionType.READY,
            Reason.OTHERS_SERVE,
            refuser=found.refusal.name,
            variant=variant.name,
            problem=found.refusal.problem,
            remedy=found.refusal.remedy,
            until=rfc3339(found.until_s),
        )
    return None


def ending_verdict(reported: Reported, namespace: str) -> Verdict | None:
    """That everything in the namespace is being deleted; None where it is not."""
    at_s = reported.snapshot.ending.get(namespace)
    if at_s is None:
        return None
    parts = {"namespace": namespace, "since": rfc3339(at_s)}
    return false(ConditionType.READY, Reason.NAMESPACE_ENDING, **parts)


def held_verdict(reported: Reported, planned: Iterable[DeploymentKey]) -> Verdict | None:
    """That replicas are missing whose Deployment is being deleted; None where none is."""
    names = sorted(set(planned))
    ready = sum(reported.num_serving[name] for name in names)
    desired = {d.name: d.replicas for d in reported.planned if d.name in names}
    for name in names:
        state = reported.snapshot.deployments.get(name)
        if state is None or state.deleted_s is None or reported.num_serving[name] >= desired.get(name, 0):
            continue
        return false(
            ConditionType.READY,
            Reason.DEPLOYMENT_HELD,
            ready=ready,
            desired=sum(desired.values()),
            deployment=name,
            since=rfc3339(state.deleted_s),
            holder=holder(state.finalizers),
        )
    return None


def programmed(reported: Reported) -> Verdict:
    """Whether the connected Envoys have acknowledged the routes."""
    kind, routing = ConditionType.PROGRAMMED, reported.snapshot.routing
    ahead = next((envoy for envoy in routing.envoys if envoy.is_ahead), None)
    if ahead is not None:
        return _ahead(reported.snapshot, ahead)
    if reported.snapshot.applied_plan is None:
        if reported.mode is not Mode.AUTO:
            return mode_not_auto(kind, reported.mode)
        if reported.num_serving:
            return unknown(kind, Reason.PLAN_GONE)
        return false(kind, Reason.NO_PLAN)
    if not routing.envoys:
        return false(kind, Reason.NO_ENVOY)
    shared = [e.node_id for e in routing.envoys if e.is_duplicate]
    if shared:
        node_id = shared[0]
        return false(kind, Reason.ENVOYS_SHARE_ID, count=shared.count(node_id), node_id=node_id)
    refusing = next((envoy for envoy in routing.envoys if envoy.refused_version), None)
    if refusing is not None:
        return _refused(refusing)
    pending = [e.node_id for e in routing.envoys if e.acknowledged_version != routing.version]
    if pending:
        return _pending(reported.snapshot, pending)
    return true(kind, Reason.PROGRAMMED, connected=len(routing.envoys))


def _pending(snapshot: FleetSnapshot, pending: Sequence[str]) -> Verdict:
    """pending: node ids of the Envoys that have not acknowledged the version"""
    kind, routing = ConditionType.PROGRAMMED, snapshot.routing
    numbers = {"pending": len(pending), "connected": len(routing.envoys), "version": routing.version}
    if routing.published_s is None or snapshot.now_s - routing.published_s <= PATIENCE_S:
        return unknown(kind, Reason.ENVOY_PENDING, **numbers)
    return unknown(kind, Reason.ENVOY_LATE, **numbers, limit_s=round(PATIENCE_S), node_id=pending[0])


def _refused(envoy: EnvoyState) -> Verdict:
    """In Envoy's words, and with the remedy where it cannot listen."""
    kind = ConditionType.PROGRAMMED
    if taken := _CANNOT_BIND.search(envoy.message):
        address, problem = taken.groups()
        return false(
            kind, Reason.ENVOY_CANNOT_LISTEN, node_id=envoy.node_id, address=address, problem=problem
        )
    return false(
        kind,
        Reason.ENVOY_REFUSED,
        node_id=envoy.node_id,
        version=envoy.refused_version,
        message=envoy.message,
    )


def _ahead(snapshot: FleetSnapshot, envoy: EnvoyState) -> Verdict:
    """An Envoy that keeps later routes than the API server knows, and until when."""
    return false(
        ConditionType.PROGRAMMED,
        Reason.ENVOY_AHEAD,
        node_id=envoy.node_id,
        revision=envoy.revision,
        latest=max((plan.spec.revision for plan in snapshot.plans), default=0),
        served_at=rfc3339(math.ceil(envoy.served_at_s or snapshot.now_s)),
    )


def mode_not_auto(kind: ConditionType, mode: Mode) -> Verdict:
    """A condition that waits for the user to let Argosy act."""
    return false(kind, Reason.MODE_NOT_AUTO, mode=mode.value)
