"""kopf in a thread of its own: it only watches, and it is started again whenever that is needed.

Owns kopf, used at its low level: `on.event` handlers in a private registry and no state handlers, so
that kopf writes neither annotations nor finalizers. kopf's own look-out for new kinds is off: it was
seen to miss one of six that came together, for ever. `Watches` finds new kinds by their listings and
names them here. Input: plurals. Output: watch events, on the event loop of the process.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kopf
import yaml

from argosy.api.kinds import Kind, kind_of
from argosy.reconcile.clock import Clock

log = logging.getLogger(__name__)

_IDENTITY: Any = "argosy"
"""For kopf's peering, which is not used. Without one, kopf asks for the user's name, and a container's
user may have none."""

Deliver = Callable[[str, kopf.RawEvent], None]
Ended = Callable[[BaseException | None], Awaitable[float]]
"""Called where the watches have ended by themselves; the seconds until they start again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a watch calls. deliver: with an event; stuck: where one of its requests keeps failing."""

    deliver: Deliver
    stuck: Callable[[], None] = lambda: None


Run = Callable[[Path | None, frozenset[str], Found, threading.Event], None]
"""Watches in the calling thread until the event is set."""


STUCK_AFTER = 3
"""Attempts of one request that fail in a row before that is noticed, every time."""


class Backoffs:
    """Seconds between attempts, without end: an API server may be away for any time.

    stuck: called where one request keeps failing
    """

    def __init__(self, stuck: Callable[[], None] = lambda: None) -> None:
        self._stuck = stuck

    def __iter__(self) -> Iterator[float]:
        for number, delay_s in enumerate(itertools.chain((0.2, 0.5, 1.0), itertools.repeat(2.0)), start=1):
            if number % STUCK_AFTER == 0:
                self._stuck()
            yield delay_s


class KopfThread:
    """Watches the kinds that it was last given, until `stop`."""

    def __init__(self, found: Found, clock: Clock, ended: Ended, watch: Run | None = None) -> None:
        """watch: in place of kopf"""
        self._found, self._clock, self._ended = found, clock, ended
        self._watch = watch or _run_kopf
        self._kinds: frozenset[str] = frozenset()
        self._woken = asyncio.Event()
        self._is_stopped = False

    @property
    def kinds(self) -> frozenset[str]:
        """The plurals that are watched."""
        return self._kinds

    def watch(self, kinds: frozenset[str]) -> None:
        """Watch these kinds from now on, with new connections."""
        self._kinds = kinds
        self._woken.set()

    def stop(self) -> None:
        """End; `run` then returns."""
        self._is_stopped = True
        self._woken.set()

    async def run(self, kubeconfig: Path | None) -> None:
        """Watch until `stop`. A new watch starts before the old one ends: no event falls between them.

        kopf runs in its own thread on its own event loop: on the main thread it would handle SIGTERM,
        and when it ends it cancels every other task of its loop.
        """
        running: _Watch | None = None
        while not self._is_stopped:
            await self._until_woken_or_over(running)
            before, running = running, None
            if before is not None and before.task.done():
                pause_s = await self._ended(before.task.exception())
                await self._clock.wait(self._woken, pause_s)
                self._woken.clear()
            if self._kinds and not self._is_stopped:
                running = _Watch(partial(self._watch, kubeconfig, self._kinds), self._found)
            if before is not None:
                before.leave()
        if running is not None:
            await running.ended()

    async def _until_woken_or_over(self, running: _Watch | None) -> None:
        woken = asyncio.create_task(self._woken.wait())
        waiting: set[asyncio.Task[Any]] = {woken} if running is None else {woken, running.task}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self._woken.clear()


class _Watch:
    """One run of kopf."""

    def __init__(self, watch: Callable[[Found, threading.Event], None], found: Found) -> None:
        loop = asyncio.get_running_loop()

        def call_there(function: Callable[..., None], *arguments: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(function, *arguments)

        there = Found(partial(call_there, found.deliver), partial(call_there, found.stuck))
        self.stop = threading.Event()
        self.task = asyncio.create_task(asyncio.to_thread(watch, there, self.stop))

    def leave(self) -> None:
        """Stop it, whatever ends it: another run has taken its place."""
        self.stop.set()
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def ended(self) -> None:
        self.stop.set()
        await asyncio.wait({self.task})


def _run_kopf(kubeconfig: Path | None, kinds: frozenset[str], found: Found, stop: threading.Event) -> None:
    # Its own lines are about its tasks, with tracebacks; `KopfThread` and the listings report what matters.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    registry = kopf.OperatorRegistry()
    for plural in sorted(kinds):
        _register(registry, kind_of(plural), found.deliver)
    _register_login(registry, kubeconfig)
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.error_backoffs = Backoffs(found.stuck)
    settings.watching.connect_timeout = 5.0
    operator = kopf.operator(
        registry=registry,
        settings=settings,
        identity=_IDENTITY,
        standalone=True,
        clusterwide=True,
        stop_flag=stop,
    )
    asyncio.run(_until_over(operator, stop))


async def _until_over(operator: Awaitable[None], stop: threading.Event) -> None:
    """Raises what ended kopf. What its tasks raised besides is that again, and would be a traceback each."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: log.debug("%s", context["message"]))
    try:
        await operator
    finally:
        stop.set()  # a thread of this loop waits for it, and the end of the loop waits for that thread


def _register(registry: kopf.OperatorRegistry, kind: Kind, deliver: Deliver) -> None:
    group, version = kind.group_version

    async def seen(*, event: kopf.RawEvent, **_: Any) -> None:
        deliver(kind.plural, event)

    kopf.on.event(group=group, version=version, plural=kind.plural, id=kind.plural, registry=registry)(seen)


def _register_login(registry: kopf.OperatorRegistry, kubeconfig: Path | None) -> None:
    if kubeconfig is None:
        kopf.on.login(registry=registry)(kopf.login_with_service_account)
        return

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return connection_info(kubeconfig)


def connection_info(kubeconfig: Path) -> kopf.ConnectionInfo:
    """The current context of a kubeconfig (kopf itself reads only the one in the environment)."""
    content = yaml.safe_load(kubeconfig.read_text())
    named = {c["name"]: c["context"] for c in content["contexts"]}[content["current-context"]]
    cluster = {c["name"]: c["cluster"] for c in content["clusters"]}[named["cluster"]]
    user = {u["name"]: u["user"] for u in content["users"]}[named["user"]]
    return kopf.ConnectionInfo(
        server=cluster["server"],
        ca_path=cluster.get("certificate-authority"),
        ca_data=cluster.get("certificate-authority-data"),
        insecure=cluster.get("insecure-skip-tls-verify"),
        certificate_path=user.get("client-certificate"),
        certificate_data=user.get("client-certificate-data"),
        private_key_path=user.get("client-key"),
        private_key_data=user.get("client-key-data"),
        scheme="Bearer" if user.get("token") else None,
        token=user.get("token"),
        default_namespace=named.get("namespace"),
    )
