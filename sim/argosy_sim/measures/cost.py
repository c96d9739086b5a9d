"""What GPUs cost: prices over time times GPUs bound over time.

Owns that product. Input: prices, and for each pool the GPUs that are paid for. Output: `Steps` in
dollars per hour, and dollars. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from argosy.errors import InvariantError
from argosy_sim.measures.steps import Span, Steps

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class PriceStep:
    """A pool's price per GPU-hour from `at_s` on (the first one known: from minus infinity)."""

    pool: str
    at_s: float
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class GpuSpan:
    """`gpus` of a pool that are paid for from `start_s` until `end_s` (infinity: to the end of the run)."""

    pool: str
    start_s: float
    end_s: float
    gpus: int


def price_usd_per_hour(prices: Sequence[PriceStep], pool: str, at_s: float) -> float:
    """The pool's price per GPU-hour at this moment; raises `InvariantError` where none holds yet."""
    known = [price for price in prices if price.pool == pool and price.at_s <= at_s]
    if not known:
        raise InvariantError(f"pool {pool} has no price at {at_s:.1f} s: its cost is unknown, not zero")
    return max(known, key=lambda price: price.at_s).usd_per_hour


def gpus_bound(spans: Iterable[GpuSpan], pool: str) -> Steps:
    """GPUs of the pool that are paid for, over time."""
    return Steps.of_spans(Span(s.start_s, s.end_s, s.gpus) for s in spans if s.pool == pool)


def cost_rate(spans: Sequence[GpuSpan], prices: Sequence[PriceStep]) -> Steps:
    """Dollars per hour over time of all GPUs that are paid for.

    Raises `InvariantError` where a pool with GPUs has no price yet.
    """
    gpus_by_pool = {pool: gpus_bound(spans, pool) for pool in sorted({span.pool for span in spans})}
    changes = {at_s for steps in gpus_by_pool.values() for at_s, _ in steps.points}
    if not changes:
        return Steps(())
    first_s = min(changes)
    changes |= {price.at_s for price in prices if price.at_s > first_s}
    points = (
        (at_s, _usd_per_hour({pool: gpus.at(at_s) for pool, gpus in gpus_by_pool.items()}, prices, at_s))
        for at_s in sorted(changes)
    )
    return Steps(tuple(points))


def constant_fleet_cost_rate(
    gpus_by_pool: Mapping[str, float], prices: Sequence[PriceStep], start_s: float
) -> Steps:
    """Dollars per hour over time of a fleet whose size never changes, at the prices of each moment.

    Raises `InvariantError` where a pool has no price at `start_s`.
    """
    # `start_s` is a step in any case, so that a pool without a price is found there.
    changes = {start_s} | {price.at_s for price in prices if price.pool in gpus_by_pool}
    return Steps(tuple((at_s, _usd_per_hour(gpus_by_pool, prices, at_s)) for at_s in sorted(changes)))


def _usd_per_hour(gpus_by_pool: Mapping[str, float], prices: Sequence[PriceStep], at_s: float) -> float:
    return sum(
        gpus * price_usd_per_hour(prices, pool, at_s) for pool, gpus in gpus_by_pool.items() if gpus > 0
    )


def cost_usd(rate_usd_per_hour: Steps, start_s: float, end_s: float) -> float:
    """Dollars between two moments."""
    return rate_usd_per_hour.integral(start_s, end_s) / SECONDS_PER_HOUR
