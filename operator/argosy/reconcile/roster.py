"""Which Envoys the other replicas of the operator serve.

Owns one Lease per replica, with what its Envoys said in an annotation: an Envoy may be connected to
any replica, and Fleet's status, which the leader writes, speaks of all. Never touches anybody else's
Lease: one that has expired belongs to a replica that is gone, and counts no more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from argosy.errors import ActuationError
from argosy.kube.api import LEASES, ApiServer
from argosy.snapshot.fleet import EnvoyState

log = logging.getLogger(__name__)

LABEL = "argosy.dev/envoy-roster"
ANNOTATION = "argosy.dev/envoys"
PERIOD_S = 3.0
DURATION_S = 12
"""Four periods: one that is missed is not a replica that is gone."""


class Roster:
    """This replica's Envoys, told to the others; and theirs."""

    def __init__(
        self, api: ApiServer, name: tuple[str, str], own: Callable[[], tuple[EnvoyState, ...]]
    ) -> None:
        self._api, self._own = api, own
        self._namespace, identity = name
        self._name = lease_name(identity)
        self.others: tuple[EnvoyState, ...] = ()

    async def run(self, on_change: Callable[[], None]) -> None:
        """Tell and ask every `PERIOD_S` until cancelled; what cannot be read stays as it was."""
        while True:
            try:
                await self._tell()
                leases, _ = await self._api.list(LEASES, f"{LABEL}=true", self._namespace)
                before, self.others = self.others, envoys_of(leases, self._name, time.time())
                if before != self.others:
                    on_change()
            except ActuationError as error:
                log.info("the roster of Envoys was not exchanged: %s", error)
            await asyncio.sleep(PERIOD_S)

    async def _tell(self) -> None:
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
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        await self._api.apply(LEASES, f"{self._namespace}/{self._name}", body)


def lease_name(identity: str) -> str:
    """A Lease's name for a replica's identity."""
    return f"argosy-envoys-{re.sub(r'[^a-z0-9.-]+', '-', identity.lower()).strip('-.')}"[:253]


def has_expired(lease: Mapping[str, Any], now_s: float) -> bool:
    """Whether a Lease's holder has not renewed it in time; one that says no time has."""
    spec = lease.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]).replace("Z", "+00:00"))
        return now_s > renewed.timestamp() + float(spec["leaseDurationSeconds"])
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
            log.warning("the Lease %s holds no roster of Envoys", metadata["name"])
    return tuple(found[node_id] for node_id in sorted(found))
