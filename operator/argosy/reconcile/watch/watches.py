"""The watches: every object that decisions read, kept in the store.

Owns kopf, used at its low level: `on.event` handlers in a private registry and no state handlers, so
that kopf writes neither annotations nor finalizers. Input: watch events and listings. Output: the
store, and one callback for each change.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
import yaml

from argosy.api.kinds import WATCHED, Kind, kind_of
from argosy.errors import ActuationError
from argosy.kube.api import ApiServer, path_of
from argosy.kube.store import Object, Store
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles

ACTIVITY = "caches"


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after; `current` is None where it was deleted."""

    kind: str
    previous: Object | None
    current: Object | None


class _Backoffs:
    """Seconds between attempts, without end: an API server may be away for any time."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1.0), itertools.repeat(2.0))


class Watches:
    """Keeps a store up to date with the API server."""

    def __init__(
        self,
        store: Store,
        api: ApiServer,
        clock: Clock,
        troubles: Troubles,
        on_change: Callable[[Change], None],
    ) -> None:
        self._store, self._api, self._clock, self._on_change = store, api, clock, on_change
        self._troubles = troubles
        self._loop: asyncio.AbstractEventLoop

    async def run(self, kubeconfig: Path | None, stop: threading.Event) -> None:
        """Watch until `stop` is set.

        kopf runs in its own thread on its own event loop: on the main thread it would handle SIGTERM,
        and when it ends it cancels every other task of its loop.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._watch, kubeconfig, stop)

    def _watch(self, kubeconfig: Path | None, stop: threading.Event) -> None:
        registry = kopf.OperatorRegistry()
        for plural in WATCHED:
            self._register(registry, kind_of(plural))
        _register_login(registry, kubeconfig)
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.networking.error_backoffs = _Backoffs()
        settings.watching.connect_timeout = 5.0
        asyncio.run(
            kopf.operator(
                registry=registry, settings=settings, standalone=True, clusterwide=True, stop_flag=stop
            )
        )

    async def resync(self) -> None:
        """Compare the store with a listing of each kind: finds changes that a watch has missed.

        Raises ActuationError where a listing is refused; the kinds before it have been compared.
        """
        for plural in WATCHED:
            items, version = await self._api.list(path_of(plural))
            before = dict(self._store.of(plural))
            if self._store.replace(plural, items, version):
                self._report_differences(plural, before)

    async def resync_until_complete(self) -> None:
        """Resync until it succeeds once."""
        for delay_s in _Backoffs():
            try:
                await self.resync()
            except ActuationError as error:
                self._troubles.failed(ACTIVITY, f"objects could not be listed: {error}")
                await self._clock.sleep(delay_s)
            else:
                return self._troubles.succeeded(ACTIVITY)

    def _seen(self, kind: str, event: kopf.RawEvent) -> None:
        item = event["object"]
        if event["type"] == "DELETED":
            self._store.drop(kind, item)
            self._on_change(Change(kind, item, None))
            return
        previous = self._store.put(kind, item)
        if previous != item:
            self._on_change(Change(kind, previous, item))

    def _report_differences(self, kind: str, before: dict[str, Object]) -> None:
        after = self._store.of(kind)
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                self._on_change(Change(kind, before.get(key), after.get(key)))

    def _register(self, registry: kopf.OperatorRegistry, kind: Kind) -> None:
        group, version = kind.group_version

        async def seen(*, event: kopf.RawEvent, **_: Any) -> None:
            self._loop.call_soon_threadsafe(self._seen, kind.plural, event)

        kopf.on.event(group=group, version=version, plural=kind.plural, id=kind.plural, registry=registry)(
            seen
        )


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
