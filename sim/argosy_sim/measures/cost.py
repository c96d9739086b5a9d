"""What the run cost, and what the fleet sized for the peak would have cost.

Owns prices over time, GPUs bound over time and their product. Never decides whether the cost is
good (`promises`). Input: `Evidence`. Output: `Steps` in dollars per hour, and dollars. Pure.

A GPU costs its pool's price from the moment a pod is bound to it until the pod is deleted or its
node falls silent, whichever comes first: loading and draining are paid for, a dead machine is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from argosy.errors import InvariantError
from argosy_sim.demo.evidence import Evidence, PriceSeen, ReplicaSeen
from argosy_sim.measures.steps import Span, Steps

SECONDS_PER_HOUR = 3600.0


def price_usd_per_hour(prices: Sequence[PriceSeen], pool: str, at_s: float) -> float:
    """The pool's price per GPU-hour at this moment; `InvariantError` where none was seen by then."""
    seen = [price for price in prices if price.pool == pool and price.at_s <= at_s]
    if not seen:
        raise InvariantError(f"no price of pool {pool} is known at {at_s:.1f} s: its cost cannot be told")
    return max(seen, key=lambda price: price.at_s).usd_per_hour


def bound_until_s(replica: ReplicaSeen) -> float:
    """When the replica's GPUs stopped costing; infinity where they never did."""
    ends = (replica.gone_s, replica.silent_s)
    return min((end_s for end_s in ends if end_s is not None), default=math.inf)


def gpus_bound(evidence: Evidence, pool: str) -> Steps:
    """GPUs of the pool that are bound to engine pods, over time."""
    return Steps.of_spans(
        Span(replica.bound_s, bound_until_s(replica), replica.gpus)
        for replica in evidence.replicas
        if replica.pool == pool
    )


def cost_rate(evidence: Evidence) -> Steps:
    """Dollars per hour over time of all GPUs that are bound."""
    pools = sorted({replica.pool for replica in evidence.replicas})
    gpus_by_pool = {pool: gpus_bound(evidence, pool) for pool in pools}
    changes = {at_s for steps in gpus_by_pool.values() for at_s, _ in steps.points}
    if not changes:
        return Steps(())
    first_s = min(changes)
    changes |= {price.at_s for price in evidence.prices if price.at_s > first_s}
    return Steps(tuple((at_s, _rate_at(evidence, gpus_by_pool, at_s)) for at_s in sorted(changes)))


def _rate_at(evidence: Evidence, gpus_by_pool: dict[str, Steps], at_s: float) -> float:
    return sum(
        gpus * price_usd_per_hour(evidence.prices, pool, at_s)
        for pool, steps in gpus_by_pool.items()
        if (gpus := steps.at(at_s)) > 0
    )


def static_peak_rate(evidence: Evidence) -> Steps:
    """Dollars per hour over time of the fleet sized for every class's peak, kept throughout."""
    gpus_by_pool = evidence.static_peak.gpus_by_pool
    changes = {price.at_s for price in evidence.prices if price.pool in gpus_by_pool}
    # Its start is asked for in any case: a pool without a price must not cost nothing.
    changes.add(evidence.story.acts[0].start_s)
    return Steps(tuple((at_s, _static_rate_at(evidence, at_s)) for at_s in sorted(changes)))


def _static_rate_at(evidence: Evidence, at_s: float) -> float:
    return sum(
        gpus * price_usd_per_hour(evidence.prices, pool, at_s)
        for pool, gpus in evidence.static_peak.gpus_by_pool.items()
    )


def cost_usd(rate_usd_per_hour: Steps, start_s: float, end_s: float) -> float:
    """Dollars between two moments."""
    return rate_usd_per_hour.integral(start_s, end_s) / SECONDS_PER_HOUR
