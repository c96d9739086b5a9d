"""Metrics in: what the engines and Envoy report, each value with its age.

Owns the sources of telemetry (`DirectScraper`, `PrometheusSource`) behind one port. Input: `Targets`.
Output: a `TelemetryReading`, from which a value that was not read is absent: gaps are not filled.
"""

from argosy.telemetry.direct import DirectScraper, ScrapeLimits
from argosy.telemetry.port import CellOf, Targets, TelemetrySource
from argosy.telemetry.prometheus import PrometheusSettings, PrometheusSource

__all__ = [
    "CellOf",
    "DirectScraper",
    "PrometheusSettings",
    "PrometheusSource",
    "ScrapeLimits",
    "Targets",
    "TelemetrySource",
]
