"""Leader election: of all replicas of the operator, the holder of a Lease acts.

Owns the Lease. The algorithm is client-go's: a Lease is held until its holder has not changed it for its
duration, measured on this process's monotonic clock, so that no clock of another machine and no jump of
this one's decides who leads. Two additions: the Lease names the holder's process (a nonce), so that two
processes of one identity do not both lead; and a process whose clock differs from the API server's does
not lead, because it would misjudge every age and date every status falsely.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.schema.timestamp import rfc3339_micro
from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.keys import NamespacedName
from argosy.kube.api import LEASES, ApiServer
from argosy.reconcile.clock import Clock
from argosy.reconcile.error_table import LONGEST_OBSTACLE_DELAY_S, delay_after
from argosy.reconcile.reporting.clock_offset import ClockOffset
from argosy.reconcile.reporting.troubles import Troubles

log = logging.getLogger(__name__)

ACTIVITY = "leader election"
IDENTITY_ACTIVITY = "identity"
NONCE = "argosy.dev/process"
"""Annotation of the Lease: the nonce of the process that holds it."""

RELEASE_LIMIT_S = 2.0
"""At a clean stop: an API server that does not answer must not hold the process up."""


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Which Lease, and for how many seconds a holder that does not renew it keeps it."""

    namespace: str
    name: str = "argosy-operator"
    duration_s: int = 6
    renew_deadline_s: int = 4
    retry_s: float = 1.0

    @property
    def key(self) -> NamespacedName:
        """The Lease's key."""
        return NamespacedName.of(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that takes part. previous_nonce: of a predecessor that has ended for certain, or empty."""

    identity: str
    nonce: str
    previous_nonce: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A version of the Lease, and when this process saw it first (monotonic)."""

    version: str
    at_s: float
    holder: str
    nonce: str


class Leadership:
    """Whether this process is the leader now, and how to wait until it is."""

    def __init__(
        self,
        api: ApiServer,
        clock: Clock,
        candidate: Candidate,
        settings: LeaseSettings,
        troubles: Troubles,
    ) -> None:
        self._api, self._clock, self._me, self._settings = api, clock, candidate, settings
        self._troubles = troubles
        self.clock_offset = ClockOffset(api, clock, troubles)
        self._seen: _Seen | None = None
        self._gained = asyncio.Event()
        self._renewed_s = -math.inf
        self._num_obstacles = 0

    @property
    def is_leader(self) -> bool:
        """Whether this process holds the Lease: it was elected, and the Lease has not expired since."""
        age_s = self._clock.monotonic_s() - self._renewed_s
        return self._gained.is_set() and age_s < self._settings.duration_s

    @property
    def is_led(self) -> bool:
        """Whether this process or another one leads, as far as this one has seen."""
        if self.is_leader:
            return True
        seen = self._seen
        age_s = math.inf if seen is None else self._clock.monotonic_s() - seen.at_s
        return seen is not None and bool(seen.holder) and age_s < self._settings.duration_s

    async def wait_gained(self) -> None:
        """Return once this process leads."""
        await self._gained.wait()

    async def run(self) -> None:
        """Take part in elections until cancelled, then release the Lease."""
        try:
            while True:
                await self._clock.sleep(await self._attempt())
        finally:
            await self._release()

    async def _attempt(self) -> float:
        """Take or renew the Lease, if it may be; returns the seconds until the next attempt."""
        delay_s = self._settings.retry_s
        try:
            async with asyncio.timeout(self._settings.renew_deadline_s):
                await self._take_part()
        except TimeoutError:
            self._failed(f"Lease {self._settings.key}: no answer in {self._settings.renew_deadline_s} s")
        except ActuationError as error:
            if error.next_step is NextStep.REPLAN:
                pass  # another process was faster
            else:
                self._failed(_with_remedy(error))
            # While the API server is away, the next attempt is as soon as ever: it may be the one that leads.
            self._num_obstacles = self._num_obstacles + 1 if error.obstacle is not None else 0
            if self._num_obstacles:
                delay_s = delay_after(error, self._num_obstacles) or LONGEST_OBSTACLE_DELAY_S
        except Exception as error:
            self._failed(f"Lease {self._settings.key}: an answer of another form: {error!r}")
        else:
            self._num_obstacles = 0
            self._troubles.succeeded(ACTIVITY)
        if self._clock.monotonic_s() - self._renewed_s >= self._settings.renew_deadline_s:
            self._step_down()
        return delay_s

    def _failed(self, sentence: str) -> None:
        self._troubles.failed(ACTIVITY, sentence)

    async def _take_part(self) -> None:
        asked_s = self._clock.monotonic_s()
        lease = await self._api.find(LEASES, self._settings.key)
        seen = None if lease is None else self._observe(lease)
        if not self.clock_offset.look():
            return await self._release()
        if lease is None or seen is None:
            await self._api.create(LEASES, self._record({}))
            return self._lead(asked_s)
        if not self._may_take(seen, lease):
            return self._step_down()
        self._seen = self._as_seen(await self._api.patch(LEASES, self._settings.key, self._record(lease)))
        self._lead(asked_s)

    def _observe(self, lease: Mapping[str, Any]) -> _Seen:
        """The Lease as it was seen first in this version; reports a second process of this identity."""
        before, found = self._seen, self._as_seen(lease)
        if before is not None and before.version == found.version:
            return before
        self._seen = found
        is_namesake = found.holder == self._me.identity and found.nonce != self._me.nonce
        if is_namesake and before is not None and before.nonce == found.nonce:
            self._troubles.failed(
                IDENTITY_ACTIVITY,
                f"the Lease {self._settings.key} is held and renewed by another running process with the"
                f" identity {self._me.identity}, so this process does not lead; give each process an"
                " --identity and a --state-dir of its own",
            )
        elif not is_namesake:
            self._troubles.succeeded(IDENTITY_ACTIVITY)
        return found

    def _may_take(self, seen: _Seen, lease: Mapping[str, Any]) -> bool:
        if not seen.holder or (seen.nonce, seen.holder) == (self._me.nonce, self._me.identity):
            return True
        if seen.nonce and seen.nonce == self._me.previous_nonce:
            return True
        return self._clock.monotonic_s() - seen.at_s >= _duration_s(lease, self._settings.duration_s)

    def _as_seen(self, lease: Mapping[str, Any]) -> _Seen:
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        nonce = (metadata.get("annotations") or {}).get(NONCE) or ""
        now_s = self._clock.monotonic_s()
        return _Seen(
            str(metadata.get("resourceVersion")), now_s, str(spec.get("holderIdentity") or ""), str(nonce)
        )

    def _record(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        """The Lease with this process as its holder; refused where it has changed meanwhile."""
        spec = lease.get("spec") or {}
        metadata: dict[str, Any] = {"annotations": {NONCE: self._me.nonce}}
        if lease:
            metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
        else:
            metadata |= {"name": self._settings.name, "namespace": self._settings.namespace}
        now = rfc3339_micro(self._clock.now_s())
        is_renewal = bool(self._gained.is_set() and spec.get("acquireTime"))
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._me.identity,
                "leaseDurationSeconds": self._settings.duration_s,
                "acquireTime": spec["acquireTime"] if is_renewal else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (not is_renewal),
            },
        }

    def _lead(self, asked_s: float) -> None:
        """asked_s: when the renewal was asked for, because its answer may arrive much later."""
        self._renewed_s = asked_s
        self._troubles.succeeded(IDENTITY_ACTIVITY)
        if not self._gained.is_set():
            log.info("%s leads", self._me.identity)
            self._gained.set()

    def _step_down(self) -> None:
        if self._gained.is_set():
            log.info("%s no longer leads", self._me.identity)
        self._gained.clear()

    async def _release(self) -> None:
        """Release the Lease, if it is held: a standby then need not wait until it expires."""
        was_leader = self.is_leader
        self._step_down()
        if not was_leader:
            return
        try:
            async with asyncio.timeout(RELEASE_LIMIT_S):
                await self._api.patch(LEASES, self._settings.key, {"spec": {"holderIdentity": None}})
        except (ActuationError, TimeoutError) as error:
            log.info("the Lease was not released, it will expire: %s", error)


def _with_remedy(error: ActuationError) -> str:
    """A namespace that is missing may be the wrong one: the flag chooses it."""
    if error.obstacle is Obstacle.NAMESPACE_MISSING:
        return f"{error}, or name another one by --namespace"
    return str(error)


def _duration_s(lease: Mapping[str, Any], otherwise_s: float) -> float:
    """For how long the Lease says that its holder keeps it."""
    try:
        return float((lease.get("spec") or {})["leaseDurationSeconds"])
    except (KeyError, TypeError, ValueError):
        return otherwise_s
