"""The rate that each class is planned for, and the changes that need a new plan at once.

Owns the planning rate: the observed rate, the declared one, or the larger, as the class asks. Input:
a `DemandHistory` and the classes' declared traffic. Output: a `Forecast`, and `DemandShift`s.

An observed rate stays in the forecast for the stabilisation window, so that replicas are removed only
after they were not needed for so long. When telemetry fails the last rate is held: missing counters
are not missing traffic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from argosy.api.workloadclass import TrafficSource
from argosy.demand.band import BAND_SHARE, Side, side
from argosy.demand.counters import Count
from argosy.demand.history import ClassHistory, DemandHistory, Estimate, observe
from argosy.keys import ClassKey

__all__ = [
    "Basis",
    "ClassForecast",
    "ClassTraffic",
    "DemandHistory",
    "DemandShift",
    "Forecast",
    "ForecastNote",
    "fallen",
    "forecast",
    "observe",
    "triggers",
]

STALE_S = 30.0
"""Without a sample younger than this, the forecast holds the last observed rate."""


class Basis(StrEnum):
    """What a forecast rate comes from."""

    DECLARED = "Declared"
    """The class asks for its declared rate."""
    OBSERVED = "Observed"
    """The class asks for its observed rate."""
    LARGER_DECLARED = "LargerDeclared"
    """The class asks for the larger of both, which is the declared rate."""
    LARGER_OBSERVED = "LargerObserved"
    """The class asks for the larger of both, which is the observed rate."""
    DECLARED_UNTIL_OBSERVED = "DeclaredUntilObserved"
    """The class asks for its observed rate or the larger of both, and none was observed yet."""


_FROM_OBSERVATION = (Basis.OBSERVED, Basis.LARGER_OBSERVED)


class ForecastNote(StrEnum):
    """A remark on a forecast for the user; the value is its sentence."""

    NEVER_OBSERVED = "No Envoy has counted requests of this class yet, so its declared rate is planned for."
    HELD = "No request counter has been read for more than 30 s, so the last forecast is held."


@dataclass(frozen=True, slots=True)
class ClassTraffic:
    """What a class declares: its rate, requests per second, and which rate to plan for."""

    key: ClassKey
    declared_per_s: float
    source: TrafficSource

    def __post_init__(self) -> None:
        if not (math.isfinite(self.declared_per_s) and self.declared_per_s >= 0):
            raise ValueError(f"a declared rate is a number of zero or more, got {self.declared_per_s}")


@dataclass(frozen=True, slots=True)
class ClassForecast:
    """One class's demand, requests per second.

    rate_per_s: what to plan for
    observed_per_s: the mean that was observed, None before the first observation
    """

    rate_per_s: float
    observed_per_s: float | None
    declared_per_s: float
    basis: Basis
    note: ForecastNote | None = None


Forecast = Mapping[ClassKey, ClassForecast]
"""By class key."""


@dataclass(frozen=True, slots=True)
class DemandShift:
    """A class's rate has left its forecast: the reason to plan at once."""

    class_key: ClassKey
    observed_per_s: float
    forecast_per_s: float

    @property
    def message(self) -> str:
        """The sentence for the plan's trigger."""
        way = "above" if self.observed_per_s > self.forecast_per_s else "below"
        return (
            f"class {self.class_key} asks for {self.observed_per_s:.3g} requests/s, "
            f"{way} the {self.forecast_per_s:.3g} forecast"
        )


def forecast(
    history: DemandHistory, classes: Iterable[ClassTraffic], stabilization_s: float, now_s: float
) -> Forecast:
    """Each class's rate: the highest observed in the last `stabilization_s` seconds, combined with the
    declared rate as the class's traffic source asks.
    """
    found = {}
    for traffic in classes:
        known = history.classes.get(traffic.key, ClassHistory())
        found[traffic.key] = _class_forecast(traffic, known, stabilization_s, now_s)
    return found


def _class_forecast(
    traffic: ClassTraffic, known: ClassHistory, stabilization_s: float, now_s: float
) -> ClassForecast:
    declared, estimate = traffic.declared_per_s, known.estimate
    observed = None if estimate is None else estimate.mean_per_s
    if traffic.source is TrafficSource.DECLARED:
        return ClassForecast(declared, observed, declared, Basis.DECLARED)
    if estimate is None:
        note = ForecastNote.NEVER_OBSERVED
        return ClassForecast(declared, observed, declared, Basis.DECLARED_UNTIL_OBSERVED, note)
    is_stale = now_s - estimate.at_s > STALE_S
    upper = _highest(known, estimate, stabilization_s, estimate.at_s if is_stale else now_s)
    if traffic.source is TrafficSource.OBSERVED:
        rate, basis = upper, Basis.OBSERVED
    elif upper > declared and (upper > estimate.upper_per_s or _exceeds(known, declared)):
        rate, basis = upper, Basis.LARGER_OBSERVED
    else:
        rate, basis = declared, Basis.LARGER_DECLARED
    return ClassForecast(rate, observed, declared, basis, ForecastNote.HELD if is_stale else None)


def _exceeds(known: ClassHistory, declared_per_s: float) -> bool:
    """Whether chance at the declared rate does not explain the present estimate.

    After a quiet time a class's first few requests are a change, and the estimate since is one over seconds.
    """
    estimate = known.estimate
    if estimate is None or not known.is_cut_by_a_change:
        return True
    seen = Count(estimate.mean_per_s * estimate.duration_s, estimate.duration_s)
    return side(seen, declared_per_s) is Side.ABOVE


def _highest(known: ClassHistory, estimate: Estimate, stabilization_s: float, as_of_s: float) -> float:
    """The highest rate of the window that ends at `as_of_s`.

    Only settled estimates are peaks: an early estimate of few samples that is too high would
    otherwise last for the whole window.
    """
    return max(estimate.upper_per_s, known.highest_since(as_of_s - stabilization_s))


def triggers(history: DemandHistory, forecasts: Forecast, now_s: float) -> tuple[DemandShift, ...]:
    """The classes whose rate has left the forecast that the last plan was made for, by key.

    A class above its forecast is returned for as long as it stays there; a class below it once, when
    the change is detected: the forecast follows downwards only after the stabilisation window. Call it
    once after each `observe`.
    """
    found = []
    for key, planned in sorted(forecasts.items()):
        known = history.classes.get(key)
        if known is None or known.estimate is None or planned.basis is Basis.DECLARED:
            continue
        if now_s - known.estimate.at_s <= STALE_S and _has_left(known, planned, history.observed_at_s):
            seen = known.last_window()
            rate = known.estimate.mean_per_s if seen is None else seen.rate_per_s
            found.append(DemandShift(key, rate, planned.rate_per_s))
    return tuple(found)


def fallen(planned: Forecast, current: Forecast) -> dict[ClassKey, str]:
    """Sentences for the classes whose forecast has come down by more than the band since the last plan.

    The forecast follows downwards only after the stabilisation window, so a fall is reported once, when
    replicas may be removed.
    """
    return {
        key: f"class {key} needs {now.rate_per_s:.3g} requests/s, down from {before.rate_per_s:.3g}"
        for key, now in sorted(current.items())
        if (before := planned.get(key)) is not None and now.rate_per_s < before.rate_per_s * (1 - BAND_SHARE)
    }


def _has_left(known: ClassHistory, planned: ClassForecast, observed_at_s: float) -> bool:
    seen = known.last_window()
    if seen is not None and side(seen, planned.rate_per_s) is Side.ABOVE:
        return True
    if known.estimate is None:
        return False
    if planned.basis is Basis.LARGER_DECLARED and known.is_cut_by_a_change:
        # Looked at until it is settled: it may take longer to exceed this rate than the one before.
        upper = known.estimate.upper_per_s
        return upper > planned.rate_per_s * (1 + BAND_SHARE) and _exceeds(known, planned.declared_per_s)
    if known.changed_at_s != observed_at_s:
        return False
    upper = known.estimate.upper_per_s
    if upper > planned.rate_per_s * (1 + BAND_SHARE):
        return True
    return planned.basis in _FROM_OBSERVATION and upper < planned.rate_per_s * (1 - BAND_SHARE)
