"""Prices times GPUs, without a story around them."""

from __future__ import annotations

import pytest

from argosy.errors import InvariantError
from argosy_sim.measures.cost import (
    GpuSpan,
    PriceStep,
    constant_fleet_cost_rate,
    cost_rate,
    cost_usd,
    price_usd_per_hour,
)
from argosy_sim.measures.steps import Steps

INFINITY = float("inf")
PRICES = (PriceStep("h100", 180.0, 2.0), PriceStep("h100", -INFINITY, 6.0), PriceStep("l40s", -INFINITY, 1.0))


def test_a_price_holds_from_its_moment_on() -> None:
    assert price_usd_per_hour(PRICES, "h100", 179.999) == 6.0
    assert price_usd_per_hour(PRICES, "h100", 180.0) == 2.0


def test_a_fleet_costs_the_sum_of_its_gpus_at_the_prices_of_each_moment() -> None:
    spans = (GpuSpan("h100", 100.0, INFINITY, 2), GpuSpan("l40s", 0.0, 150.0, 1))
    rate = cost_rate(spans, PRICES)
    assert rate.points == ((0.0, 1.0), (100.0, 13.0), (150.0, 12.0), (180.0, 4.0))
    assert cost_usd(rate, 0.0, 200.0) == pytest.approx((100 * 1 + 50 * 13 + 30 * 12 + 20 * 4) / 3600)


def test_a_constant_fleet_follows_its_own_pools_prices() -> None:
    rate = constant_fleet_cost_rate({"h100": 2}, (*PRICES, PriceStep("l40s", 90.0, 3.0)), 0.0)
    assert rate.points == ((-INFINITY, 12.0), (0.0, 12.0), (180.0, 4.0))


def test_no_gpu_costs_nothing() -> None:
    assert cost_rate((), PRICES) == Steps(())
    assert cost_usd(Steps(()), 0.0, 60.0) == 0


def test_a_pool_without_a_price_is_an_error_and_not_free() -> None:
    with pytest.raises(InvariantError, match=r"pool b200 has no price at 5\.0 s"):
        cost_rate((GpuSpan("b200", 5.0, 6.0, 1),), PRICES)
    with pytest.raises(InvariantError, match="pool b200"):
        constant_fleet_cost_rate({"b200": 1}, PRICES, 0.0)
