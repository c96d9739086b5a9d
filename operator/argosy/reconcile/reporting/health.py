"""/healthz, /readyz and /metrics.

Owns the operator's HTTP endpoint, which only reads. Input: the metrics, the caches' state, what goes
wrong now, and the heartbeats of the loops. Output: a running HTTP server.

    /healthz     503 where a loop is stuck: restart the process
    /readyz      503 where the process does not do its whole work or does not see what it decides on,
                 with one sentence for each cause
    /readyz/ads  503 until Envoys can connect and are served from complete caches: the probe of the Service
                 that Envoys connect to. Neither a missing permission nor lost telemetry may take a server
                 that works from them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from argosy.addresses import host_and_port, is_every_address
from argosy.errors import SpecError
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.reporting.heartbeats import Heartbeats
from argosy.reconcile.reporting.troubles import Troubles

NOT_SYNCED = "caches are not complete: not every kind of object has been listed yet"


@dataclass(frozen=True, slots=True)
class Health:
    """What the endpoint reads.

    unseen: kinds of objects that are not seen, one sentence each
    unserved: why no Envoy can connect; empty where they can
    """

    metrics: Metrics
    troubles: Troubles
    heartbeats: Heartbeats
    is_synced: Callable[[], bool]
    unseen: Callable[[], tuple[str, ...]]
    unserved: Callable[[], str] = lambda: ""

    def unhealthy(self) -> tuple[str, ...]:
        """Why the process should be restarted; nothing where it should not."""
        return self.heartbeats.late()

    def not_serving(self) -> tuple[str, ...]:
        """Why Envoys cannot connect, or are not served from complete caches."""
        return tuple(filter(None, (self.unserved(), "" if self.is_synced() else NOT_SYNCED)))

    def not_ready(self) -> tuple[str, ...]:
        """Why the process does not do its whole work; causes that have just begun are left out."""
        return (self.unseen() or self.not_serving()) + self.troubles.lasting()


async def serve_health(address: str, health: Health) -> web.AppRunner:
    """Listen on `host:port`; raises `SpecError` where the port is taken."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.unhealthy())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.not_ready())

    async def readyz_ads(_: web.Request) -> web.Response:
        return _answer(health.not_serving())

    async def metrics(_: web.Request) -> web.Response:
        health.metrics.show_failing(health.troubles.lasting_activities())
        body = generate_latest(health.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    host, port = host_and_port(address, "--http-address")
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/readyz/ads", readyz_ads),
            web.get("/metrics", metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await _site(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        message = f"cannot listen on {address}: {error.strerror or error}; free the port or choose another"
        raise SpecError(message, "--http-address") from error
    return runner


def _site(runner: web.AppRunner, host: str, port: int) -> web.BaseSite:
    """`::` listens on both families, as gRPC's server does; asyncio alone takes it for IPv6 only."""
    if ":" in host and is_every_address(host) and socket.has_dualstack_ipv6():
        both = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
        return web.SockSite(runner, both)
    return web.TCPSite(runner, host, port)


def _answer(problems: Iterable[str]) -> web.Response:
    """One problem per line; `ok` where there is none."""
    lines = tuple(problems)
    return web.Response(text="".join(f"{line}\n" for line in lines) or "ok\n", status=503 if lines else 200)
