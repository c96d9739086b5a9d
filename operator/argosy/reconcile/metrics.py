"""The operator's own metrics.

Owns their names and help texts (`argosy_...`), and which values of a reaction and of a decision they
show. Input: `Measures`, a `Decision`. Output: a Prometheus registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from argosy.api.gpupool import GPUPoolStatus
from argosy.api.servedmodel import ServedModelStatus
from argosy.api.workloadclass import LatencyPercentiles, ObservedTraffic, WorkloadClassStatus
from argosy.control.decision import Decision
from argosy.control.fast import Measures
from argosy.control.traffic.blindness import Blind
from argosy.control.traffic.recalibration import CalibrationMeasures
from argosy.control.traffic.slo_counts import ClassCounts
from argosy.keys import ClassKey
from argosy.snapshot import SloTerm
from argosy.snapshot.telemetry import UnreadCause


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.is_leader = self._gauge("is_leader", "1 where this process leads")
        self.clock_offset = self._gauge(
            "clock_offset_seconds",
            "This machine's clock against the API server's, positive where it is ahead",
        )
        self.iterations = self._counter("iterations", "Decisions by outcome", "outcome")
        self.iteration_seconds = Histogram(
            "argosy_iteration_seconds",
            "From the snapshot to the last status",
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=self.registry,
        )
        self.revision = self._gauge("applied_revision", "Revision of the applied plan")
        self.cost = self._gauge(
            "planned_cost_usd_per_hour", "Price of the applied plan's replicas, planned and kept ones"
        )
        self.waiting = self._gauge("plan_change_waiting", "1 while a change of the plan waits")
        self.held = self._gauge("planning_held", "1 while a user holds planning by an annotation of Fleet")
        self.silent = self._gauge("silent_endpoints", "Endpoints that have fallen silent")
        self.unread = self._gauge(
            "unread_engines", "Engines that count as capacity and whose metrics cannot be read", "reason"
        )
        self.adapters = self._gauge("adapters", "LoRA adapters of ServedModels by state", "model", "state")
        self.streams_cut = self._counter(
            "streams_cut", "Requests that still ran when their replica's drain ended", "model"
        )
        self.envoys = self._gauge("envoys_connected", "Connected Envoys")
        self.envoys_ahead = self._gauge(
            "envoys_ahead", "Connected Envoys with routes of a later FleetPlan than any that is known"
        )
        self.leaving = self._gauge(
            "leaving_nodes",
            "Nodes that replicas leave: their removal is announced, or their pool selects them no longer",
            "pool",
        )
        self.certificate_expiry = self._gauge(
            "certificate_expiry_seconds",
            "Seconds until a certificate between Envoys and operators ends, negative once it has",
            "certificate",
        )
        self.connections_refused = self._gauge(
            "envoy_connections_refused",
            "TLS connections of the last half minute that brought no Envoy: a certificate was not accepted",
        )
        self.blind = self._gauge(
            "blind", "1 where telemetry, every Envoy or a carried-out plan is lost for its limit", "what"
        )
        self.in_doubt = self._gauge(
            "picture_in_doubt", "1 where the last plan is kept: something is not seen"
        )
        self.draining = self._gauge("draining_replicas", "Replicas that run for objects which were deleted")
        self.fleet_missing = self._gauge(
            "fleet_missing", "1 where there is no Fleet object and the settings of the last one hold"
        )
        self.removal_waits = self._gauge("removal_waits", "1 where a large removal waits for a second look")
        self.set_back = self._counter(
            "edits_set_back", "Changes of Deployments and pods by other clients that were set back", "what"
        )
        self.contested = self._gauge(
            "contested_fields", "Fields of Deployments that another client keeps changing"
        )
        self.autoscaled = self._gauge(
            "autoscaled_deployments", "Deployments whose number of replicas an autoscaler sets"
        )
        self.nodes_to_come = self._gauge(
            "nodes_to_come", "Nodes that the plan uses and that an autoscaler has still to bring", "pool"
        )
        self.provisioning_seconds = self._gauge(
            "node_provisioning_seconds", "How long a new node took, from the replica that waited", "pool"
        )
        self.refused = self._gauge(
            "refused_variants",
            "Variants whose replicas the cluster refuses and that are left alone for a while",
            "refuser",
        )
        self.watch_missed = self._counter(
            "watch_missed", "Changes that only a listing found; the watches then start again", "kind"
        )
        self.failing = self._gauge(
            "failing",
            "1 where an activity has failed for 10 s or more (the API server is away, a permission or a kind"
            " is missing): /readyz or the log has the sentence",
            "activity",
        )
        self.watch_failing = self._gauge(
            "watch_failing", "1 where the watch of a kind fails; kind all: the watches fail together", "kind"
        )
        self.restored = self._counter(
            "api_restored", "Times that the API server was found restored to an earlier state"
        )
        self._add_classes()
        self._add_costs()
        self._add_slo_counters()
        self._add_calibrations()

    def _add_classes(self) -> None:
        self.demand = self._gauge(
            "demand_requests_per_second", "Rate that the last decision planned for", "workload_class"
        )
        self.observed_rate = self._gauge(
            "class_requests_per_second", "Requests that arrived, last five minutes", "workload_class"
        )
        self.observed_errors = self._gauge(
            "class_errors_per_second", "Requests answered with a 5xx, last five minutes", "workload_class"
        )
        self.observed_refused = self._gauge(
            "class_refused_per_second",
            "Requests refused with 429 because of a limit, last five minutes",
            "workload_class",
        )
        self.attainment = self._gauge(
            "class_attainment_ratio",
            "Smallest share of requests that kept a term of the SLO, last five minutes, lower end",
            "workload_class",
        )
        self.queued = self._gauge(
            "class_waiting_requests", "Requests in the queues of the class's engines", "workload_class"
        )
        self.latency = self._gauge(
            "class_latency_seconds",
            "Percentile of a latency, last five minutes, of all classes that share the engines",
            "workload_class",
            "term",
            "quantile",
        )

        self.unserved = self._gauge(
            "class_unserved_ratio",
            "Share (0-1) of the requests that the plan does not serve",
            "workload_class",
        )
        self.replicas_ready = self._gauge(
            "class_replicas_ready", "Ready replicas of the class's sharing group", "workload_class"
        )

    def _add_costs(self) -> None:
        self.running_cost = self._gauge(
            "running_cost_usd_per_hour",
            "Price of the GPUs that engine pods hold; classes share that of common replicas by planned rates,"
            " and no class is named where none is left",
            "workload_class",
            "model",
            "pool",
        )
        self.budget = self._gauge(
            "budget_usd_per_hour", "spec.budgetUsdPerHour of Fleet; absent where it has none", "fleet"
        )

    def _add_slo_counters(self) -> None:
        """These only grow, so that a window of any length can be looked at."""
        self.requests = self._counter("class_requests", "Requests that arrived", "workload_class")
        self.failed = self._counter(
            "class_failed_requests",
            "Requests that got no answer: error (a 5xx), or refused (429 because of a limit)",
            "workload_class",
            "reason",
        )
        labels = ("workload_class", "term", "quantile")
        self.slo_answers = self._counter(
            "slo_answers",
            "Answers of which a term of the SLO was measured, on all engines of the class",
            *labels,
        )
        self.slo_late = self._counter(
            "slo_late_answers", "Those of them that were certainly above the term's bound", *labels
        )
        self.slo_budget = self._gauge(
            "slo_budget_ratio", "Share (0-1) of the requests that may miss the term", *labels
        )

    def _add_calibrations(self) -> None:
        self.calibration_factor = self._gauge(
            "calibration_factor", "Step time as observed over the profile's, at the load last seen", "variant"
        )
        self.calibration_prefill_factor = self._gauge(
            "calibration_prefill_factor",
            "Time per token of a prompt as observed over the profile's; absent where the load does not tell",
            "variant",
        )
        self.calibration_uncertainty = self._gauge(
            "calibration_uncertainty", "Relative standard error of a corrected step time", "variant"
        )
        self.straggler_ratio = self._gauge(
            "straggler_ratio", "Step time of one engine over the median of its kind", "endpoint"
        )
        self.calibration_skipped = self._counter(
            "calibration_skipped", "Windows and readings that updated no calibration, by reason", "reason"
        )

    def show_missed(self, kind: str, number: int) -> None:
        """Changes of a kind that a watch has not reported."""
        self.watch_missed.labels(kind).inc(number)

    def show_failing(self, activities: Iterable[str]) -> None:
        """What has failed for some time and still does."""
        self.failing.clear()
        for activity in activities:
            self.failing.labels(activity).set(1)

    def show_failing_watches(self, kinds: Iterable[str]) -> None:
        """The kinds whose watches fail now."""
        self.watch_failing.clear()
        for kind in kinds:
            self.watch_failing.labels(kind).set(1)

    def show_certificates(self, ends_s: Mapping[str, float], now_s: float) -> None:
        """When each certificate ends (epoch seconds), by what it is; one that is not known is not shown."""
        self.certificate_expiry.clear()
        for name, end_s in ends_s.items():
            self.certificate_expiry.labels(name).set(end_s - now_s)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"argosy_{name}", help_text, labels, registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"argosy_{name}", help_text, labels, registry=self.registry)

    def show_decision(self, decision: Decision, seconds: float) -> None:
        """The decision, and the seconds that it took to decide and carry out."""
        self.iterations.labels("decided").inc()
        self.iteration_seconds.observe(seconds)
        self.in_doubt.set(bool(decision.doubt))
        self.removal_waits.set(bool(decision.waiting))
        self.draining.set(decision.draining)
        self.fleet_missing.set(bool(decision.fleet_gone))
        self.contested.set(decision.num_contested)
        self.autoscaled.set(decision.num_autoscaled)
        self._show_nodes(decision)
        self.refused.clear()
        for refuser, number in decision.refused.items():
            self.refused.labels(refuser).set(number)
        for what, _ in decision.set_back:
            self.set_back.labels(what).inc()
        if decision.follow is not None:
            self.revision.set(decision.follow.spec.revision)
            self.cost.set(decision.follow.spec.cost_usd_per_hour)
        self.waiting.set(decision.waits_until_s is not None)
        self.held.set(decision.is_held)
        self._show_costs(decision)
        self._show_statuses(decision)
        self.show_demand({key: each.rate_per_s for key, each in decision.memory.forecasts.items()})
        self._show_observed(decision.observed)

    def _show_nodes(self, decision: Decision) -> None:
        """Nodes that autoscalers bring."""
        for gauge, by_pool in (
            (self.nodes_to_come, decision.nodes_to_come),
            (self.provisioning_seconds, decision.provisioning_s),
        ):
            gauge.clear()
            for pool, value in by_pool.items():
                gauge.labels(pool).set(value)

    def forget_decisions(self) -> None:
        """Another process leads: its series would be there twice."""
        for gauge in (
            *(self.leaving, self.unserved, self.replicas_ready, self.running_cost, self.budget, self.demand),
            *(self.nodes_to_come, self.provisioning_seconds),
            self.refused,
            *self._observed,
        ):
            gauge.clear()

    def _show_costs(self, decision: Decision) -> None:
        """What runs now, and the budget."""
        self.running_cost.clear()
        for each in decision.costs:
            self.running_cost.labels(each.workload_class, each.model, each.pool).set(each.usd_per_hour)
        self.budget.clear()
        if decision.budget_usd_per_hour is not None:
            self.budget.labels("default").set(decision.budget_usd_per_hour)

    def _show_statuses(self, decision: Decision) -> None:
        """Of every pool and class; one that was deleted is no longer shown."""
        for gauge in (self.leaving, self.unserved, self.replicas_ready, self.adapters):
            gauge.clear()
        for update in decision.statuses:
            if isinstance(update.status, GPUPoolStatus):
                self.leaving.labels(update.key).set(len(update.status.leaving))
            if isinstance(update.status, ServedModelStatus):
                for adapter in update.status.adapters:
                    self.adapters.labels(update.key, adapter.state.value).inc()
            if isinstance(update.status, WorkloadClassStatus):
                if update.status.unserved_share is not None:
                    self.unserved.labels(update.key).set(update.status.unserved_share)
                if update.status.replicas_ready is not None:
                    self.replicas_ready.labels(update.key).set(update.status.replicas_ready)

    def show_demand(self, rate_per_s: Mapping[ClassKey, float]) -> None:
        """The rate of every class; a class that was deleted is no longer shown."""
        self.demand.clear()
        for key, rate in rate_per_s.items():
            self.demand.labels(key).set(rate)

    def _show_observed(self, by_class: Mapping[ClassKey, ObservedTraffic]) -> None:
        """What requests got; a class that was not measured, or is gone, is not shown."""
        *gauges, latency = self._observed
        for gauge in (*gauges, latency):
            gauge.clear()
        for key, found in by_class.items():
            values = (
                found.requests_per_second,
                found.errors_per_second,
                found.refused_per_second,
                found.attainment,
                found.waiting_requests,
            )
            for gauge, value in zip(gauges, values, strict=True):
                if value is not None:
                    gauge.labels(key).set(value)
            for term, percentiles in (("ttft", found.ttft), ("itl", found.itl), ("e2e", found.e2e)):
                for quantile, value_ms in _quantiles(percentiles).items():
                    latency.labels(key, term, quantile).set(value_ms / 1000)

    @property
    def _observed(self) -> tuple[Gauge, ...]:
        """What requests got, in the order of `ObservedTraffic`; the latencies last."""
        return (
            self.observed_rate,
            self.observed_errors,
            self.observed_refused,
            self.attainment,
            self.queued,
            self.latency,
        )

    def show_traffic(self, measures: Measures) -> None:
        """The traffic loop's measurements."""
        self._count(measures.counts)
        self.silent.set(measures.num_silent)
        for cause in UnreadCause:
            self.unread.labels(cause.value).set(measures.unread.get(cause, 0))
        for model, count in measures.cut.items():
            self.streams_cut.labels(model).inc(count)
        self._show_calibrations(measures.calibration)
        for what in Blind:
            self.blind.labels(what.value).set(measures.blind is not None and what in measures.blind.lasting)

    def _count(self, counts: Mapping[ClassKey, ClassCounts]) -> None:
        """Series begin at zero, so that a rate contains the first request; those of gone classes end."""
        terms: set[tuple[str, ...]] = {
            _slo_labels(key, term) for key, each in counts.items() for term in each.terms
        }
        _keep_only((self.requests,), {(str(key),) for key in counts})
        _keep_only((self.failed,), {(str(key), reason) for key in counts for reason in ("error", "refused")})
        _keep_only((self.slo_answers, self.slo_late, self.slo_budget), terms)
        for key, each in counts.items():
            self.requests.labels(key).inc(each.requests.num)
            self.failed.labels(key, "error").inc(each.requests.errors)
            self.failed.labels(key, "refused").inc(each.requests.refused)
            for term, count in each.terms.items():
                labels = _slo_labels(key, term)
                self.slo_answers.labels(*labels).inc(count.answers)
                self.slo_late.labels(*labels).inc(count.late)
                self.slo_budget.labels(*labels).set(round(1.0 - term.percentile, 6))

    def _show_calibrations(self, measures: CalibrationMeasures) -> None:
        """Only variants and engines that are running are shown."""
        factors = (self.calibration_factor, self.calibration_prefill_factor)
        for gauge in (*factors, self.calibration_uncertainty, self.straggler_ratio):
            gauge.clear()
        for name, step_time in measures.step_times.items():
            self.calibration_factor.labels(name).set(step_time.factor)
            self.calibration_uncertainty.labels(name).set(step_time.uncertainty)
            if step_time.prefill_factor is not None:
                self.calibration_prefill_factor.labels(name).set(step_time.prefill_factor)
        for endpoint, ratio in measures.straggler_ratios.items():
            self.straggler_ratio.labels(endpoint).set(ratio)
        for reason in measures.skipped:
            self.calibration_skipped.labels(reason.value).inc()


def _slo_labels(key: ClassKey, term: SloTerm) -> tuple[str, str, str]:
    """Values of `workload_class`, `term` and `quantile`."""
    return str(key), term.term.value.lower(), f"{term.percentile:g}"


def _keep_only(families: tuple[MetricWrapperBase, ...], wanted: set[tuple[str, ...]]) -> None:
    """Drop the series whose label values are not among these."""
    for family in families:
        names = family._labelnames
        shown = {tuple(s.labels[n] for n in names) for each in family.collect() for s in each.samples}
        for values in shown - wanted:
            family.remove(*values)


def _quantiles(percentiles: LatencyPercentiles | None) -> dict[str, float]:
    """Milliseconds by the quantile's label; what is not known is absent."""
    if percentiles is None:
        return {}
    values_ms = {
        "0.5": percentiles.p50_milliseconds,
        "0.95": percentiles.p95_milliseconds,
        "0.99": percentiles.p99_milliseconds,
    }
    return {quantile: value_ms for quantile, value_ms in values_ms.items() if value_ms is not None}
