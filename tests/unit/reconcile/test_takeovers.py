"""The process in virtual time while a deleted class gives way to one that cannot use its replicas."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_model
from fake_perf import StrictPerf
from settled_shell import CHAT, engines, settled
from virtual_clock import in_virtual_time
from virtual_shell import Object, VirtualShell

from argosy.control.routes import route_inputs
from argosy.route.compile import compile_routes
from argosy.snapshot.serving import takes_requests

GRACE_S, TALK, GOING = 300.0, "default/talk", "team/talk"


def match_of_chat(shell: VirtualShell) -> Object:
    found: Object = shell.server.of("workloadclasses")[CHAT]["spec"]["match"]
    return found


def answering(shell: VirtualShell) -> int:
    """Replicas that take requests of the class to which Envoys give those of chat."""
    snapshot = shell.state.snapshot()
    routes = compile_routes(route_inputs(snapshot, snapshot.applied_plan)).routes
    first = next(route for route in routes if route.class_key in (CHAT, TALK, GOING))
    clusters = {backend.cluster for backend in first.backends}
    ready = [p for p in snapshot.engine_pods if takes_requests(p, frozenset()) and not p.deleting]
    return sum(p.deployment in clusters for p in ready)


async def a_shell(directory: Path) -> VirtualShell:
    shell = await settled(directory)
    shell.apply(a_fleet(deletionGraceSeconds=int(GRACE_S)), a_model("mistral"))
    return shell


async def least_answering(shell: VirtualShell, seconds: int) -> int:
    """The fewest replicas that took requests in any second of this time."""
    found = []
    for _ in range(seconds):
        await shell.clock.sleep(1.0)
        found.append(answering(shell))
    return min(found)


@in_virtual_time
async def test_a_class_of_another_model_loads_before_the_deleted_one_goes(tmp_path: Path) -> None:
    shell = await a_shell(tmp_path)
    [former] = engines(shell)
    latter = a_class("talk", match=match_of_chat(shell), models=[{"name": "mistral"}])
    async with shell.running():
        shell.server.drop("workloadclasses", CHAT)
        shell.apply(latter)
        assert await least_answering(shell, 60) == 2
        assert shell.condition("workloadclasses", TALK, "Ready") == ("True", "Ready")
        assert former not in engines(shell), "the grace ends once the other class is served"


@in_virtual_time
async def test_a_stricter_class_that_leaves_a_shared_group_loads_before_the_deleted_one_goes(
    tmp_path: Path,
) -> None:
    shell = await a_shell(tmp_path)
    shell.decider.perf = StrictPerf()
    shell.apply(a_class("batch", 2.0))
    strict = {"ttft": {"p95Milliseconds": 300}}
    async with shell.running():
        await shell.clock.sleep(90.0)
        latter = a_class("talk", match=match_of_chat(shell), slo=strict)
        shell.server.drop("workloadclasses", CHAT)
        shell.apply(latter)
        assert await least_answering(shell, 90) >= 2
        assert shell.condition("workloadclasses", TALK, "Ready") == ("True", "Ready")


@pytest.mark.parametrize("is_applied_first", [False, True], ids=["deleted first", "applied first"])
@in_virtual_time
async def test_a_class_of_a_namespace_that_is_being_deleted_takes_nothing_over(
    tmp_path: Path, is_applied_first: bool
) -> None:
    shell = await a_shell(tmp_path)
    going = {"name": "team", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    shell.server.put("namespaces", {"metadata": going})
    latter = a_class("talk", match=match_of_chat(shell)).to_object()
    model = a_model().to_object()
    for item in (latter, model):
        item["metadata"]["namespace"] = "team"
    shell.server.put("servedmodels", model)
    async with shell.running():
        if is_applied_first:
            shell.server.put("workloadclasses", latter)
            await shell.clock.sleep(5.0)
        shell.server.drop("workloadclasses", CHAT)
        shell.server.put("workloadclasses", latter)
        assert await least_answering(shell, int(GRACE_S) - 10) == 2
