"""The operator's own metrics.

Owns their names and help texts (`argosy_...`). Never reads anybody else's metrics.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Gauges:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.is_leader = Gauge("argosy_is_leader", "1 where this process leads", registry=self.registry)
        self.iterations = Counter(
            "argosy_iterations", "Decisions by outcome", ["outcome"], registry=self.registry
        )
        self.iteration_seconds = Histogram(
            "argosy_iteration_seconds",
            "From picture to report",
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=self.registry,
        )
        self.revision = Gauge(
            "argosy_applied_revision", "Revision of the applied plan", registry=self.registry
        )
        self.cost = Gauge(
            "argosy_planned_cost_usd_per_hour", "Price of the applied plan's replicas", registry=self.registry
        )
        self.silent = Gauge(
            "argosy_silent_endpoints", "Endpoints that have fallen silent", registry=self.registry
        )
        self.envoys = Gauge("argosy_envoys_connected", "Connected Envoys", registry=self.registry)
        self.demand = Gauge(
            "argosy_demand_requests_per_second",
            "Rate that the last decision reckoned with",
            ["workload_class"],
            registry=self.registry,
        )
        self.calibration_factor = Gauge(
            "argosy_calibration_factor",
            "Step time as observed over the profile's, at the load last seen",
            ["variant"],
            registry=self.registry,
        )
        self.calibration_uncertainty = Gauge(
            "argosy_calibration_uncertainty",
            "Relative standard error of a corrected step time",
            ["variant"],
            registry=self.registry,
        )
        self.straggler_ratio = Gauge(
            "argosy_straggler_ratio",
            "Step time of one engine over the median of its kind",
            ["endpoint"],
            registry=self.registry,
        )
        self.calibration_skipped = Counter(
            "argosy_calibration_skipped",
            "Windows and readings that recalibration could not learn from",
            ["reason"],
            registry=self.registry,
        )

    def show_demand(self, rate_per_s: Mapping[str, float]) -> None:
        """The rate of every class, by its key; a class that is gone is no longer shown."""
        self.demand.clear()
        for key, rate in rate_per_s.items():
            self.demand.labels(key).set(rate)
