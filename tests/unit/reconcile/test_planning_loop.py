"""The planning loop against an API server: which changes a revision names as its reason."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from argosy.api.kinds import WATCHED
from argosy.control.decision import Decision
from argosy.control.memory import ControlMemory, TrafficMemory
from argosy.control.step import StepSettings, step
from argosy.control.triggers import trigger_of
from argosy.kube.api import ApiServer
from argosy.kube.store import Store
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.reconcile.act import Actor
from argosy.reconcile.clock import SystemClock
from argosy.reconcile.loop_state import LoopState
from argosy.reconcile.loops.planning import PlanningLoop
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.watch.profile_files import ProfileFiles
from argosy.reconcile.watch.snapshots import Snapshots
from argosy.settings import OperatorSettings
from argosy.snapshot.fleet import FleetSnapshot, RoutingView

EXAMPLES = Path(__file__).parents[3] / "examples" / "small"
PLANS = "/apis/argosy.dev/v1alpha1/fleetplans"
PATIENCE_S = 20.0
PLURALS = {
    "Fleet": "fleets",
    "GPUPool": "gpupools",
    "ServedModel": "servedmodels",
    "WorkloadClass": "workloadclasses",
    "RouterPolicy": "routerpolicies",
    "Node": "nodes",
}


def node(name: str, product: str) -> dict[str, Any]:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": product}},
        "status": {
            "allocatable": {"nvidia.com/gpu": "2"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


NODES = tuple(node(f"l40s-{number}", "NVIDIA-L40S") for number in range(2))


def examples() -> list[dict[str, Any]]:
    """The small world in Recommend, its model with a profile of its own; without its classes."""
    found = [
        item for file in sorted(EXAMPLES.glob("*.yaml")) for item in yaml.safe_load_all(file.read_text())
    ]
    for item in found:
        if item["kind"] == "Fleet":
            item["spec"]["mode"] = "Recommend"
        if item["kind"] == "ServedModel":
            item["spec"]["profiles"] = [{"configMap": "measured"}]
    return [*NODES, *(item for item in found if item["kind"] != "WorkloadClass")]


def chat(**spec: Any) -> dict[str, Any]:
    classes = yaml.safe_load_all((EXAMPLES / "classes.yaml").read_text())
    (found,) = (item for item in classes if item["metadata"]["name"] == "chat")
    found["spec"] |= spec
    return dict(found)


class FakeApiServer:
    """Takes what is written about the objects of `store`, knows no ConfigMap, and refuses statuses at will.

    meanwhile: happens while it is asked for a ConfigMap
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.plans: list[dict[str, Any]] = []
        self.takes_statuses = True
        self.num_refused = 0
        self.meanwhile: Callable[[], object] = lambda: None

    async def answer(self, request: web.Request) -> web.Response:
        if "/configmaps/" in request.path:
            self.meanwhile()
            return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound"}, status=404)
        body = await request.json()
        if request.path == PLANS:
            self.plans.append(body)
        if request.method == "PATCH":
            *_, namespace, plural, name, _ = request.path.split("/")
            if plural != "fleetplans" and not self.takes_statuses:
                self.num_refused += 1
                return web.json_response({"kind": "Status", "code": 500}, status=500)
            key = f"{namespace}/{name}" if "/namespaces/" in request.path else name
            body = {**self._store.of(plural)[key], **body}
        return web.json_response(body)


class Leading:
    """A Lease that is held all the time."""

    is_leader = True

    async def wait_gained(self) -> None:
        """It is."""


class OwnProcess:
    """Decides in this process what the worker decides in one of its own."""

    def __init__(self) -> None:
        self._perf = LibraryPerfModel(shipped_library(), {}, None)

    async def step(self, snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings) -> Decision:
        return step(snapshot, memory, settings, self._perf)


class Stage:
    """A loop that leads, the store that it looks at, and the API server that it writes to."""

    def __init__(
        self, api_client: client.ApiClient, server: FakeApiServer, store: Store, directory: Path
    ) -> None:
        self.server, self.store = server, store
        self._versions = itertools.count(1)
        api, snapshots, clock = ApiServer(api_client), Snapshots(store), SystemClock()
        state = LoopState(
            settings=OperatorSettings(state_dir=directory),
            clock=clock,
            snapshots=snapshots,
            actor=Actor(api, store, clock, lambda: True),
            routing=RoutingView,
            profile_files=ProfileFiles(api, clock),
            metrics=Metrics(),
            memory=ControlMemory(TrafficMemory(started_s=clock.now_s())),
        )
        self.planning = PlanningLoop(state, OwnProcess(), Leading())

    def see(self, item: dict[str, Any]) -> None:
        """As a watch does: into the store, and the loop is told in the same instant."""
        kind = PLURALS[item["kind"]]
        item["metadata"]["resourceVersion"] = str(next(self._versions))
        trigger = trigger_of(kind, self.store.put(kind, item), item)
        assert trigger is not None
        self.planning.wake(trigger)

    async def until(self, holds: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < give_up_s, self.server.plans
            await asyncio.sleep(0.01)

    async def triggers(self, num: int) -> list[str]:
        """Of so many revisions, as soon as there are."""
        await self.until(lambda: len(self.server.plans) == num)
        return [plan["spec"]["trigger"] for plan in self.server.plans]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store = Store(WATCHED)
    for item in examples():
        store.put(PLURALS[item["kind"]], item)
    server, app = FakeApiServer(store), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(app) as running:
        settings = client.Configuration()
        settings.host = str(running.make_url("")).rstrip("/")
        async with client.ApiClient(settings) as api_client:
            stage = Stage(api_client, server, store, tmp_path)
            loop = asyncio.create_task(stage.planning.run())
            yield stage
            loop.cancel()


async def test_what_changes_while_profiles_are_read_is_told_by_the_revision_that_knows_it(
    stage: Stage,
) -> None:
    late = [chat()]

    def arrive() -> None:
        while late:
            stage.see(late.pop())

    stage.server.meanwhile = arrive
    assert await stage.triggers(1) == ["the operator started; WorkloadClass default/chat was created"]


async def test_a_change_is_told_once_though_statuses_are_refused_after_its_revision(stage: Stage) -> None:
    stage.server.takes_statuses = False
    stage.see(chat())
    await stage.triggers(1)
    await stage.until(lambda: stage.server.num_refused > 0)
    stage.see(chat(minReplicas=4))
    _, second = await stage.triggers(2)
    assert second == "WorkloadClass default/chat changed (minReplicas)"
