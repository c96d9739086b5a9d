"""The operator's loops in virtual time, around fakes of the far side.

Owns `VirtualShell`: one process without its network. The API server, the Lease, the scraper and the
worker process are fakes; the loops, the store, the snapshots and `control` are the real ones. Make it
inside a running event loop (`virtual_clock.in_virtual_time`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders import GPU_LABEL, NVIDIA, a_class, a_fleet, a_model, a_pool
from memory_api_server import Call, MemoryApiServer, MemoryCluster
from small_fleet import FakePerf
from solved_once import solve_once
from virtual_clock import VirtualClock, troubles_of

from argosy.api import CustomResource
from argosy.api.kinds import WATCHED
from argosy.control.candidates.running import RunningVariants
from argosy.control.decision import Decision
from argosy.control.fast import removal_triggers
from argosy.control.memory import ControlMemory, TrafficMemory
from argosy.control.step import Solver, StepSettings, step
from argosy.control.triggers import Trigger, is_endpoint_change, trigger_of
from argosy.errors import NextStep, Obstacle
from argosy.keys import CellName
from argosy.kube.identity import ClusterIdentity
from argosy.kube.store import Store
from argosy.reconcile.act import Actor
from argosy.reconcile.loop_state import LoopState
from argosy.reconcile.loops.planning import PlanningLoop
from argosy.reconcile.loops.traffic import TrafficLoop
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.reporting.heartbeats import Heartbeats
from argosy.reconcile.revisions import SeenRevisions
from argosy.reconcile.watch.profile_files import ProfileFiles
from argosy.reconcile.watch.snapshots import Snapshots
from argosy.reconcile.watch.template_trials import TemplateTrials
from argosy.reconcile.watch.watches import Change, Listeners, Watches
from argosy.settings import EnvoyAdmin, OperatorSettings
from argosy.snapshot import EngineReading, RouteCounters, Sample, TelemetryReading
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView
from argosy.telemetry.port import Targets

Object = dict[str, Any]


def node_object(name: str, pool: str = "l40s", gpus: int = 2) -> Object:
    """A Node as the API server sends it."""
    return {
        "metadata": {"name": name, "labels": {GPU_LABEL: pool, "kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {NVIDIA: str(gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


class FakeElection:
    """The outcome of the leader election, as a test sets it."""

    def __init__(self) -> None:
        self._gained = asyncio.Event()
        self._gained.set()

    @property
    def is_leader(self) -> bool:
        return self._gained.is_set()

    async def wait_gained(self) -> None:
        await self._gained.wait()

    def gain(self) -> None:
        self._gained.set()

    def lose(self) -> None:
        self._gained.clear()


def all_answer(targets: Targets, now_s: float) -> TelemetryReading:
    """Every engine has one request."""
    sample = Sample(EngineReading(1, 0, 0.1, 0, 0, 0), now_s)
    return TelemetryReading(engines=dict.fromkeys(targets.engines, sample))


class FakeScraper:
    """Reads what `answer` returns: at first, every engine answers. `takes_s`: how long a reading takes.

    error: raised instead
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.asked: list[tuple[float, Targets]] = []
        self.answer: Callable[[Targets, float], TelemetryReading] = all_answer
        self.error: Exception | None = None
        self.takes_s = 0.0

    async def read(self, targets: Targets, now_s: float) -> TelemetryReading:
        self.asked.append((self._clock.monotonic_s(), targets))
        await self._clock.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.answer(targets, now_s)

    async def close(self) -> None:
        """Nothing is open."""


class InProcess:
    """Decides in this process what the worker decides in its own, in `takes_s` of virtual time.

    change: what a test makes of a decision before it is returned
    meanwhile: called while a decision is made
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock, self.perf = clock, FakePerf()
        self.takes_s = 0.0
        self.started_s: list[float] = []
        self.snapshots: list[FleetSnapshot] = []
        self.triggers: list[str] = []
        self.change: Callable[[Decision], Decision] = lambda decision: decision
        self.meanwhile: Callable[[], object] = lambda: None
        self.solver: Solver = solve_once

    async def step(self, snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings) -> Decision:
        self.started_s.append(self._clock.monotonic_s())
        self.snapshots.append(snapshot)
        self.triggers.append(settings.trigger)
        unlimited = StepSettings(settings.trigger, settings.is_progress, plan_time_limit_s=None)
        decision = step(snapshot, memory, unlimited, self.perf, self.solver)
        await self._clock.sleep(self.takes_s / 2)
        self.meanwhile()
        await self._clock.sleep(self.takes_s / 2)
        return self.change(decision)


class VirtualShell:
    """One process that leads, and the API server that it reads and writes."""

    def __init__(self, directory: Path, before: VirtualShell | None = None) -> None:
        """before: the process that this one follows, in the same cluster; it knows nothing of it."""
        self.clock, self.store = VirtualClock(), Store(WATCHED)
        self.server = before.server if before else MemoryApiServer()
        self.cluster = before.cluster if before else MemoryCluster(self.server, self.clock)
        if before is not None:
            self.server.watchers.remove(before._seen)
        self.server.watchers.append(self._seen)
        self.election, self.decider = FakeElection(), InProcess(self.clock)
        self.scraper = FakeScraper(self.clock)
        self.troubles = troubles_of(self.clock)
        self._is_synced = False
        self.missed: Counter[str] = Counter()
        """Changes by kind that a watch has not reported."""
        listeners = Listeners(
            self._changed,
            self._picture_changed,
            self._note_missed,
            lambda proof: self.planning.begin_anew(proof),
            lambda kind, cause: self.planning.wake(Trigger(cause)),
        )
        self.unknown: set[str] = set()
        """Keys of pods that no Envoy has as an endpoint."""
        self.watches = Watches(self.store, self.server, self.clock, self.troubles, listeners)
        self.routing = RoutingView("v1", (EnvoyState("edge", "v1"),))
        self.state = LoopState(
            settings=OperatorSettings(
                state_dir=directory, envoys=(EnvoyAdmin("edge", "http://127.0.0.1:9901"),)
            ),
            clock=self.clock,
            snapshots=Snapshots(self.store),
            actor=Actor(self.server, self.store, self.clock, self.troubles, lambda: self.election.is_leader),
            routing=self._routing,
            profile_files=ProfileFiles(self.server, self.clock, self.troubles),
            trials=TemplateTrials(self.server),
            metrics=Metrics(),
            revisions=SeenRevisions(directory, ClusterIdentity()),
            cluster=ClusterIdentity(),
            memory=ControlMemory(TrafficMemory(started_s=self.clock.now_s())),
            troubles=self.troubles,
            heartbeats=Heartbeats(self.clock),
        )
        self.planning = PlanningLoop(self.state, self.decider, self.election)
        self.traffic = TrafficLoop(self.state, self.scraper, RunningVariants(FakePerf()), self.planning.wake)

    def _routing(self) -> RoutingView:
        """`routing`, with Envoys that have acknowledged every ready pod long ago, and every mark at once."""
        found = self.state.snapshots.pods().values()
        pods = [p for p in found if p.ready and not p.is_marked and p.key not in self.unknown]
        known = frozenset(p.address for p in pods if p.address)
        long_ago_s = self.state.clock.now_s() - 3600.0
        envoys = tuple(
            replace(envoy, endpoints_version="v1", endpoints_since_s=long_ago_s)
            for envoy in self.routing.envoys
        )
        return replace(self.routing, envoys=envoys, endpoints_by_version={"v1": known})

    def apply(self, *items: CustomResource) -> None:
        """As a user does."""
        for item in items:
            body = item.to_object()
            body.pop("status", None)
            self.server.put(type(item).PLURAL, body)

    def a_small_fleet(self, mode: str = "Auto", num_nodes: int = 4) -> None:
        """A fleet, a pool, a model and the class `chat`, which needs two replicas."""
        for number in range(num_nodes):
            self.server.put("nodes", node_object(f"l40s-{number}"))
        self.apply(a_fleet(mode), a_pool(), a_model(), a_class())

    def refuse(
        self, *calls: Call, next_step: NextStep = NextStep.RETRY, obstacle: Obstacle | None = None
    ) -> None:
        """Refuse these from now on; fields that a call leaves empty match anything."""
        self.server.obstacle = obstacle
        self.server.refusal = lambda asked: next_step if any(map(_matches(asked), calls)) else None

    def refuse_nothing(self) -> None:
        self.server.refusal = lambda asked: None

    @asynccontextmanager
    async def running(self, *, planning: bool = True, traffic: bool = False) -> AsyncIterator[None]:
        """The loops, until the block ends."""
        await self.watches.resync()
        loops = [self.watches.judge_deletions(), self.watches.keep_synced(lambda began_s: None)]
        loops += [self.planning.run()] if planning else []
        loops += [self.traffic.run(lambda: self.election.is_leader)] if traffic else []
        tasks = [asyncio.create_task(loop) for loop in loops]
        self._is_synced = True
        try:
            yield
            assert [task for task in tasks if task.done()] == []
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    def counting(self, rate_per_s: float) -> Callable[[Targets, float], TelemetryReading]:
        """Every engine answers, and Envoy counts so many requests/s of the class `chat`."""

        def answer(targets: Targets, now_s: float) -> TelemetryReading:
            counters = RouteCounters(rate_per_s * self.clock.monotonic_s(), 0.0, 0.0)
            routes = {("edge", CellName("default/chat")): Sample(counters, now_s)}
            return replace(all_answer(targets, now_s), routes=routes)

        return answer

    # What a test looks at.

    def plan_triggers(self) -> list[str]:
        return [plan["spec"]["trigger"] for _, plan in sorted(self.server.of("fleetplans").items())]

    def condition(self, plural: str, key: str, type: str) -> tuple[str, str]:
        """Status and reason of one condition in the API server; empty where there is none."""
        rows = (self.server.of(plural)[key].get("status") or {}).get("conditions") or ()
        return next(((r["status"], r["reason"]) for r in rows if r["type"] == type), ("", ""))

    def _seen(self, type: str, plural: str, item: Object) -> None:
        """As kopf reports it."""
        if plural in WATCHED:
            self.watches.seen(plural, {"type": type, "object": item})

    def _changed(self, change: Change) -> None:
        """As the operator's process does, whose Envoy acknowledges a mark at once."""
        is_applied = self.state.snapshots.has_applied_plan
        trigger = trigger_of(change.kind, change.previous, change.current, is_applied)
        if not self._is_synced:
            return
        if trigger is not None:
            self.planning.wake(trigger)
        if is_endpoint_change(change.kind, change.previous, change.current):
            self.traffic.endpoints_changed()
        if self.state.memory.planning.awaited_s:
            for acknowledged in removal_triggers(self.state.snapshot(), self.state.memory):
                self.planning.wake(acknowledged)

    def _note_missed(self, kind: str, number: int) -> None:
        self.missed[kind] += number

    def _picture_changed(self, sentence: str) -> None:
        if self._is_synced:
            self.planning.wake(Trigger(sentence, is_progress=True))


def _matches(asked: Call) -> Callable[[Call], bool]:
    def matches(wanted: Call) -> bool:
        pairs = zip(
            (wanted.verb, wanted.plural, wanted.key, wanted.sub),
            (asked.verb, asked.plural, asked.key, asked.sub),
            strict=True,
        )
        return all(mine in ("", theirs) for mine, theirs in pairs)

    return matches
