"""The leader renews Secrets of certificates: in time, by name, beside other writers."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import logging
from typing import Any

import pytest
from made_certificates import DAY, HOUR, WANTED, made
from memory_api_server import Call, MemoryApiServer
from virtual_clock import EPOCH_S, VirtualClock, in_virtual_time, troubles_of

from argosy.certificates.renewal import Held
from argosy.certificates.wanted import Part, Wanted
from argosy.errors import NextStep
from argosy.kube.secrets import LABEL, CertificateSecrets
from argosy.reconcile.certificates.keeper import PERIOD_S, CertificateKeeper, renew
from argosy.reconcile.reporting.troubles import LASTING_S

NOW = dt.datetime.fromtimestamp(EPOCH_S, dt.UTC)
NAMES = [f"argosy-system/argosy-xds-{part}" for part in Part]


def secrets_of(api: MemoryApiServer) -> CertificateSecrets:
    return CertificateSecrets(api, "argosy-system", "argosy-xds")


def put(api: MemoryApiServer, held: Held, **fields: Any) -> None:
    for part, files in held.items():
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        metadata = {"namespace": "argosy-system", "name": f"argosy-xds-{part}"}
        api.put("secrets", {"metadata": metadata, "type": "kubernetes.io/tls", "data": data, **fields})


def written(api: MemoryApiServer) -> list[str]:
    return [call.key for call in api.calls if call.verb == "apply"]


@in_virtual_time
async def test_on_an_empty_cluster_three_secrets_are_made_and_then_left_alone() -> None:
    api = MemoryApiServer()
    found = await renew(secrets_of(api), lambda held: WANTED, NOW)
    assert written(api) == NAMES
    assert set(found.done) == set(Part)
    for name in NAMES:
        secret = api.of("secrets")[name]
        assert secret["type"] == "kubernetes.io/tls"
        assert secret["metadata"]["labels"][LABEL] == "argosy-xds"
    again = await renew(secrets_of(api), lambda held: WANTED, NOW + DAY)
    assert (again.done, written(api)) == ({}, NAMES)
    assert again.held == found.held


@in_virtual_time
async def test_every_call_names_its_secret() -> None:
    """A role of these names suffices: nothing is listed, watched or created without a name."""
    api = MemoryApiServer()
    await renew(secrets_of(api), lambda held: WANTED, NOW)
    assert {(call.verb, call.key in NAMES) for call in api.calls} == {("find", True), ("apply", True)}


@in_virtual_time
async def test_a_secret_keeps_its_type_which_cannot_be_changed() -> None:
    api = MemoryApiServer()
    put(api, {Part.SERVER: {"tls.crt": b"old"}}, type="Opaque")
    await renew(secrets_of(api), lambda held: WANTED, NOW)
    assert api.of("secrets")[NAMES[1]]["type"] == "Opaque"


@in_virtual_time
async def test_a_value_that_is_no_base64_is_replaced() -> None:
    api = MemoryApiServer()
    put(api, made(NOW))
    api.of("secrets")[NAMES[1]]["data"]["tls.crt"] = "!"
    assert set((await renew(secrets_of(api), lambda held: WANTED, NOW)).done) == {Part.SERVER}


@in_virtual_time
async def test_an_authority_that_is_no_pem_is_set_right_and_the_log_says_which_envoys_to_restart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(made(NOW))
    await world.clock.sleep(1.0)
    world.api.of("secrets")[NAMES[2]]["data"]["ca.crt"] = base64.b64encode(b"no PEM").decode()
    with caplog.at_level(logging.WARNING):
        await world.clock.sleep(3 * PERIOD_S)
    assert written(world.api) == [NAMES[2]]
    [line] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert line.startswith(
        "the Secret argosy-system/argosy-xds-envoy is set right: ca.crt holds no certificate"
    )
    assert "kubectl rollout restart deployment/argosy-envoy" in line


@in_virtual_time
async def test_where_another_writer_was_faster_it_reads_again() -> None:
    api, rivals = MemoryApiServer(), [made(NOW - HOUR)]
    put(api, made(NOW - 80 * DAY))

    def rival(call: Call) -> NextStep | None:
        if call.verb == "apply" and rivals:
            put(api, rivals.pop())
        return None

    api.refusal = rival
    found = await renew(secrets_of(api), lambda held: WANTED, NOW)
    assert found.done == {}
    assert found.held[Part.SERVER] == (await secrets_of(api).read())[Part.SERVER]
    assert found.held[Part.SERVER]["tls.crt"] != made(NOW)[Part.SERVER]["tls.crt"]


# --- the leader ----------------------------------------------------------------------------------


class World:
    """A keeper, its cluster and whether it leads."""

    def __init__(self, held: Held) -> None:
        self.api, self.clock, self.leads = MemoryApiServer(), VirtualClock(), True
        put(self.api, held)
        self.troubles = troubles_of(self.clock)
        self.keeper = CertificateKeeper(secrets_of(self.api), self.clock, self.troubles)
        self.task = asyncio.create_task(self.keeper.run(lambda: self.leads))


@in_virtual_time
async def test_the_leader_renews_what_is_due_with_what_was_wanted_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    wanted = Wanted(("argosy.argosy-system.svc",), 30 * DAY, 300 * DAY)
    world = World(made(NOW - 18 * DAY + HOUR, wanted))
    await world.clock.sleep(1.0)
    assert written(world.api) == []
    await world.clock.sleep(HOUR.total_seconds() + PERIOD_S)
    assert written(world.api) == NAMES[1:]
    assert "the Secret argosy-system/argosy-xds-server has a new certificate: 60% of its life" in caplog.text
    assert world.keeper.ends[Part.SERVER] - NOW > 30 * DAY


@in_virtual_time
async def test_a_secret_that_was_deleted_is_made_again_within_a_minute() -> None:
    world = World(made(NOW))
    await world.clock.sleep(1.0)
    world.api.drop("secrets", NAMES[2])
    await world.clock.sleep(PERIOD_S)
    assert NAMES[2] in world.api.of("secrets")


@in_virtual_time
async def test_a_process_that_does_not_lead_writes_nothing_and_begins_when_it_does() -> None:
    world = World(made(NOW - 80 * DAY))
    world.leads = False
    await world.clock.sleep(10 * PERIOD_S)
    assert world.api.calls == []
    assert world.keeper.ends == {}
    world.leads = True
    await world.clock.sleep(2.0)
    assert written(world.api) == NAMES[1:]
    assert set(world.keeper.ends) == set(Part)
    world.leads = False
    await world.clock.sleep(PERIOD_S + 2.0)
    assert world.keeper.ends == {}, "another process knows better now"


@in_virtual_time
async def test_secrets_that_do_not_show_their_hosts_are_reported_with_the_command() -> None:
    world = World({})
    await world.clock.sleep(LASTING_S + 1)
    assert world.troubles.lasting() == (
        "renewal of certificates: the Secrets argosy-system/argosy-xds-ca and argosy-system/argosy-xds-server"
        " are missing or do not show for which hosts certificates are needed; run `argosy certificates --host"
        " HOST` with the host of the Envoys' --ads",
    )
    put(world.api, made(NOW))
    await world.clock.sleep(PERIOD_S)
    assert world.troubles.lasting() == ()


@in_virtual_time
async def test_a_missing_permission_is_reported_and_tried_again() -> None:
    world = World(made(NOW - 80 * DAY))
    world.api.forbidden.add("secrets")
    await world.clock.sleep(LASTING_S + 1)
    assert any("secrets" in sentence for sentence in world.troubles.lasting())
    world.api.forbidden.clear()
    await world.clock.sleep(PERIOD_S)
    assert world.troubles.lasting() == ()
    assert written(world.api) == NAMES[1:]
