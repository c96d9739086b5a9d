"""Which changes of the world call for a new decision at once, and what to call them.

Owns the sentence that becomes a FleetPlan's `trigger`. Input: one object before and after, as the
API server sends it; Nodes and Pods are read by `snapshot.kubernetes`, as for decisions. Output: a
`Trigger`, or None for what no decision reads (statuses that Argosy writes itself, heartbeats); and the
one trigger of a decision that several asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from argosy.api import Fleet
from argosy.api.adoption import ADOPT, ADOPT_ARGS, ADOPT_CLASS
from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.kinds import TriggerRule, kind_of
from argosy.api.orders import APPROVED, ROLLBACK, is_approved, orders_of
from argosy.api.schema.ownership import AUTOSCALED_BY, other_owner, status_managers
from argosy.control.state.departure import departure
from argosy.keys import NamespacedName
from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.admission.quotas import QuotaState, quota_state
from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY, NodeState, PodState
from argosy.snapshot.kubernetes import (
    deployment_state,
    enforced_level,
    loose_replica_set,
    lost_label,
    node_state,
    pod_state,
    protected_replicas,
)
from argosy.snapshot.scaling.autoscalers import autoscaler_state

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why to decide now.

    is_progress: only an earlier step took effect; no input has changed
    has_followers: it is a change of a node that takes no replica down: others may follow, because users and
        autoscalers work on one node after another
    about: of several about the same, the last tells all; empty: of nothing that others are about
    """

    message: str
    is_progress: bool = False
    has_followers: bool = False
    about: str = ""


RESTORED = "the API server was restored to an earlier state"
"""All objects may have changed at once, and none of them was created or deleted."""

MOST_NAMED = 3
"""Triggers that a revision names; of more, it gives the number."""


def merged(triggers: Sequence[Trigger]) -> Trigger:
    """One trigger of several: new facts first; progress only where there is nothing else."""
    last = {t.about: t.message for t in triggers if t.about}
    asked = [last.get(t.about, t.message) for t in triggers if not t.is_progress]
    distinct = list(dict.fromkeys(asked or [t.message for t in triggers]))
    if not distinct:
        return Trigger("the planning interval has passed", is_progress=True)
    num_more = len(distinct) - MOST_NAMED
    more = f" and {num_more} more" if num_more > 0 else ""
    return Trigger("; ".join(distinct[:MOST_NAMED]) + more, is_progress=not asked)


def trigger_of(
    plural: str,
    previous: Object | None,
    current: Object | None,
    has_applied_plan: Callable[[], bool] = lambda: True,
) -> Trigger | None:
    """Why this change calls for a decision, or None where it does not.

    has_applied_plan: whether a plan is applied after the change; it is asked where that matters
    Raises InvariantError for a plural that is not in the registry of kinds.
    """
    kind = kind_of(plural)
    match kind.trigger:
        case TriggerRule.SPEC:
            return _spec_change(kind.name, previous, current)
        case TriggerRule.BOUNDS:
            return _bounds_change(kind.name, previous, current)
        case TriggerRule.PLAN:
            return _plan_change(previous, current, has_applied_plan)
        case None:
            return None
        case rule:
            return _BY_RULE[rule](previous, current)


def _name(item: Object) -> str:
    metadata = item["metadata"]
    return NamespacedName.of(metadata.get("namespace") or "", metadata["name"])


def _spec_change(noun: str, previous: Object | None, current: Object | None) -> Trigger | None:
    if previous is None and current is not None:
        return Trigger(f"{noun} {_name(current)} was created")
    if previous is not None and current is None:
        return Trigger(f"{noun} {_name(previous)} was deleted")
    assert previous is not None
    assert current is not None
    before, after = previous.get("spec") or {}, current.get("spec") or {}
    if before == after:
        if noun == Fleet.KIND and (ordered := _ordered(previous, current)):
            return Trigger(ordered)
        if _is_going(current) and not _is_going(previous):
            return Trigger(f"the deletion of {noun} {_name(current)} was requested", is_progress=True)
        return None
    old_price, new_price = before.get("priceUsdPerHour"), after.get("priceUsdPerHour")
    if noun == "GPUPool" and old_price != new_price:
        return Trigger(
            f"the price of pool {_name(current)} changed from {_usd(old_price)} to {_usd(new_price)}"
            " per GPU-hour"
        )
    fields = ", ".join(sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k)))
    return Trigger(f"{noun} {_name(current)} changed ({fields})")


def _usd(price: object) -> str:
    """`$1.80`; a price that has parts of a cent is written as it is."""
    if isinstance(price, int | float) and round(float(price), 2) == price:
        return f"${price:.2f}"
    return f"${price}"


def _ordered(previous: Object, current: Object) -> str:
    """What users order by annotations of the Fleet that differ; empty where none does."""
    before, now = (orders_of(item["metadata"].get("annotations") or {}) for item in (previous, current))
    if before == now:
        return ""
    if now.rollback is not None and now.rollback != before.rollback:
        return (
            f"a user went back to revision {now.rollback} (annotation {ROLLBACK} of Fleet {_name(current)})"
        )
    if now.holds:
        return f"a user paused planning ({now.named} of Fleet {_name(current)})"
    return f"a user let planning go on ({before.named} of Fleet {_name(current)} removed)"


def _is_going(item: Object) -> bool:
    return "deletionTimestamp" in item["metadata"]


def _plan_change(
    previous: Object | None, current: Object | None, has_applied_plan: Callable[[], bool]
) -> Trigger | None:
    """An applied plan that is gone, or is no longer applied although no other has superseded it; a plan
    that another client applies."""
    if current is not None and _is_approved(current) and not (previous and _is_approved(previous)):
        return Trigger(f"FleetPlan {_name(current)} was approved (annotation {APPROVED})")
    if previous is None or _applied(previous).get("status") != ConditionStatus.TRUE:
        return _applied_by_hand(current)
    if current is None:
        return Trigger(f"FleetPlan {_name(previous)}, which was applied, was deleted")
    now = _applied(current)
    if now.get("status") == ConditionStatus.TRUE:
        return None
    if now.get("reason") == Reason.SUPERSEDED:
        if has_applied_plan():
            return None
        return Trigger(f"FleetPlan {_name(current)} was marked as superseded, and no plan is applied")
    return Trigger(f"the condition Applied of FleetPlan {_name(current)} was removed")


def _is_approved(plan: Object) -> bool:
    return is_approved(plan["metadata"].get("annotations") or {})


def _applied_by_hand(plan: Object | None) -> Trigger | None:
    if plan is None or _applied(plan).get("status") != ConditionStatus.TRUE:
        return None
    path = ("status", "conditions", {"type": ConditionType.APPLIED.value}, "status")
    client = other_owner(status_managers(plan["metadata"]), path)
    if client is None:
        return None
    return Trigger(f"FleetPlan {_name(plan)} was marked as applied by {client.title}")


def _applied(plan: Object) -> Object:
    rows = (plan.get("status") or {}).get("conditions") or ()
    return next((row for row in rows if row.get("type") == ConditionType.APPLIED), {})


def _node_change(previous: Object | None, current: Object | None) -> Trigger | None:
    # CPU and memory of a kubelet's report vary a little: the next decision reads them soon enough.
    before, after = (
        None if node is None else replace(node_state(node), room={}) for node in (previous, current)
    )
    if before == after:
        return None
    what = _node_sentence(_name(current or previous or {}), before, after)
    return Trigger(what, has_followers=after is not None and after.ready and not _evicts(after))


def _evicts(node: NodeState) -> bool:
    return any(taint.effect == "NoExecute" for taint in node.taints)


def _node_sentence(name: str, before: NodeState | None, after: NodeState | None) -> str:
    was_ready, is_ready = before is not None and before.ready, after is not None and after.ready
    if was_ready != is_ready:
        return f"node {name} became {'ready' if is_ready else 'unavailable'}"
    was_leaving, is_leaving = (departure(n) if n is not None else "" for n in (before, after))
    if was_leaving != is_leaving:
        return f"node {name} is leaving: {is_leaving}" if is_leaving else f"node {name} stays"
    if before is None or after is None:
        return f"node {name} was {'created' if before is None else 'deleted'}"
    return f"node {name} changed ({_node_parts(before, after)})"


def _node_parts(before: NodeState, after: NodeState) -> str:
    """What differs, labels and devices by their names."""
    labels = _different(before.labels, after.labels)
    noun = "label" if len(labels) == 1 else "labels"
    named = [f"{noun} {', '.join(labels[:MOST_NAMED])}"] if labels else []
    taints = ["taints"] if before.taints != after.taints else []
    return "; ".join([*named, *_different(before.allocatable, after.allocatable), *taints])


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _is_read(pod: PodState) -> bool:
    """Whether decisions read it: a pod of Argosy's, or a foreign pod that takes devices."""
    return pod.labels.get(LABEL_MANAGED_BY) == MANAGED_BY or bool(pod.devices)


@dataclass(frozen=True, slots=True)
class _Progress:
    """What of a pod changes as steps take effect; its counters and its address trigger nothing."""

    ready: bool
    deleting: bool
    node: str
    has_ended: bool
    gated: bool
    has_no_node: bool


def _progress(pod: Object | None) -> _Progress | None:
    """None for a pod that does not exist, or that no decision reads."""
    if pod is None or not _is_read(state := pod_state(pod)):
        return None
    return _Progress(
        ready=state.ready,
        deleting=state.deleting,
        node=state.node,
        has_ended=not state.is_active,
        gated=state.gated,
        has_no_node=state.unschedulable_since_s is not None,
    )


def _pod_change(previous: Object | None, current: Object | None) -> Trigger | None:
    before, after = _progress(previous), _progress(current)
    if before == after:
        return None
    pod = current or previous or {}
    what = "is gone" if current is None else "is Ready" if _is_endpoint(after) else "changed"
    return Trigger(f"pod {_name(pod)} {what}", is_progress=True)


def is_endpoint_change(plural: str, previous: Object | None, current: Object | None) -> bool:
    """Whether an engine has become ready for requests, or has ceased to be."""
    if kind_of(plural).trigger is not TriggerRule.POD:
        return False
    before, after = (_is_endpoint(_progress(pod)) for pod in (previous, current))
    return before != after


def _is_endpoint(pod: _Progress | None) -> bool:
    return pod is not None and pod.ready and not pod.deleting


def _edits(deployment: Object) -> frozenset[tuple[str, str, float]]:
    """When each other client last changed a Deployment."""
    managers = deployment_state(deployment).managers
    return frozenset((m.name, m.subresource, m.at_s) for m in managers if not m.is_operator)


def _is_edited(previous: Object, current: Object) -> bool:
    """Whether another client wrote it: the API server keeps no name of one that only removes fields."""
    before, after = deployment_state(previous), deployment_state(current)
    is_changed = (before.labels, before.settings) != (after.labels, after.settings)
    return is_changed or _edits(previous) != _edits(current)


def _deployment_change(previous: Object | None, current: Object | None) -> Trigger | None:
    """Its end, another client's change, or a refusal of its pods: Argosy's own steps change nothing."""
    if current is None:
        return Trigger(f"Deployment {_name(previous or {})} is gone", is_progress=True)
    ordered = deployment_state(current).restarted_at
    if previous is not None and deployment_state(previous).restarted_at != ordered and ordered:
        return Trigger(f"a restart of Deployment {_name(current)} was ordered (kubectl rollout restart)")
    if previous is not None and _is_going(current) and not _is_going(previous):
        return Trigger(f"Deployment {_name(current)} is being deleted", is_progress=True)
    if what := _adoption_change(previous, current):
        return Trigger(what)
    if previous is not None and (count := _autoscaled(previous, current)):
        return Trigger(count, about=f"the count of Deployment {_name(current)}")
    if previous is not None and _is_edited(previous, current):
        return Trigger(f"Deployment {_name(current)} was changed", is_progress=True)
    before, after = ("" if d is None else deployment_state(d).pods_refused for d in (previous, current))
    if before == after:
        return None
    what = "are refused" if after else "are no longer refused"
    return Trigger(f"pods of Deployment {_name(current)} {what}", is_progress=True)


def _autoscaled(previous: Object, current: Object) -> str:
    """The number that a HorizontalPodAutoscaler has set, in a sentence; empty where none has."""
    before, after = deployment_state(previous), deployment_state(current)
    owner = other_owner(after.managers, ("spec", "replicas"))
    if owner is None or owner.name != AUTOSCALED_BY or before.replicas == after.replicas:
        return ""
    return (
        f"a HorizontalPodAutoscaler set the replicas of Deployment {_name(current)} from {before.replicas} to"
        f" {after.replicas}"
    )


def _autoscaler_change(previous: Object | None, current: Object | None) -> Trigger | None:
    """One that names a Deployment came, went or has other bounds; its status triggers nothing.

    Of a Deployment that is hardly Argosy's it is no cause of a plan.
    """
    before, after = (None if a is None else autoscaler_state(a) for a in (previous, current))
    if before == after:
        return None
    what = "was deleted" if current is None else "was created" if previous is None else "was changed"
    name = _name(current or previous or {})
    about = before if before is not None and before.is_of_argosy else after or before
    assert about is not None
    message = f"HorizontalPodAutoscaler {name} of Deployment {about.deployment} {what}"
    return Trigger(message, is_progress=not about.is_of_argosy)


def _adoption_change(previous: Object | None, current: Object) -> str:
    """What a user says of a Deployment's adoption and did not say before; empty where that is nothing."""
    before, after = (_adoption_words(item) for item in (previous or {"metadata": {}}, current))
    if before == after:
        return ""
    if ADOPT not in after:
        return f"a user took Deployment {_name(current)} back (label {ADOPT} removed)"
    named = ", ".join(
        f"{name}={after[name]}" for name in sorted(after) if after.get(name) != before.get(name)
    )
    return (
        f"a user asked for the adoption of Deployment {_name(current)} ({named or 'an annotation removed'})"
    )


def _adoption_words(item: Object) -> dict[str, str]:
    """The label, and where it is set the annotations."""
    labels, annotations = (item["metadata"].get(name) or {} for name in ("labels", "annotations"))
    named = {name: annotations[name] for name in (ADOPT_ARGS, ADOPT_CLASS) if name in annotations}
    return {ADOPT: labels[ADOPT], **named} if ADOPT in labels else {}


def _replica_set_change(previous: Object | None, current: Object | None) -> Trigger | None:
    """One of Argosy's that no Deployment owns any more, or whose labels were changed since."""
    before, after = (None if r is None else loose_replica_set(r) for r in (previous, current))
    if after is None or before == after:
        return None
    return Trigger(f"ReplicaSet {after.key} belongs to no Deployment", is_progress=True)


def _namespace_change(previous: Object | None, current: Object | None) -> Trigger | None:
    """Its deletion is requested: nothing can be made in it any more. Or it admits other pods than before."""
    before, after = (None if item is None else enforced_level(item) for item in (previous, current))
    if previous is not None and current is not None and before != after:
        return Trigger(f"Pod Security of namespace {_name(current)} was changed", is_progress=True)
    if current is None or not _is_going(current) or (previous is not None and _is_going(previous)):
        return None
    return Trigger(f"namespace {_name(current)} is being deleted", is_progress=True)


def _quota_change(previous: Object | None, current: Object | None) -> Trigger | None:
    """It allows something else; or devices that it counts have become free."""
    name = _name(current or previous or {})
    before, after = (None if item is None else quota_state(item) for item in (previous, current))
    if before is None or after is None:
        return Trigger(f"ResourceQuota {name} was {'deleted' if after is None else 'created'}")
    if (before.hard, before.scopes) != (after.hard, after.scopes):
        return Trigger(f"ResourceQuota {name} was changed")
    if any(_is_freed(resource, before, after) for resource in after.hard if "/" in resource):
        return Trigger(f"ResourceQuota {name} counts less than before", is_progress=True)
    return None


def _is_freed(resource: str, before: QuotaState, after: QuotaState) -> bool:
    was, now = (thousandths((state.used or {}).get(resource)) for state in (before, after))
    return now is not None and (was is None or now < was)


def _bounds_change(noun: str, previous: Object | None, current: Object | None) -> Trigger | None:
    before, after = (None if item is None else item.get("spec") for item in (previous, current))
    if before == after:
        return None
    what = "was deleted" if current is None else "was created" if previous is None else "was changed"
    return Trigger(f"{noun} {_name(current or previous or {})} {what}", is_progress=True)


def _kept(budget: Object | None) -> int | None:
    """The replicas that a budget of Argosy's keeps; None for one that does not exist or is another's."""
    labels = {} if budget is None else budget["metadata"].get("labels") or {}
    return protected_replicas(budget) if budget and labels.get(LABEL_MANAGED_BY) == MANAGED_BY else None


def _budget_change(previous: Object | None, current: Object | None) -> Trigger | None:
    """A budget that keeps another number of replicas, or is gone: it is set back without a new plan."""
    before, after = _kept(previous), _kept(current)
    if before is None or before == after:
        return None
    lost = lost_label(current) if current is not None else ""
    what = "was changed" if after is not None else f"was changed ({lost})" if lost else "is gone"
    return Trigger(f"PodDisruptionBudget {_name(previous or {})} {what}", is_progress=True)


_BY_RULE: Mapping[TriggerRule, Callable[[Object | None, Object | None], Trigger | None]] = {
    TriggerRule.NODE: _node_change,
    TriggerRule.POD: _pod_change,
    TriggerRule.DEPLOYMENT: _deployment_change,
    TriggerRule.REPLICA_SET: _replica_set_change,
    TriggerRule.NAMESPACE: _namespace_change,
    TriggerRule.BUDGET: _budget_change,
    TriggerRule.QUOTA: _quota_change,
    TriggerRule.AUTOSCALER: _autoscaler_change,
}
"""The rules that need nothing but the object before and after."""
