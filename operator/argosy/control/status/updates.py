"""The statuses of all objects that users make, those that cannot be read included.

Owns the list, and the status of an object that cannot be read. Input: `Reported`. Output: `StatusUpdate`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from argosy.api import Fleet, GPUPool, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.conditions import ConditionType, Reason
from argosy.api.kinds import USER_SPECS, kind_named
from argosy.control.decision import RunningCost, StatusUpdate
from argosy.control.status.classes import class_status
from argosy.control.status.fleet import fleet_status
from argosy.control.status.models import model_status
from argosy.control.status.policies import policy_status
from argosy.control.status.pools import pool_status, running_costs
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import dated, false
from argosy.route.policies import assign_policies


def status_updates(reported: Reported) -> tuple[StatusUpdate, ...]:
    """The status of every user-made object."""
    snapshot, costs = reported.snapshot, running_costs(reported)
    usd_by_class = _usd(costs, lambda cost: cost.workload_class)
    usd_by_model = _usd(costs, lambda cost: cost.model)
    updates = [
        StatusUpdate(WorkloadClass.PLURAL, key, class_status(reported, item, usd_by_class.get(key, 0.0)))
        for key, item in sorted(snapshot.classes.items())
    ]
    updates += [
        StatusUpdate(ServedModel.PLURAL, key, model_status(reported, item, usd_by_model.get(key, 0.0)))
        for key, item in sorted(snapshot.models.items())
    ]
    updates += [
        StatusUpdate(GPUPool.PLURAL, key, pool_status(reported, item))
        for key, item in sorted(snapshot.pools.items())
    ]
    resolved = assign_policies(snapshot.policies.values(), snapshot.classes.values())
    updates += [
        StatusUpdate(RouterPolicy.PLURAL, key, policy_status(reported, item, resolved.verdicts_of(key)))
        for key, item in sorted(snapshot.policies.items())
    ]
    if snapshot.fleet is not None:
        updates.append(StatusUpdate(Fleet.PLURAL, snapshot.fleet.key, fleet_status(reported, snapshot.fleet)))
    unreadable = [item for item in snapshot.invalid if kind_named(item.kind).plural in USER_SPECS]
    updates += [_invalid(reported, item) for item in unreadable]
    return tuple(updates)


def _usd(costs: Iterable[RunningCost], key_of: Callable[[RunningCost], str]) -> dict[str, float]:
    """US dollars per hour by the key, rounded as in statuses."""
    found: dict[str, float] = {}
    for cost in costs:
        found[key_of(cost)] = found.get(key_of(cost), 0.0) + cost.usd_per_hour
    return {key: round(usd, 4) for key, usd in found.items()}


def _invalid(reported: Reported, item: InvalidObject) -> StatusUpdate:
    """Accepted is False, with the reason; the object's other fields and conditions stay."""
    kind = kind_named(item.kind)
    assert kind.model is not None, "users write the specs of Argosy's own kinds only"
    status = kind.model.status_type()
    verdicts = [false(ConditionType.ACCEPTED, Reason.INVALID_SPEC, problem=item.message)]
    conditions = dated(item.conditions, item.metadata, verdicts, reported.snapshot.now_s)
    return StatusUpdate(
        kind.plural, item.key, status(observed_generation=item.metadata.generation, conditions=conditions)
    )
