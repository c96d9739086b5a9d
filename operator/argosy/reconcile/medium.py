"""The medium loop: observe, decide, look again, act, report.

Owns when a decision is made and what is done with it. Never decides (`control.step` does, in the
worker) and acts only as the leader.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from argosy.control.decision import Decision
from argosy.control.state.silence import lost_pods
from argosy.control.state.waiting import stuck_pods
from argosy.control.step import StepSettings, planned_nodes
from argosy.control.triggers import Trigger
from argosy.errors import ActuationError, InvariantError, NextStep
from argosy.reconcile.error_table import Severity, next_move
from argosy.reconcile.leadership import Leadership
from argosy.reconcile.shared import Shared
from argosy.reconcile.worker import DecisionWorker
from argosy.rollout import assign_nodes
from argosy.snapshot.fleet import FleetSnapshot

log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""Changes that come together (an applied folder, a Deployment's pods) make one decision."""

PROGRESS_GAP_S = 1.0
"""Steps of ours that take effect one after another do not each deserve a solve."""

STALE_S = 30.0
"""A decision on an older picture is not acted on (measuring new capacities may take this long)."""


class Medium:
    """One iteration at a time."""

    def __init__(self, shared: Shared, worker: DecisionWorker) -> None:
        self._shared, self._worker = shared, worker
        self._triggers: list[Trigger] = []
        self._woken = asyncio.Event()
        self._last_end_s = 0.0

    def wake(self, trigger: Trigger) -> None:
        """Something has changed: decide soon."""
        self._triggers.append(trigger)
        self._woken.set()

    async def run(self, leadership: Leadership) -> None:
        """Iterate while this process leads, until cancelled."""
        self.wake(Trigger("the operator started"))
        while True:
            await leadership.wait_gained()
            await self._wait_for_work()
            if not leadership.is_leader:
                self.wake(Trigger("this process took over"))
                continue
            await self._guarded_iteration(leadership)

    async def _decide(self, leadership: Leadership, trigger: Trigger) -> Decision:
        """Up to the written revision. Nothing is awaited before the snapshot is taken."""
        started_s = time.time()
        fingerprint = self._shared.picture.spec_fingerprint()
        snapshot = self._shared.snapshot(started_s)
        for item in self._shared.picture.invalid():
            log.warning("%s %s is left out of decisions: %s", item.kind, item.key, item.message)
        settings = StepSettings(trigger.message, trigger.is_progress, self._shared.settings.plan_time_limit_s)
        decision = await self._worker.step(snapshot, self._shared.memory, settings)
        if decision.alarm:
            raise InvariantError(decision.alarm)
        self._recheck(leadership, fingerprint, snapshot)
        self._shared.forecasts = decision.forecasts
        self._shared.capacity_per_s = decision.capacity_per_s
        await self._shared.actor.publish(decision, snapshot.plans, started_s)
        return decision

    async def _act(self, decision: Decision) -> None:
        """Take the steps, then say what was decided."""
        await self._shared.actor.take(decision.steps)
        if decision.mode == "Auto":
            await self._place_gated()
        await self._shared.actor.report(decision)
        limit = self._shared.picture.fleet().spec.revision_history_limit
        await self._shared.actor.collect(self._shared.picture.plans(), limit)

    def _recheck(
        self, leadership: Leadership, fingerprint: tuple[object, ...], snapshot: FleetSnapshot
    ) -> None:
        """Look again before acting: still the leader, still the same specs, still a fresh picture."""
        if not leadership.is_leader:
            raise ActuationError("this process no longer leads", NextStep.REPLAN)
        if fingerprint != self._shared.picture.spec_fingerprint():
            raise ActuationError("a spec changed while the decision was made", NextStep.REPLAN)
        if time.time() - snapshot.now_s > STALE_S:
            raise ActuationError("the picture that was decided on is too old", NextStep.REPLAN)

    async def place_gated(self) -> None:
        """Give new pods their nodes at once: the applied plan has said where."""
        if self._shared.picture.fleet().spec.mode.value == "Auto":
            await self._place_gated()

    async def _place_gated(self) -> None:
        snapshot = self._shared.snapshot(time.time())
        plan = snapshot.applied_plan
        if plan is None or not any(p.gated for p in snapshot.engine_pods):
            return
        lost = lost_pods(snapshot) | stuck_pods(snapshot)
        alive = frozenset(n.name for n in snapshot.nodes.values() if n.ready and not n.unschedulable)
        for placing in assign_nodes(planned_nodes(plan), snapshot.engine_pods, alive, lost):
            await self._shared.actor.place(placing.pod, placing.node)

    async def _wait_for_work(self) -> None:
        interval_s = self._shared.picture.fleet().spec.intervals.medium_seconds
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), interval_s)
        await asyncio.sleep(SETTLE_S)
        with suppress(ActuationError):
            await self.place_gated()
        if self._triggers and all(t.is_progress for t in self._triggers):
            await asyncio.sleep(max(0.0, PROGRESS_GAP_S - (time.monotonic() - self._last_end_s)))

    async def _guarded_iteration(self, leadership: Leadership) -> None:
        started_s, unserved = time.monotonic(), list[Trigger]()
        try:
            changed = await self._profiles_read()
            # Taken with the snapshot and not before the files are read: what changes meanwhile is in the
            # snapshot too, and would else be told as the reason of the revision after this one.
            unserved, self._triggers = self._triggers + changed, []
            self._woken.clear()
            decision = await self._decide(leadership, _merged(unserved))
            unserved.clear()
            await self._act(decision)
            self._account(decision, time.monotonic() - started_s)
        except Exception as error:
            move = next_move(error)
            self._shared.gauges.iterations.labels("failed").inc()
            _say(error, move.severity)
            if move.delay_s is not None:
                await asyncio.sleep(move.delay_s)
                for trigger in unserved or [Trigger("the last decision could not be carried out", True)]:
                    self.wake(trigger)
        else:
            if decision.new_plan is not None or decision.steps:
                log.info("decided: %s", decision)
        self._last_end_s = time.monotonic()

    async def _profiles_read(self) -> list[Trigger]:
        """Bring the files that ServedModels name up to date; no watch tells that one has changed."""
        shared = self._shared
        changed = await shared.profile_files.refresh(shared.picture.profile_files_named)
        return [Trigger(f"ConfigMap {name} changed, which holds profiles") for name in changed]

    def _account(self, decision: Decision, seconds: float) -> None:
        gauges = self._shared.gauges
        gauges.iterations.labels("decided").inc()
        gauges.iteration_seconds.observe(seconds)
        if decision.follow is not None:
            gauges.revision.set(decision.follow.spec.revision)
            gauges.cost.set(decision.follow.spec.cost_usd_per_hour)
        gauges.show_demand({key: each.rate_per_s for key, each in decision.forecasts.items()})


def _merged(triggers: list[Trigger]) -> Trigger:
    """What the revision says: new facts first; progress of our own steps only where nothing else is."""
    asked = [t.message for t in triggers if not t.is_progress]
    distinct = list(dict.fromkeys(asked or [t.message for t in triggers]))
    if not distinct:
        return Trigger("the regular look at the fleet", is_progress=True)
    more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
    return Trigger("; ".join(distinct[:3]) + more, is_progress=not asked)


def _say(error: Exception, severity: Severity) -> None:
    if severity is Severity.ALARM:
        log.error("the iteration failed: %s", error, exc_info=not isinstance(error, ActuationError))
    elif severity is Severity.WARNING:
        log.warning("the iteration failed, trying again: %s", error)
    else:
        log.info("the world changed, deciding again: %s", error)
