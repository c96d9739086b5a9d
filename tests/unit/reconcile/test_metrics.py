"""The operator's own metrics."""

from __future__ import annotations

from argosy.api import GPUPool
from argosy.api.fleet import Mode
from argosy.api.gpupool import GPUPoolStatus, LeavingNode
from argosy.control.decision import Decision, StatusUpdate
from argosy.control.fast import Measures
from argosy.keys import ModelKey
from argosy.reconcile.metrics import Metrics


def test_a_class_that_is_gone_has_no_demand_any_more() -> None:
    gauges = Metrics()
    gauges.show_demand({"default/chat": 8.0, "default/batch": 1.0})
    gauges.show_demand({"default/chat": 4.0})
    (family,) = gauges.demand.collect()
    assert {s.labels["workload_class"]: s.value for s in family.samples} == {"default/chat": 4.0}


def test_requests_cut_at_the_end_of_drains_add_up_by_model() -> None:
    metrics = Metrics()
    metrics.show_traffic(Measures(cut={ModelKey("default/llama"): 2}))
    metrics.show_traffic(Measures())
    metrics.show_traffic(Measures(cut={ModelKey("default/llama"): 1}))
    found = metrics.registry.get_sample_value("argosy_streams_cut_total", {"model": "default/llama"})
    assert found == 3.0


def test_the_leaving_nodes_of_each_pool_are_counted() -> None:
    gauges = Metrics()
    for leaving in ({"l40s": 2, "h100": 0}, {"l40s": 1}):
        statuses = tuple(
            StatusUpdate(
                GPUPool.PLURAL,
                pool,
                GPUPoolStatus(
                    leaving=tuple(LeavingNode(name=f"n{i}", reason="it is cordoned") for i in range(n))
                ),
            )
            for pool, n in leaving.items()
        )
        gauges.show_decision(Decision(Mode.AUTO, statuses=statuses), 0.1)
        (family,) = gauges.leaving.collect()
        assert {s.labels["pool"]: s.value for s in family.samples} == leaving
