"""What the demo's run costs, and its static peak."""

from __future__ import annotations

from dataclasses import replace

import pytest
from demo_evidence import INFINITY, good_evidence, replica

from argosy.errors import InvariantError
from argosy_sim.demo.evidence import Evidence, ReplicaSeen, StaticPeak
from argosy_sim.demo.judgement.fleet_cost import (
    bound_until_s,
    gpu_spans,
    run_cost_rate,
    static_peak_cost_rate,
)
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.measures.cost import PriceStep, cost_usd, gpus_bound
from argosy_sim.measures.steps import Steps


def evidence_of(*replicas: ReplicaSeen, prices: tuple[PriceStep, ...] = ()) -> Evidence:
    flat = (PriceStep("l40s", -INFINITY, 36.0), PriceStep("h100", -INFINITY, 360.0))
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
    assert cost_usd(run_cost_rate(evidence), start_s, end_s) == pytest.approx(expected_usd)


def test_replicas_of_several_gpus_and_pools_add_up() -> None:
    both = evidence_of(
        replace(replica("chat-l40s-a", "l40s-1", 0.0), gpus=4), replica("chat-h100-a", "h100-1", 30.0)
    )
    assert cost_usd(run_cost_rate(both), 0, 60) == pytest.approx(4 * 0.60 + 3.00)
    assert gpus_bound(gpu_spans(both), "l40s").at(59.0) == 4


def test_a_price_step_inside_an_act_splits_its_cost() -> None:
    prices = (PriceStep("l40s", -INFINITY, 36.0), PriceStep("l40s", 15.0, 72.0))
    evidence = evidence_of(replica("chat-l40s-a", "l40s-1", 0.0), prices=prices)
    assert run_cost_rate(evidence).points == ((0.0, 36.0), (15.0, 72.0))
    assert cost_usd(run_cost_rate(evidence), 0, 60) == pytest.approx(0.15 + 0.90)


def test_the_static_peak_is_kept_throughout_at_each_acts_prices() -> None:
    peak = StaticPeak({"l40s": 5, "h100": 1}, "six")
    acts = judge(replace(good_evidence(), static_peak=peak)).acts
    expected = [(5 * 0.9 + 6) / 60] * 3 + [(5 * 0.9 + 2 * 59.8 / 60 + 6 * 0.2 / 60) / 60]
    assert [act.static_peak_cost_usd for act in acts] == pytest.approx(expected)


def test_an_unknown_price_is_an_error_and_not_zero() -> None:
    unpriced = evidence_of(replica("chat-h100-a", "h100-1", 0.0), prices=(PriceStep("l40s", -INFINITY, 1.0),))
    with pytest.raises(InvariantError, match=r"pool h100 has no price at 0\.0 s"):
        run_cost_rate(unpriced)
    with pytest.raises(InvariantError, match="pool h100"):
        static_peak_cost_rate(replace(unpriced, static_peak=StaticPeak({"h100": 1}, "")))


def test_no_replica_costs_nothing_and_has_no_rate() -> None:
    assert run_cost_rate(evidence_of()) == Steps(())
    assert cost_usd(run_cost_rate(evidence_of()), 0, 60) == 0


def test_gpus_without_an_end_stay_bound() -> None:
    assert bound_until_s(replica("chat-l40s-a", "l40s-1", 0.0)) == INFINITY
