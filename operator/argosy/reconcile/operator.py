"""One operator process: which loops run, and how the process ends.

Owns the assembly of the parts and the lifetime of the loops; a loop that ends by itself ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient

from argosy.addresses import host_and_port, written
from argosy.api.kinds import WATCHED
from argosy.control.candidates.running import RunningVariants
from argosy.control.fast import removal_triggers
from argosy.control.memory import ControlMemory, TrafficMemory
from argosy.control.triggers import Trigger, is_endpoint_change, trigger_of
from argosy.errors import InvariantError
from argosy.files.calibrations import read_calibrations
from argosy.files.incarnation import Incarnation, begin
from argosy.kube.api import ApiServer, connect
from argosy.kube.identity import ClusterIdentity
from argosy.kube.secrets import CertificateSecrets
from argosy.kube.store import Store
from argosy.perf.model import LibraryPerfModel
from argosy.perf.shipped import shipped_library
from argosy.reconcile.act import Actor
from argosy.reconcile.adapters.engine_api import EngineApi
from argosy.reconcile.adapters.loop import AdapterLoop
from argosy.reconcile.certificates.keeper import CertificateKeeper
from argosy.reconcile.certificates.process import Certificates
from argosy.reconcile.certificates.served import ServedCertificates
from argosy.reconcile.clock import Clock, SystemClock
from argosy.reconcile.envoy_leases import EnvoyLeases
from argosy.reconcile.leadership import Candidate, Leadership, LeaseSettings
from argosy.reconcile.loop_state import LoopState
from argosy.reconcile.loops.planning import PlanningLoop
from argosy.reconcile.loops.publish import Publisher
from argosy.reconcile.loops.traffic import CALIBRATIONS_FILE, TrafficLoop
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.reporting.health import Health, serve_health
from argosy.reconcile.reporting.heartbeats import Heartbeats
from argosy.reconcile.reporting.troubles import Troubles
from argosy.reconcile.revisions import SeenRevisions
from argosy.reconcile.watch.profile_files import ProfileFiles
from argosy.reconcile.watch.snapshots import Snapshots
from argosy.reconcile.watch.template_trials import TemplateTrials
from argosy.reconcile.watch.watches import Change, Listeners, Watches
from argosy.reconcile.worker import DecisionWorker
from argosy.route.counters import cell_of
from argosy.settings import OperatorSettings
from argosy.snapshot.seen import problems
from argosy.telemetry.direct import DirectScraper
from argosy.telemetry.port import TelemetrySource
from argosy.telemetry.prometheus import PrometheusSettings, PrometheusSource
from argosy.xds.server import AdsServer
from argosy.xds.tls.credentials import ServerTls

log = logging.getLogger(__name__)

WATCH_END_S = 5.0
ASK_CLUSTER_S = 15.0
"""As often as all else that an administrator may have to remedy."""
REPORT_CLOCK_S = 10.0
"""Longer than a Lease lasts: meanwhile, another process with a good clock has taken it."""


async def run(settings: OperatorSettings) -> None:
    """Run until SIGTERM or SIGINT; raises `SpecError` where a port is taken."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    process = await _Process.start(settings)
    try:
        await process.run_until(stop)
    finally:
        await process.close()


class _Process:
    """All parts of one process; `start` opens the ports and files that may fail before any loop runs."""

    def __init__(
        self,
        settings: OperatorSettings,
        client: ApiClient,
        clock: Clock,
        incarnation: Incarnation,
        cluster: ClusterIdentity,
    ) -> None:
        api, troubles = ApiServer(client), Troubles(clock, log)
        candidate = Candidate(incarnation.identity, incarnation.nonce, incarnation.previous_nonce)
        lease_settings = LeaseSettings(settings.namespace)
        leadership = Leadership(api, clock, candidate, lease_settings, troubles)
        self._incarnation, self._troubles, self._heartbeats = incarnation, troubles, Heartbeats(clock)
        self._settings, self._clock, self._leadership = settings, clock, leadership
        self._store = Store(WATCHED)
        self._envoys: list[tuple[str, str, int, bool, bool]] = []
        self._ads = AdsServer(self._envoys_changed, clock)
        self._metrics = Metrics()
        self._metrics.is_leader.set_function(lambda: float(leadership.is_leader))
        self._metrics.clock_offset.set_function(lambda: leadership.clock_offset.seconds)
        self._metrics.envoys.set_function(lambda: float(len(self._ads.envoys())))
        self._metrics.connections_refused.set_function(lambda: float(self._ads.num_refused))
        self._metrics.envoys_ahead.set_function(lambda: float(sum(e.is_ahead for e in self._ads.envoys())))
        self._worker = DecisionWorker(settings.state_dir / "capacities.json")
        self._source = telemetry_source(settings)
        snapshots = Snapshots(self._store)
        self._publisher = Publisher(snapshots, self._ads, clock, settings.state_dir, cluster)
        self._api, self._cluster = api, cluster
        listeners = Listeners(
            self._changed,
            self._picture_changed,
            self._metrics.show_missed,
            lambda proof: self._planning.begin_anew(proof),
            self._relisted,
            self._metrics.show_failing_watches,
        )
        self._watches = Watches(self._store, api, clock, troubles, listeners)
        lease = (settings.namespace, incarnation.identity)
        self._envoy_leases = EnvoyLeases(api, clock, lease, self._publisher.own_envoys, troubles)
        state = LoopState(
            settings=settings,
            clock=clock,
            snapshots=snapshots,
            actor=Actor(api, self._store, clock, troubles, lambda: leadership.is_leader),
            routing=lambda: self._publisher.view(self._envoy_leases.others),
            profile_files=ProfileFiles(api, clock, troubles),
            trials=TemplateTrials(api),
            metrics=self._metrics,
            revisions=SeenRevisions(settings.state_dir, cluster),
            cluster=cluster,
            memory=_first_memory(settings, clock, cluster),
            troubles=troubles,
            heartbeats=self._heartbeats,
        )
        self._state = state
        self._planning = PlanningLoop(state, self._worker, leadership)
        variants = RunningVariants(LibraryPerfModel(shipped_library(), {}))
        self._traffic = TrafficLoop(state, self._source, variants, self._planning.wake)
        self._engine_api = EngineApi()
        self._adapters = AdapterLoop(
            state, self._engine_api, self._planning.wake, lambda: self._publisher.note("pods")
        )
        self._tls = ServerTls(settings.xds_tls) if settings.xds_tls is not None else None
        self._certificates = self._all_certificates()
        self._client = client
        self._runner: web.AppRunner | None = None
        self._synced = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, settings: OperatorSettings) -> _Process:
        incarnation = begin(settings.state_dir, settings.identity)
        client, cluster = await connect(settings.kubeconfig), ClusterIdentity()
        await cluster.learn(ApiServer(client))
        process = cls(settings, client, SystemClock(), incarnation, cluster)
        try:
            await process._certificates.begin(process._listen)
            process._runner = await serve_health(settings.http_address, process._health())
        except BaseException:
            await process.close()
            raise
        process._publisher.serve_copy()
        return process

    def _all_certificates(self) -> Certificates:
        ads, clock, troubles, settings = self._ads, self._clock, self._troubles, self._settings
        served = keeper = None
        if self._tls is not None:
            served = ServedCertificates(self._tls, clock, troubles, lambda: ads.num_refused)
        if settings.certificates:
            secrets = CertificateSecrets(self._api, settings.namespace, settings.certificates)
            keeper = CertificateKeeper(secrets, clock, troubles)
        return Certificates(served, keeper, self._metrics, clock)

    async def _listen(self) -> None:
        """Serve Envoys. Raises SpecError where the port is taken."""
        host, port = host_and_port(self._settings.xds_address, "--xds-address")
        bound = await self._ads.serve(host, port, self._tls)
        log.info("serving Envoys on %s", written(host, bound))

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run all loops until `stop`. Raises what ended a loop, or InvariantError where one just returned."""
        self._watching = asyncio.create_task(self._watches.run(self._settings.kubeconfig))
        loops: list[Coroutine[Any, Any, None]] = [
            self._watches.keep_synced(self._looked),
            self._watches.judge_deletions(),
            self._learn_cluster(),
            self._when_synced(self._report_clock()),
            self._leadership.run(),
            self._publisher.run(lambda: self._store.is_synced),
            self._envoy_leases.run(self._others_changed, lambda: self._leadership.is_leader),
            self._when_synced(self._traffic.run(lambda: self._leadership.is_leader)),
            self._when_synced(self._planning.run()),
            self._when_synced(self._adapters.run(lambda: self._leadership.is_leader)),
            *self._certificates.loops(self._listen, lambda: self._leadership.is_leader),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        stopped = asyncio.create_task(stop.wait())
        ended, _ = await asyncio.wait({stopped, self._watching, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not stop.is_set():
            failures = [error for task in ended if (error := task.exception()) is not None]
            raise failures[0] if failures else InvariantError("a loop of the operator ended by itself")

    async def close(self) -> None:
        """Close every port, connection and process."""
        self._worker.close()
        await self._source.close()
        await self._engine_api.close()
        await self._ads.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        self._watches.stop()
        if self._watching is not None:
            await asyncio.wait({self._watching}, timeout=WATCH_END_S)
        await self._client.close()  # type: ignore[no-untyped-call]
        self._incarnation.close()

    async def _learn_cluster(self) -> None:
        """Until cancelled: ask which cluster this is while it is not known."""
        while True:
            if not self._cluster.uid and await self._cluster.learn(self._api):
                self._publisher.learned_cluster()
            await self._clock.sleep(ASK_CLUSTER_S)

    async def _report_clock(self) -> None:
        """Until cancelled: Fleet says where no process leads because its clock is off."""
        while True:
            if self._leadership.clock_offset.problem and not self._leadership.is_led:
                await self._leadership.clock_offset.report(self._state.snapshot())
            await self._clock.sleep(REPORT_CLOCK_S)

    def _looked(self, began_s: float) -> None:
        """Every kind was listed, or cannot be: the loops may begin, and say what they cannot see."""
        self._synced.set()
        if self._store.is_synced:
            self._publisher.publish_now()
            self._ads.listed(began_s)

    def _health(self) -> Health:
        return Health(
            self._metrics,
            self._troubles,
            self._heartbeats,
            lambda: self._store.is_synced,
            self._problems,
            self._certificates.unserved,
        )

    def _problems(self) -> tuple[str, ...]:
        """What this process cannot see, in sentences."""
        return problems(self._store.kinds.values(), self._clock.monotonic_s())

    def _picture_changed(self, sentence: str) -> None:
        if self._synced.is_set():
            self._planning.wake(Trigger(sentence, is_progress=True))

    async def _when_synced(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await self._synced.wait()
            await loop
        finally:
            loop.close()

    def _relisted(self, kind: str, cause: str) -> None:
        self._publisher.note(kind)
        if self._store.is_synced:
            self._planning.wake(Trigger(cause))

    def _envoys_changed(self) -> None:
        """Update statuses at once where an Envoy comes, goes, sends a NACK or gets another plan's resources.

        Any other ACK can wait, except one that a removal waits for.
        """
        found = self._ads.envoys()
        envoys = [(e.node_id, e.refused_version, e.revision, e.is_ahead, e.is_duplicate) for e in found]
        if envoys != self._envoys:
            self._envoys = envoys
            if any(envoy.is_ahead for envoy in found):
                self._watches.list_soon()  # without a listing no such Envoy is led back
            self._planning.wake(Trigger("the connected Envoys changed", is_progress=True))
        if self._state.memory.planning.awaited_s:
            for trigger in removal_triggers(self._state.snapshot(), self._state.memory):
                self._planning.wake(trigger)

    def _others_changed(self) -> None:
        self._planning.wake(Trigger("the Envoys of other replicas changed", is_progress=True))

    def _changed(self, change: Change) -> None:
        self._publisher.note(change.kind)
        self._adapters.note(change.kind)
        if self._store.is_synced:
            is_applied = self._state.snapshots.has_applied_plan
            trigger = trigger_of(change.kind, change.previous, change.current, is_applied)
            if trigger is not None:
                self._planning.wake(trigger)
            if is_endpoint_change(change.kind, change.previous, change.current):
                self._traffic.endpoints_changed()


def _first_memory(settings: OperatorSettings, clock: Clock, cluster: ClusterIdentity) -> ControlMemory:
    """What a process starts with: the calibrations that the previous process kept, of this cluster."""
    calibration = read_calibrations(settings.state_dir / CALIBRATIONS_FILE, cluster.uid)
    return ControlMemory(TrafficMemory(started_s=clock.now_s(), calibration=calibration))


def telemetry_source(settings: OperatorSettings) -> TelemetrySource:
    """Prometheus where one is named, else direct scraping."""
    if settings.prometheus_url:
        return PrometheusSource(PrometheusSettings(settings.prometheus_url), cell_of)
    return DirectScraper(cell_of)
