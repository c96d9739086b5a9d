"""Metrics in: what the engines and Envoy say of themselves, each value with its age.

Owns the sources of telemetry (`DirectScraper`, `PrometheusSource`) behind one port. Never decides
anything and never fills a gap: what was not seen is absent from the reading.
"""

from argosy.telemetry.direct import DirectScraper, ScrapeLimits
from argosy.telemetry.port import ClassKeyOf, Targets, TelemetrySource
from argosy.telemetry.prometheus import PrometheusSettings, PrometheusSource

__all__ = [
    "ClassKeyOf",
    "DirectScraper",
    "PrometheusSettings",
    "PrometheusSource",
    "ScrapeLimits",
    "Targets",
    "TelemetrySource",
]
