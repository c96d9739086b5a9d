"""The operator's own metrics.

Owns their names and help texts (`argosy_...`), and which values of a reaction and of a decision they
show. Input: `Measures`, a `Decision`. Output: a Prometheus registry.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from argosy.api.gpupool import GPUPoolStatus
from argosy.control.decision import Decision
from argosy.control.fast import Measures
from argosy.control.traffic.recalibration import CalibrationMeasures
from argosy.keys import ClassKey


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.is_leader = self._gauge("is_leader", "1 where this process leads")
        self.iterations = self._counter("iterations", "Decisions by outcome", "outcome")
        self.iteration_seconds = Histogram(
            "argosy_iteration_seconds",
            "From the snapshot to the last status",
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=self.registry,
        )
        self.revision = self._gauge("applied_revision", "Revision of the applied plan")
        self.cost = self._gauge("planned_cost_usd_per_hour", "Price of the applied plan's replicas")
        self.silent = self._gauge("silent_endpoints", "Endpoints that have fallen silent")
        self.envoys = self._gauge("envoys_connected", "Connected Envoys")
        self.leaving = self._gauge("leaving_nodes", "Nodes whose removal is announced", "pool")
        self.demand = self._gauge(
            "demand_requests_per_second", "Rate that the last decision planned for", "workload_class"
        )
        self.calibration_factor = self._gauge(
            "calibration_factor", "Step time as observed over the profile's, at the load last seen", "variant"
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

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"argosy_{name}", help_text, labels, registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"argosy_{name}", help_text, labels, registry=self.registry)

    def show_decision(self, decision: Decision, seconds: float) -> None:
        """The decision, and the seconds that it took to decide and carry out."""
        self.iterations.labels("decided").inc()
        self.iteration_seconds.observe(seconds)
        if decision.follow is not None:
            self.revision.set(decision.follow.spec.revision)
            self.cost.set(decision.follow.spec.cost_usd_per_hour)
        self._show_leaving(decision)
        self.show_demand({key: each.rate_per_s for key, each in decision.memory.forecasts.items()})

    def _show_leaving(self, decision: Decision) -> None:
        """Of every pool; one that was deleted is no longer shown."""
        self.leaving.clear()
        for update in decision.statuses:
            if isinstance(update.status, GPUPoolStatus):
                self.leaving.labels(update.key).set(len(update.status.leaving))

    def show_demand(self, rate_per_s: Mapping[ClassKey, float]) -> None:
        """The rate of every class; a class that was deleted is no longer shown."""
        self.demand.clear()
        for key, rate in rate_per_s.items():
            self.demand.labels(key).set(rate)

    def show_traffic(self, measures: Measures) -> None:
        """The traffic loop's measurements."""
        self.silent.set(measures.num_silent)
        self._show_calibrations(measures.calibration)

    def _show_calibrations(self, measures: CalibrationMeasures) -> None:
        """Only variants and engines that are running are shown."""
        for gauge in (self.calibration_factor, self.calibration_uncertainty, self.straggler_ratio):
            gauge.clear()
        for name, step_time in measures.step_times.items():
            self.calibration_factor.labels(name).set(step_time.factor)
            self.calibration_uncertainty.labels(name).set(step_time.uncertainty)
        for endpoint, ratio in measures.straggler_ratios.items():
            self.straggler_ratio.labels(endpoint).set(ratio)
        for reason in measures.skipped:
            self.calibration_skipped.labels(reason.value).inc()
