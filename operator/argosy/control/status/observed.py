"""What a class's requests got, as its status shows it, and whether its SLO was missed.

Owns the rounding (a status must not be written anew for a change that no reader sees) and the verdict
on the SLO. Input: `Reported` and a class. Output: an `ObservedTraffic`; a verdict, or None.
"""

from __future__ import annotations

import math

from argosy.api.conditions import ConditionType, Reason
from argosy.api.workloadclass import LatencyPercentiles, ObservedTraffic
from argosy.control.candidates.workload import slo_of
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, false
from argosy.demand.observed import Observed
from argosy.keys import ClassKey
from argosy.snapshot import SloTerm, Term
from argosy.snapshot.histogram import Histogram

_DIGITS = 2
"""Significant digits of rates and latencies: buckets of histograms know no more."""


def observed_status(reported: Reported, key: ClassKey) -> ObservedTraffic | None:
    """What was measured of the class; None where nothing was."""
    found = reported.observed_of(key)
    if found.requests is None and not found.latencies and found.num_waiting is None:
        return None
    attainment = found.attainment(slo_of(reported.snapshot.classes[key]))
    return ObservedTraffic(
        requests_per_second=_rounded(found.requests_per_s),
        errors_per_second=_rounded(found.errors_per_s),
        refused_per_second=_rounded(found.refused_per_s),
        ttft=_percentiles(found, Term.TTFT),
        itl=_percentiles(found, Term.ITL),
        e2e=_percentiles(found, Term.E2E),
        attainment=None if attainment is None else math.floor(attainment * 1000) / 1000,
        waiting_requests=found.num_waiting,
        shared_by_classes=len(reported.classes_beside(key)),
    )


def observed_statuses(reported: Reported) -> dict[ClassKey, ObservedTraffic]:
    """What was measured of each class; a class of which nothing was is absent."""
    found = {key: observed_status(reported, key) for key in reported.snapshot.classes}
    return {key: each for key, each in found.items() if each is not None}


def slo_missed(reported: Reported, key: ClassKey) -> Verdict | None:
    """The first term of the class's SLO that its requests certainly did not keep, or None."""
    found = reported.observed_of(key)
    term = found.missed(slo_of(reported.snapshot.classes[key]))
    kept = found.kept(term) if term is not None else None
    if term is None or kept is None:
        return None
    return false(
        ConditionType.READY,
        Reason.SLO_MISSED,
        field=_field(term),
        share=f"{kept[1]:.0%}",
        refused=_refused(found),
        bound_ms=f"{term.bound_ms:g}",
        needed=f"{term.percentile:.0%}",
    )


def _refused(found: Observed) -> str:
    """Of the requests that arrived, those that were refused, in words; empty where none was."""
    requests = found.requests
    if requests is None or requests.refused <= 0 or requests.num <= 0:
        return ""
    return f" ({min(1.0, requests.refused / requests.num):.0%} were refused with 429)"


def _field(term: SloTerm) -> str:
    return f"spec.slo.{term.term.value.lower()}.p{term.percentile * 100:.0f}Milliseconds"


def _percentiles(found: Observed, term: Term) -> LatencyPercentiles | None:
    histogram = found.latencies.get(term)
    if histogram is None or histogram.total <= 0:
        return None
    return LatencyPercentiles(
        p50_milliseconds=_milliseconds(histogram, 0.50),
        p95_milliseconds=_milliseconds(histogram, 0.95),
        p99_milliseconds=_milliseconds(histogram, 0.99),
    )


def _milliseconds(histogram: Histogram, share: float) -> float | None:
    value_s = histogram.quantile(share)
    return None if value_s is None else _rounded(value_s * 1000)


def _rounded(value: float | None) -> float | None:
    """To `_DIGITS` significant digits."""
    if value is None or value == 0:
        return value
    return round(value, _DIGITS - 1 - math.floor(math.log10(abs(value))))
