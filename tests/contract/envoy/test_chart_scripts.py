"""The chart's scripts on a real Envoy: the one that runs before its SIGTERM, and the one of `helm test`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

FILES = Path(__file__).parents[3] / "charts" / "argosy" / "files"
DRAIN = FILES / "envoy-drain.sh"


async def drain(
    world: Any, longest_s: int, shortest_s: int = 0, port: int | None = None
) -> tuple[int, float]:
    """Run it as the pod's hook does: its exit code, and how many seconds it took."""
    admin_port = port or int(world.envoy.admin_address.rpartition(":")[2])
    environment = {
        "PATH": "/usr/bin:/bin",
        "ARGOSY_ENVOY_ADMIN_PORT": str(admin_port),
    }
    began_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        "bash", str(DRAIN), str(shortest_s), str(longest_s), env=environment
    )
    return await process.wait(), time.monotonic() - began_s


async def streaming(world: Any, build: Any, seconds: float) -> asyncio.Task[Any]:
    """A streamed answer that has begun and takes this long."""
    replica = await world.replica("slow")
    replica.stream_s = seconds
    await world.publish(world.table([build.route("chat", {"chat": 1.0})], [build.cluster("chat", replica)]))
    ask = world.ask(headers={"x-class": "chat"}, json_body={"stream": True})
    task: asyncio.Task[Any] = asyncio.create_task(ask)
    await world.until(lambda: replica.num_requests == 1)
    return task


async def test_a_drain_waits_for_the_answers_that_run_and_still_takes_new_requests(
    world: Any, build: Any
) -> None:
    stream = await streaming(world, build, 4.0)
    draining = asyncio.create_task(drain(world, longest_s=60))

    async def is_unready() -> bool:
        return bool((await world.admin("/ready")).strip() == "DRAINING")

    await world.until_async(is_unready)
    late = await world.ask(headers={"x-class": "chat"})
    assert (late.status, late.headers.get("connection")) == (200, "close"), "the client connects elsewhere"
    assert not draining.done(), "a stream runs"
    code, _ = await draining
    answer = await stream
    assert (code, answer.status, answer.body.endswith("data: [DONE]\n\n")) == (0, 200, True)


async def test_a_drain_ends_at_its_limit_though_a_request_runs(world: Any, build: Any) -> None:
    stream = await streaming(world, build, 30.0)
    code, seconds = await drain(world, longest_s=2)
    assert (code, stream.done()) == (0, False)
    assert seconds >= 1.0, "it waited"
    stream.cancel()


async def test_an_idle_envoy_is_kept_for_as_long_as_services_may_still_name_it(world: Any) -> None:
    code, seconds = await drain(world, longest_s=60, shortest_s=2)
    assert code == 0
    assert seconds >= 1.0


async def test_a_drain_without_an_envoy_ends_at_once(world: Any) -> None:
    code, _ = await asyncio.wait_for(drain(world, longest_s=60, port=1), timeout=30.0)
    assert code == 0


async def checked(world: Any, ready: int) -> tuple[int, str]:
    """`helm test` with an operator that answers this on /readyz/ads: the exit code, and what it printed."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=ready if request.path == "/readyz/ads" else 404, text="caches: not yet")

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        arguments = ("127.0.0.1", str(port), "127.0.0.1", str(world.gateway.port))
        script = (FILES / "check-installation.sh").read_text()
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, "check", *arguments, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("ready", "is_published", "code", "sentences"),
    [
        pytest.param(
            200, True, 0, ["operator: it serves Envoys", "gateway: it answers (HTTP/1.1 200"], id="well"
        ),
        pytest.param(
            503, True, 1, ["does not serve Envoys yet", "caches: not yet"], id="an operator not ready"
        ),
        pytest.param(200, False, 1, ["does not answer; is spec.gateway.port"], id="an Envoy without routes"),
    ],
)
async def test_helm_test_says_of_each_part_whether_it_serves(
    ready: int, is_published: bool, code: int, sentences: list[str], world: Any
) -> None:
    if is_published:
        await world.publish(world.table([], []))
    ended, said = await checked(world, ready)
    assert ended == code, said
    assert [sentence for sentence in sentences if sentence not in said] == [], said
