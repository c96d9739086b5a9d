"""The forecast of each class, from its declared rate and what the traffic loop has measured.

Owns the one rule beyond `demand.forecast`: a process that has just started has measured too little to
plan for less than the applied plan does. Input: a snapshot and the traffic loop's memory. Output: a
forecast for each class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from argosy.api import FleetPlan
from argosy.control.memory import TrafficMemory
from argosy.demand.forecast import Basis, ClassForecast, ClassTraffic, forecast
from argosy.keys import ClassKey
from argosy.snapshot.fleet import FleetSnapshot

LEARNING_S = 30.0
"""A process younger than this has not seen enough traffic to take replicas away."""


def class_forecasts(snapshot: FleetSnapshot, traffic: TrafficMemory) -> Mapping[ClassKey, ClassForecast]:
    """The demand to plan for, by class."""
    stabilization_s = float(snapshot.fleet_spec.stabilization_seconds)
    declared = tuple(
        ClassTraffic(key, c.spec.traffic.requests_per_second, c.spec.traffic.source)
        for key, c in sorted(snapshot.classes.items())
    )
    forecasts = forecast(traffic.demand, declared, stabilization_s, snapshot.now_s)
    if snapshot.now_s - traffic.started_s >= max(stabilization_s, LEARNING_S):
        return forecasts
    return {key: _not_below(each, snapshot.applied_plan, key) for key, each in forecasts.items()}


def _not_below(found: ClassForecast, applied: FleetPlan | None, key: ClassKey) -> ClassForecast:
    """The forecast, or the class's rate in the applied plan where that is higher."""
    if applied is None or found.basis is Basis.DECLARED:
        return found
    planned = math.fsum(c.requests_per_second for c in applied.spec.cells if c.workload_class == key)
    return replace(found, rate_per_s=max(found.rate_per_s, planned))
