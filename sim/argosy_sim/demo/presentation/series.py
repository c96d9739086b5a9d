"""Quantities of the demo over time, for its plots: planned rates, replica states, Envoy's shares.

Owns bins and states of what only the demo's evidence has; arrival rates and rolling percentiles are
`measures.over_time`. Seconds count from act 1. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from argosy_sim.demo.evidence import Evidence, ReplicaSeen
from argosy_sim.demo.judgement.fleet_cost import bound_until_s
from argosy_sim.demo.story import Story
from argosy_sim.measures.steps import Span, Steps

_SHARE_BINS_S = (5.0, 10.0, 15.0, 30.0)
_SHARE_REQUESTS = 4  # with fewer requests in a bin the split is chance


def planned_rate(story: Story, class_name: str) -> Steps:
    """Requests/s that the story asks for."""
    points = [(step.start_s, step.requests_per_s) for step in story.schedule(class_name)]
    return Steps((*points, (story.duration_s, 0.0)))


@dataclass(frozen=True, slots=True)
class ReplicaStates:
    """How many replicas of a pool are loading, ready, and out of rotation but still paid for."""

    loading: Steps
    ready: Steps
    draining: Steps


def replica_states(evidence: Evidence, pool: str) -> ReplicaStates:
    """A pool's replicas over time."""
    own = [replica for replica in evidence.replicas if replica.pool == pool]
    return ReplicaStates(
        loading=Steps.of_spans(_loading(replica) for replica in own),
        ready=Steps.of_spans(_ready(replica) for replica in own),
        draining=Steps.of_spans(_draining(replica) for replica in own),
    )


def _loading(replica: ReplicaSeen) -> Span:
    end_s = bound_until_s(replica)
    return Span(replica.bound_s, end_s if replica.ready_s is None else min(end_s, replica.ready_s), 1)


def _ready(replica: ReplicaSeen) -> Span:
    start_s = math.inf if replica.ready_s is None else replica.ready_s
    end_s = bound_until_s(replica)
    return Span(start_s, end_s if replica.unhealthy_s is None else min(end_s, replica.unhealthy_s), 1)


def _draining(replica: ReplicaSeen) -> Span:
    was_out = replica.ready_s is not None and replica.unhealthy_s is not None
    start_s = max(replica.ready_s or 0.0, replica.unhealthy_s or 0.0) if was_out else math.inf
    return Span(start_s, bound_until_s(replica), 1)


@dataclass(frozen=True, slots=True)
class ShareBin:
    """Requests of a class that Envoy sent to each variant between two moments."""

    start_s: float
    end_s: float
    requests: dict[str, int]


def share_bins(evidence: Evidence, class_name: str) -> tuple[ShareBin, ...]:
    """Bins from the start of act 1, as short as the class's rate allows; an empty one is left out."""
    samples = [(s.at_s, s.by_class.get(class_name, {})) for s in evidence.shares if s.at_s > 0]
    total = sum(sum(requests.values()) for _, requests in samples)
    if not total:
        return ()
    per_s = total / max(at_s for at_s, _ in samples)
    length_s = next((b for b in _SHARE_BINS_S if per_s * b >= _SHARE_REQUESTS), _SHARE_BINS_S[-1])
    sums: dict[int, dict[str, int]] = {}
    for at_s, requests in samples:
        # A sample counts what came before it, so one at a bin's end belongs to that bin.
        of_bin = sums.setdefault(math.ceil(at_s / length_s - 1e-9) - 1, {})
        for variant, num in requests.items():
            of_bin[variant] = of_bin.get(variant, 0) + num
    return tuple(
        ShareBin(index * length_s, (index + 1) * length_s, requests)
        for index, requests in sorted(sums.items())
        if sum(requests.values())
    )
