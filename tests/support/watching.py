"""Every version of objects that the API server stores while a test changes the world.

Owns a watch in a thread of its own, through the stage's `kubectl proxy`: what polling would miss, such as a
condition that holds for half a second, is seen. Input: the URL of a list. Output: the objects, in order.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

LARGEST_LINE = 4 * 2**20
START_TIMEOUT_S = 10.0


class Watch:
    """Watches the objects of `url` until the block ends; those that are there come first."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._objects: list[dict[str, Any]] = []
        self._began, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._began.wait(START_TIMEOUT_S), f"the watch of {self._url} did not begin"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def conditions(self, item: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
        """A condition of every version of `item` that has it, without repetitions of the one before."""
        found: list[dict[str, Any]] = []
        for seen in self._objects:
            rows = (seen.get("status") or {}).get("conditions") or ()
            if seen["metadata"]["uid"] == item["metadata"]["uid"]:
                found += [row for row in rows if row["type"] == kind and row not in found[-1:]]
        return found

    async def _run(self) -> None:
        no_limit = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=no_limit, read_bufsize=LARGEST_LINE) as session,
            session.get(self._url, params={"watch": "true"}) as response,
        ):
            response.raise_for_status()
            reading = asyncio.create_task(self._read(response))
            self._began.set()
            await asyncio.to_thread(self._stop.wait)
            reading.cancel()

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            self._objects.append(json.loads(line)["object"])
