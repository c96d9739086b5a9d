"""Attribution: moments to acts, requests to replicas, losses to the node that died.

Owns these three rules. Input: evidence. Output: an act, or a yes or no. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.client.records import Outcome, RequestRecord
from argosy.snapshot.liveness import HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, UNHEALTHY_AFTER
from argosy_sim.demo.evidence import Evidence, ReplicaSeen
from argosy_sim.demo.story import Act, Shock, Story

ROTATION_S = UNHEALTHY_AFTER * (HEALTH_INTERVAL_S + HEALTH_TIMEOUT_S)
"""A silent endpoint leaves Envoy's rotation within this time; used where the moment was not observed."""


def act_at(story: Story, at_s: float) -> Act:
    """The act that a moment belongs to; earlier moments belong to the first act, later ones to the last.

    Every request, plan and replica therefore belongs to exactly one act.
    """
    begun = [act for act in story.acts if act.start_s <= at_s]
    return begun[-1] if begun else story.acts[0]


def is_on(record: RequestRecord, replica: ReplicaSeen) -> bool:
    """Whether the record's endpoint (`address:port`) is this replica.

    An address may be reused after a pod is gone, so the request must have been sent in the pod's life.
    """
    if record.endpoint is None or record.sent_s is None or not replica.address:
        return False
    host = record.endpoint.rpartition(":")[0].strip("[]")
    lived = record.sent_s >= replica.bound_s and (replica.gone_s is None or record.sent_s < replica.gone_s)
    return lived and replica.address in (record.endpoint, host)


@dataclass(frozen=True, slots=True)
class DeadNode:
    """The replicas of the node that was ended, and when the story ends it."""

    replicas: tuple[ReplicaSeen, ...]
    died_s: float

    def had_in_flight(self, record: RequestRecord) -> bool:
        """Whether the dead node explains this request's loss, and no retry could have prevented it.

        It was sent to the node before that left rotation, its response header was already passed on
        (after that Envoy may not retry), and it was unfinished when the node fell silent.
        """
        if record.outcome not in (Outcome.BROKEN, Outcome.TIMED_OUT):
            return False
        return record.header_s is not None and any(self._held(record, replica) for replica in self.replicas)

    def _held(self, record: RequestRecord, replica: ReplicaSeen) -> bool:
        silent_s = self.died_s if replica.silent_s is None else replica.silent_s
        left_rotation_s = silent_s + ROTATION_S if replica.unhealthy_s is None else replica.unhealthy_s
        sent_in_time = record.sent_s is not None and record.sent_s < left_rotation_s
        return sent_in_time and record.end_s >= silent_s and is_on(record, replica)


def dead_node(evidence: Evidence) -> DeadNode:
    """The node that was ended; without replicas where none was."""
    replicas = tuple(
        replica
        for replica in evidence.replicas
        if evidence.dead_node is not None and replica.node == evidence.dead_node
    )
    ends = (Shock.NODE_DEATH, Shock.NODE_REMOVAL)
    deaths = [act.start_s for act in evidence.story.acts if act.shock in ends]
    return DeadNode(replicas, deaths[0] if deaths else 0.0)
