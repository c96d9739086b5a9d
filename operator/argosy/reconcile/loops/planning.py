"""The planning loop: take a snapshot, decide in the worker, look again, act, report.

Owns when a decision is made and in which order it is carried out. What is decided is
`control.step`'s, and whether a step is still safe `control.recheck`'s; only the leader acts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from argosy.control.decision import Decision, PlannedStep
from argosy.control.recheck import changed_since
from argosy.control.step import StepSettings
from argosy.control.steps import gate_steps
from argosy.control.triggers import Trigger, merged
from argosy.errors import ActuationError, InvariantError, NextStep
from argosy.reconcile.error_table import Severity, next_move
from argosy.reconcile.leadership import Leadership
from argosy.reconcile.loop_state import LoopState
from argosy.reconcile.worker import DecisionWorker

log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""Changes that come together (an applied folder, a Deployment's pods) make one decision."""

PROGRESS_GAP_S = 1.0
"""Earlier steps that take effect one after another do not each deserve a solve."""

STALE_S = 30.0
"""A decision on an older snapshot is not acted on (measuring new capacities may take this long)."""


class PlanningLoop:
    """One iteration at a time."""

    def __init__(self, state: LoopState, worker: DecisionWorker, leadership: Leadership) -> None:
        self._state, self._worker, self._leadership = state, worker, leadership
        self._triggers: list[Trigger] = []
        self._woken = asyncio.Event()
        self._last_end_s = 0.0

    def wake(self, trigger: Trigger) -> None:
        """Something has changed: decide soon."""
        self._triggers.append(trigger)
        self._woken.set()

    async def run(self) -> None:
        """Iterate while this process leads, until cancelled."""
        self.wake(Trigger("the operator started"))
        while True:
            await self._leadership.wait_gained()
            await self._wait_for_work()
            if not self._leadership.is_leader:
                self.wake(Trigger("this process took over"))
                continue
            await self.iterate()

    async def iterate(self) -> None:
        """One decision, carried out; what goes wrong decides only when the next one is made."""
        clock = self._state.clock
        started_s, unserved = clock.monotonic_s(), list[Trigger]()
        try:
            changed = await self._profiles_read()
            # Taken with the snapshot and not before the files are read: what changes meanwhile is in the
            # snapshot too, and would else be named as the reason of the revision after this one.
            unserved, self._triggers = self._triggers + changed, []
            self._woken.clear()
            decision = await self._decide(merged(unserved))
            unserved.clear()
            await self._act(decision)
            self._state.metrics.show_decision(decision, clock.monotonic_s() - started_s)
        except Exception as error:
            move = next_move(error)
            self._state.metrics.iterations.labels("failed").inc()
            _log(error, move.severity)
            if move.delay_s is not None:
                await clock.sleep(move.delay_s)
                for trigger in unserved or [Trigger("the last decision could not be carried out", True)]:
                    self.wake(trigger)
        else:
            if decision.new_plan is not None or decision.steps:
                log.info("decided: %s", decision)
        self._last_end_s = clock.monotonic_s()

    async def _decide(self, trigger: Trigger) -> Decision:
        """Up to the written revision. Nothing is awaited before the snapshot is taken."""
        state = self._state
        snapshot = state.snapshot()
        for item in snapshot.invalid:
            log.warning("%s %s is left out of decisions: %s", item.kind, item.key, item.message)
        settings = StepSettings(trigger.message, trigger.is_progress, state.settings.plan_time_limit_s)
        decision = await self._worker.step(snapshot, state.memory, settings)
        self._ensure_current(decision, snapshot.now_s)
        if decision.alarm:
            await state.actor.report(decision)
            raise InvariantError(decision.alarm)
        state.memory = state.memory.with_planning(decision.memory)
        await state.actor.publish(decision)
        return decision

    async def _act(self, decision: Decision) -> None:
        """Take the steps, then say what was decided."""
        await self._take(decision.steps)
        await self.place_gated()
        await self._state.actor.report(decision)
        await self._state.actor.delete_plans(decision.life.expired)

    async def _take(self, steps: Iterable[PlannedStep]) -> None:
        """Take each step that is still safe; the others are left to the next decision."""
        num_left = 0
        for planned in steps:
            reason = changed_since(planned, self._state.snapshot())
            if reason:
                log.info("a step is left to the next decision: %s", reason)
                num_left += 1
            else:
                await self._state.actor.take(planned.step)
        if num_left:
            self.wake(Trigger("the world changed while a decision was carried out", is_progress=True))

    def _ensure_current(self, decision: Decision, taken_at_s: float) -> None:
        """Raises ActuationError where the whole decision has lost its ground; steps are looked at later."""
        if not self._leadership.is_leader:
            raise ActuationError("this process no longer leads", NextStep.REPLAN)
        if self._state.snapshots.fleet().spec.mode is not decision.mode:
            raise ActuationError("the mode changed while the decision was made", NextStep.REPLAN)
        if self._state.clock.now_s() - taken_at_s > STALE_S:
            raise ActuationError("the snapshot that was decided on is too old", NextStep.REPLAN)

    async def place_gated(self) -> None:
        """Give new pods their nodes at once: the applied plan has said where."""
        for planned in gate_steps(self._state.snapshot()):
            if not changed_since(planned, self._state.snapshot()):
                await self._state.actor.take(planned.step)

    async def _wait_for_work(self) -> None:
        clock = self._state.clock
        await clock.wait(self._woken, self._state.snapshots.fleet().spec.intervals.medium_seconds)
        await clock.sleep(SETTLE_S)
        with suppress(ActuationError):
            await self.place_gated()
        if self._triggers and all(t.is_progress for t in self._triggers):
            await clock.sleep(max(0.0, PROGRESS_GAP_S - (clock.monotonic_s() - self._last_end_s)))

    async def _profiles_read(self) -> list[Trigger]:
        """Fetch the files that ServedModels name: no watch reports that one has changed."""
        state = self._state
        changed = await state.profile_files.refresh(state.snapshots.profile_files_named)
        return [Trigger(f"ConfigMap {name} changed, which holds profiles") for name in changed]


def _log(error: Exception, severity: Severity) -> None:
    if severity is Severity.ALARM:
        log.error("the iteration failed: %s", error, exc_info=not isinstance(error, ActuationError))
    elif severity is Severity.WARNING:
        log.warning("the iteration failed, trying again: %s", error)
    else:
        log.info("the world changed, deciding again: %s", error)
