"""The nouns that all decisions share: what they refuse, and what they say of themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builders import a_fleet, a_pending_pod, with_condition
from small_fleet import World

from argosy.api import FleetPlan, ObjectMeta
from argosy.api.conditions import ConditionStatus
from argosy.api.fleetplan import FleetPlanSpec, SolverReport
from argosy.keys import ModelKey
from argosy.snapshot import EngineSettings, Mix, Sample, Slice, Slo, SloTerm, Term, Variant, fresh
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import applied_plan, is_true


@pytest.mark.parametrize(
    ("age_s", "value"),
    [(0.0, "old"), (10.0, "old"), (10.1, None), (-50.0, "old")],
    ids=["just measured", "as old as allowed", "too old", "the clock jumped back: never negative"],
)
def test_a_sample_counts_while_it_is_young(age_s: float, value: str | None) -> None:
    assert fresh(Sample("old", 100.0), 100.0 + age_s, 10.0) == value


def test_missing_is_not_zero() -> None:
    assert fresh(None, 100.0, 10.0) is None
    assert fresh(Sample(0, 100.0), 100.0, 10.0) == 0


@pytest.mark.parametrize(
    ("prompt", "output", "weight"),
    [(0, 1, 0.5), (1, 0, 0.5), (1, 1, 0.0), (1, 1, 1.1), (1, 1, math.nan), (1, 1, -0.5)],
)
def test_a_slice_without_tokens_or_with_a_senseless_weight_is_refused(
    prompt: int, output: int, weight: float
) -> None:
    with pytest.raises(ValueError, match="slice"):
        Slice(prompt, output, weight)


def test_the_weights_of_a_mix_sum_to_one() -> None:
    mix = Mix((Slice(100, 10, 0.25), Slice(300, 50, 0.75)))
    assert (mix.mean_prompt_tokens, mix.mean_output_tokens) == (250.0, 40.0)
    with pytest.raises(ValueError, match=r"sum to 1, got 0\.25"):
        Mix((Slice(100, 10, 0.25),))


@pytest.mark.parametrize(
    ("percentile", "bound_ms"), [(0.0, 1.0), (1.0, 1.0), (0.95, 0.0), (0.95, math.inf), (0.95, math.nan)]
)
def test_an_slo_term_that_promises_nothing_is_refused(percentile: float, bound_ms: float) -> None:
    with pytest.raises(ValueError, match=r"percentile|SLO bound"):
        SloTerm(Term.TTFT, percentile, bound_ms)


def test_an_slo_lists_the_bounds_of_a_term() -> None:
    slo = Slo((SloTerm(Term.TTFT, 0.5, 500), SloTerm(Term.E2E, 0.95, 9000), SloTerm(Term.TTFT, 0.95, 2000)))
    assert (slo.bounds_ms(Term.TTFT), slo.bounds_ms(Term.ITL)) == ((500, 2000), ())


VARIANT = Variant(ModelKey("default/llama"), "meta/llama", ("llama",), "l40s", "L40S", 1, EngineSettings())


def test_a_variant_has_a_readable_name_of_its_own() -> None:
    assert VARIANT.name.startswith("llama-l40s-tp1-")
    others = [
        replace(VARIANT, model_key=ModelKey("other/llama")),
        replace(VARIANT, model_id="meta/other"),
        replace(VARIANT, served_names=("x",)),
        replace(VARIANT, gpu="L4"),
        replace(VARIANT, tensor_parallel=2),
        replace(VARIANT, engine=EngineSettings(args=("--x",))),
    ]
    assert len({VARIANT.name, *(v.name for v in others)}) == 7


POD = a_pending_pod(devices={})


@pytest.mark.parametrize(
    ("pod", "address", "destination", "holds"),
    [
        pytest.param(POD, "", "", False, id="just made"),
        pytest.param(replace(POD, assigned_node="n"), "", "n", True, id="given a node"),
        pytest.param(replace(POD, node="m", assigned_node="n"), "", "m", True, id="bound"),
        pytest.param(
            replace(POD, node="n", ip="10.0.0.1", port=8000), "10.0.0.1:8000", "n", True, id="with IP"
        ),
        pytest.param(replace(POD, node="n", phase="Failed"), "", "n", False, id="it has ended"),
    ],
)
def test_a_pod_knows_where_it_is(pod: PodState, address: str, destination: str, holds: bool) -> None:
    assert (pod.address, pod.destination, pod.holds_devices) == (address, destination, holds)


def test_engine_pods_are_ours_in_the_order_of_their_names() -> None:
    world = World([], a_fleet())
    pods = [
        replace(POD, name=n, deployment=d) for n, d in (("b", "default/d"), ("c", ""), ("a", "default/d"))
    ]
    snapshot = replace(world.snapshot(), pods={p.key: p for p in pods})
    assert [p.name for p in snapshot.engine_pods] == ["a", "b"]


def a_plan(revision: int, status: ConditionStatus) -> FleetPlan:
    spec = FleetPlanSpec(
        revision=revision, trigger="", cost_usd_per_hour=0, solver=SolverReport(status="Optimal")
    )
    return with_condition(FleetPlan(metadata=ObjectMeta(name=f"p{revision}"), spec=spec), "x", status)


def test_the_applied_plan_is_the_highest_revision_that_says_so() -> None:
    plans = (
        a_plan(3, ConditionStatus.TRUE),
        a_plan(2, ConditionStatus.TRUE),
        a_plan(4, ConditionStatus.FALSE),
        a_plan(5, ConditionStatus.UNKNOWN),
    )
    assert applied_plan(plans) == plans[0]
    assert applied_plan(plans[2:]) is None
    assert not is_true(plans[0], "Certified")
