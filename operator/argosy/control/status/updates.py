"""The statuses of all objects that users make, those that cannot be read included.

Owns the list, and what an unreadable object is told. Input: `Reported`. Output: `StatusUpdate`s.
"""

from __future__ import annotations

from argosy.api import Fleet, GPUPool, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.conditions import ConditionType, Reason
from argosy.api.fleet import FleetStatus
from argosy.api.gpupool import GPUPoolStatus
from argosy.api.routerpolicy import RouterPolicyStatus
from argosy.api.servedmodel import ServedModelStatus
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.decision import Status, StatusUpdate
from argosy.control.status.classes import class_status
from argosy.control.status.fleet import fleet_status
from argosy.control.status.models import model_status
from argosy.control.status.policies import policy_status
from argosy.control.status.pools import pool_status
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import dated, false
from argosy.route.policies import assign_policies

_KINDS: dict[str, tuple[str, type[Status]]] = {
    Fleet.KIND: (Fleet.PLURAL, FleetStatus),
    GPUPool.KIND: (GPUPool.PLURAL, GPUPoolStatus),
    ServedModel.KIND: (ServedModel.PLURAL, ServedModelStatus),
    WorkloadClass.KIND: (WorkloadClass.PLURAL, WorkloadClassStatus),
    RouterPolicy.KIND: (RouterPolicy.PLURAL, RouterPolicyStatus),
}


def status_updates(reported: Reported) -> tuple[StatusUpdate, ...]:
    """The status of every user-made object."""
    snapshot = reported.snapshot
    updates = [
        StatusUpdate(WorkloadClass.PLURAL, key, class_status(reported, item))
        for key, item in sorted(snapshot.classes.items())
    ]
    updates += [
        StatusUpdate(ServedModel.PLURAL, key, model_status(reported, item))
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
    updates += [_invalid(reported, item) for item in snapshot.invalid if item.kind in _KINDS]
    return tuple(updates)


def _invalid(reported: Reported, item: InvalidObject) -> StatusUpdate:
    """An object that cannot be read is told so, and why; its other fields and conditions stay."""
    plural, status = _KINDS[item.kind]
    message = Reason.INVALID_SPEC.sentence(problem=item.message)
    verdicts = [false(ConditionType.ACCEPTED, Reason.INVALID_SPEC, message)]
    conditions = dated(item.conditions, item.metadata, verdicts, reported.snapshot.now_s)
    return StatusUpdate(
        plural, item.key, status(observed_generation=item.metadata.generation, conditions=conditions)
    )
