"""At how many requests in flight Envoy refuses more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import WorkloadClass
from argosy.control.candidates.workload import mix_of
from argosy.control.revision.request_limits import LARGEST_EXCESS, stepped
from argosy.control.step import StepSettings, step
from argosy.engine.twin import simulate
from argosy.perf.capacity.search import CapacitySettings, draw
from argosy.perf.footprint.memory import engine_limits
from argosy.perf.model import LibraryPerfModel
from argosy.perf.protocol import Fits
from argosy.perf.shipped import shipped_library
from argosy.snapshot import Variant
from argosy.snapshot.fleet import EnvoyState, RoutingView
from argosy.snapshot.variant import EngineSettings


def limit_of(*workloads: WorkloadClass, num_envoys: int = 1) -> int | None:
    """The limit of the one Deployment planned for them; an L40S carries 4 requests/s and has 256 slots."""
    world = World(some_nodes("l40s", 8), a_fleet(), a_pool(), a_model(), *workloads)
    envoys = tuple(EnvoyState(f"envoy-{i}", "v") for i in range(num_envoys))
    snapshot = replace(world.snapshot(), routing=RoutingView("v", envoys))
    plan = step(snapshot, world.memory, StepSettings("a test"), world.perf).new_plan
    assert plan is not None
    (planned,) = plan.spec.deployments
    return planned.request_limit


TTFT = {"ttft": {"p95Milliseconds": 2000}}


def with_e2e(milliseconds: int) -> WorkloadClass:
    return a_class(slo={**TTFT, "e2e": {"p95Milliseconds": milliseconds}})


@pytest.mark.parametrize(
    ("workload", "num_envoys", "expected"),
    [
        pytest.param(a_class(), 1, 1024, id="2 x 512 slots, where the time of an answer is not bounded"),
        pytest.param(with_e2e(10_000), 1, 1024, id="(256 slots + 4/s x 2 s) x 2 replicas = 528, rounded up"),
        pytest.param(with_e2e(10_000), 2, 512, id="264 for each of two Envoys"),
        pytest.param(with_e2e(30_000), 16, 512, id="33 for each of 16, but 2 x 8/s x 30 s = 480 planned"),
        pytest.param(with_e2e(10_000), 16, 256, id="33 for each of 16, but five deviations above 80: 210"),
        pytest.param(
            a_class(slo={**TTFT, "e2e": {"p50Milliseconds": 10_000, "p95Milliseconds": 30_000}}),
            16,
            512,
            id="the longest of two bounds on the whole answer",
        ),
        pytest.param(
            a_class(
                slo={
                    "ttft": {"p50Milliseconds": 500, "p95Milliseconds": 40_000},
                    "e2e": {"p95Milliseconds": 10_000},
                }
            ),
            1,
            1024,
            id="and of two on the wait: (256 slots + 4/s x 40 s) x 2 replicas = 832",
        ),
        pytest.param(
            a_class(slo={**TTFT, "itl": {"p50Milliseconds": 5, "p95Milliseconds": 50}}),
            16,
            256,
            id="the wait and the longest of two bounds on each token: five deviations above about 100",
        ),
        pytest.param(
            a_class(slo={"itl": {"p95Milliseconds": 50}}),
            1,
            None,
            id="no bound on the wait, no limit",
        ),
    ],
)
def test_the_limit_follows_slots_waiting_time_and_envoys(
    workload: WorkloadClass, num_envoys: int, expected: int | None
) -> None:
    assert limit_of(workload, num_envoys=num_envoys) == expected


def test_classes_that_share_replicas_have_the_limit_of_all_their_requests() -> None:
    slo = {**TTFT, "e2e": {"p95Milliseconds": 60_000}}
    both = (a_class("chat", rate_per_s=4.0, slo=slo), a_class("code", rate_per_s=4.0, slo=slo))
    assert limit_of(*both, num_envoys=16) == limit_of(a_class(rate_per_s=8.0, slo=slo), num_envoys=16) == 1024
    assert limit_of(both[0], num_envoys=16) == 512


@given(st.floats(1, 1e5), st.floats(0.51, 1.99))
def test_a_need_that_doubles_and_halves_again_changes_the_limit_once(needed: float, factor: float) -> None:
    first = stepped(needed, None)
    second = stepped(needed * factor, first)
    for _ in range(3):
        assert stepped(needed, second) == second
        assert stepped(needed * factor, second) == second


@given(st.floats(0, 1e6), st.none() | st.integers(1, 1_000_000))
def test_a_limit_is_enough_and_not_far_too_large(needed: float, before: int | None) -> None:
    limit = stepped(needed, before)
    assert needed <= limit <= max(1, LARGEST_EXCESS * needed)


@pytest.mark.parametrize("seed", range(3))
def test_an_engine_at_its_planned_rate_stays_under_the_limit_in_bursts(seed: int) -> None:
    """One L40S with Llama 3.1 8B carries 4.6 requests/s of chat; here 0.8 of that, gaps with a CV of 4."""
    rate_per_s, num = 3.7, 2000
    engine = EngineSettings()
    variant = Variant("n/m", "meta-llama/Llama-3.1-8B-Instruct", (), "p", "L40S", 1, engine)
    perf = LibraryPerfModel(shipped_library(), {})
    source, fits = perf.step_times(variant), perf.fits(variant)
    assert isinstance(fits, Fits)
    spec = a_class(rate_per_s=rate_per_s)
    work = draw(mix_of(spec.spec.traffic.lengths), CapacitySettings(num_requests=num, seed=seed)).at_rate(1.0)
    gaps_s = np.random.default_rng(seed).gamma(1 / 16, 16 / rate_per_s, num)
    requests = type(work)(np.cumsum(gaps_s), work.prompt_tokens, work.output_tokens, work.cached_tokens)
    times = simulate(requests, engine_limits(engine, fits.kv_capacity_tokens), source)
    ends_s = np.sort(requests.arrivals_s + times.e2e_ms / 1000)
    in_flight = np.arange(1, num + 1) - np.searchsorted(ends_s, requests.arrivals_s, side="right")
    limit = limit_of(a_class(rate_per_s=rate_per_s))
    assert limit == 512
    assert in_flight.max() > 40, "these are bursts"
    assert in_flight.max() < limit
