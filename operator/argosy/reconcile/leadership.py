"""Leader election: of all replicas of the operator, the holder of a Lease acts.

Owns the Lease. The algorithm is the official client's (`kubernetes.aio.leaderelection`): with kopf's
peering, two replicas of equal priority would both pause.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes.aio import client
from kubernetes.aio.leaderelection import leaderelection
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from argosy.errors import ActuationError, NextStep
from argosy.keys import NamespacedName
from argosy.kube.api import LEASES, ApiServer
from argosy.reconcile.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Which Lease, and for how many seconds a holder that does not renew it keeps it."""

    namespace: str
    name: str = "argosy-operator"
    duration_s: int = 6
    renew_deadline_s: int = 4
    retry_s: float = 1.0


class Leadership:
    """Whether this process is the leader now, and how to wait until it is."""

    def __init__(
        self, api_client: client.ApiClient, clock: Clock, identity: str, settings: LeaseSettings
    ) -> None:
        self._client, self._clock, self._settings = api_client, clock, settings
        leaderelection.time = _SteadyTime(clock)  # type: ignore[attr-defined, assignment]
        self.identity = identity
        self._lock = self._new_lock()
        self._gained = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()

    @property
    def is_leader(self) -> bool:
        """Whether this process holds the Lease: it was elected, and the Lease has not expired since."""
        age_s = self._clock.monotonic_s() - self._lock.renewed_s
        return self._gained.is_set() and age_s < self._settings.duration_s

    async def wait_gained(self) -> None:
        """Return once this process leads."""
        await self._gained.wait()

    async def run(self) -> None:
        """Take part in elections until cancelled, then release the Lease; after a loss, take part again."""
        while True:
            try:
                await self._ensure_lease()
                await LeaderElection(self._config()).run()
            except asyncio.CancelledError:
                await self._release()
                raise
            except Exception as error:
                # After any error (API server away, an answer of another form) another replica may lead.
                log.warning("leader election interrupted, trying again: %s", error)
            self._step_down()
            await self._clock.sleep(self._settings.retry_s)

    async def _release(self) -> None:
        """Release the Lease at a clean shutdown: a standby then need not wait until it expires.

        Called once the election has ended: its next renewal would take the Lease again.
        """
        if not self.is_leader:
            return
        self._step_down()
        key = NamespacedName.of(self._settings.namespace, self._settings.name)
        try:
            # After any holder but none, the client's election waits for the duration of the Lease.
            await ApiServer(self._client).patch(LEASES, key, {"spec": {"holderIdentity": None}})
        except ActuationError as error:
            log.info("the Lease was not released, it will expire: %s", error)

    def _config(self) -> Config:
        lease = self._settings
        self._lock = self._new_lock()
        return Config(
            self._lock,
            lease_duration=lease.duration_s,
            renew_deadline=lease.renew_deadline_s,
            retry_period=lease.retry_s,
            onstarted_leading=self._lead,
            onstopped_leading=_nothing_more,
        )

    def _new_lock(self) -> _TimedLock:
        return _TimedLock(self._settings, self.identity, self._client, self._clock)

    async def _lead(self) -> None:
        log.info("%s leads", self.identity)
        self._gained.set()
        self._lost.clear()
        await self._lost.wait()

    def _step_down(self) -> None:
        if self.is_leader:
            log.info("%s no longer leads", self.identity)
        self._gained.clear()
        self._lost.set()

    async def _ensure_lease(self) -> None:
        """Create the Lease: `LeaseLock.create` fails its own validation in client 37.0.2."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._settings.name, "namespace": self._settings.namespace},
        }
        try:
            await ApiServer(self._client).create(LEASES, body)
        except ActuationError as error:
            if error.next_step is not NextStep.REPLAN:  # 409: it exists
                raise


class _SteadyTime:
    """The clock of the client's election: the machine's time at the start, and then monotonic.

    By the machine's own clock, a standby whose clock is set an hour back waits an hour for a leader that
    died, and one whose clock is set forward takes the Lease from a leader that is alive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._start_s = clock, clock.now_s() - clock.monotonic_s()

    def time(self) -> float:
        """Seconds since the epoch, by a clock that is never set."""
        return self._start_s + self._clock.monotonic_s()


class _TimedLock(LeaseLock):
    """A Lease whose requests have a time limit, and when it was last renewed.

    The client's own limit is 5 minutes: a process whose request hangs would still act as the leader
    while another one holds the expired Lease.
    """

    def __init__(
        self, lease: LeaseSettings, identity: str, api_client: client.ApiClient, clock: Clock
    ) -> None:
        super().__init__(lease.name, lease.namespace, identity, api_client)
        self._limit_s, self._clock = lease.renew_deadline_s, clock
        self.renewed_s = -math.inf
        """Monotonic time of the last request that renewed it: the answer may arrive much later."""

    async def get(self, name: str, namespace: str) -> Any:
        """As `LeaseLock`; raises ActuationError where the API server does not answer in time.

        Where another process holds the Lease, this one no longer leads, whatever its own clock says.
        """
        async with self._limited():
            is_there, record = await super().get(name, namespace)
        holder = getattr(record, "holder_identity", None) if is_there else None
        if holder and holder != self.identity:
            self.renewed_s = -math.inf
        return is_there, record

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """As `LeaseLock`; raises ActuationError where the API server does not answer in time."""
        asked_s = self._clock.monotonic_s()
        async with self._limited():
            is_renewed = bool(await super().update(name, namespace, updated_record))
        if is_renewed:
            self.renewed_s = asked_s
        return is_renewed

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limit_s):
                yield
        except TimeoutError as error:
            message = f"Lease {self.namespace}/{self.name}: no answer within {self._limit_s} s"
            raise ActuationError(message, NextStep.RETRY) from error


async def _nothing_more() -> None:
    """`run` itself steps down, however the election ended."""
