"""/healthz, /readyz and /metrics.

Owns the operator's HTTP endpoint, which only reads. Input: the metrics, and what keeps the process from
being ready. Output: a running HTTP server.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from argosy.addresses import host_and_port
from argosy.errors import SpecError
from argosy.reconcile.metrics import Metrics


async def serve_health(address: str, own: Metrics, problems: Callable[[], tuple[str, ...]]) -> web.AppRunner:
    """Listen on `host:port`; raises `SpecError` where the port is taken.

    problems: sentences on what cannot be seen; without any, the process is ready
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        found = problems()
        text = "".join(f"{sentence}\n" for sentence in found) or "ok\n"
        return web.Response(text=text, status=503 if found else 200)

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest(own.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    host, port = host_and_port(address, "--http-address")
    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        message = f"cannot listen on {address}: {error.strerror or error}; free the port or choose another"
        raise SpecError(message, "--http-address") from error
    return runner
