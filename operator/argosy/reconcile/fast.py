"""The fast loop: measure, remember demand, recalibrate, notice silence, correct weights.

Owns when telemetry is read and what is done with it at once. `iterate` is one iteration; `run` only
waits and calls it. All replicas of the operator measure, so that a standby knows the demand when it
takes over; only the leader writes weights.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from argosy.control.balance import balance, published_weights, worth_publishing
from argosy.control.decision import EventRecord
from argosy.control.state.silence import silent_pods
from argosy.control.step import class_forecasts
from argosy.control.triggers import Trigger
from argosy.demand.forecast import fallen, observe, triggers
from argosy.errors import ActuationError
from argosy.reconcile.calibrations import Calibrations
from argosy.reconcile.shared import Shared
from argosy.route.weights import CellWeights
from argosy.snapshot.fleet import FleetSnapshot
from argosy.telemetry.port import Targets, TelemetrySource

log = logging.getLogger(__name__)


class Fast:
    """One iteration at a time."""

    def __init__(
        self,
        shared: Shared,
        source: TelemetrySource,
        calibrations: Calibrations,
        wake: Callable[[Trigger], None],
    ) -> None:
        self._shared, self._source, self._wake = shared, source, wake
        self._calibrations = calibrations
        self._silent: frozenset[str] = frozenset()
        self._weights: Mapping[str, CellWeights] = {}
        self._weighted_plan = ""

    async def run(self, is_leader: Callable[[], bool]) -> None:
        """Iterate every `intervals.fastSeconds`, without drift, until cancelled."""
        due_s = time.monotonic()
        while True:
            try:
                await self.iterate(is_leader())
            except ActuationError as error:
                log.warning("the weights were not written: %s", error)
            except Exception:
                # Envoy keeps the last weights; the next reading may be fine.
                log.exception("the fast loop's iteration failed")
            due_s = max(due_s + self._shared.picture.fleet().spec.intervals.fast_seconds, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())

    async def iterate(self, is_leader: bool) -> None:
        """Measure once and react."""
        asked_s = time.time()
        targets = self._targets(self._shared.snapshot(asked_s))
        self._shared.reading = await self._source.read(targets, asked_s)
        # Asking a silent engine takes a second: whether it has been silent for long is judged now.
        now_s = time.time()
        snapshot = self._shared.snapshot(now_s)
        demand = observe(self._shared.memory.demand, self._shared.reading, snapshot.classes, asked_s)
        self._shared.memory = replace(self._shared.memory, demand=demand)
        for shift in triggers(demand, self._shared.forecasts, asked_s):
            self._wake(Trigger(shift.message))
        for message in fallen(self._shared.forecasts, class_forecasts(snapshot, self._shared.memory)):
            self._wake(Trigger(message))
        self._notice_silence(snapshot)
        events = self._recalibrate(snapshot)
        if is_leader and self._shared.picture.fleet().spec.mode.value == "Auto":
            await self._correct_weights(snapshot)
        if is_leader and self._shared.picture.fleet().spec.mode.value != "Observe":
            await self._shared.actor.post(self._calibrations.not_said_lately(events, now_s))

    def _recalibrate(self, snapshot: FleetSnapshot) -> tuple[EventRecord, ...]:
        """Learn how long steps really take. Weights do not depend on it: they are corrected anyway."""
        try:
            found = self._calibrations.take(snapshot, self._shared.memory)
        except Exception:
            log.exception("recalibration failed")
            return ()
        self._shared.memory = found.memory
        for key in found.changed:
            self._wake(Trigger(f"the step times of {key} were calibrated anew"))
        return found.events

    def _targets(self, snapshot: FleetSnapshot) -> Targets:
        engines = tuple(p.address for p in snapshot.engine_pods if p.address and p.ready)
        return Targets(engines, tuple((e.node_id, e.url) for e in self._shared.settings.envoys))

    def _notice_silence(self, snapshot: FleetSnapshot) -> None:
        silent = silent_pods(snapshot)
        for pod in sorted(silent - self._silent):
            self._wake(Trigger(f"the engine of pod {pod} has fallen silent"))
        for pod in sorted(self._silent - silent):
            self._wake(Trigger(f"the engine of pod {pod} is no longer counted as silent", is_progress=True))
        self._silent = silent
        self._shared.gauges.silent.set(len(silent))

    async def _correct_weights(self, snapshot: FleetSnapshot) -> None:
        plan = snapshot.applied_plan
        if plan is None:
            return
        if plan.key != self._weighted_plan:
            self._weighted_plan, self._weights = plan.key, published_weights(plan)
        self._weights = balance(snapshot, plan, self._weights, self._shared.capacity_per_s)
        if worth_publishing(plan, self._weights):
            weights = {cell: found.weights for cell, found in self._weights.items()}
            await self._shared.actor.write_weights(plan, weights)
