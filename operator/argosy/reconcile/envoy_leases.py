"""Which Envoys are connected to the other replicas of the operator.

Owns one Lease per replica, whose annotation lists the replica's Envoys with the versions that they
have: an Envoy may be connected to any replica, and the leader writes all of them to Fleet's status.
An Envoy is connected to one replica at a time: a node id that several Leases list for a while is that of
two Envoys. A Lease that is no longer renewed belongs to a replica that has stopped: its Envoys are left
out, and the leader deletes it later. A replica that stops in order deletes its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from argosy.api.schema.timestamp import rfc3339_micro, seconds_of
from argosy.errors import ActuationError
from argosy.keys import NamespacedName
from argosy.kube.api import LEASES, ApiServer
from argosy.reconcile.clock import Clock
from argosy.reconcile.error_table import delay_after
from argosy.reconcile.reporting.troubles import Troubles
from argosy.snapshot.fleet import EnvoyState

log = logging.getLogger(__name__)

Object = Mapping[str, Any]

LABEL = "argosy.dev/lists-envoys"
"""On the Lease of every replica, so that one listing finds them."""
ANNOTATION = "argosy.dev/envoys"
PERIOD_S = 3.0
DURATION_S = 12
"""Four periods: a replica that misses one write is still there."""


ACTIVITY = "lists of Envoys"
SHARED_AFTER_S = 20.0
"""A node id that is in two lists for this long is that of two Envoys. One that changes its replica is in both
until the first has noticed the end of its connection (10 s), or its Lease has expired, and both were read."""
REMOVE_AFTER_S = 120.0
"""Ten durations: the Lease of a replica that has not been renewed for this long is deleted by the leader."""
RELEASE_LIMIT_S = 2.0
"""At a clean stop: an API server that does not answer must not hold the process up."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A version of a Lease and when it was seen first (monotonic); `is_alive`: it has been seen to change."""

    version: str
    at_s: float
    is_alive: bool


class EnvoyLeases:
    """Publishes the Envoys of this replica and reads those of the others."""

    def __init__(
        self,
        api: ApiServer,
        clock: Clock,
        name: tuple[str, str],
        own: Callable[[], tuple[EnvoyState, ...]],
        troubles: Troubles,
    ) -> None:
        self._api, self._clock, self._own, self._troubles = api, clock, own, troubles
        self._namespace, identity = name
        self._name = lease_name(identity)
        self._seen: dict[str, _Seen] = {}
        self._num_failures = 0
        self._shared_since_s: dict[str, float] = {}
        self.others: tuple[EnvoyState, ...] = ()

    async def run(self, on_change: Callable[[], None], may_remove: Callable[[], bool]) -> None:
        """Write and read every `PERIOD_S` until cancelled, then delete the own Lease.

        While the API server is away, `others` stays. may_remove: whether this process leads, and so
        deletes what replicas that ended without a chance to do so have left behind.
        """
        try:
            while True:
                await self._clock.sleep(await self._attempt(on_change, may_remove))
        finally:
            await self._delete_own()

    async def _attempt(self, on_change: Callable[[], None], may_remove: Callable[[], bool]) -> float:
        """One exchange; returns the seconds until the next."""
        try:
            if await self._exchange():
                on_change()
            if may_remove():
                await self._remove_abandoned()
        except ActuationError as error:
            self._num_failures = self._num_failures + 1 if error.obstacle is not None else 0
            self._troubles.failed(ACTIVITY, f"they were not exchanged: {error}", is_readiness=False)
            if error.obstacle is not None:
                return max(PERIOD_S, delay_after(error, self._num_failures) or PERIOD_S)
        else:
            self._num_failures = 0
            self._troubles.succeeded(ACTIVITY)
        return PERIOD_S

    async def _exchange(self) -> bool:
        """Write the own list, read the others; returns whether they changed."""
        await self._write()
        leases, _ = await self._api.list(LEASES, f"{LABEL}=true", self._namespace)
        self._observe(leases)
        alive = [lease for lease in leases if self._is_alive(lease)]
        before, self.others = self.others, self._envoys(alive)
        return before != self.others

    def _envoys(self, alive: Iterable[Object]) -> tuple[EnvoyState, ...]:
        """The Envoys of the other replicas; those that share their node id are all listed, and marked."""
        lists = [envoys_of([lease], self._name) for lease in alive]
        counts = Counter(n for each in (*lists, self._own()) for n in {envoy.node_id for envoy in each})
        now_s = self._clock.monotonic_s()
        self._shared_since_s = {
            n: self._shared_since_s.get(n, now_s) for n, count in counts.items() if count > 1
        }
        shared = {n for n, since_s in self._shared_since_s.items() if now_s - since_s >= SHARED_AFTER_S}
        marked = [replace(e, is_duplicate=True) for each in lists for e in each if e.node_id in shared]
        others = {e.node_id: e for each in lists for e in each if e.node_id not in shared}
        return tuple(sorted((*marked, *others.values()), key=lambda envoy: envoy.node_id))

    def _observe(self, leases: Iterable[Object]) -> None:
        """Note what has changed: ages are measured on this process's clock alone."""
        now_s, seen = self._clock.monotonic_s(), dict[str, _Seen]()
        for lease in leases:
            name, version = lease["metadata"]["name"], str(lease["metadata"].get("resourceVersion"))
            before = self._seen.get(name)
            if before is None:
                seen[name] = _Seen(version, now_s, not has_expired(lease, self._clock.now_s()))
            else:
                seen[name] = before if before.version == version else _Seen(version, now_s, True)
        self._seen = seen

    def _is_alive(self, lease: Object) -> bool:
        seen = self._seen[lease["metadata"]["name"]]
        return seen.is_alive and self._clock.monotonic_s() - seen.at_s <= DURATION_S

    async def _remove_abandoned(self) -> None:
        """Delete the Leases of replicas that have ended."""
        now_s = self._clock.monotonic_s()
        for name in [n for n, seen in self._seen.items() if now_s - seen.at_s > REMOVE_AFTER_S]:
            await self._api.delete(LEASES, NamespacedName.of(self._namespace, name))
            log.info("the Lease %s was deleted: it was not renewed for %.0f s", name, REMOVE_AFTER_S)

    async def _delete_own(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_LIMIT_S):
                await self._api.delete(LEASES, NamespacedName.of(self._namespace, self._name))
        except (ActuationError, TimeoutError) as error:
            log.info("the Lease %s was not deleted, the leader deletes it later: %s", self._name, error)

    async def _write(self) -> None:
        envoys = json.dumps([asdict(envoy) for envoy in self._own()])
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {LABEL: "true"},
                "annotations": {ANNOTATION: envoys},
            },
            "spec": {
                "leaseDurationSeconds": DURATION_S,
                "renewTime": rfc3339_micro(self._clock.now_s()),
            },
        }
        await self._api.apply(LEASES, NamespacedName.of(self._namespace, self._name), body)


def lease_name(identity: str) -> str:
    """The name of the Lease of the replica with this identity."""
    return f"argosy-envoys-{re.sub(r'[^a-z0-9.-]+', '-', identity.lower()).strip('-.')}"[:253]


def has_expired(lease: Mapping[str, Any], now_s: float) -> bool:
    """True if the Lease was not renewed in time, or carries no readable renewTime."""
    spec = lease.get("spec") or {}
    renewed_s = seconds_of(spec.get("renewTime"))
    try:
        return renewed_s is None or now_s > renewed_s + float(spec["leaseDurationSeconds"])
    except (KeyError, TypeError, ValueError):
        return True


def envoys_of(leases: Iterable[Object], own_name: str) -> tuple[EnvoyState, ...]:
    """The Envoys that the Leases of other replicas list, by node id; one that cannot be read is left out."""
    found: dict[str, EnvoyState] = {}
    for lease in leases:
        metadata = lease["metadata"]
        if metadata["name"] == own_name:
            continue
        try:
            rows = json.loads((metadata.get("annotations") or {}).get(ANNOTATION, "[]"))
            found |= {str(row["node_id"]): EnvoyState(**row) for row in rows}
        except (ValueError, TypeError, KeyError):
            log.debug("the Lease %s holds no list of Envoys", metadata["name"])
    return tuple(found[node_id] for node_id in sorted(found))
