"""Requests that name a LoRA adapter reach only the engines that hold it, at a real Envoy."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from argosy.route.table import AdapterRoute, Backend, RequestMatch

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
