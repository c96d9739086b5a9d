"""Deployments whose deletion is requested and that a finalizer holds, for users: their replicas stay.

Kubernetes changes nothing of such a Deployment: its pods serve on and keep their GPUs, whatever the plan
is, and go all at once with it. Owns the sentences about replicas of the former plan that stay so, about
planned ones that lack their room, and about a class that is served by such replicas alone. Input:
`Reported`. Output: a `Verdict`, None where nothing is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.fleetplan import PlannedDeployment
from argosy.control.state.waiting import replicas_without_room
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, because, held_deployments, held_text
from argosy.keys import DeploymentKey
from argosy.plan.explain.words import counted
from argosy.snapshot.cluster import PodState


def former_held(reported: Reported, left: Mapping[DeploymentKey, int], wanted: int) -> Verdict | None:
    """Progressing of a plan whose replicas all get requests, while former ones cannot be removed.

    left: replicas that the plan does not want, by Deployment
    """
    held = sorted(held_deployments(reported.snapshot) & left.keys())
    if not held:
        return None
    message = (
        f"All {wanted} planned replicas get requests; {counted(left[held[0]], 'replica')} of the former plan"
        f" cannot be removed: {held_text(reported.snapshot, held[0])}."
    )
    return because(ConditionType.PROGRESSING, Reason.DEPLOYMENT_HELD, message)


def room_held(
    reported: Reported, planned: Iterable[PlannedDeployment], pods: Iterable[PodState]
) -> Verdict | None:
    """Ready or Progressing where planned replicas lack the room that former ones keep, which cannot go.

    pods: of the same classes or model
    """
    planned, snapshot = [d for d in planned if d.replicas], reported.snapshot
    names = {d.name for d in planned}
    without_room = names & replicas_without_room(snapshot, reported.placement).keys()
    former = Counter(p.deployment for p in pods if p.is_active and p.deployment not in names)
    held = sorted(held_deployments(snapshot) & former.keys())
    if not without_room or not held:
        return None
    ready = sum(min(d.replicas, reported.num_serving[d.name]) for d in planned)
    wanted = sum(d.replicas for d in planned)
    keeps = "keeps" if former[held[0]] == 1 else "keep"
    message = (
        f"{ready} of {wanted} planned replicas get requests, and there is no room for the others:"
        f" {counted(former[held[0]], 'replica')} of the former plan {keeps} the GPUs, because"
        f" {held_text(snapshot, held[0])}."
    )
    return because(ConditionType.READY, Reason.DEPLOYMENT_HELD, message)


def served_by_held(reported: Reported, planned: Iterable[PlannedDeployment]) -> Verdict | None:
    """Ready of what is served, where replicas of it go all at once when a finalizer is removed."""
    names = held_deployments(reported.snapshot) & {d.name for d in planned if d.replicas}
    if not names:
        return None
    name = min(names)
    number = counted(reported.num_serving[name], "replica")
    said = held_text(reported.snapshot, name)
    message = (
        f"It is served, by {number} of a Deployment that cannot be changed: {said}. Its replicas end with it,"
        " and it is made again under the same name once it is gone."
    )
    return Verdict(ConditionType.READY, ConditionStatus.TRUE, Reason.DEPLOYMENT_HELD, message)
