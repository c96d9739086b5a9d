"""Middleware for vLLM's server (`--middleware late_health.LateHealth`): it answers /health late.

The seconds stand in the file that the variable `LATE_HEALTH_FILE` names; without the file, none. All other
paths are served as ever, as by a server whose health is held up behind other work.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class LateHealth:
    """An ASGI application around the server's own."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/health":
            await asyncio.sleep(_seconds())
        await self._app(scope, receive, send)


def _seconds() -> float:
    try:
        return float(Path(os.environ["LATE_HEALTH_FILE"]).read_text())
    except FileNotFoundError:
        return 0.0
