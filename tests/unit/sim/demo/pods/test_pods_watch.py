"""Observing a cluster: what several Envoys say together, and the end of an observation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from argosy.snapshot import EndpointHealth
from argosy_sim.controlplane.errors import StartError
from argosy_sim.demo.pods.survey import Survey
from argosy_sim.demo.pods.watch import CURRENT_S, EnvoysView, PodsWatcher
from argosy_sim.demo.watch import Observations

HEALTHY, UNHEALTHY = EndpointHealth.HEALTHY, EndpointHealth.UNHEALTHY
A = "10.244.1.7:8000"


@pytest.fixture
def view() -> tuple[EnvoysView, Observations]:
    observed = Observations()
    return EnvoysView(observed), observed


def test_an_endpoint_is_healthy_once_every_envoy_counts_it_so(view: tuple[EnvoysView, Observations]) -> None:
    envoys, observed = view
    envoys.note_health("a", {A: HEALTHY}, 10.0)
    observed.healthy_s.clear()  # before the other Envoy has answered at all, nothing contradicts
    envoys.note_health("b", {}, 10.1)
    envoys.note_health("a", {A: HEALTHY}, 10.2)
    assert observed.healthy_s == {}
    envoys.note_health("b", {A: HEALTHY}, 10.3)
    assert observed.healthy_s == {A: 10.3}


def test_an_envoy_that_stopped_answering_has_no_say(view: tuple[EnvoysView, Observations]) -> None:
    envoys, observed = view
    envoys.note_health("gone", {}, 10.0)
    envoys.note_health("a", {A: HEALTHY}, 10.0 + CURRENT_S)
    assert observed.healthy_s == {A: 10.0 + CURRENT_S}


def test_an_endpoint_leaves_rotation_with_the_last_envoy(view: tuple[EnvoysView, Observations]) -> None:
    envoys, observed = view
    for name in ("a", "b"):
        envoys.note_health(name, {A: HEALTHY}, 10.0)
    envoys.note_health("a", {A: UNHEALTHY}, 11.0)
    assert observed.unhealthy_s == {}
    envoys.note_health("b", {A: UNHEALTHY}, 11.5)
    assert observed.unhealthy_s == {A: 11.5}


def test_counters_of_all_envoys_are_added(view: tuple[EnvoysView, Observations]) -> None:
    envoys, observed = view
    envoys.note_requests("a", {"argosy-demo/chat": 3}, 1.0)
    envoys.note_requests("b", {"argosy-demo/chat": 4, "xds": 1}, 1.2)
    assert observed.requests == [
        (1.0, {"argosy-demo/chat": 3}),
        (1.2, {"argosy-demo/chat": 7, "xds": 1}),
    ]


def clusters() -> dict[str, Any]:
    address = {"socket_address": {"address": "10.244.1.7", "port_value": 8000}}
    host = {"address": address, "health_status": {"eds_health_status": "HEALTHY"}}
    return {"cluster_statuses": [{"name": "argosy-demo/chat", "host_statuses": [host]}]}


@pytest.fixture
async def stats_port() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        stat = {"name": "cluster.argosy-demo/chat.upstream_rq_total", "value": 5}
        return web.json_response(clusters() if request.path == "/clusters" else {"stats": [stat]})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None  # aiohttp has no public way to a port that was chosen
    yield site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    await runner.cleanup()


def fake_kubectl(directory: Path, **outputs: str) -> tuple[str]:
    """A kubectl that prints what belongs to a word among its arguments, and stays until it is ended."""
    program = directory / "kubectl"
    cases = []
    for word, text in outputs.items():
        (directory / word).write_text(text)
        cases.append(f"*{word.replace('_', '-')}*) cat {directory}/{word};;")
    program.write_text(
        f'#!/bin/sh\ncase "$*" in {" ".join(cases)} esac\n[ -e {directory}/ended ] || exec sleep 60\n'
    )
    program.chmod(0o755)
    return (str(program),)


def survey_of(*envoys: str) -> Survey:
    return Survey("argosy-system", "http://g", envoys, "image", (), {}, frozenset({"plan-000001"}))


def plan(revision: int) -> dict[str, Any]:
    return {"metadata": {"name": f"plan-{revision:06d}"}, "spec": {"revision": revision}}


async def test_pods_plans_and_envoys_are_observed_and_plans_of_before_left_out(
    tmp_path: Path, stats_port: int
) -> None:
    pod = {"metadata": {"name": "p", "namespace": "argosy-demo"}, "spec": {}}
    command = fake_kubectl(
        tmp_path,
        fleetplans=f"{json.dumps(plan(1))}\n{json.dumps(plan(2), indent=1)}",
        port_forward=f"Forwarding from 127.0.0.1:{stats_port} -> 9902\n",
        pods=json.dumps({"type": "ADDED", "object": pod}),
    )
    watcher = PodsWatcher(command, survey_of("argosy-envoy-a"))
    await watcher.start()
    try:
        observed = watcher.observed
        async with asyncio.timeout(20.0):
            while not (  # noqa: ASYNC110  (other processes are observed)
                observed.requests and observed.plans and watcher.pods
            ):
                await asyncio.sleep(0.02)
        watcher.require_running()
    finally:
        await watcher.stop()
    assert [each["spec"]["revision"] for _, each in observed.plans] == [2]
    assert set(observed.healthy_s) == {A}
    assert observed.requests[0][1] == {"argosy-demo/chat": 5}
    assert [(each.kind, each.pod) for each in watcher.pods] == [("ADDED", pod)]


async def ended(watcher: PodsWatcher) -> None:
    """What ends a run once an observation has ended."""
    async with asyncio.timeout(20.0):
        while True:
            watcher.require_running()
            await asyncio.sleep(0.05)


async def test_a_watch_that_has_ended_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "ended").touch()
    watcher = PodsWatcher(fake_kubectl(tmp_path), survey_of())
    await watcher.start()
    await asyncio.sleep(0)
    try:
        with pytest.raises(StartError, match=r"the watch of \w+ has ended"):
            await ended(watcher)
    finally:
        await watcher.stop()
