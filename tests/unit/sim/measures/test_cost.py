"""What the demo's runs cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from demo_evidence import INFINITY, good_evidence, replica

from argosy.errors import InvariantError
from argosy_sim.demo.evidence import Evidence, PriceSeen, ReplicaSeen, StaticPeak
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.measures.cost import (
    bound_until_s,
    cost_rate,
    cost_usd,
    gpus_bound,
    price_usd_per_hour,
    static_peak_rate,
)
from argosy_sim.measures.steps import Span, Steps


def evidence_of(*replicas: ReplicaSeen, prices: tuple[PriceSeen, ...] = ()) -> Evidence:
    flat = (PriceSeen("l40s", -INFINITY, 36.0), PriceSeen("h100", -INFINITY, 360.0))
    return replace(good_evidence(), replicas=replicas, prices=prices or flat)


@pytest.mark.parametrize(
    ("life", "start_s", "end_s", "expected_usd"),
    [
        pytest.param({}, 0, 60, 0.60, id="a cent a second, the whole act"),
        pytest.param({"bound_s": 50.0}, 0, 60, 0.10, id="paid from binding on, loading included"),
        pytest.param({"gone_s": 45.0}, 0, 60, 0.45, id="paid until deletion"),
        pytest.param({"unhealthy_s": 5.0, "gone_s": 45.0}, 0, 60, 0.45, id="draining is paid"),
        pytest.param({"silent_s": 20.0, "gone_s": 45.0}, 0, 60, 0.20, id="a dead machine is not"),
        pytest.param({"silent_s": 50.0, "gone_s": 45.0}, 0, 60, 0.45, id="deleted before its node died"),
        pytest.param({"ready_s": None}, 0, 60, 0.60, id="never Ready, but bound"),
        pytest.param({"bound_s": -30.0, "gone_s": -5.0}, 0, 60, 0.0, id="over before the act"),
        pytest.param({}, 60, 60, 0.0, id="no time, no cost"),
    ],
)
def test_a_replica_costs_from_binding_until_it_is_gone_or_silent(
    life: dict[str, float], start_s: float, end_s: float, expected_usd: float
) -> None:
    bound_s = life.pop("bound_s", -10.0)
    evidence = evidence_of(replica("chat-l40s-a", "l40s-1", bound_s, **life))
    assert cost_usd(cost_rate(evidence), start_s, end_s) == pytest.approx(expected_usd)


def test_replicas_of_several_gpus_and_pools_add_up() -> None:
    both = evidence_of(
        replace(replica("chat-l40s-a", "l40s-1", 0.0), gpus=4), replica("chat-h100-a", "h100-1", 30.0)
    )
    assert cost_usd(cost_rate(both), 0, 60) == pytest.approx(4 * 0.60 + 3.00)
    assert gpus_bound(both, "l40s").at(59.0) == 4


def test_a_price_step_inside_an_act_splits_its_cost() -> None:
    prices = (PriceSeen("l40s", -INFINITY, 36.0), PriceSeen("l40s", 15.0, 72.0))
    evidence = evidence_of(replica("chat-l40s-a", "l40s-1", 0.0), prices=prices)
    assert cost_rate(evidence).points == ((0.0, 36.0), (15.0, 72.0))
    assert cost_usd(cost_rate(evidence), 0, 60) == pytest.approx(0.15 + 0.90)


def test_the_static_peak_is_kept_throughout_at_each_acts_prices() -> None:
    peak = StaticPeak({"l40s": 5, "h100": 1}, "six")
    acts = judge(replace(good_evidence(), static_peak=peak)).acts
    expected = [(5 * 0.9 + 6) / 60] * 3 + [(5 * 0.9 + 2 * 59.8 / 60 + 6 * 0.2 / 60) / 60]
    assert [act.static_peak_cost_usd for act in acts] == pytest.approx(expected)


def test_a_price_that_nobody_saw_is_our_bug_and_not_zero() -> None:
    unpriced = evidence_of(replica("chat-h100-a", "h100-1", 0.0), prices=(PriceSeen("l40s", -INFINITY, 1.0),))
    with pytest.raises(InvariantError, match=r"no price of pool h100 is known at 0\.0 s"):
        cost_rate(unpriced)
    with pytest.raises(InvariantError, match="pool h100"):
        static_peak_rate(replace(unpriced, static_peak=StaticPeak({"h100": 1}, "")))


def test_a_price_holds_from_its_moment_on() -> None:
    prices = (PriceSeen("h100", 180.0, 2.0), PriceSeen("h100", -INFINITY, 6.0))
    assert price_usd_per_hour(prices, "h100", 179.999) == 6.0
    assert price_usd_per_hour(prices, "h100", 180.0) == 2.0


def test_no_replica_costs_nothing_and_has_no_rate() -> None:
    assert cost_rate(evidence_of()) == Steps(())
    assert cost_usd(cost_rate(evidence_of()), 0, 60) == 0


def test_gpus_without_an_end_are_bound_for_ever() -> None:
    assert bound_until_s(replica("chat-l40s-a", "l40s-1", 0.0)) == INFINITY


def test_steps_sum_spans_and_ignore_one_that_never_was() -> None:
    steps = Steps.of_spans([Span(0, 10, 1), Span(5, INFINITY, 2), Span(7, 7, 9), Span(9, 3, 9)])
    assert steps.points == ((0, 1), (5, 3), (10, 2))
    assert [steps.at(at_s) for at_s in (-1, 0, 5, 9.9, 10, 1e9)] == [0, 1, 3, 3, 2, 2]
    assert steps.integral(-5, 12) == 5 + 15 + 4
    assert steps.integral(12, 5) == 0
