"""Owns one pod from its binding to its end: delay, server, reports, crashes, drain, deletion.

`kubelet` chooses the pods, `runtime` runs their engines. One task per pod follows the pod's
life; what happens to the pod from outside (deletion, crash, death of
the node) sets an event or ends the task.

A pod's engine is its first container with `--model` among its arguments. A pod without one is
not of Argosy: it is reported Running and Ready, and does nothing. So a DaemonSet that tolerates every taint,
such as kube-proxy, counts its pods here as available: its own updates would wait for them otherwise.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.errors import ArgosyError
from argosy_sim.livefleet.addresses import AddressClaim
from argosy_sim.livefleet.event_log import EventLog
from argosy_sim.livefleet.kubelet.container_logs import ContainerLog, log_path
from argosy_sim.livefleet.kubelet.kube_api import ApiRefusedError, KubeApi, Object, PodName, persist
from argosy_sim.livefleet.kubelet.nodes import SimulatedNode, rfc3339
from argosy_sim.livefleet.kubelet.pod_status import Exit, Phase, PodCondition, status_patch
from argosy_sim.livefleet.kubelet.probes import HttpProbe, get, has_started, http_probe, succeeds, verdicts
from argosy_sim.livefleet.runtime.contract import ContainerRuntime, Engine, EngineStart, EngineUse, NotStarted
from argosy_sim.livefleet.runtime.program import num_gpus, words_of
from argosy_sim.livefleet.vllm.args import is_engine

# A kubelet's: doubled with each crash, and never more.
_MAX_BACK_OFF_S = 300.0
_REPORT_AGAIN_S = 1.0
_DEFAULT_GRACE_S = 30.0
_SIGKILL_EXIT_CODE = 137
_PROBES = ("readinessProbe", "livenessProbe")
_WITHOUT_PROBE = HttpProbe("/health", period_s=0.05, timeout_s=5.0, num_failures=sys.maxsize)
"""How a container without a start-up probe is found to serve."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What every worker works with. `back_off_s`: the wait after the first crash."""

    api: KubeApi
    events: EventLog
    runtime: ContainerRuntime
    addresses: AddressClaim
    logs: Path
    back_off_s: float


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One pod as it is now, for `fleet_status`. `address` is `ip:port`, or empty before there is one.

    The numbers are None where only the engine's own metrics tell them.
    """

    pod: str
    node: str
    address: str
    phase: Phase
    restarts: int
    num_running: int | None = 0
    num_waiting: int | None = 0
    num_tokens: int | None = 0
    is_silent: bool = False


class PodWorker:
    """One pod bound to a node of the fleet."""

    def __init__(self, pod: Object, node: SimulatedNode, services: Services) -> None:
        self.name = PodName.of(pod)
        self.node = node
        self._pod = pod
        self._services = services
        self._engine = next((each for each in pod["spec"]["containers"] if is_engine(words_of(each))), None)
        shares_host = self._engine is None and pod["spec"].get("hostNetwork")
        self._address = node.host_ip if shares_host else services.addresses.next_address()
        self._endpoint = self._address
        self._phase = Phase.CREATING
        self._restarts = _restarts_before(pod, self._engine)
        self._last_exit: Exit | None = None
        self._started_at = self._changed_at = _now()
        self._running: Engine | None = None
        self._terminating = asyncio.Event()
        self._crashed = asyncio.Event()
        self._death = (_SIGKILL_EXIT_CODE, "")
        self._is_well = True
        self._was_ready, self._running_at = False, ""
        self._deadline_s = 0.0
        self._is_silent = False
        self._logs = {
            each["name"]: ContainerLog(log_path(services.logs, self.name, each["name"]))
            for each in pod["spec"]["containers"]
        }
        self._correction: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._correction.set_result(None)
        self._task = asyncio.create_task(self._live(), name=f"pod {self.name}")
        self.observe(pod)

    # From outside.

    def is_alive(self) -> bool:
        """Whether this pod still runs; false on a dead node."""
        return not self._task.done()

    def observe(self, pod: Object) -> None:
        """Take note of the pod object's present state."""
        if self._is_silent:
            return
        if self._is_ready and not _says_ready(pod) and self._correction.done():
            # The node controller took the node for dead, as its heartbeats were late: report the pod again.
            self._correction = asyncio.ensure_future(self._report_again())
        grace_s = pod["metadata"].get("deletionGracePeriodSeconds", _DEFAULT_GRACE_S)
        if not pod["metadata"].get("deletionTimestamp"):
            return
        deadline_s = asyncio.get_running_loop().time() + grace_s
        if not self._terminating.is_set():
            self._deadline_s = deadline_s
            self._terminating.set()
            self._event("terminating", grace_s=grace_s)
        self._deadline_s = min(self._deadline_s, deadline_s)  # it may be deleted again, with less grace

    def vanish(self) -> None:
        """End at once: the pod object is gone (deleted by force, or with its node)."""
        if not self._is_silent:
            self._event("gone")
            self.stop()

    def crash(self) -> bool:
        """Let the engine die; False where none runs."""
        if self._running is None or self._is_silent:
            return False
        self._end_engine(_SIGKILL_EXIT_CODE, "the engine core died unexpectedly (injected)")
        return True

    def delay(self, path: str, seconds: float) -> bool:
        """Let the engine be late with the answers of a path; False where none runs, or it is a real one."""
        if self._running is None or self._is_silent:
            return False
        return self._running.delay(path, seconds)

    def silence(self) -> None:
        """The node is dead: sockets stay as they are, nothing moves any more."""
        self._is_silent = True
        self._correction.cancel()
        self._task.cancel()
        if self._running is not None:
            self._running.freeze()
        self._event("silent")

    def stop(self) -> None:
        """End without a word to the API server (the fleet itself ends)."""
        self._correction.cancel()
        self._task.cancel()
        if self._running is not None:
            self._running.kill()
        for log in self._logs.values():
            log.close()

    def status(self) -> ReplicaStatus | None:
        """Return how the engine is; None for a foreign pod."""
        if self._engine is None:
            return None
        running = self._running
        use = EngineUse(0, 0, 0) if running is None else running.use
        return ReplicaStatus(
            pod=str(self.name),
            node=self.node.name,
            address=running.endpoint if running else "",
            phase=self._phase,
            restarts=self._restarts,
            num_running=use.num_running,
            num_waiting=use.num_waiting,
            num_tokens=use.num_tokens,
            is_silent=self._is_silent,
        )

    def log_of(self, container: str) -> Path | None:
        """Return a container's log file."""
        return log_path(self._services.logs, self.name, container) if container in self._logs else None

    # Its life.

    async def _live(self) -> None:
        try:
            if self._engine is None:
                await self._be_inert()
            else:
                self._event("bound")
                await self._run_engine(self._engine)
            await persist(lambda: self._services.api.remove_pod(self.name))
        except ArgosyError as error:
            # Refused for good (by a missing right, say): the pod stays as it is, the fleet keeps running.
            _log.error("pod %s is given up: %s", self.name, error)
            return
        self._event("gone")
        for log in self._logs.values():
            log.close()

    async def _be_inert(self) -> None:
        for log in self._logs.values():
            log.write("INFO a simulated node runs this pod: it does nothing")
        await self._report(Phase.RUNNING)
        await self._terminating.wait()

    async def _run_engine(self, container: Object) -> None:
        back_off_s = self._services.back_off_s
        while not self._terminating.is_set():
            ended = await self._run_once(container)
            if ended is None:
                return
            self._last_exit = ended
            self._event("crashed", message=ended.message)
            if self._pod["spec"].get("restartPolicy") == "Never":
                await self._report(Phase.FAILED)
                await self._terminating.wait()
                return
            await self._report(Phase.BACK_OFF)
            await self._pause(back_off_s)
            back_off_s = min(2 * back_off_s, _MAX_BACK_OFF_S)
            self._restarts += 1

    async def _run_once(self, container: Object) -> Exit | None:
        """Start the container; returns how it ended, or None once the pod was to end."""
        await self._report(Phase.CREATING)
        engine = self._services.runtime.start(self._start_of(container))
        if isinstance(engine, NotStarted):
            return self._failed(engine.message)
        self._endpoint = engine.endpoint
        startup = asyncio.ensure_future(self._probe_startup(container))
        try:
            failed = await self._load(engine)
            if failed is not None:
                return self._failed(failed.message)
            if not self._is_to_end:
                self._running = engine
                await self._serve(engine, startup)
        finally:
            startup.cancel()
            if not self._is_silent:
                engine.kill()
                self._running = None
        if self._crashed.is_set():
            self._crashed.clear()
            code, why = self._death
            self._say(f"CRITICAL {why}")
            return Exit(code, "Error", why, _now())
        return None

    def _start_of(self, container: Object) -> EngineStart:
        fields = {
            "metadata.name": self.name.name,
            "metadata.namespace": self.name.namespace,
            "metadata.uid": self.name.uid,
            "spec.nodeName": self.node.name,
            "status.podIP": self._address,
            "status.hostIP": self.node.host_ip,
        }
        gpu = self.node.group.gpu_product
        return EngineStart(container, self._address, fields, gpu, self._say, self._end_engine)

    async def _load(self, engine: Engine) -> NotStarted | None:
        """Load until the engine listens, is known not to, or the pod is to end."""
        load_s = engine.load_s
        _log.info("pod %s loads on node %s, seconds: %s", self.name, self.node.name, load_s or "unknown")
        self._event("loading", delay_s=None if load_s is None else round(load_s, 3))
        loading, ends = asyncio.ensure_future(engine.load()), self._ends()
        try:
            await asyncio.wait([loading, *ends], return_when=asyncio.FIRST_COMPLETED)
            return loading.result() if loading.done() else None
        finally:
            for task in (loading, *ends):
                task.cancel()

    async def _serve(self, engine: Engine, startup: asyncio.Future[None]) -> None:
        """Serve from the first successful probe to a crash or to the last drained request."""
        loop = asyncio.get_running_loop()
        ends = self._ends()
        probes: list[asyncio.Future[None]] = []
        try:
            await asyncio.wait([startup, *ends], return_when=asyncio.FIRST_COMPLETED)
            if not self._is_to_end:
                healthy_s = loop.time()
                readiness, liveness = (http_probe(self._engine or {}, n) for n in _PROBES)
                self._is_well = readiness is None or await succeeds(readiness, self._ask)
                if await self._report(Phase.RUNNING):
                    self._event("ready", report_ms=round(1000 * (loop.time() - healthy_s), 1))
                probes += [asyncio.ensure_future(self._follow_readiness(readiness))] if readiness else []
                probes += [asyncio.ensure_future(self._follow_liveness(liveness))] if liveness else []
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ends, *probes):
                task.cancel()
        if self._terminating.is_set() and not self._crashed.is_set():
            await self._drain(engine)

    async def _ask(self, path: str) -> bool:
        """A probe's request; while the engine loads nothing listens."""
        return await get(self._endpoint, path)

    async def _probe_startup(self, container: Object) -> None:
        """Return once the engine has started; without a probe, once it answers."""
        probe = http_probe(container, "startupProbe")
        if probe is None:
            await has_started(_WITHOUT_PROBE, self._ask)
        elif not await has_started(probe, self._ask):
            self._end_engine(_SIGKILL_EXIT_CODE, _failed_probe("startup", probe))

    async def _follow_readiness(self, probe: HttpProbe) -> None:
        async for is_well in verdicts(probe, self._ask, is_well=self._is_well):
            self._is_well = is_well
            self._event("ready_again" if is_well else "not_ready", path=probe.path)
            await self._report(self._phase)

    async def _follow_liveness(self, probe: HttpProbe) -> None:
        async for is_well in verdicts(probe, self._ask):
            if not is_well:
                self._end_engine(_SIGKILL_EXIT_CODE, _failed_probe("liveness", probe))

    def _end_engine(self, code: int, why: str) -> None:
        self._death = (code, why)
        self._crashed.set()

    async def _drain(self, engine: Engine) -> None:
        hook = ((self._engine or {}).get("lifecycle") or {}).get("preStop")
        if hook:
            await engine.pre_stop(hook, self._is_overdue)
        self._event("draining", num_requests=_num_requests(engine.use))
        await engine.terminate(self._is_overdue)

    def _is_overdue(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline_s

    def _failed(self, message: str) -> Exit:
        self._say(f"ERROR {message}")
        return Exit(1, "Error", message, _now())

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond a deletion or the end of the engine."""
        ends = self._ends()
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()

    def _ends(self) -> list[asyncio.Future[Any]]:
        return [asyncio.ensure_future(event.wait()) for event in (self._terminating, self._crashed)]

    @property
    def _is_to_end(self) -> bool:
        return self._terminating.is_set() or self._crashed.is_set()

    async def _report(self, phase: Phase) -> bool:
        """Report the status until the API server takes it; False if the pod is gone."""
        if phase is Phase.RUNNING and self._phase is not phase:
            self._running_at = _now()
        self._phase = phase
        if self._is_ready != self._was_ready:
            self._changed_at, self._was_ready = _now(), self._is_ready
        condition = PodCondition(
            phase=phase,
            address=self._address,
            started_at=self._started_at,
            changed_at=self._changed_at,
            engine=self._engine["name"] if self._engine else None,
            host_ip=self.node.host_ip,
            restarts=self._restarts,
            last_exit=self._last_exit,
            is_well=self._is_well,
            running_at=self._running_at,
        )
        status = status_patch(self._pod, condition)
        return await persist(lambda: self._services.api.patch_pod_status(self.name, status))

    @property
    def _is_ready(self) -> bool:
        """Whether the engine runs and its readiness probe, if it has one, succeeds."""
        return self._phase is Phase.RUNNING and self._is_well

    async def _report_again(self) -> None:
        """Report until it is taken: a kubelet that is refused (its rights are gone) does not give up."""
        while self._is_ready:
            try:
                await self._report(Phase.RUNNING)
            except ApiRefusedError:
                await asyncio.sleep(_REPORT_AGAIN_S)
            else:
                return

    def _say(self, line: str) -> None:
        if self._engine is not None:
            self._logs[self._engine["name"]].write(line)

    def _event(self, event: str, **more: Any) -> None:
        if self._engine is None:
            return
        fields = {
            "pod": str(self.name),
            "node": self.node.name,
            "address": self._endpoint,
            "gpu": self.node.group.gpu_product,
            "gpus": num_gpus(self._engine),
        }
        self._services.events.write(event, **fields, **more)


def _says_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _num_requests(use: EngineUse) -> int | None:
    known = (use.num_running, use.num_waiting)
    return None if None in known else sum(each or 0 for each in known)


def _restarts_before(pod: Object, engine: Object | None) -> int:
    """Return how often the engine was started before: once more if it ran under an earlier fleet."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if engine is not None and status["name"] == engine["name"]:
            return int(status.get("restartCount", 0)) + ("running" in (status.get("state") or {}))
    return 0


def _failed_probe(kind: str, probe: HttpProbe) -> str:
    return (
        f"the {kind} probe failed, times in a row: {probe.num_failures}; {probe.path} was not answered with"
        f" 200 within {probe.timeout_s:g} s"
    )


def _now() -> str:
    return rfc3339(dt.datetime.now(dt.UTC))
