"""Requests that name a LoRA adapter reach only the engines that hold it, at a real Envoy."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from argosy.keys import CellName
from argosy.route.table import AdapterRoute, Backend, Endpoint, EndpointState, RequestMatch
from argosy.telemetry.parse import ROUTE_STATS_FILTER, parse_adapters

NO_SQL = "The LoRA adapter sql is not loaded on any replica that serves default/chat."


async def test_an_adapters_requests_reach_only_the_replicas_that_hold_it(world: Any, build: Any) -> None:
    one, two = await world.replica("one"), await world.replica("two")

    def table(revision: int, of_one: tuple[str, ...], of_two: tuple[str, ...]) -> Any:
        cluster = build.cluster(
            "chat", replace(one.endpoint(), adapters=of_one), replace(two.endpoint(), adapters=of_two)
        )
        adapters = [
            AdapterRoute(name, (Backend("chat", 1.0),) if held else (), "" if held else NO_SQL)
            for name, held in (("sql", "sql" in of_one + of_two), ("law", True))
        ]
        route = build.route("chat", {"chat": 1.0}, match=RequestMatch(models=("base", "sql", "law")))
        entry = replace(route, adapters=tuple(adapters))
        return world.table([entry], [replace(cluster, has_adapters=True)], revision)

    async def reached(model: str, num: int = 12) -> Counter[str]:
        answers = [await world.ask(json_body={"model": model}) for _ in range(num)]
        return Counter(a.replica if a.status == 200 else str(a.status) for a in answers)

    async def reaches(model: str, *names: str) -> None:
        async def holds() -> bool:
            return set(await reached(model)) == set(names)

        await world.until_async(holds)

    await world.publish(table(1, ("sql", "law"), ("law",)))
    await reaches("base", "one", "two")
    await reaches("law", "one", "two")
    assert await reached("sql") == {"one": 12}
    await world.publish(table(2, ("law",), ("law", "sql")))
    await reaches("sql", "two")
    await world.publish(table(3, ("law",), ("law",)))
    refused = await world.ask(json_body={"model": "sql"})
    assert (refused.status, refused.json["error"]["message"]) == (503, NO_SQL)
    assert set(await reached("law")) == {"one", "two"}
    stats = await world.admin("/stats?filter=vhost.argosy.route.default_chat.upstream_rq_completed")
    assert int(stats.rsplit(" ", 1)[1]) > 40, "all count as requests of the class"
    await two.die()
    await reaches("law", "one")


HELD = AdapterRoute("sql", (Backend("chat", 1.0),))


def waiting_table(world: Any, build: Any, revision: int, *members: Endpoint) -> Any:
    """A class whose adapter `sql` only one cluster may hold."""
    cluster = replace(build.cluster("chat", *members), has_adapters=True, waiting=("sql",))
    route = build.route("chat", {"chat": 1.0}, match=RequestMatch(models=("base", "sql")), attempts=1)
    return world.table([replace(route, adapters=(HELD,))], [cluster], revision)


@pytest.mark.parametrize("end", ["another replica has loaded it", "its replica is back"])
async def test_requests_for_an_adapter_wait_while_its_only_replica_is_gone(
    world: Any, build: Any, end: str
) -> None:
    one, two = await world.replica("one"), await world.replica("two")
    holder, other = replace(one.endpoint(), adapters=("sql",)), two.endpoint()
    await world.publish(waiting_table(world, build, 1, holder, other))

    async def is_healthy() -> bool:
        health = await world.health()
        return bool(health.get("default/one") and health.get("default/two"))

    async def is_gone() -> bool:
        """For each of the clusters: until then a try may still fail instead of waiting."""
        clusters = json.loads(await world.admin("/clusters?format=json"))["cluster_statuses"]
        hosts = [host for each in clusters for host in each.get("host_statuses", [])]
        its = [host["health_status"] for host in hosts if host.get("hostname") == "default/one"]
        return all(status.get("failed_active_health_check") for status in its)

    await world.until_async(is_healthy)
    assert (await world.ask(json_body={"model": "sql"})).replica == "one"
    await one.die()
    await world.until_async(is_gone)
    if end == "another replica has loaded it":
        # Its pod is not ready any more, as its kubelet finds.
        gone = replace(holder, state=EndpointState.NOT_READY)
        await world.publish(waiting_table(world, build, 2, gone, other))
    waiting = [asyncio.create_task(world.ask(json_body={"model": "sql"})) for _ in range(5)]
    base = await world.ask(json_body={"model": "base"})
    assert (base.status, base.replica) == (200, "two"), "requests for the model do not wait"
    await asyncio.sleep(1.0)
    assert not any(task.done() for task in waiting)
    assert two.num_requests == 1, "none came to a replica without the adapter"
    if end == "another replica has loaded it":
        loaded = replace(other, adapters=("sql",))
        await world.publish(waiting_table(world, build, 3, gone, loaded))
    else:
        await one.start()
    answers = await asyncio.gather(*waiting)
    expected = "two" if end == "another replica has loaded it" else "one"
    assert {(a.status, a.replica) for a in answers} == {(200, expected)}


async def test_requests_are_counted_by_adapter_also_those_that_no_replica_takes(
    world: Any, build: Any
) -> None:
    one = await world.replica("one")
    cluster = build.cluster("chat", replace(one.endpoint(), adapters=("org/sql:v1.2",)))
    names = ("org/sql:v1.2", "law")
    route = build.route("chat", {"chat": 1.0}, match=RequestMatch(models=("base", *names)))
    adapters = (AdapterRoute(names[0], (Backend("chat", 1.0),)), AdapterRoute("law", (), NO_SQL))
    entry = replace(route, adapters=adapters)
    await world.publish(world.table([entry], [replace(cluster, has_adapters=True)]))

    async def counted() -> dict[Any, float]:
        body = (await world.admin(f"/stats?filter={ROUTE_STATS_FILTER}&format=json")).encode()
        return dict(parse_adapters(body))

    async def answers() -> bool:
        return bool((await world.ask(json_body={"model": "base"})).status == 200)

    await world.until_async(answers)
    assert await counted() == {}
    statuses = [(await world.ask(json_body={"model": name})).status for name in (*names, *names, names[0])]
    assert statuses == [200, 503, 200, 503, 200]

    async def is_counted() -> bool:
        cell = CellName("default/chat")
        return await counted() == {(cell, names[0]): 3.0, (cell, "law"): 2.0}

    await world.until_async(is_counted)
