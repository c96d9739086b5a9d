"""When classes take over the requests of a deleted one, before its grace has ended.

Owns the rule. A class that begins with the replicas of the deleted one takes over at once. Any other one (it
allows other models, or is of another namespace) has to load its own first: until all of them take requests,
the deleted class is planned for and routed as before, so that no request is lost. What never serves, in a
namespace that is being deleted for example, takes nothing over. Input: a snapshot. Output: the deleted
classes whose grace ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from argosy.api import WorkloadClass
from argosy.control.state.counts import served_in_full
from argosy.keys import ClassKey
from argosy.route.precedence import conflicts
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef


def relieved(snapshot: FleetSnapshot, parting: Mapping[ObjectRef, float]) -> frozenset[ObjectRef]:
    """The deleted classes of which others take every request and can serve them now."""
    asked = replace(snapshot, seen=replace(snapshot.seen, parting=parting))
    serving = served_in_full(snapshot)
    found = set[ObjectRef]()
    for conflict in conflicts(snapshot.classes.values(), asked.yielding_classes):
        ref = ObjectRef(WorkloadClass.PLURAL, conflict.loser)
        if ref in parting and all(
            taker in serving or _begins_with(snapshot, taker, conflict.loser) for taker in conflict.takers
        ):
            found.add(ref)
    return frozenset(found)


def _begins_with(snapshot: FleetSnapshot, taker: ClassKey, deleted: ClassKey) -> bool:
    """Whether the replicas of a deleted class are those of its taker once it is gone.

    Its sharing group goes on under the taker where it has no other class, and where the taker is in all
    that counts for sharing what the deleted one was.
    """
    latter, former = snapshot.classes[taker], snapshot.classes[deleted]
    if taker.namespace != deleted.namespace or taker.namespace in snapshot.ending:
        return False
    if not latter.model_keys & former.model_keys:
        return False
    cells = snapshot.applied_plan.spec.cells if snapshot.applied_plan is not None else ()
    groups = {cell.sharing_group for cell in cells if cell.workload_class == deleted}
    sharing = {
        cell.workload_class for cell in cells if cell.sharing_group in groups
    } & snapshot.classes.keys()
    return sharing <= {deleted, taker} or _terms(latter) == _terms(former)


def _terms(workload: WorkloadClass) -> tuple[object, ...]:
    return workload.model_keys, workload.spec.priority, workload.spec.slo
