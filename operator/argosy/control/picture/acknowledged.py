"""Counts that fall only once no Envoy sends requests to the replicas that go.

Owns what of a decision waits for the Envoys, and what users read of it. Input: the decided steps, the
snapshot, and since when each removal has been waited for. Output: the steps that may be taken now, what is
waited for, a sentence where that lasts, and an event where it is waited for no longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from argosy.api import Fleet
from argosy.control.decision import EventRecord, PlannedStep
from argosy.control.state.removable import in_order_of_removal, is_due, patience_s, still_sending
from argosy.control.state.routable import RECONNECT_S
from argosy.rollout import DeletePod, MarkVictim, ScaleDeployment
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The steps that may be taken now.

    awaited_s: since when the removal of each pod has been waited for, by the pod's key (monotonic seconds)
    chosen_s:  of these pods and of all that are marked, since when they are to go: a decision that leaves a
               step out, because something is doubted for a moment, begins no wait anew. Where Argosy does
               not act, marks mean nothing, and none is to go
    waiting:   why removals wait, in a sentence; empty where none has waited for long
    """

    steps: tuple[PlannedStep, ...]
    awaited_s: Mapping[str, float] = field(default_factory=dict)
    chosen_s: Mapping[str, float] = field(default_factory=dict)
    waiting: str = ""
    events: tuple[EventRecord, ...] = ()


def acknowledged_steps(
    steps: tuple[PlannedStep, ...], snapshot: FleetSnapshot, lost: Set[str], before_s: Mapping[str, float]
) -> Acknowledged:
    """Leave out the scale steps whose victims an Envoy may still send requests to. Marks are not left out.

    before_s: `chosen_s` of the last decision
    """
    costs = {each.step.pod: each.step.cost for each in steps if isinstance(each.step, MarkVictim)}
    marked = (pod.key for pod in snapshot.engine_pods if pod.is_marked)
    chosen_s = {key: before_s.get(key, snapshot.monotonic_s) for key in marked if snapshot.acts}
    awaited_s: dict[str, float] = {}
    taken: list[PlannedStep] = []
    waiting: dict[str, str] = {}
    events: list[EventRecord] = []
    for each in steps:
        sending = _sending(each, snapshot, lost, costs)
        awaited_s |= {key: before_s.get(key, snapshot.monotonic_s) for key in sending}
        early = {key: why for key, why in sending.items() if not is_due(key, awaited_s, snapshot)}
        waiting |= early
        if not early:
            relies_on = replace(each.relies_on, unacknowledged=frozenset(sending))
            taken.append(replace(each, relies_on=relies_on))
            events.extend(_events(snapshot, sending))
    said = _sentence(waiting, awaited_s, snapshot)
    return Acknowledged(tuple(taken), awaited_s, chosen_s | awaited_s, said, tuple(events))


def _sending(
    planned: PlannedStep, snapshot: FleetSnapshot, lost: Set[str], costs: Mapping[str, int]
) -> dict[str, str]:
    """Why each pod that the step would remove may still get requests, by the pod's key."""
    if isinstance(planned.step, DeletePod):
        orphan = snapshot.pods[planned.step.pod]
        return {pod.key: why for pod, why in still_sending(snapshot, [orphan], lost)}
    if not isinstance(planned.step, ScaleDeployment):
        return {}
    pods = in_order_of_removal(snapshot, planned.step.key, lost, costs)
    going: list[PodState] = pods[: max(0, len(pods) - planned.step.replicas)]
    return {pod.key: why for pod, why in still_sending(snapshot, going, lost)}


def _sentence(waiting: Mapping[str, str], awaited_s: Mapping[str, float], snapshot: FleetSnapshot) -> str:
    """For users, where a removal has waited for longer than an Envoy needs."""
    late = [key for key in sorted(waiting) if snapshot.monotonic_s - awaited_s[key] >= RECONNECT_S]
    if not late:
        return ""
    others = "1 more pod" if len(late) == 2 else f"{len(late) - 1} more pods"
    more = f" (and {others})" if len(late) > 1 else ""
    return (
        f"pod {late[0]}{more} takes no new requests where others can, and is removed once every Envoy knows"
        f" that, at the latest {patience_s(late[0], snapshot):.0f} s after it was chosen: {waiting[late[0]]}"
    )


def _remedy(why: str) -> str:
    if why.startswith("Envoy"):
        return "look at that Envoy: it may send requests to a replica that is gone until it answers again"
    return (
        "answers that are not finished are cut: spec.engine.drainSeconds of its ServedModel bounds the wait"
    )


def _events(snapshot: FleetSnapshot, sending: Mapping[str, str]) -> list[EventRecord]:
    if snapshot.fleet is None:
        return []
    return [
        EventRecord(
            Fleet.KIND,
            snapshot.fleet.key,
            "Warning",
            "RemovalUnacknowledged",
            f"{key}: this pod is removed although it was waited for {patience_s(key, snapshot):.0f} s and"
            f" {why}; {_remedy(why)}",
        )
        for key, why in sorted(sending.items())
    ]
