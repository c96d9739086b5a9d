"""What users read of their requests: figures that hardly move, and a miss that is certain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, status_of, verdict

from argosy.api.workloadclass import ObservedTraffic, WorkloadClassStatus
from argosy.control.decision import Decision
from argosy.demand.observed import ObservedHistory, Requests
from argosy.keys import ClassKey, GroupName
from argosy.reconcile.metrics import Metrics
from argosy.snapshot import Term
from argosy.snapshot.histogram import Histogram

CHAT = "default/chat"
GOOD = Histogram((0.1, 0.5, 1.0), (90.0, 99.0, 100.0), 100.0)
BAD = Histogram((0.1, 0.5, 1.0), (10.0, 60.0, 100.0), 100.0)


def running(ttft: Histogram | None, requests: Requests | None = None) -> Decision:
    """Class chat with its replicas ready, and what was measured of it in the last 100 seconds."""
    world = World(
        some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), a_class(slo={"ttft": {"p95Milliseconds": 500}})
    )
    world.settle()
    slot = int(world.now_s // 15)
    group = world.applied.spec.cells[0].sharing_group
    history = ObservedHistory(
        started_s=world.now_s - 100.0,
        latencies={} if ttft is None else {GroupName(group): {slot: {Term.TTFT: ttft}}},
        requests={} if requests is None else {ClassKey("default/chat"): {slot: requests}},
    )
    world.memory = replace(world.memory, traffic=replace(world.memory.traffic, observed=history))
    return world.decide()


def observed_of(decision: Decision) -> ObservedTraffic | None:
    status = status_of(decision, CHAT).status
    assert isinstance(status, WorkloadClassStatus)
    return status.observed


def test_figures_are_rounded_to_what_buckets_know() -> None:
    found = observed_of(running(GOOD, Requests(1234.0, 5.0)))
    assert found is not None
    assert (found.requests_per_second, found.errors_per_second) == (12.0, 0.05)
    assert found.ttft is not None
    assert (found.ttft.p50_milliseconds, found.ttft.p95_milliseconds) == (56.0, 320.0)
    assert found.attainment == pytest.approx(0.985, abs=0.001)
    assert found.shared_by_classes == 1
    assert found.itl is None


def test_a_class_whose_requests_were_not_measured_has_no_figures() -> None:
    found = observed_of(running(None))
    assert found is not None  # the queue of its engines is known
    assert found.model_dump(exclude_none=True) == {"waiting_requests": 0, "shared_by_classes": 1}


def test_a_class_that_misses_its_slo_is_not_ready() -> None:
    decision = running(BAD, Requests(100.0, 0.0))
    assert verdict(decision, CHAT) == ("False", "SloMissed")
    message = condition(decision, CHAT)["message"]
    assert message.startswith(
        "spec.slo.ttft.p95Milliseconds: at most 60% of the requests of the last five minutes kept 500 ms;"
        " 95% are to keep it."
    )


def test_a_class_of_which_many_requests_are_refused_is_not_ready_and_says_so() -> None:
    decision = running(GOOD, Requests(400.0, 0.0, 300.0))
    found = observed_of(decision)
    assert found is not None
    assert (found.errors_per_second, found.refused_per_second) == (0.0, 3.0)
    assert verdict(decision, CHAT) == ("False", "SloMissed")
    assert "kept 500 ms (75% were refused with 429); 95% are" in condition(decision, CHAT)["message"]


def test_a_class_that_keeps_its_slo_is_ready() -> None:
    assert verdict(running(GOOD, Requests(100.0, 0.0)), CHAT) == ("True", "Ready")


def test_metrics_show_what_was_measured_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.show_decision(running(GOOD, Requests(1234.0, 5.0, 30.0)), 0.1)
    shown = metrics.registry.get_sample_value
    chat = {"workload_class": "default/chat"}
    assert shown("argosy_class_requests_per_second", chat) == 12.0
    assert shown("argosy_class_errors_per_second", chat) == 0.05
    assert shown("argosy_class_refused_per_second", chat) == 0.3
    assert shown("argosy_class_latency_seconds", {**chat, "term": "ttft", "quantile": "0.95"}) == 0.32
    assert shown("argosy_class_latency_seconds", {**chat, "term": "itl", "quantile": "0.95"}) is None
    metrics.show_decision(replace(running(None), observed={}), 0.1)
    assert shown("argosy_class_requests_per_second", chat) is None
