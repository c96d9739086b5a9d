"""Owns one pod from its binding to its end: delay, server, reports, crashes, drain, deletion.

`kubelet` chooses the pods, `vllm.server` serves the requests. One task per pod follows the pod's
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
from argosy.snapshot.cluster import ENGINE_PORT
from argosy_sim.livefleet.addresses import AddressClaim, listen_on
from argosy_sim.livefleet.errors import EnginePortTakenError
from argosy_sim.livefleet.event_log import EventLog
from argosy_sim.livefleet.kubelet.container_logs import ContainerLog, log_path
from argosy_sim.livefleet.kubelet.kube_api import ApiRefusedError, KubeApi, Object, PodName, persist
from argosy_sim.livefleet.kubelet.nodes import SimulatedNode, rfc3339
from argosy_sim.livefleet.kubelet.pod_status import Exit, Phase, PodCondition, status_patch
from argosy_sim.livefleet.kubelet.probes import HttpProbe, get, has_started, http_probe, succeeds, verdicts
from argosy_sim.livefleet.vllm.args import BadArgs, VllmArgs, is_engine, parse_args
from argosy_sim.livefleet.vllm.profiles import CannotStart, Hardware, Profiles
from argosy_sim.livefleet.vllm.server import EngineProfile, VllmServer

# A preStop hook as the engine pods have it polls until the engine is idle, but first lets
# proxies hear of the deletion.
DRAIN_HOOK_MIN_S = 2.0
_DRAIN_POLL_S = 0.05
# A kubelet's: doubled with each crash, and never more.
_MAX_BACK_OFF_S = 300.0
_REPORT_AGAIN_S = 1.0
_DEFAULT_PORT = 8000
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
    profiles: Profiles
    addresses: AddressClaim
    logs: Path
    back_off_s: float


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One pod as it is now, for `fleet_status`. `address` is `ip:port`, or empty before there is one."""

    pod: str
    node: str
    address: str
    phase: Phase
    restarts: int
    num_running: int = 0
    num_waiting: int = 0
    num_tokens: int = 0
    is_silent: bool = False


class PodWorker:
    """One pod bound to a node of the fleet."""

    def __init__(self, pod: Object, node: SimulatedNode, services: Services) -> None:
        self.name = PodName.of(pod)
        self.node = node
        self._pod = pod
        self._services = services
        self._engine = next((each for each in pod["spec"]["containers"] if is_engine(_words(each))), None)
        shares_host = self._engine is None and pod["spec"].get("hostNetwork")
        self._address = node.host_ip if shares_host else services.addresses.next_address()
        self._endpoint = self._address
        self._phase = Phase.CREATING
        self._restarts = _restarts_before(pod, self._engine)
        self._last_exit: Exit | None = None
        self._started_at = self._changed_at = _now()
        self._server: VllmServer | None = None
        self._terminating = asyncio.Event()
        self._crashed = asyncio.Event()
        self._death = "the engine core died unexpectedly (injected)"
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
        if self._server is None or self._is_silent:
            return False
        self._end_engine("the engine core died unexpectedly (injected)")
        return True

    def delay(self, path: str, seconds: float) -> bool:
        """Let the engine be late with the answers of a path; False where none runs."""
        if self._server is None or self._is_silent:
            return False
        self._server.delay(path, seconds)
        return True

    def silence(self) -> None:
        """The node is dead: sockets stay as they are, nothing moves any more."""
        self._is_silent = True
        self._correction.cancel()
        self._task.cancel()
        if self._server is not None:
            self._server.silence()
        self._event("silent")

    def stop(self) -> None:
        """End without a word to the API server (the fleet itself ends)."""
        self._correction.cancel()
        self._task.cancel()
        if self._server is not None:
            self._server.crash()
        for log in self._logs.values():
            log.close()

    def status(self) -> ReplicaStatus | None:
        """Return how the engine is; None for a foreign pod."""
        if self._engine is None:
            return None
        server = self._server
        shown = ReplicaStatus(
            pod=str(self.name),
            node=self.node.name,
            address=server.endpoint if server else "",
            phase=self._phase,
            restarts=self._restarts,
            num_running=server.driver.load.num_running if server else 0,
            num_waiting=server.driver.load.num_waiting if server else 0,
            num_tokens=server.num_tokens if server else 0,
            is_silent=self._is_silent,
        )
        return shown

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
        hardware = Hardware(self.node.group.gpu_product, _num_gpus(container))
        args = parse_args(_words(container))
        if isinstance(args, BadArgs):
            return self._failed(args.message)
        profile = self._services.profiles.resolve(args, hardware)
        if isinstance(profile, CannotStart):
            return self._failed(profile.message)
        startup = asyncio.ensure_future(self._probe_startup(container))
        try:
            await self._load(args, profile)
            if not self._is_to_end:
                listener = listen_on(self._address, args.port or _declared_port(container))
                self._server = VllmServer(profile, listener, self._say, _environment(container))
                self._endpoint = self._server.endpoint
                self._server.serve()
                await self._serve(self._server, startup)
        except EnginePortTakenError as error:
            return self._failed(str(error))
        finally:
            startup.cancel()
            if not self._is_silent and self._server is not None:
                self._server.crash()
                self._server = None
        if self._crashed.is_set():
            self._crashed.clear()
            self._say(f"CRITICAL {self._death}")
            return Exit(_SIGKILL_EXIT_CODE, "Error", self._death, _now())
        return None

    async def _load(self, args: VllmArgs, profile: EngineProfile) -> None:
        delay_s = self._services.profiles.load_s(profile)
        for option in args.ignored:
            self._say(f"WARNING the simulated engine has no use for {option}")
        self._say(
            f"INFO loading {args.model} on {args.tensor_parallel} x {self.node.group.gpu_product}: "
            f"{profile.weight_bytes / 1e9:.1f} GB of weights, ready in {delay_s:.1f} s (image pull included)"
        )
        _log.info("pod %s loads for %.1f s on node %s", self.name, delay_s, self.node.name)
        self._event("loading", delay_s=round(delay_s, 3))
        await self._pause(delay_s)
        if not self._is_to_end:
            self._say(f"INFO GPU KV cache size: {profile.limits.kv_tokens:,} tokens")

    async def _serve(self, server: VllmServer, startup: asyncio.Future[None]) -> None:
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
            await self._drain(server)

    async def _ask(self, path: str) -> bool:
        """A probe's request; while the engine loads nothing listens."""
        if self._server is None:
            raise ConnectionRefusedError
        return await get(self._server.endpoint, path)

    async def _probe_startup(self, container: Object) -> None:
        """Return once the engine has started; without a probe, once it answers."""
        probe = http_probe(container, "startupProbe")
        if probe is None:
            await has_started(_WITHOUT_PROBE, self._ask)
        elif not await has_started(probe, self._ask):
            self._end_engine(_failed_probe("startup", probe))

    async def _follow_readiness(self, probe: HttpProbe) -> None:
        async for is_well in verdicts(probe, self._ask, is_well=self._is_well):
            self._is_well = is_well
            self._event("ready_again" if is_well else "not_ready", path=probe.path)
            await self._report(self._phase)

    async def _follow_liveness(self, probe: HttpProbe) -> None:
        async for is_well in verdicts(probe, self._ask):
            if not is_well:
                self._end_engine(_failed_probe("liveness", probe))

    def _end_engine(self, why: str) -> None:
        self._death = why
        self._crashed.set()

    async def _drain(self, server: VllmServer) -> None:
        loop = asyncio.get_running_loop()
        if "preStop" in ((self._engine or {}).get("lifecycle") or {}):
            self._say("INFO preStop: serving until idle")
            earliest_s = loop.time() + DRAIN_HOOK_MIN_S
            while not self._is_overdue() and (  # noqa: ASYNC110 (the grace period may be cut meanwhile)
                loop.time() < earliest_s or server.driver.num_requests
            ):
                await asyncio.sleep(_DRAIN_POLL_S)
        self._event("draining", num_requests=server.driver.num_requests)
        self._say("INFO shutting down: waiting for requests to complete")
        num_cut = await server.drain(self._is_overdue)
        self._say(f"INFO shut down, {num_cut} requests cut")

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
            "gpus": _num_gpus(self._engine),
        }
        self._services.events.write(event, **fields, **more)


def _says_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _words(container: Object) -> list[str]:
    return [*container.get("command", ()), *container.get("args", ())]


def _environment(container: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env") or ()}


def _num_gpus(container: Object) -> int:
    limits = (container.get("resources") or {}).get("limits") or {}
    return int(limits.get("nvidia.com/gpu", 0))


def _declared_port(container: Object) -> int:
    ports = container.get("ports") or [{"containerPort": _DEFAULT_PORT}]
    return int(next((p for p in ports if p.get("name") == ENGINE_PORT), ports[0])["containerPort"])


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
