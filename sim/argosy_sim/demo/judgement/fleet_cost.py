"""What the run cost, and what the fleet sized for the peak would have cost.

Owns which GPUs of the evidence are paid for; the arithmetic is `measures.cost`. Input: `Evidence`.
Output: `Steps` in dollars per hour. Pure.

A GPU costs its pool's price from the moment a pod is bound to it until the pod is deleted or its
node falls silent, whichever comes first: loading and draining are paid for, a dead machine is not.
"""

from __future__ import annotations

import math

from argosy_sim.demo.evidence import Evidence, ReplicaSeen
from argosy_sim.measures.cost import GpuSpan, constant_fleet_cost_rate, cost_rate
from argosy_sim.measures.steps import Steps


def bound_until_s(replica: ReplicaSeen) -> float:
    """When the replica's GPUs stopped costing; infinity where they never did."""
    ends = (replica.gone_s, replica.silent_s)
    return min((end_s for end_s in ends if end_s is not None), default=math.inf)


def gpu_spans(evidence: Evidence) -> tuple[GpuSpan, ...]:
    """The GPUs of every replica, for as long as they are paid for."""
    return tuple(GpuSpan(r.pool, r.bound_s, bound_until_s(r), r.gpus) for r in evidence.replicas)


def run_cost_rate(evidence: Evidence) -> Steps:
    """Dollars per hour over time of all GPUs bound; raises `InvariantError` for one without a price."""
    return cost_rate(gpu_spans(evidence), evidence.prices)


def static_peak_cost_rate(evidence: Evidence) -> Steps:
    """Dollars per hour over time of the fleet sized for every class's peak, kept throughout.

    Raises `InvariantError` where one of its pools has no price when act 1 begins.
    """
    start_s = evidence.story.acts[0].start_s
    return constant_fleet_cost_rate(evidence.static_peak.gpus_by_pool, evidence.prices, start_s)
