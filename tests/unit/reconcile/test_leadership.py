"""Leader election in virtual time, against an API server that holds one Lease and may hang."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from kubernetes.aio import client
from kubernetes.aio.client import rest
from virtual_clock import EPOCH_S, VirtualClock, in_virtual_time, troubles_of

from argosy.kube.api import ApiServer
from argosy.reconcile.leadership import NONCE, Candidate, Leadership, LeaseSettings
from argosy.reconcile.reporting.troubles import LASTING_S

SETTINGS = LeaseSettings("argosy-system")
ME = Candidate("me", "nonce-1")


@dataclass(frozen=True)
class _Response:
    """An answer as the client's transport gives it."""

    status: int
    content: dict[str, Any]
    headers: dict[str, str]
    reason: str = ""

    async def read(self) -> bytes:
        return json.dumps(self.content).encode()


def _refusal(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"kind": "Status", "code": status, "message": message}


class LeaseServer:
    """One Lease. `status`: of every answer, if it is not None; `hangs`: methods that are never answered.

    offset_s: by how much its clock is ahead; has_namespace: whether a Lease may be created
    """

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {}
        self.status: int | None = None
        self.message = "no"
        self.hangs: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.offset_s = 0.0
        self.has_namespace = True
        self._version = 0

    async def request(
        self, method: str, url: str, headers: object, body: Any, **others: object
    ) -> rest.RESTResponse:
        """In place of the client's transport: sockets take real time, which a crowded machine stretches."""
        self.asked[method] += 1
        if method in self.hangs:
            await asyncio.Event().wait()
        status, content = self._answer(method, body)
        now = datetime.fromtimestamp(VirtualClock().now_s() + self.offset_s, UTC)
        return rest.RESTResponse(_Response(status, content, {"Date": format_datetime(now, usegmt=True)}))

    async def close(self) -> None:
        """There is no connection."""

    def _answer(self, method: str, body: Any) -> tuple[int, dict[str, Any]]:
        if self.status is not None:
            return _refusal(self.status, self.message)
        if method == "GET":
            return (200, self.lease) if self.lease else _refusal(404, 'leases "argosy-operator" not found')
        if method == "POST" and not self.has_namespace:
            return _refusal(404, 'namespaces "argosy-system" not found')
        if method == "POST" and self.lease:
            return _refusal(409, "exists")
        return self._write(body)

    def _write(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked_version = body.get("metadata", {}).get("resourceVersion")
        if asked_version not in (None, self.lease.get("metadata", {}).get("resourceVersion")):
            return _refusal(409, "changed")
        self.put(body)
        return 200, self.lease

    def put(self, body: dict[str, Any]) -> None:
        """Merge into the Lease."""
        self._version += 1
        metadata = {**self.lease.get("metadata", {}), **body.get("metadata", {})}
        metadata["resourceVersion"] = str(self._version)
        spec = {**self.lease.get("spec", {}), **body.get("spec", {})}
        self.lease = {**self.lease, **body, "metadata": metadata, "spec": spec}

    @property
    def holder(self) -> str | None:
        holder: str | None = self.lease.get("spec", {}).get("holderIdentity")
        return holder


class SuspendedClock(VirtualClock):
    """`missed_s` more have passed than the timers of the event loop know."""

    missed_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.missed_s


class Standing:
    """A replica that takes part, and what it says of itself."""

    def __init__(self, api_client: client.ApiClient, clock: VirtualClock, me: Candidate) -> None:
        self.troubles = troubles_of(clock)
        self.leadership = Leadership(ApiServer(api_client), clock, me, SETTINGS, self.troubles)

    @property
    def is_leader(self) -> bool:
        return self.leadership.is_leader

    async def wait_gained(self) -> None:
        await self.leadership.wait_gained()


@asynccontextmanager
async def standing(
    server: LeaseServer, clock: VirtualClock | None = None, *candidates: Candidate
) -> AsyncIterator[Any]:
    """Replicas that take part in elections until the block ends; one, unless candidates are named."""
    async with client.ApiClient(client.Configuration()) as api_client:
        await api_client.rest_client.close()
        api_client.rest_client = server
        all_of_them = [Standing(api_client, clock or VirtualClock(), each) for each in candidates or (ME,)]
        loops = [asyncio.create_task(each.leadership.run()) for each in all_of_them]
        yield all_of_them if candidates else all_of_them[0]
        for loop in loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop


@in_virtual_time
async def test_a_free_lease_is_taken_and_renewed_and_given_up_at_the_end() -> None:
    server = LeaseServer()
    async with standing(server) as replica:
        await replica.wait_gained()
        assert (replica.is_leader, server.holder) == (True, "me")
        acquired = server.lease["spec"]["acquireTime"]
        await asyncio.sleep(60.0)
        assert replica.is_leader
        assert 59 <= server.asked["PATCH"] <= 60
        assert (server.lease["spec"]["acquireTime"], server.lease["spec"]["leaseTransitions"]) == (
            acquired,
            1,
        )
    assert (replica.is_leader, server.holder) == (False, None)


@in_virtual_time
async def test_a_refusing_api_server_is_asked_again_every_second_until_it_agrees() -> None:
    server = LeaseServer()
    server.status = 500
    async with standing(server) as replica:
        await asyncio.sleep(20.0)
        assert not replica.is_leader
        assert 20 <= server.asked["GET"] <= 21
        server.status = None
        await asyncio.sleep(2.0)
        assert replica.is_leader


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@in_virtual_time
async def test_a_request_that_hangs_ends_leadership_before_another_replica_may_lead(method: str) -> None:
    server = LeaseServer()
    async with standing(server) as replica:
        await replica.wait_gained()
        await asyncio.sleep(5.0)
        server.hangs = {method}
        await asyncio.sleep(SETTINGS.duration_s)
        assert not replica.is_leader
        server.hangs = set()
        await asyncio.sleep(SETTINGS.renew_deadline_s + 3 * SETTINGS.retry_s)
        assert replica.is_leader


@in_virtual_time
async def test_a_lease_that_was_not_renewed_in_time_is_not_held_though_the_election_goes_on() -> None:
    """As where a process was suspended: its election learns only later that time has passed."""
    clock = SuspendedClock()
    async with standing(LeaseServer(), clock) as replica:
        await replica.wait_gained()
        renewed_s = replica.leadership._renewed_s
        for age_s, is_leader in ((SETTINGS.duration_s - 0.1, True), (SETTINGS.duration_s, False)):
            clock.missed_s = renewed_s + age_s - asyncio.get_running_loop().time()
            assert replica.is_leader is is_leader
        assert replica.leadership._gained.is_set()


# --- whose Lease it is --------------------------------------------------------------------------


def held_by(holder: str, nonce: str) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 6, "renewTime": "2020-01-01T00:00:00.000000Z"}
    return {"metadata": {"annotations": {NONCE: nonce}}, "spec": spec}


@pytest.mark.parametrize(
    ("holder", "nonce", "me", "least_s", "most_s"),
    [
        pytest.param("other", "nonce-0", ME, 6.0, 8.0, id="another replica that has ended"),
        pytest.param("me", "nonce-0", ME, 6.0, 8.0, id="a process of this identity that may live"),
        pytest.param(
            "me",
            "nonce-0",
            Candidate("me", "nonce-1", "nonce-0"),
            0.0,
            1.0,
            id="its predecessor, which ended",
        ),
        pytest.param("", "", ME, 0.0, 1.0, id="none: it was released"),
    ],
)
@in_virtual_time
async def test_a_lease_is_taken_once_its_holder_has_ended_for_certain(
    holder: str, nonce: str, me: Candidate, least_s: float, most_s: float
) -> None:
    """The renewTime in the Lease is another machine's, and years old: it decides nothing."""
    server = LeaseServer()
    server.put(held_by(holder, nonce))
    async with standing(server, None, me) as (replica,):
        await replica.wait_gained()
        assert least_s <= asyncio.get_running_loop().time() <= most_s
        assert server.lease["metadata"]["annotations"][NONCE] == "nonce-1"


@in_virtual_time
async def test_of_two_processes_with_one_identity_one_leads_and_the_other_says_why_it_does_not() -> None:
    twins = (Candidate("me", "nonce-1"), Candidate("me", "nonce-2"))
    async with standing(LeaseServer(), None, *twins) as replicas:
        for _ in range(40):
            await asyncio.sleep(1.0)
            assert sum(replica.is_leader for replica in replicas) == 1
        second = next(replica for replica in replicas if not replica.is_leader)
        assert second.troubles.lasting() == (
            "identity: the Lease argosy-system/argosy-operator is held and renewed by another running process"
            " with the identity me, so this process does not lead; give each process an --identity and a"
            " --state-dir of its own",
        )


@in_virtual_time
async def test_a_process_that_takes_over_from_one_of_its_own_identity_is_ready() -> None:
    server = LeaseServer()
    async with standing(server) as replica:
        for _ in range(20):
            server.put(held_by("me", "nonce-0"))
            await asyncio.sleep(1.0)
        assert [said.partition(":")[0] for said in replica.troubles.lasting()] == ["identity"]
        await asyncio.sleep(20.0)  # the other one was killed: its Lease is as it left it
        assert (replica.is_leader, replica.troubles.lasting()) == (True, ())


# --- what an administrator has to remedy --------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture, of: str) -> list[str]:
    return [message for message in caplog.messages if message.startswith(f"{of}: ")]


@in_virtual_time
async def test_a_namespace_that_is_missing_is_named_once_with_its_remedy_and_asked_for_less_and_less(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = LeaseServer()
    server.has_namespace = False
    async with standing(server) as replica:
        await asyncio.sleep(59.0)
        (said,) = logged(caplog, "leader election")
        assert said.endswith(
            "the namespace argosy-system does not exist: create it (kubectl create namespace argosy-system),"
            " or name another one by --namespace"
        )
        assert replica.troubles.lasting() == (said,)
        assert server.asked["POST"] < 10
        server.has_namespace = True
        await asyncio.sleep(16.0)
        assert (replica.is_leader, replica.troubles.lasting()) == (True, ())


@in_virtual_time
async def test_a_permission_that_is_missing_is_named_with_the_file_that_gives_it() -> None:
    server = LeaseServer()
    server.status, server.message = (
        403,
        (
            'leases.coordination.k8s.io "argosy-operator" is forbidden: User "ann" cannot get resource'
            ' "leases" in API group "coordination.k8s.io" in the namespace "argosy-system"'
        ),
    )
    async with standing(server) as replica:
        await asyncio.sleep(LASTING_S + 5.0)
        (said,) = replica.troubles.lasting()
        assert 'ann may not get leases.coordination.k8s.io in the namespace "argosy-system"' in said
        assert "kubectl apply --server-side -f charts/argosy/files/operator-rbac.yaml" in said


@pytest.mark.parametrize(
    ("offset_s", "said"),
    [
        pytest.param(3600.0, "60 min behind the API server's", id="an hour behind"),
        pytest.param(-3600.0, "60 min ahead of the API server's", id="an hour ahead"),
        pytest.param(-86400.0, "24 h ahead of the API server's", id="a day ahead"),
    ],
)
@in_virtual_time
async def test_a_process_whose_clock_is_off_does_not_lead_and_says_so(offset_s: float, said: str) -> None:
    server = LeaseServer()
    server.offset_s = offset_s
    async with standing(server) as replica:
        await asyncio.sleep(30.0)
        assert not replica.is_leader
        (sentence,) = replica.troubles.lasting()
        assert sentence.startswith(f"clock: this machine's clock is {said}: at most 60 s is allowed")
        server.offset_s = 0.0
        await asyncio.sleep(2.0)
        assert (replica.is_leader, replica.troubles.lasting()) == (True, ())


@in_virtual_time
async def test_a_clock_that_jumps_while_another_replica_leads_takes_nothing_from_it() -> None:
    clock = VirtualClock()
    async with standing(LeaseServer(), clock, ME, Candidate("other", "nonce-2")) as replicas:
        await asyncio.sleep(5.0)

        def leads() -> list[bool]:
            return [replica.is_leader for replica in replicas]

        before = leads()
        clock.jump(50.0)  # less than what ends leading
        await asyncio.sleep(10.0)
        assert (sum(before), leads()) == (1, before)
    assert clock.now_s() > EPOCH_S


@pytest.mark.parametrize("jump_s", [50.0, -50.0])
@in_virtual_time
async def test_a_standby_whose_clock_is_set_takes_the_lease_when_it_expires_and_not_before(
    jump_s: float,
) -> None:
    server, clock = LeaseServer(), VirtualClock()
    async with standing(server, clock) as replica:
        for second in range(20):
            server.put(held_by("other", "nonce-0"))
            if second == 3:
                clock.jump(jump_s)
            await asyncio.sleep(1.0)
            assert not replica.is_leader
        await asyncio.sleep(SETTINGS.duration_s + 3.0)
        assert (replica.is_leader, server.holder) == (True, "me")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(held_by("other", "nonce-0"), id="a process with a nonce of its own"),
        pytest.param({"spec": {"holderIdentity": "other"}}, id="a process that writes no nonce"),
    ],
)
@in_virtual_time
async def test_a_leader_that_sees_another_holder_does_not_act_any_more(other: dict[str, Any]) -> None:
    server = LeaseServer()
    async with standing(server) as replica:
        await replica.wait_gained()
        server.put(other)
        await asyncio.sleep(SETTINGS.retry_s + 0.5)
        assert not replica.is_leader


@in_virtual_time
async def test_a_clock_that_is_off_by_less_than_ends_leading_is_reported_and_the_process_is_ready() -> None:
    server = LeaseServer()
    server.offset_s = -20.0
    async with standing(server) as replica:
        await asyncio.sleep(30.0)
        assert replica.is_leader
        assert replica.leadership.clock_offset.seconds == pytest.approx(20.0, abs=1.5)
        assert replica.troubles.lasting() == ()


@in_virtual_time
async def test_a_process_with_a_wrong_clock_knows_whether_another_one_leads() -> None:
    server = LeaseServer()
    server.offset_s = 3600.0
    async with standing(server) as replica:
        await asyncio.sleep(3.0)
        assert not replica.leadership.is_led
        for _ in range(10):
            server.put(held_by("other", "nonce-0"))
            await asyncio.sleep(1.0)
        assert replica.leadership.is_led
        await asyncio.sleep(SETTINGS.duration_s + 2.0)
        assert not replica.leadership.is_led, "it has ended: its Lease has expired"
        server.offset_s = 0.0
        await asyncio.sleep(5.0)
        assert replica.leadership.is_led, "by this one"
