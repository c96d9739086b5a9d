"""What one iteration decided, as data: steps, a plan revision, statuses, events, and why.

Owns the shape of a `Decision`, which can print itself. Never decides and never acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.api import FleetPlan
from argosy.demand.forecast import ClassForecast, DemandHistory
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.perf.recalibration.observe import WindowMemory
from argosy.rollout import Step


@dataclass(frozen=True, slots=True)
class ControlMemory:
    """What decisions carry from one iteration to the next; lost at a restart without harm.

    started_s: since when demand is remembered (seconds since the epoch)
    windows:   what engines are doing, until it fills a window of recalibration
    calibration: what engines were seen to need, against their profiles
    """

    demand: DemandHistory
    started_s: float = 0.0
    windows: WindowMemory = field(default_factory=WindowMemory)
    calibration: CalibrationMemory = field(default_factory=CalibrationMemory)


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """The whole status that an object shall have. `kind` is the plural."""

    kind: str
    key: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A Kubernetes event about an object. `kind` is the kind's name, `type` Normal or Warning."""

    kind: str
    key: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one iteration.

    new_plan: a revision to be written, or None where nothing changed
    follow: the plan whose steps these are (the new one, or the applied one), or None
    steps: what is safe to do now; empty unless the mode is Auto
    forecasts: what each class was planned for; capacity_per_s: of one replica, by Deployment
    alarm: our bug, in a sentence; nothing may be acted on
    """

    mode: str
    new_plan: FleetPlan | None
    follow: FleetPlan | None
    steps: tuple[Step, ...]
    statuses: tuple[StatusUpdate, ...]
    events: tuple[EventRecord, ...]
    forecasts: Mapping[str, ClassForecast] = field(default_factory=dict)
    capacity_per_s: Mapping[str, float] = field(default_factory=dict)
    alarm: str = ""

    def __str__(self) -> str:
        if self.alarm:
            return f"nothing is done: {self.alarm}"
        parts = [f"{len(self.steps)} steps"]
        if self.new_plan is not None:
            spec = self.new_plan.spec
            counts = ", ".join(f"{d.replicas} x {d.variant}" for d in spec.deployments if d.replicas)
            what = f"{counts or 'nothing'}, ${spec.cost_usd_per_hour:.2f}/h"
            parts.insert(0, f"revision {spec.revision} ({spec.trigger}): {what}")
        return "; ".join(parts)
