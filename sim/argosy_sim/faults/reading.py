"""Reads the world: plain HTTP through `kubectl proxy`, a millisecond each, and Envoy's /clusters.

Input: two addresses. Output: `Picture`s, None where the API server does not answer. What no case reads
(managed fields, a plan's alternatives) is left out, for a case keeps every picture.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY
from argosy_sim.faults.picture import Picture

TIMEOUT_S = 2.0
_OURS = "/apis/argosy.dev/v1alpha1"
_MANAGED = f"?labelSelector={LABEL_MANAGED_BY}%3D{MANAGED_BY}"
_PATHS = {
    "fleets": f"{_OURS}/fleets",
    "classes": f"{_OURS}/workloadclasses",
    "models": f"{_OURS}/servedmodels",
    "plans": f"{_OURS}/fleetplans",
    "deployments": f"/apis/apps/v1/deployments{_MANAGED}",
    "pods": f"/api/v1/pods{_MANAGED}",
}
_EVENTS = "/apis/events.k8s.io/v1/events"
_BEHIND = ("tcp:", "waiting:", "any:")
"""What stands behind Envoy's HTTP clusters has the same engines once more."""
_PLAN_PARTS = ("revision", "trigger", "costUsdPerHour", "deployments")


class Reader:
    """Reads through one session. `close` it."""

    def __init__(self, proxy_url: str, admin_url: str) -> None:
        self._proxy_url = proxy_url
        self.admin_url = admin_url
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def close(self) -> None:
        """End the session."""
        await self._session.close()

    async def picture(self) -> Picture | None:
        """One look at all of it; None where the API server does not answer."""
        at_s = time.time()
        try:
            found = await asyncio.gather(*(self.items(path) for path in _PATHS.values()))
        except (aiohttp.ClientError, TimeoutError):
            return None
        kinds = {name: tuple(map(_slim, items)) for name, items in zip(_PATHS, found, strict=True)}
        return Picture(at_s=at_s, endpoints=await self._endpoints(), **kinds)

    async def items(self, path: str) -> list[dict[str, Any]]:
        """A list's objects; none where the kind does not exist. Raises as aiohttp does."""
        async with self._session.get(f"{self._proxy_url}{path}") as response:
            if response.status == 404:
                return []
            response.raise_for_status()
            return list((await response.json()).get("items", ()))

    async def events(self) -> list[tuple[str, str, str]]:
        """(object, reason, note) of every event that Argosy wrote."""
        found = await self.items(_EVENTS)
        ours = [e for e in found if e.get("reportingController", "").startswith("argosy")]
        return [(_regarding(e), e.get("reason", ""), e.get("note", "")) for e in ours]

    async def text(self, url: str) -> tuple[int, str]:
        """Status and body of any page; (0, "") where nothing answers."""
        try:
            async with self._session.get(url) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def _endpoints(self) -> dict[str, bool]:
        try:
            async with self._session.get(f"{self.admin_url}/clusters?format=json") as response:
                clusters = (await response.json()).get("cluster_statuses", ())
        except (aiohttp.ClientError, TimeoutError):
            return {}
        hosts = [
            host
            for cluster in clusters
            if not cluster["name"].startswith(_BEHIND)
            for host in cluster.get("host_statuses", ())
        ]
        healthy = {"eds_health_status": "HEALTHY"}
        # The hostname of an engine is its pod's key; the endpoint at which requests wait has another.
        return {h["hostname"]: h["health_status"] == healthy for h in hosts if "/" in h.get("hostname", "")}


def _regarding(event: dict[str, Any]) -> str:
    regarding = event.get("regarding") or {}
    return f"{regarding.get('kind', '')} {regarding.get('name', '')}"


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    item["metadata"].pop("managedFields", None)
    if "revision" in item.get("spec", {}):
        item["spec"] = {name: value for name, value in item["spec"].items() if name in _PLAN_PARTS}
        item["status"] = {"conditions": item.get("status", {}).get("conditions", ())}
    return item
