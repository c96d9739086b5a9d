"""How the parts of one process are connected: what a watch reports reaches the loops that wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import a_fleet
from kubernetes.aio import client

from argosy.api.kinds import WATCHED
from argosy.files.incarnation import begin
from argosy.kube.api import ApiServer, KindPath
from argosy.kube.identity import ClusterIdentity
from argosy.reconcile.clock import SystemClock
from argosy.reconcile.leadership import Leadership
from argosy.reconcile.loops.traffic import TrafficLoop
from argosy.reconcile.operator import _Process
from argosy.settings import OperatorSettings
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGED_BY


def an_engine(version: int, ready: bool) -> dict[str, Any]:
    """A pod of Argosy's as the API server sends it."""
    return {
        "metadata": {
            "name": "llama-a",
            "namespace": "default",
            "uid": "u",
            "resourceVersion": str(version),
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_DEPLOYMENT: "llama"},
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


@asynccontextmanager
async def a_process(state_dir: Path) -> AsyncIterator[_Process]:
    """A process without its network, which has listed every kind and seen nothing."""
    async with client.ApiClient(client.Configuration()) as api_client:
        settings, incarnation = OperatorSettings(state_dir=state_dir), begin(state_dir, "me")
        process = _Process(settings, api_client, SystemClock(), incarnation, ClusterIdentity())
        for kind in WATCHED:
            process._store.replace(kind, [], 1)
        yield process
        await process.close()


def test_a_pod_that_becomes_ready_or_ceases_to_be_wakes_the_traffic_loop_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(TrafficLoop, "endpoints_changed", lambda self: woken.append("endpoints"))

    async def run() -> None:
        async with a_process(tmp_path) as process:
            process._watches.seen("pods", {"type": "ADDED", "object": an_engine(2, ready=False)})
            assert woken == []
            process._watches.seen("pods", {"type": "MODIFIED", "object": an_engine(3, ready=True)})
            assert woken == ["endpoints"]
            process._watches.seen("pods", {"type": "MODIFIED", "object": an_engine(4, ready=False)})
            assert woken == ["endpoints"] * 2

    asyncio.run(run())


@pytest.mark.parametrize(
    ("ahead_s", "is_led", "reported"),
    [
        pytest.param(7200.0, False, ["fleets/default ClockOff"], id="no process leads because of it"),
        pytest.param(7200.0, True, [], id="another process leads"),
        pytest.param(0.0, False, [], id="the clock is right"),
    ],
)
def test_a_clock_that_is_off_is_a_metric_and_where_no_process_leads_a_condition_of_fleet(
    ahead_s: float, is_led: bool, reported: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    async def patch(self: ApiServer, kind: KindPath, key: str, body: Any, sub: str = "") -> dict[str, Any]:
        (ready,) = body["status"]["conditions"]
        written.append(f"{kind.plural}/{key} {ready['reason']}")
        return {}

    monkeypatch.setattr(ApiServer, "patch", patch)
    monkeypatch.setattr(Leadership, "is_led", is_led)

    async def run() -> None:
        async with a_process(tmp_path) as process:
            process._store.put("fleets", a_fleet().to_object())
            process._synced.set()
            process._api.server_time_s = time.time() - ahead_s
            process._leadership.clock_offset.look()
            reporting = asyncio.create_task(process._report_clock())
            await asyncio.sleep(0)
            reporting.cancel()
            offset_s = process._metrics.registry.get_sample_value("argosy_clock_offset_seconds")
            assert offset_s == pytest.approx(ahead_s, abs=5.0)

    asyncio.run(run())
    assert written == reported
