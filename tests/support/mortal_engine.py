"""An engine in a process of its own, so that it can die in every way. Run as a program; prints its port.

POST / takes JSON: `header_s` is how long the response header takes, `silence_s` the pause between the first
chunk and the last. SIGUSR1: its node vanishes, its sockets neither acknowledge nor reset. SIGUSR2: it goes
on answering /health and nothing else. SIGHUP: from now on it answers /health after 8 s.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from aiohttp import web

HEALTH_LATE_S = 8.0
_SO_ATTACH_FILTER = 26
_RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)  # classic BPF: keep 0 bytes of every packet


class MortalEngine:
    def __init__(self, name: str) -> None:
        self.name = name
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._health_s = 0.0

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/{tail:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._vanish)
        loop.add_signal_handler(signal.SIGUSR2, self._speaking.clear)
        loop.add_signal_handler(signal.SIGHUP, self._be_late)
        print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[union-attr]  # noqa: T201
        await asyncio.Event().wait()

    def _vanish(self) -> None:
        self._speaking.clear()  # nothing is sent any more
        drop_what_arrives()

    def _be_late(self) -> None:
        self._health_s = HEALTH_LATE_S

    async def _health(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self._health_s)
        return web.Response(text="ok")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        wanted = await request.json()
        await self._take(float(wanted.get("header_s", 0)))
        response = web.StreamResponse(headers={"x-replica": self.name})
        await response.prepare(request)
        if "silence_s" in wanted:
            await response.write(b"data: first\n")
            await self._take(float(wanted["silence_s"]))
        await response.write(b"data: [DONE]\n")
        return response

    async def _take(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._speaking.wait()


def drop_what_arrives() -> None:
    """No socket of this process acknowledges, or even resets: as if the machine were no longer there."""
    code = ctypes.create_string_buffer(_RETURN_NOTHING)
    program = struct.pack("HL", 1, ctypes.addressof(code))
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        with held:
            if held.family is socket.AF_INET:
                held.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


if __name__ == "__main__":
    asyncio.run(MortalEngine(sys.argv[1]).serve())
