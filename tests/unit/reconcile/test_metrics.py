"""The operator's own metrics."""

from __future__ import annotations

from argosy.api import GPUPool
from argosy.api.fleet import Mode
from argosy.api.gpupool import GPUPoolStatus, LeavingNode
from argosy.api.workloadclass import WorkloadClass, WorkloadClassStatus
from argosy.control.decision import Decision, RunningCost, StatusUpdate
from argosy.control.fast import Measures
from argosy.control.traffic.slo_counts import ClassCounts, TermCounts
from argosy.demand.observed import Requests
from argosy.keys import ClassKey, ModelKey
from argosy.reconcile.metrics import Metrics
from argosy.snapshot import SloTerm, Term

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
LLAMA = ModelKey("default/llama-8b")
TTFT_P95, TTFT_P99 = SloTerm(Term.TTFT, 0.95, 500.0), SloTerm(Term.TTFT, 0.99, 500.0)


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by the values of its labels, in the order of their names."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


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


def counted(answers: float, late: float, term: SloTerm = TTFT_P95) -> ClassCounts:
    return ClassCounts(Requests(10.0, 2.0, 1.0), {term: TermCounts(answers, late)})


def test_requests_and_answers_add_up_by_class_and_term() -> None:
    metrics = Metrics()
    metrics.show_traffic(Measures(counts={CHAT: counted(8.0, 2.0)}))
    metrics.show_traffic(Measures(counts={CHAT: counted(4.0, 0.0)}))
    assert series(metrics, "argosy_class_requests_total") == {("default/chat",): 20.0}
    assert series(metrics, "argosy_class_failed_requests_total") == {
        ("error", "default/chat"): 4.0,
        ("refused", "default/chat"): 2.0,
    }
    assert series(metrics, "argosy_slo_answers_total") == {("0.95", "ttft", "default/chat"): 12.0}
    assert series(metrics, "argosy_slo_late_answers_total") == {("0.95", "ttft", "default/chat"): 2.0}
    assert series(metrics, "argosy_slo_budget_ratio") == {("0.95", "ttft", "default/chat"): 0.05}


def test_counters_begin_at_zero_before_the_first_request() -> None:
    metrics = Metrics()
    metrics.show_traffic(Measures(counts={CHAT: ClassCounts(terms={TTFT_P95: TermCounts()})}))
    assert series(metrics, "argosy_class_failed_requests_total") == {
        ("error", "default/chat"): 0.0,
        ("refused", "default/chat"): 0.0,
    }
    assert series(metrics, "argosy_slo_late_answers_total") == {("0.95", "ttft", "default/chat"): 0.0}


def test_counters_of_a_class_or_a_term_that_is_gone_end() -> None:
    metrics = Metrics()
    metrics.show_traffic(Measures(counts={CHAT: counted(8.0, 2.0), BATCH: counted(1.0, 0.0)}))
    metrics.show_traffic(Measures(counts={CHAT: counted(8.0, 2.0, TTFT_P99)}))
    assert series(metrics, "argosy_class_requests_total") == {("default/chat",): 20.0}
    assert series(metrics, "argosy_slo_budget_ratio") == {("0.99", "ttft", "default/chat"): 0.01}
    assert series(metrics, "argosy_slo_answers_total").keys() == {("0.99", "ttft", "default/chat")}


def spending(budget: float | None) -> Decision:
    status = WorkloadClassStatus(unserved_share=0.25, replicas_ready=3)
    return Decision(
        Mode.AUTO,
        statuses=(StatusUpdate(WorkloadClass.PLURAL, CHAT, status),),
        costs=(RunningCost(CHAT, LLAMA, "l40s", 1.8), RunningCost(BATCH, LLAMA, "l40s", 0.9)),
        budget_usd_per_hour=budget,
    )


def test_costs_are_shown_by_class_model_and_pool_and_the_budget_where_there_is_one() -> None:
    metrics = Metrics()
    metrics.show_decision(spending(20.0), 0.1)
    assert series(metrics, "argosy_running_cost_usd_per_hour") == {
        ("default/llama-8b", "l40s", "default/chat"): 1.8,
        ("default/llama-8b", "l40s", "default/batch"): 0.9,
    }
    assert series(metrics, "argosy_budget_usd_per_hour") == {("default",): 20.0}
    assert series(metrics, "argosy_class_unserved_ratio") == {("default/chat",): 0.25}
    assert series(metrics, "argosy_class_replicas_ready") == {("default/chat",): 3.0}
    metrics.show_decision(spending(None), 0.1)
    assert series(metrics, "argosy_budget_usd_per_hour") == {}


def test_a_process_that_no_longer_leads_shows_nothing_of_its_decisions() -> None:
    metrics = Metrics()
    metrics.show_decision(spending(20.0), 0.1)
    metrics.forget_decisions()
    for name in ("running_cost_usd_per_hour", "budget_usd_per_hour", "class_unserved_ratio"):
        assert series(metrics, f"argosy_{name}") == {}
