"""How soon a replica that became Ready was routable, and how soon it got its first request.

Owns the two delays of every new replica, and which of them count as known; `promises` judges them. A
new replica is one that became Ready after act 1 began: the first plan's replicas were Ready before. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.client.records import RequestRecord
from argosy_sim.demo.evidence import Evidence, ReplicaSeen
from argosy_sim.demo.judgement.attribution import act_at, is_on


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds from Ready until something happened; where it never did, for how long it was awaited."""

    seconds: float
    happened: bool

    def exceeds(self, bound_s: float) -> bool:
        """Longer than the bound; certain even where it was still awaited at the end."""
        return self.seconds > bound_s

    def is_known_within(self, bound_s: float) -> bool:
        """Whether a bound can be judged: it happened, or the bound has passed without it."""
        return self.happened or self.exceeds(bound_s)


@dataclass(frozen=True, slots=True)
class NewReplica:
    """One new replica and its delays from the kubelet's Ready.

    offered_per_s: requests/s of its class to its cluster (class and variant) by story and plan
    """

    replica: ReplicaSeen
    ready_s: float
    routable: Delay
    first_request: Delay
    offered_per_s: float


def new_replicas(evidence: Evidence) -> tuple[NewReplica, ...]:
    """Every replica that became Ready after act 1 began, in that order."""
    ready = [(r.ready_s, r) for r in evidence.replicas if r.ready_s is not None and r.ready_s > 0]
    return tuple(
        _new_replica(evidence, replica, ready_s)
        for ready_s, replica in sorted(ready, key=lambda pair: (pair[0], pair[1].pod))
    )


def _new_replica(evidence: Evidence, replica: ReplicaSeen, ready_s: float) -> NewReplica:
    reached = [_reached_s(record) for record in evidence.requests if is_on(record, replica)]
    return NewReplica(
        replica=replica,
        ready_s=ready_s,
        routable=_delay(evidence, replica, ready_s, replica.healthy_s),
        first_request=_delay(evidence, replica, ready_s, min(reached, default=None)),
        offered_per_s=_offered_per_s(evidence, replica, ready_s),
    )


def _reached_s(record: RequestRecord) -> float:
    """When the request reached the replica: a retried one was sent elsewhere first, so use its header."""
    reached_s = record.header_s if record.was_retried else record.sent_s
    return record.end_s if reached_s is None else reached_s


def _delay(evidence: Evidence, replica: ReplicaSeen, ready_s: float, happened_s: float | None) -> Delay:
    if happened_s is not None:
        return Delay(max(0.0, happened_s - ready_s), happened=True)
    ends = (replica.unhealthy_s, replica.silent_s, replica.gone_s, evidence.story.duration_s)
    waited_s = min(end_s for end_s in ends if end_s is not None) - ready_s
    return Delay(max(0.0, waited_s), happened=False)


def _offered_per_s(evidence: Evidence, replica: ReplicaSeen, at_s: float) -> float:
    """The class's rate by the story times the variant's share by the plan in force."""
    plans = [plan for plan in evidence.plans if plan.is_applied and plan.at_s <= at_s]
    if not plans:
        return 0.0
    shares = max(plans, key=lambda plan: plan.at_s).shares.get(replica.class_name, {})
    rate_per_s = act_at(evidence.story, at_s).rate_per_s.get(replica.class_name, 0.0)
    return rate_per_s * shares.get(replica.variant, 0.0)
