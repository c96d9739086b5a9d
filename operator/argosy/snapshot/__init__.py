"""The state of the cluster at one instant, and the nouns that all decisions share."""

from argosy.snapshot.architecture import Architecture, Dtype
from argosy.snapshot.sample import Sample, fresh
from argosy.snapshot.telemetry import (
    CounterReading,
    EndpointHealth,
    EngineReading,
    RouteCounters,
    TelemetryReading,
)
from argosy.snapshot.variant import EngineSettings, Gpu, Variant
from argosy.snapshot.workload import Mix, Slice, Slo, SloTerm, Term

__all__ = [
    "Architecture",
    "CounterReading",
    "Dtype",
    "EndpointHealth",
    "EngineReading",
    "EngineSettings",
    "Gpu",
    "Mix",
    "RouteCounters",
    "Sample",
    "Slice",
    "Slo",
    "SloTerm",
    "TelemetryReading",
    "Term",
    "Variant",
    "fresh",
]
