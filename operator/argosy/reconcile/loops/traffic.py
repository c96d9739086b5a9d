"""The traffic loop: measure, react, carry the reaction out.

Owns when telemetry is read and how a `Reaction` of `control.fast.react` is carried out. `iterate` is
one iteration; `reweigh` corrects the weights between two of them, where an engine has become ready or has
ceased to be; `run` only waits and calls them. All replicas of the operator measure, so that a standby
knows the demand when it takes over; only the leader writes weights and posts events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from argosy.api import FleetPlan
from argosy.control.candidates.running import RunningVariants
from argosy.control.fast import Reaction, ReactSettings, react, reweighed
from argosy.control.traffic.blindness import Blindness
from argosy.control.triggers import Trigger
from argosy.errors import ActuationError
from argosy.files.calibrations import write_calibrations
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.reconcile.envoy_targets import EnvoyTargets
from argosy.reconcile.loop_state import LoopState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef
from argosy.telemetry.port import Targets, TelemetrySource

log = logging.getLogger(__name__)

LOOP = "the traffic loop"
ACTIVITY = "weights"
BLIND = "lost: "
"""What troubles are named by: the writing of weights, and what is lost of sight."""
LONGEST_ITERATION_S = 120.0
"""Readings and writes have time limits of seconds: beyond this, /healthz reports the loop as stuck."""

SETTLE_S = 0.1
"""Engines that become ready together make one correction of the weights."""

Wake = Callable[[Trigger], None]


class TrafficLoop:
    """One iteration at a time. `wake` makes the planning loop decide soon."""

    def __init__(
        self, state: LoopState, source: TelemetrySource, variants: RunningVariants, wake: Wake
    ) -> None:
        self._state, self._source, self._variants, self._wake = state, source, variants, wake
        self._envoys = EnvoyTargets(state.settings.envoys)
        self._endpoints_changed = asyncio.Event()

    def endpoints_changed(self) -> None:
        """Correct the weights soon: an engine has become ready, or has ceased to be."""
        self._endpoints_changed.set()

    async def run(self, is_leader: Callable[[], bool]) -> None:
        """Iterate every `intervals.fastSeconds`, without drift, until cancelled."""
        clock = self._state.clock
        due_s = clock.monotonic_s()
        while True:
            self._state.heartbeats.beat(LOOP, LONGEST_ITERATION_S)
            await self._guarded(self.iterate(is_leader()))
            due_s = max(
                due_s + self._state.snapshots.fleet_spec().intervals.fast_seconds, clock.monotonic_s()
            )
            await self._rest(due_s, is_leader)

    async def _rest(self, due_s: float, is_leader: Callable[[], bool]) -> None:
        """Wait for the next reading; weights follow the engines meanwhile."""
        clock = self._state.clock
        while await clock.wait(self._endpoints_changed, due_s - clock.monotonic_s()):
            await clock.sleep(min(SETTLE_S, due_s - clock.monotonic_s()))
            self._endpoints_changed.clear()
            if is_leader():
                await self._guarded(self.reweigh())

    async def _guarded(self, activity: Awaitable[None]) -> None:
        """What fails is reported: Envoy keeps the last weights, and the next reading may be fine."""
        troubles = self._state.troubles
        try:
            await activity
        except ActuationError as error:
            troubles.failed(ACTIVITY, f"the weights were not written: {error}")
        except Exception as error:
            what = f"the traffic loop's iteration failed: {error!r}"
            troubles.failed(ACTIVITY, what, level=logging.ERROR, error=error)
        else:
            troubles.succeeded(ACTIVITY)

    async def iterate(self, is_leader: bool) -> None:
        """Measure once, react, and carry the reaction out."""
        state = self._state
        self._endpoints_changed.clear()
        targets = self._targets(state.snapshot())
        state.reading = await self._source.read(targets, state.clock.now_s())
        # A scrape of a silent engine takes a second: the snapshot's time is read after that.
        snapshot = state.snapshot()
        settings = ReactSettings(is_leader, self._variants.of(snapshot), state.due_since_s)
        reaction = react(snapshot, state.memory, settings)
        # Nothing is awaited between reading the memory and writing it: no iteration is lost.
        state.memory = state.memory.with_traffic(reaction.memory)
        for fault in reaction.faults:
            log.error("recalibration failed", exc_info=fault)
        for trigger in reaction.triggers:
            self._wake(trigger)
        state.metrics.show_traffic(reaction.measures)
        if reaction.measures.blind is not None:
            self._report(reaction.measures.blind)
        await self._write(reaction, snapshot)

    async def reweigh(self) -> None:
        """Correct the weights by the last reading: a new engine does not wait for the next one."""
        state = self._state
        snapshot = state.snapshot()
        await self._write(reweighed(snapshot, state.memory), snapshot)

    def _report(self, blind: Blindness) -> None:
        """What is lost of sight, in the log and in /readyz; it has lasted for long enough."""
        for what, sentence in blind.lasting.items():
            self._state.troubles.lasted(f"{BLIND}{what}", sentence, blind.since_s[what])
        self._state.troubles.keep_only(BLIND, frozenset(f"{BLIND}{what}" for what in blind.lasting))

    async def _write(self, reaction: Reaction, snapshot: FleetSnapshot) -> None:
        if reaction.to_keep is not None:
            self._keep(reaction.to_keep)
        try:
            plan = snapshot.applied_plan
            if reaction.weights is not None and plan is not None and not _is_unseen(plan, snapshot):
                await self._state.actor.write_weights(plan, reaction.weights)
        finally:
            await self._state.actor.post(reaction.events)

    def _keep(self, calibrations: CalibrationMemory) -> None:
        path: Path = self._state.settings.state_dir / CALIBRATIONS_FILE
        try:
            write_calibrations(calibrations, path, self._state.cluster.uid)
        except OSError as error:
            # Only a restart needs the file.
            log.warning("the calibrations were not written to %s: %s", path, error)

    def _targets(self, snapshot: FleetSnapshot) -> Targets:
        engines = tuple(p.address for p in snapshot.engine_pods if p.should_answer)
        return Targets(engines, self._envoys.of(snapshot.routing.envoys, snapshot.now_s))


def _is_unseen(plan: FleetPlan, snapshot: FleetSnapshot) -> bool:
    """Whether the API server does not hold the plan any more, so that nothing can be written to it."""
    return ObjectRef(FleetPlan.PLURAL, plan.key) in snapshot.seen.unseen


CALIBRATIONS_FILE = "calibrations.json"
"""Name of the file of calibrations in the state directory."""
