"""Which Envoys are connected to the other replicas of the operator.

Owns one Lease per replica, whose annotation lists the replica's Envoys with the versions that they
have: an Envoy may be connected to any replica, and the leader writes all of them to Fleet's status.
An expired Lease belongs to a replica that has stopped: its Envoys are left out.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from argosy.api.schema.timestamp import rfc3339_micro, seconds_of
from argosy.errors import ActuationError
from argosy.keys import NamespacedName
from argosy.kube.api import LEASES, ApiServer
from argosy.reconcile.clock import Clock
from argosy.snapshot.fleet import EnvoyState

log = logging.getLogger(__name__)

LABEL = "argosy.dev/lists-envoys"
"""On the Lease of every replica, so that one listing finds them."""
ANNOTATION = "argosy.dev/envoys"
PERIOD_S = 3.0
DURATION_S = 12
"""Four periods: a replica that misses one write is still there."""


class EnvoyLeases:
    """Publishes the Envoys of this replica and reads those of the others."""

    def __init__(
        self, api: ApiServer, clock: Clock, name: tuple[str, str], own: Callable[[], tuple[EnvoyState, ...]]
    ) -> None:
        self._api, self._clock, self._own = api, clock, own
        self._namespace, identity = name
        self._name = lease_name(identity)
        self.others: tuple[EnvoyState, ...] = ()

    async def run(self, on_change: Callable[[], None]) -> None:
        """Write and read every `PERIOD_S` until cancelled; while the API server is away, `others` stays."""
        while True:
            try:
                if await self._exchange():
                    on_change()
            except ActuationError as error:
                log.info("the lists of Envoys were not exchanged: %s", error)
            await self._clock.sleep(PERIOD_S)

    async def _exchange(self) -> bool:
        """Write the own list, read the others; returns whether they changed."""
        await self._write()
        leases, _ = await self._api.list(LEASES, f"{LABEL}=true", self._namespace)
        before, self.others = self.others, envoys_of(leases, self._name, self._clock.now_s())
        return before != self.others

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


def envoys_of(leases: list[dict[str, Any]], own_name: str, now_s: float) -> tuple[EnvoyState, ...]:
    """The Envoys of the other living replicas, by node id; a Lease that cannot be read is left out."""
    found: dict[str, EnvoyState] = {}
    for lease in leases:
        metadata = lease["metadata"]
        if metadata["name"] == own_name or has_expired(lease, now_s):
            continue
        try:
            rows = json.loads((metadata.get("annotations") or {}).get(ANNOTATION, "[]"))
            found |= {str(row["node_id"]): EnvoyState(**row) for row in rows}
        except (ValueError, TypeError, KeyError):
            log.warning("the Lease %s holds no list of Envoys", metadata["name"])
    return tuple(found[node_id] for node_id in sorted(found))
