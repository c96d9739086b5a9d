"""What ResourceQuotas leave for replicas, as limits of the sizing problem.

Owns which quotas are counted: those on devices and on numbers of pods, where it is known whether they count
an engine's pod. Input: a snapshot, and the pod template of each Deployment that may run. Output: `Quota`s of
the planner. Any other quota is heard when it refuses (`quarantine`). What pods of other owners hold is read
from the pods themselves: the status of a quota lags behind them for seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from argosy.keys import DeploymentKey
from argosy.plan.problem import Quota
from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.admission.quotas import QuotaState, ScopeRule
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

Template = Mapping[str, Any]

_NUMBERS_OF_PODS = ("pods", "count/pods")
_REQUESTS = "requests."


def counted(resource: str) -> bool:
    """Whether the planner counts what a quota allows of this resource."""
    if resource in _NUMBERS_OF_PODS:
        return True
    return resource.startswith(_REQUESTS) and "/" in resource


def counts(quota: QuotaState, template: Template) -> bool | None:
    """Whether a quota counts pods of this template; None where that is not known."""
    found = [_holds(rule, template.get("spec") or {}) for rule in quota.scopes]
    if False in found:
        return False
    return None if None in found else True


def _holds(rule: ScopeRule, spec: Template) -> bool | None:
    match rule.scope:
        case "Terminating" | "NotTerminating":
            has_deadline = spec.get("activeDeadlineSeconds") is not None
            return has_deadline is (rule.scope == "Terminating")
        case "PriorityClass":
            return _priority_holds(rule, str(spec.get("priorityClassName") or ""))
        case "CrossNamespacePodAffinity":
            return None if spec.get("affinity") else False
        case _:
            return None  # BestEffort: a LimitRange or a webhook may give the pod requests


def _priority_holds(rule: ScopeRule, name: str) -> bool | None:
    if not name:
        return None  # a PriorityClass may be every pod's default
    if rule.operator in ("In", "NotIn"):
        return (name in rule.values) is (rule.operator == "In")
    return rule.operator == "Exists"


def quota_limits(snapshot: FleetSnapshot, templates: Mapping[DeploymentKey, Template]) -> tuple[Quota, ...]:
    """A limit for each counted resource of each quota that a replica takes something of."""
    found = []
    for _, quota in sorted(snapshot.quotas.items()):
        its = {k: t for k, t in templates.items() if k.namespace == quota.key.namespace and counts(quota, t)}
        for resource, hard in quota.hard.items():
            most = thousandths(hard)
            if its and most is not None and counted(resource):
                found += _limit(snapshot, quota, resource, its, most // 1000)
    return tuple(found)


def _limit(
    snapshot: FleetSnapshot,
    quota: QuotaState,
    resource: str,
    templates: Mapping[DeploymentKey, Template],
    hard: int,
) -> list[Quota]:
    per_replica = {key: units for key, t in templates.items() if (units := _units(t, resource))}
    if not per_replica:
        return []
    # `count/pods` is of objects: those that have ended count until they are deleted.
    pods = [
        p
        for p in snapshot.pods.values()
        if p.namespace == quota.key.namespace and (p.is_active or resource == "count/pods")
    ]
    planned = [p for p in pods if p.is_active and _is_planned(p, templates)]
    own = sum(_held(p, resource) for p in planned)
    running = sum(_held(p, resource) for p in planned if not p.deleting)
    others = _others(quota, resource, own, sum(_held(p, resource) for p in pods) - own)
    left = max(0, hard - others)
    name = resource.removeprefix(_REQUESTS)
    return [
        Quota(
            name=f"{quota.key} {resource}",
            title=f"ResourceQuota {quota.key} leaves {left} of {hard} {name}",
            remedy=f"raise spec.hard of ResourceQuota {quota.key}",
            # What runs stays admitted where a quota was lowered below it.
            units=max(left, running),
            per_replica=per_replica,
        )
    ]


def _others(quota: QuotaState, resource: str, own: int, seen: int) -> int:
    """What pods of others hold: by the pods, and no more than the quota itself counts, which may leave some
    of them out by its scopes."""
    used = thousandths((quota.used or {}).get(resource))
    return seen if used is None else min(seen, max(0, used // 1000 - own))


def _is_planned(pod: PodState, templates: Mapping[DeploymentKey, Template]) -> bool:
    return bool(pod.deployment) and pod.deployment in templates


def _units(template: Template, resource: str) -> int:
    if resource in _NUMBERS_OF_PODS:
        return 1
    name, total = resource.removeprefix(_REQUESTS), 0
    for container in (template.get("spec") or {}).get("containers") or ():
        found = thousandths(((container.get("resources") or {}).get("limits") or {}).get(name))
        total += (found or 0) // 1000
    return total


def _held(pod: PodState, resource: str) -> int:
    return 1 if resource in _NUMBERS_OF_PODS else pod.devices.get(resource.removeprefix(_REQUESTS), 0)


def is_counted(quota: QuotaState, resources: Iterable[str], template: Template) -> bool:
    """Whether the planner counts all of what a quota refused: then it needs no quarantine."""
    return counts(quota, template) is True and all(map(counted, resources))


def digest(text: str) -> str:
    """A short name of a content."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
