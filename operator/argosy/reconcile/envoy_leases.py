"""Which Envoys the other replicas of the operator serve.

Owns one Lease per replica, with what its Envoys said in an annotation: an Envoy may be connected to
any replica, and Fleet's status, which the leader writes, speaks of all. Never touches anybody else's
Lease: one that has expired belongs to a replica that is gone, and counts no more.
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
from argosy.kube.api import LEASES, ApiServer
from argosy.reconcile.clock import Clock
from argosy.snapshot.fleet import EnvoyState

log = logging.getLogger(__name__)

LABEL = "argosy.dev/envoy-roster"
ANNOTATION = "argosy.dev/envoys"
PERIOD_S = 3.0
DURATION_S = 12
"""Four periods: one that is missed is not a replica that is gone."""


class EnvoyLeases:
    """The Envoys of this replica, made known to the others; and theirs."""

    def __init__(
        self, api: ApiServer, clock: Clock, name: tuple[str, str], own: Callable[[], tuple[EnvoyState, ...]]
    ) -> None:
        self._api, self._clock, self._own = api, clock, own
        self._namespace, identity = name
        self._name = lease_name(identity)
        self.others: tuple[EnvoyState, ...] = ()

    async def run(self, on_change: Callable[[], None]) -> None:
        """Write and read every `PERIOD_S` until cancelled; what cannot be read stays as it was."""
        while True:
            try:
                await self._write()
                leases, _ = await self._api.list(LEASES, f"{LABEL}=true", self._namespace)
                before, self.others = self.others, envoys_of(leases, self._name, self._clock.now_s())
                if before != self.others:
                    on_change()
            except ActuationError as error:
                log.info("the lists of Envoys were not exchanged: %s", error)
            await self._clock.sleep(PERIOD_S)

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
        await self._api.apply(LEASES, f"{self._namespace}/{self._name}", body)


def lease_name(identity: str) -> str:
    """A Lease's name for a replica's identity."""
    return f"argosy-envoys-{re.sub(r'[^a-z0-9.-]+', '-', identity.lower()).strip('-.')}"[:253]


def has_expired(lease: Mapping[str, Any], now_s: float) -> bool:
    """True if the Lease was not renewed in time, or carries no readable renewTime."""
    spec = lease.get("spec") or {}
    renewed_s = seconds_of(spec.get("renewTime"))
    try:
        return renewed_s is None or now_s > renewed_s + float(spec["leaseDurationSeconds"])
    except (KeyError, ValueError):
        return True


def envoys_of(leases: list[dict[str, Any]], own_name: str, now_s: float) -> tuple[EnvoyState, ...]:
    """The Envoys of the other replicas that are alive, by node id; what cannot be read is left out."""
    found: dict[str, EnvoyState] = {}
    for lease in leases:
        metadata = lease["metadata"]
        if metadata["name"] == own_name or has_expired(lease, now_s):
            continue
        try:
            rows = json.loads((metadata.get("annotations") or {}).get(ANNOTATION, "[]"))
            found |= {row["node_id"]: EnvoyState(**row) for row in rows}
        except (ValueError, TypeError, KeyError):
            log.warning("the Lease %s holds no list of Envoys", metadata["name"])
    return tuple(found[node_id] for node_id in sorted(found))
