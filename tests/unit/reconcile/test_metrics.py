"""The operator's own metrics."""

from __future__ import annotations

from argosy.reconcile.metrics import Metrics


def test_a_class_that_is_gone_has_no_demand_any_more() -> None:
    gauges = Metrics()
    gauges.show_demand({"default/chat": 8.0, "default/batch": 1.0})
    gauges.show_demand({"default/chat": 4.0})
    (family,) = gauges.demand.collect()
    assert {s.labels["workload_class"]: s.value for s in family.samples} == {"default/chat": 4.0}
