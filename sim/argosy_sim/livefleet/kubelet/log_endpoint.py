"""Owns the kubelet's HTTPS endpoint: what the API server asks for `kubectl logs`.

It answers on the nodes' address, on one free port for all nodes, and only to a client
with a certificate of the cluster's authority: the API server has one. A dead node's containers
get no answer at all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from argosy_sim.controlplane.host.ports import LOOPBACK
from argosy_sim.livefleet.kubelet.container_logs import shown

_FOLLOW_POLL_S = 0.2
_LOG_ROUTE = "/containerLogs/{namespace}/{pod}/{container}"


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """Files: the endpoint's certificate and key, and the authority that signs its clients."""

    certificate: Path
    key: Path
    client_ca: Path

    @classmethod
    def in_directory(cls, directory: Path) -> ServingCertificate:
        """Name the files as a control plane's state directory has them."""
        return cls(directory / "kubelet.crt", directory / "kubelet.key", directory / "ca.crt")

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings; raises `OSError` or `ssl.SSLError` where a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A container's log. `is_open` says whether lines may still come."""

    path: Path
    is_open: Callable[[], bool]
    is_on_dead_node: bool = False


FindLog = Callable[[str, str, str], FoundLog | None]
"""(namespace, pod, container) -> its log."""


class LogEndpoint:
    """The HTTPS server."""

    def __init__(self, find: FindLog) -> None:
        self._find = find
        application = web.Application()
        application.router.add_get(_LOG_ROUTE, self._answer)
        application.router.add_route("*", "/{rest:.*}", _has_no_such_thing)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def start(self, certificate: ServingCertificate, address: str = LOOPBACK) -> int:
        """Listen on a free port of `address` and return it."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, 0, ssl_context=certificate.context())
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """End, with all connections that follow a log."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        log = self._find(names["namespace"], names["pod"], names["container"])
        if log is None or not log.path.exists():
            return web.Response(status=HTTPStatus.NOT_FOUND, text="no such container runs here\n")
        if log.is_on_dead_node:
            await asyncio.Event().wait()
        tail = request.query.get("tailLines", "")
        if tail and not tail.isdecimal():
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="tailLines is a whole number\n")
        return await _send(request, log, int(tail) if tail else None)


async def _has_no_such_thing(request: web.Request) -> web.Response:
    """`kubectl exec`, `attach` and `port-forward` show this."""
    what = request.path.strip("/").partition("/")[0] or "this"
    return web.Response(
        status=HTTPStatus.NOT_FOUND,
        text=f"this pod is simulated: it has no container for {what}; kubectl logs works, and its engine"
        " answers HTTP at the pod's IP\n",
    )


async def _send(request: web.Request, log: FoundLog, tail: int | None) -> web.StreamResponse:
    timestamps = request.query.get("timestamps") == "true"
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with log.path.open() as file:
        text = shown(file.readlines(), tail=tail, timestamps=timestamps)
        await response.write(text.encode())
        while request.query.get("follow") == "true" and log.is_open():
            await asyncio.sleep(_FOLLOW_POLL_S)
            lines = file.readlines()
            if lines:
                await response.write(shown(lines, tail=None, timestamps=timestamps).encode())
    await response.write_eof()
    return response
