"""The planning loop: take a snapshot, decide in the worker, check the steps again, act, report.

Owns when a decision is made and in which order it is carried out. What is decided is
`control.step`'s, and whether a step is still safe `control.recheck`'s; only the leader acts.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from argosy.api import Fleet
from argosy.api.conditions import Reason
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import rfc3339
from argosy.control.candidates.variants import templates_to_try
from argosy.control.decision import Decision, EventRecord, PlannedStep
from argosy.control.memory import ControlMemory
from argosy.control.recheck import changed_since
from argosy.control.state.counts import is_starting
from argosy.control.status.fleet import refused_decision
from argosy.control.step import StepSettings
from argosy.control.steps import gate_steps
from argosy.control.triggers import RESTORED, Trigger, merged
from argosy.errors import ActuationError, InvariantError, NextStep, Obstacle
from argosy.keys import DeploymentKey
from argosy.reconcile.act import EVENTS_ACTIVITY, OLD_PLANS, STATUS
from argosy.reconcile.error_table import Severity, delay_after, next_move
from argosy.reconcile.loop_state import LoopState
from argosy.reconcile.watch.profile_files import CONFIG_MAP
from argosy.rollout import (
    CreateDeployment,
    MarkVictim,
    ProtectReplicas,
    RestoreDeployment,
    ScaleDeployment,
    Step,
    describe,
)
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef

log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""Changes that come together (an applied folder, a Deployment's pods) make one decision."""

NODES_QUIET_S = 2.0
"""While replicas start, a change of a node waits for so long after the last one: a loop over nodes (`kubectl
cordon` of one each second) then makes one plan, and not one for each node, which the next replaces."""
NODES_LONGEST_S = 10.0
"""The same, counted from the first of them."""

PROGRESS_GAP_S = 1.0
"""Earlier steps that take effect one after another do not need a decision each."""

ACTIVITY = "decisions"
PICTURE = "picture"
REMOVALS = "removals"
FLEET = "fleet"
UNREADABLE = "unreadable: "
STEP = "step: "
"""What troubles are named by: the iteration, what is not believed, waits or is gone, an object, a step."""

LOOP = "the planning loop"
LONGEST_ITERATION_S = 300.0
"""A decision measures new capacities first, and may wait for the API server many times: beyond this,
/healthz reports the loop as stuck."""

NAMESPACE = "namespace "
"""The troubles of namespaces that are being deleted are named by it and the namespace."""
NAMESPACE_RETRY_S = 60.0
"""Until something is made again in a namespace that was being deleted."""

RESTORED_S = 120.0
"""For so long a restore of the API server is news: while it was away, no process may have led."""

STALE_S = 30.0
"""A decision on an older snapshot is not carried out (measuring new capacities may take this long)."""


Making = CreateDeployment | RestoreDeployment | ProtectReplicas
MAKERS = (CreateDeployment, RestoreDeployment, ProtectReplicas)
"""Steps that a namespace refuses while it is being deleted."""


class Decider(Protocol):
    """Where decisions are computed: `worker.DecisionWorker`, or a test's own process."""

    async def step(self, snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings) -> Decision:
        """Decide on a snapshot."""
        ...


class Election(Protocol):
    """Whether this process leads: `leadership.Leadership`."""

    @property
    def is_leader(self) -> bool:
        """True while this process may write to the cluster."""
        ...

    async def wait_gained(self) -> None:
        """Return once this process leads."""
        ...


class PlanningLoop:
    """One iteration at a time."""

    def __init__(self, state: LoopState, decider: Decider, election: Election) -> None:
        self._state, self._decider, self._election = state, decider, election
        self._triggers: list[Trigger] = []
        self._woken = asyncio.Event()
        self._input_changed = asyncio.Event()
        self._num_failures = 0
        self._refused_steps: set[str] = set()
        self._ending_until_s: dict[str, float] = {}
        """Namespaces that are being deleted, and until when nothing is made in them (monotonic seconds)."""
        self._is_standby = False
        self._last_end_s = 0.0
        self._nodes_changed_s = 0.0
        """When a node changed last whose followers are waited for (monotonic seconds)."""
        self._waits_until_s: float | None = None
        self._look_again_s: float | None = None
        self._waiting: list[Trigger] = []
        self._parting: dict[ObjectRef, float] = {}
        self._num_restored = 0
        """Which history of the API server's objects the last decision was made on."""
        self._restored: tuple[str, float] | None = None
        """What showed the last restore, and when (monotonic seconds), until an event was posted."""

    def wake(self, trigger: Trigger) -> None:
        """Decide soon, because something has changed.

        A standby keeps no triggers: it would collect them for days, and its first decision sees all changes.
        """
        if not self._is_standby:
            self._triggers.append(trigger)
        if not trigger.is_progress:
            self._input_changed.set()
        if trigger.has_followers:
            self._nodes_changed_s = self._state.clock.monotonic_s()
        self._woken.set()

    def begin_anew(self, proof: str) -> None:
        """The API server was restored to an earlier state: what was decided, remembered and to be decided
        for the later one is void. proof: what shows it"""
        state = self._state
        self._restored = (proof, state.clock.monotonic_s())
        self._triggers, self._waiting, self._waits_until_s, self._parting = [], [], None, {}
        state.memory = state.memory.with_planning(state.memory.planning.after_restore())
        state.metrics.restored.inc()

    async def run(self) -> None:
        """Iterate while this process leads, until cancelled."""
        first = Trigger("the operator started")
        while True:
            self._is_standby = not self._election.is_leader
            self._rest()
            await self._election.wait_gained()
            self._is_standby = False
            self.wake(first)
            await self._run_as_leader()
            first = Trigger("this process took over")

    def _rest(self) -> None:
        """Until this process leads, decisions are not its own, nor what goes wrong with them."""
        self._state.heartbeats.rest(LOOP)
        self._state.due_since_s = None
        self._state.troubles.forget(
            (ACTIVITY, PICTURE, REMOVALS, FLEET, EVENTS_ACTIVITY, OLD_PLANS),
            (UNREADABLE, STEP, NAMESPACE, STATUS, CONFIG_MAP),
        )
        self._state.metrics.forget_decisions()

    async def _run_as_leader(self) -> None:
        """Iterate until another process leads."""
        while True:
            await self._wait_for_work()
            if not self._election.is_leader:
                return
            await self.iterate()

    async def iterate(self) -> None:
        """One decision, carried out; an error only decides when the next decision is made."""
        clock = self._state.clock
        self._state.heartbeats.beat(LOOP, LONGEST_ITERATION_S)
        started_s, unserved = clock.monotonic_s(), list[Trigger]()
        if self._state.due_since_s is None:
            self._state.due_since_s = started_s
        try:
            changed = await self._profiles_read()
            # Taken with the snapshot and not before the files are read: what changes meanwhile is in the
            # snapshot too, and would else be named as the reason of the revision after this one.
            new = [*self._triggers, *changed]
            unserved, self._triggers = [*self._waiting, *new], []
            self._woken.clear()
            self._input_changed.clear()
            decision = await self._decide(merged(unserved if self._is_due(new) else new))
            self._wait_with(decision, unserved)
            unserved.clear()
            await self._act(decision)
            self._state.metrics.show_decision(decision, clock.monotonic_s() - started_s)
        except Exception as error:
            self._num_failures += 1
            self._state.metrics.iterations.labels("failed").inc()
            await self._explain(error)
            await self._prepare_retry(error, unserved)
        else:
            self._num_failures, self._state.due_since_s = 0, None
            self._state.troubles.succeeded(ACTIVITY)
            if decision.new_plan is not None or decision.steps:
                log.info("%s", decision, extra={"fields": decision.log_fields()})
            self._report_caution(decision)
            for _, sentence in decision.set_back:
                log.warning("%s", sentence)
        self._last_end_s = clock.monotonic_s()

    def _report_caution(self, decision: Decision) -> None:
        """Why nothing is removed: a picture that cannot be believed, or a removal that waits."""
        troubles = self._state.troubles
        for activity, sentence in ((PICTURE, decision.doubt), (REMOVALS, decision.waiting)):
            if sentence:
                said = f"nothing is removed: {sentence}"
                troubles.failed(activity, said, is_readiness=activity is PICTURE)
            else:
                troubles.succeeded(activity)
        if decision.fleet_gone:
            troubles.failed(FLEET, decision.fleet_gone, is_readiness=False)
        else:
            troubles.succeeded(FLEET)

    def _note_parting(self, ends: Mapping[ObjectRef, float]) -> None:
        """Remember when the grace of each deleted object ends; a new one is a line of the log."""
        for ref in sorted(ends.keys() - self._parting.keys()):
            log.info("%s was deleted: it is served until %s, then drained", ref, rfc3339(ends[ref]))
        self._parting = dict(ends)

    def _end_graces(self) -> None:
        """A grace that has ended calls for a decision, whose cause is the deletion."""
        now_s = self._state.clock.now_s()
        for ref in sorted(ref for ref, until_s in self._parting.items() if until_s <= now_s):
            del self._parting[ref]
            self.wake(Trigger(f"{ref} was deleted"))

    def _is_due(self, new: list[Trigger]) -> bool:
        """Whether the causes of a change that waits are named: at its time, beside other new facts, or where
        nothing else asked. What follows from a step that took effect earlier is not for them."""
        is_time = self._waits_until_s is not None and self._waits_until_s <= self._state.clock.now_s()
        return is_time or not new or not all(trigger.is_progress for trigger in new)

    def _wait_with(self, decision: Decision, triggers: list[Trigger]) -> None:
        """Keep the causes of a change that waits, and when to look at it again."""
        self._waits_until_s, self._look_again_s = decision.waits_until_s, decision.look_again_s
        waits = decision.waits_until_s is not None
        self._waiting = [t for t in dict.fromkeys(triggers) if not t.is_progress] if waits else []

    async def _prepare_retry(self, error: Exception, unserved: list[Trigger]) -> None:
        """Keep the triggers that no revision names yet; wait and wake where the error asks for a retry.

        Each failure in a row waits twice as long; a change of an input (an object, a node) ends the wait.
        """
        kept = [trigger for trigger in unserved if trigger not in self._waiting]
        self._triggers = list(dict.fromkeys((*kept, *self._triggers)))
        move, delay_s = next_move(error), delay_after(error, self._num_failures)
        if move.delay_s is None or delay_s is None:
            return
        await self._state.clock.sleep(move.delay_s)
        if delay_s > move.delay_s:
            await self._state.clock.wait(self._input_changed, delay_s - move.delay_s)
        if not self._triggers:
            self.wake(Trigger("the last decision could not be carried out", is_progress=True))
        self._woken.set()

    async def _decide(self, trigger: Trigger) -> Decision:
        """Decide, and write the revision. Nothing is awaited before the snapshot is taken."""
        state = self._state
        snapshot = state.snapshot()
        self._report_unreadable(snapshot)
        self._note_parting(snapshot.seen.parting)
        settings = StepSettings(trigger.message, trigger.is_progress, state.settings.plan_time_limit_s)
        num_restored = state.snapshots.num_restored
        decision = await self._decider.step(snapshot, state.memory, settings)
        self._ensure_current(decision, snapshot.monotonic_s, num_restored)
        if decision.alarm:
            await self._raise_alarm(decision)
        state.memory = state.memory.with_planning(decision.memory)
        await state.actor.publish(decision)
        await self._report_restored(snapshot)
        state.revisions.see(state.snapshots.plan_names())
        return decision

    async def _report_restored(self, snapshot: FleetSnapshot) -> None:
        """An event of Fleet: the whole new picture may be seen before a decision would doubt it."""
        restored, self._restored = self._restored, None
        if restored is None or snapshot.fleet is None or snapshot.fleet_spec.mode is Mode.OBSERVE:
            return
        proof, at_s = restored
        if snapshot.monotonic_s - at_s <= RESTORED_S:  # a standby may decide for the first time days later
            sentence = Reason.STATE_RESTORED.sentence(problem=proof)
            event = EventRecord(
                Fleet.KIND, snapshot.fleet.key, "Warning", Reason.STATE_RESTORED.value, sentence
            )
            await self._state.actor.post((event,))

    def _report_unreadable(self, snapshot: FleetSnapshot) -> None:
        """Objects that cannot be read; the conditions of each say the same."""
        unreadable = {f"{UNREADABLE}{item.kind} {item.key}": item.message for item in snapshot.invalid}
        for activity, message in unreadable.items():
            sentence = f"it cannot be read: {message}"
            self._state.troubles.failed(activity, sentence, is_readiness=False)
        self._state.troubles.keep_only(UNREADABLE, frozenset(unreadable))

    async def _explain(self, error: Exception) -> None:
        """Report a failed iteration in the log, in /readyz and, where it helps, in Fleet's status."""
        obstacle = error.obstacle if isinstance(error, ActuationError) else None
        level, prefix = _LOG_LEVELS[next_move(error).severity]
        # A refusal's words say all; of a bug, the developers want to see where it happened.
        is_bug = level == logging.ERROR and not isinstance(error, ActuationError)
        sentence = f"{prefix}{error}"
        self._state.troubles.failed(ACTIVITY, sentence, level=level, error=error if is_bug else None)
        if obstacle is None or not self._election.is_leader:
            return
        try:
            await self._state.actor.report(refused_decision(self._state.snapshot(), str(error)))
        except ActuationError as second:
            log.debug("the status of Fleet/default does not show it: %s", second)

    async def _raise_alarm(self, decision: Decision) -> None:
        """Report the alarm; raises InvariantError, also where the status cannot be written."""
        try:
            await self._state.actor.report(decision)
        except ActuationError as error:
            log.warning("the status of Fleet/default does not show the alarm: %s", error)
        raise InvariantError(decision.alarm)

    async def _act(self, decision: Decision) -> None:
        """Take the steps, then report the decision."""
        self._refused_steps.clear()
        try:
            num_left = await self._take(decision.steps)
        except ActuationError as error:
            if error.obstacle is not None:  # the API server answers: statuses may still be written
                await self._state.actor.report(decision)
            raise
        if num_left:
            self.wake(Trigger("the world changed while a decision was carried out", is_progress=True))
        self._forget_ended(decision.steps)
        await self.place_gated()
        self._state.troubles.keep_only(STEP, frozenset(self._refused_steps))
        await self._state.actor.report(decision)
        await self._state.actor.delete_plans(decision.life.expired)

    async def _take(self, steps: Iterable[PlannedStep]) -> int:
        """Take each step that is still safe; returns how many the next decision should take up at once.

        A refused step stops only the steps that build on it. Raises ActuationError where the API
        server does not answer.
        """
        num_left, unmarked = 0, set[DeploymentKey]()
        for planned in steps:
            step, snapshot = planned.step, self._state.snapshot()
            is_undone = self._state.snapshots.num_restored != self._num_restored
            reason = RESTORED if is_undone else changed_since(planned, snapshot)
            if reason:
                log.debug("left to the next decision: %s: %s", describe(step), reason)
                num_left += 1
                continue
            if isinstance(step, ScaleDeployment) and step.key in unmarked:
                continue  # Kubernetes would choose another pod to remove
            if self._is_ending(step):
                continue
            try:
                await self._state.actor.take(step)
                self._state.refused_writes.succeeded(step)
            except ActuationError as error:
                if error.next_step is NextStep.RETRY:
                    raise
                if error.obstacle is Obstacle.NAMESPACE_MISSING and isinstance(step, MAKERS):
                    self._note_ending(step, error)
                    continue
                activity = f"{STEP}{describe(step)}"
                self._refused_steps.add(activity)
                is_new = self._state.refused_writes.note(step, error, self._state.clock.now_s())
                self._state.troubles.failed(activity, f"not taken: {error}", is_readiness=False)
                num_left += is_new or error.next_step is NextStep.REPLAN
                if isinstance(step, MarkVictim):
                    unmarked.add(snapshot.pods[step.pod].deployment)
        return num_left

    def _is_ending(self, step: Step) -> bool:
        """Whether the step makes something in a namespace that is being deleted."""
        if not isinstance(step, MAKERS):
            return False
        until_s = self._ending_until_s.get(_namespace(step), 0.0)
        return self._state.clock.monotonic_s() < until_s

    def _note_ending(self, step: Making, error: ActuationError) -> None:
        """One sentence for the namespace, whatever of it is still planned; other namespaces go on."""
        namespace = _namespace(step)
        self._ending_until_s[namespace] = self._state.clock.monotonic_s() + NAMESPACE_RETRY_S
        self._state.troubles.failed(f"{NAMESPACE}{namespace}", str(error), is_readiness=False)

    def _forget_ended(self, steps: Iterable[PlannedStep]) -> None:
        """A namespace in which nothing is to be made any more is no trouble."""
        wanted = {_namespace(p.step) for p in steps if isinstance(p.step, MAKERS)}
        self._ending_until_s = {name: at for name, at in self._ending_until_s.items() if name in wanted}
        names = frozenset(f"{NAMESPACE}{name}" for name in self._ending_until_s)
        self._state.troubles.keep_only(NAMESPACE, names)

    def _ensure_current(self, decision: Decision, taken_at_s: float, num_restored: int) -> None:
        """Raises ActuationError where nothing of the decision may be carried out."""
        if not self._election.is_leader:
            raise ActuationError("this process no longer leads", NextStep.REPLAN)
        if self._state.snapshots.fleet_spec().mode is not decision.mode:
            raise ActuationError("the mode changed while the decision was made", NextStep.REPLAN)
        if self._state.snapshots.num_restored != num_restored:
            raise ActuationError(f"{RESTORED} while the decision was made", NextStep.REPLAN)
        self._num_restored = num_restored
        age_s = self._state.clock.monotonic_s() - taken_at_s
        if age_s > STALE_S:
            message = f"the decision took {age_s:.0f} s: at most {STALE_S:.0f} s is allowed"
            raise ActuationError(message, NextStep.REPLAN)

    async def place_gated(self) -> None:
        """Give new pods their nodes at once: the applied plan holds the nodes."""
        await self._take(gate_steps(self._state.snapshot()))

    async def _wait_for_work(self) -> None:
        clock, period_s = self._state.clock, self._interval_s()
        self._state.heartbeats.beat(LOOP, period_s + LONGEST_ITERATION_S)
        await clock.wait(self._woken, period_s)
        self._end_graces()
        await clock.sleep(SETTLE_S)
        await self._place_early()
        if self._triggers and all(t.is_progress for t in self._triggers):
            await clock.sleep(max(0.0, PROGRESS_GAP_S - (clock.monotonic_s() - self._last_end_s)))
        await self._gather_nodes()

    async def _gather_nodes(self) -> None:
        """Wait until nodes have stopped changing one after another, while replicas still start.

        Pods get their nodes meanwhile. Whatever else asks for a decision ends the wait.
        """
        clock = self._state.clock
        longest_s = clock.monotonic_s() + NODES_LONGEST_S
        while self._only_nodes_changed():
            left_s = min(self._nodes_changed_s + NODES_QUIET_S, longest_s) - clock.monotonic_s()
            if left_s <= 0.0 or not is_starting(self._state.snapshot()):
                return
            self._woken.clear()
            await clock.wait(self._woken, left_s)
            await self._place_early()

    def _only_nodes_changed(self) -> bool:
        asked = [trigger for trigger in self._triggers if not trigger.is_progress]
        return bool(asked) and all(trigger.has_followers for trigger in asked)

    def _interval_s(self) -> float:
        """Seconds until the next look, if nothing asks for one before."""
        regular_s = self._state.snapshots.fleet_spec().intervals.medium_seconds
        due_s = [*self._parting.values()]
        due_s += [at_s for at_s in (self._waits_until_s, self._look_again_s) if at_s is not None]
        return min(regular_s, max(0.0, min(due_s, default=math.inf) - self._state.clock.now_s()))

    async def _place_early(self) -> None:
        """Place before deciding; the iteration that follows places again, and handles what fails."""
        try:
            await self.place_gated()
        except Exception as error:
            log.info("pods are placed after the next decision: %s", error)

    async def _profiles_read(self) -> list[Trigger]:
        """Fetch the files that ServedModels name: no watch reports that one has changed. Try their pods."""
        state = self._state
        changed = await state.profile_files.refresh(state.snapshots.profile_files_named)
        await state.trials.refresh(templates_to_try(state.snapshots.stored(state.clock.now_s())))
        return [Trigger(f"ConfigMap {name} changed, which holds profiles") for name in changed]


_LOG_LEVELS = {
    Severity.ALARM: (logging.ERROR, ""),
    Severity.WARNING: (logging.WARNING, "trying again: "),
    Severity.INFO: (logging.INFO, "the world changed, deciding again: "),
}
"""Level and first words of the line of a failed iteration."""


def _namespace(step: Making) -> str:
    return step.key.namespace if isinstance(step, ProtectReplicas) else step.workload.namespace
