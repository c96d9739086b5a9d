"""One operator process: what runs beside what, and how it ends.

Owns the assembly and the life of the loops; a loop that ends by itself ends the process. Never
decides anything.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Coroutine
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient

from argosy.control.decision import ControlMemory
from argosy.control.triggers import Trigger, trigger_of
from argosy.demand.forecast import DemandMemory
from argosy.errors import InvariantError
from argosy.files.calibrations import read_calibrations
from argosy.kube.api import WATCHED, Api, connect
from argosy.kube.store import Store
from argosy.perf.model import LibraryPerfModel
from argosy.perf.shipped import shipped_library
from argosy.reconcile.act import Actor
from argosy.reconcile.addresses import host_and_port
from argosy.reconcile.calibrations import Calibrations
from argosy.reconcile.fast import Fast
from argosy.reconcile.gauges import Gauges
from argosy.reconcile.health import serve_health
from argosy.reconcile.leadership import Leadership, LeaseSettings
from argosy.reconcile.medium import Medium
from argosy.reconcile.picture import Picture
from argosy.reconcile.profile_files import ProfileFiles
from argosy.reconcile.publish import Publisher
from argosy.reconcile.roster import Roster
from argosy.reconcile.shared import Shared
from argosy.reconcile.watches import Change, Watches
from argosy.reconcile.worker import DecisionWorker
from argosy.route.counters import class_key_of
from argosy.settings import OperatorSettings
from argosy.telemetry.direct import DirectScraper
from argosy.telemetry.port import TelemetrySource
from argosy.telemetry.prometheus import PrometheusSettings, PrometheusSource
from argosy.xds.server import AdsServer

log = logging.getLogger(__name__)

RESYNC_S = 30.0
WATCH_END_S = 5.0


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
    """Everything of one process; `start` opens what may fail before any loop runs."""

    def __init__(self, settings: OperatorSettings, client: ApiClient) -> None:
        leadership = Leadership(client, settings.identity, LeaseSettings(settings.namespace))
        api = Api(client)
        self._settings, self._leadership = settings, leadership
        self._store = Store(r.plural for r in WATCHED)
        self._picture = Picture(self._store)
        self._envoys: dict[str, str] = {}
        self._ads = AdsServer(self._envoys_changed)
        self._gauges = Gauges()
        self._gauges.is_leader.set_function(lambda: float(leadership.is_leader))
        self._worker = DecisionWorker(settings.state_dir / "capacities.json")
        self._source = telemetry_source(settings)
        self._publisher = Publisher(self._picture, self._ads, settings.state_dir)
        self._gauges.envoys.set_function(lambda: float(len(self._ads.envoys())))
        self._watches = Watches(self._store, api, self._changed)
        self._roster = Roster(api, (settings.namespace, settings.identity), self._publisher.own_envoys)
        calibrations_file = settings.state_dir / "calibrations.json"
        self._shared = Shared(
            settings=settings,
            picture=self._picture,
            actor=Actor(api, self._store, lambda: leadership.is_leader),
            publisher=self._publisher,
            roster=self._roster,
            profile_files=ProfileFiles(api),
            gauges=self._gauges,
            memory=ControlMemory(
                DemandMemory(), time.time(), calibration=read_calibrations(calibrations_file)
            ),
        )
        self._medium = Medium(self._shared, self._worker)
        calibrations = Calibrations(LibraryPerfModel(shipped_library(), {}), calibrations_file, self._gauges)
        self._fast = Fast(self._shared, self._source, calibrations, self._medium.wake)
        self._client = client
        self._runner: web.AppRunner | None = None
        self._synced = asyncio.Event()
        self._unwatch = threading.Event()
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, settings: OperatorSettings) -> _Process:
        host, port = host_and_port(settings.xds_address, "--xds-address")
        process = cls(settings, await connect(settings.kubeconfig))
        try:
            bound = await process._ads.serve(host, port)
            process._runner = await serve_health(
                settings.http_address, process._gauges, lambda: process._store.is_synced
            )
        except BaseException:
            await process.close()
            raise
        log.info("serving Envoys on %s:%d", host, bound)
        process._publisher.serve_copy()
        return process

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run all loops until `stop`; one that ends by itself ends the process."""
        self._watching = asyncio.create_task(self._watches.run(self._settings.kubeconfig, self._unwatch))
        loops: list[Coroutine[Any, Any, None]] = [
            self._sync(),
            self._leadership.run(),
            self._publisher.run(lambda: self._store.is_synced),
            self._roster.run(self._others_changed),
            self._when_synced(self._fast.run(lambda: self._leadership.is_leader)),
            self._when_synced(self._medium.run(self._leadership)),
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
        """Give everything back."""
        self._worker.close()
        await self._source.close()
        await self._ads.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        self._unwatch.set()
        if self._watching is not None:
            await asyncio.wait({self._watching}, timeout=WATCH_END_S)
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _sync(self) -> None:
        """Complete the caches, then compare them with a listing now and then."""
        while True:
            await self._watches.resync_until_complete()
            self._synced.set()
            self._publisher.publish_now()
            await asyncio.sleep(RESYNC_S)

    async def _when_synced(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await self._synced.wait()
            await loop
        finally:
            loop.close()

    def _envoys_changed(self) -> None:
        """An Envoy that came, went or refused something shows in statuses at once; an ACK does not count."""
        envoys = {envoy.node_id: envoy.refused_version for envoy in self._ads.envoys()}
        if envoys != self._envoys:
            self._envoys = envoys
            self._medium.wake(Trigger("the connected Envoys changed", is_progress=True))

    def _others_changed(self) -> None:
        self._medium.wake(Trigger("the Envoys of other replicas changed", is_progress=True))

    def _changed(self, change: Change) -> None:
        self._publisher.note(change.kind)
        if self._store.is_synced:
            trigger = trigger_of(change.kind, change.previous, change.current)
            if trigger is not None:
                self._medium.wake(trigger)


def telemetry_source(settings: OperatorSettings) -> TelemetrySource:
    """Prometheus where one is named, else direct scraping."""
    if settings.prometheus_url:
        return PrometheusSource(PrometheusSettings(settings.prometheus_url), class_key_of)
    return DirectScraper(class_key_of)
