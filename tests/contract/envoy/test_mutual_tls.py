"""Mutual TLS between a real Envoy and the ADS server: which connect, and certificates that are exchanged."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_certificates import DAY, HOUR, LOOPBACK, in_folder, later, made, pair_files, stranger

from argosy.certificates.issuing import Subject
from argosy.certificates.reading import (
    AUTHORITY,
    CERTIFICATE,
    KEY,
    Files,
    LoadedPair,
    Usage,
    read_certificates,
    read_pair,
)
from argosy.certificates.renewal import RENEWED_AT, Held
from argosy.certificates.wanted import Part, Wanted
from argosy.reconcile.certificates.served import MANY_REFUSED, ServedCertificates
from argosy.reconcile.clock import SystemClock
from argosy.reconcile.reporting.troubles import Troubles
from argosy.settings import TlsFiles
from argosy.xds.server import AdsServer
from argosy.xds.tls.connections import GRACE_S
from argosy.xds.tls.credentials import ServerTls
from argosy_sim.controlplane.host.ports import free_ports
from argosy_sim.envoy import EnvoyProcess, EnvoySettings, find_envoy

CONNECT_S = 20.0
NOW = dt.datetime.now(dt.UTC)


class Clock(SystemClock):
    """The machine's clock, which a test sets forward instead of waiting."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Operator:
    """What an operator is to its Envoys: the ADS server, and the watch over its certificates."""

    def __init__(self, files: TlsFiles) -> None:
        self.clock = Clock()
        self.tls = ServerTls(files)
        self.ads = AdsServer(times=self.clock)
        (self.port,) = free_ports(1)
        troubles = Troubles(self.clock, logging.getLogger("argosy.test"))
        self.served = ServedCertificates(self.tls, self.clock, troubles, lambda: self.ads.num_refused)

    async def listen(self) -> None:
        await self.ads.serve(LOOPBACK, self.port, self.tls)

    def num_refused_soon(self) -> int:
        """How many connections will count as refused once their grace is over."""
        self.clock.ahead_s = GRACE_S
        found = self.ads.num_refused
        self.clock.ahead_s = 0.0
        return found

    async def until_connected(self) -> None:
        await until(lambda: len(self.ads.envoys()) == 1)


async def until(holds: Callable[[], bool], within_s: float = CONNECT_S) -> None:
    give_up_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_s, f"not within {within_s:g} s"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def envoy_of(operator: Operator, folder: Path, tls: TlsFiles | None) -> AsyncIterator[Path]:
    """A running Envoy that connects to this operator; its log."""
    settings = EnvoySettings("secured", ((LOOPBACK, operator.port),), folder, find_envoy(), tls=tls)
    envoy = await EnvoyProcess.start(settings)
    try:
        yield envoy.process.log
    finally:
        await envoy.stop()
        await operator.ads.stop()


def authority_of(held: Held) -> LoadedPair:
    files = held[Part.AUTHORITY]
    return read_pair(files[CERTIFICATE], files[KEY], (CERTIFICATE, KEY))


def ended(held: Held, subject: Subject) -> Files:
    """A certificate of the right authority that ended an hour ago."""
    return pair_files(authority_of(held), subject, NOW - 2 * HOUR, HOUR)


ENVOY = Subject("argosy-envoy", Usage.CLIENT)
SERVER = Subject("argosy", Usage.SERVER, (LOOPBACK,))


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(lambda held: None, id="without a certificate"),
        pytest.param(lambda held: stranger(held[Part.ENVOY], NOW), id="of another authority"),
        pytest.param(lambda held: ended(held, ENVOY), id="with one that ended"),
        pytest.param(lambda held: held[Part.SERVER], id="with a server's"),
    ],
)
async def test_an_envoy_without_an_acceptable_certificate_is_refused_and_reported(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    client: Callable[[Held], Files | None],
) -> None:
    held = made(NOW - HOUR)
    operator = Operator(in_folder(tmp_path, Part.SERVER, held[Part.SERVER]))
    await operator.served.look(operator.listen)
    files = client(held)
    tls = in_folder(tmp_path, Part.ENVOY, files) if files is not None else None
    async with envoy_of(operator, tmp_path, tls) as log:
        await until(lambda: "config stream to argosy-ads closed" in log.read_text())
        await until(lambda: operator.num_refused_soon() >= MANY_REFUSED)
        operator.clock.ahead_s = GRACE_S
        await operator.served.look(operator.listen)
        assert operator.ads.envoys() == ()
    (line,) = [each for each in caplog.messages if each.startswith("certificates of Envoys: ")]
    assert f"or is of an authority that {tmp_path}/server/ca.crt does not hold" in line


@pytest.mark.parametrize(
    ("server", "words", "sentence"),
    [
        pytest.param(
            lambda held: pair_files(
                authority_of(held), replace(SERVER, hosts=("10.0.0.1",)), NOW - HOUR, DAY
            ),
            "certificate_SANs_are_[10.0.0.1]",
            "",
            id="of another host",
        ),
        pytest.param(
            lambda held: ended(held, SERVER), "certificate_has_expired", "ended on ", id="that has ended"
        ),
    ],
)
async def test_an_operator_with_a_certificate_that_envoy_does_not_accept_is_not_connected_to(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    server: Callable[[Held], Files],
    words: str,
    sentence: str,
) -> None:
    held = made(NOW - HOUR)
    operator = Operator(in_folder(tmp_path, Part.SERVER, server(held)))
    await operator.served.look(operator.listen)
    async with envoy_of(operator, tmp_path, in_folder(tmp_path, Part.ENVOY, held[Part.ENVOY])) as log:
        await until(lambda: words in log.read_text())
    assert operator.ads.envoys() == ()
    assert (sentence in caplog.text) if sentence else not caplog.messages


async def test_it_does_not_matter_which_is_there_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy and the operator run, their folders are empty; then come the files of each side."""
    held = made(NOW - HOUR)
    names = (CERTIFICATE, KEY, AUTHORITY)
    server, client = (TlsFiles(*(tmp_path / part / name for name in names)) for part in ("server", "envoy"))
    for part in ("server", "envoy"):
        (tmp_path / part).mkdir()
    operator = Operator(server)
    await operator.served.look(operator.listen)
    assert operator.served.unserved().startswith(f"Envoys cannot connect yet: {server.certificate} cannot be")
    assert f"{server.certificate} cannot be read: No such file or directory" in caplog.text
    watch = asyncio.create_task(operator.served.run(operator.listen))
    async with envoy_of(operator, tmp_path, client) as log:
        await until(lambda: "Secret_is_not_supplied_by_SDS" in log.read_text())
        in_folder(tmp_path, Part.ENVOY, held[Part.ENVOY])
        in_folder(tmp_path, Part.SERVER, held[Part.SERVER])
        await operator.until_connected()
        assert operator.served.unserved() == ""
        watch.cancel()


# --- exchanged under load ------------------------------------------------------------------------

WANTED = Wanted((LOOPBACK,), 10 * DAY, 24 * DAY)
STEP_S = 0.3
"""Envoy reads renamed files within milliseconds; where it does not, it is one version late, as it may be."""
RECONNECT_S = 5.0
"""Envoy tries at least once a second."""


def rotation() -> list[Held]:
    """The sets of one exchange of the authority, one after the other; all valid now."""
    begins = NOW - 4 * HOUR
    held = made(begins - WANTED.authority * RENEWED_AT, WANTED)
    held = later(held, begins - DAY, WANTED)
    found = [held]
    for step in range(3):
        held = later(held, begins + step * WANTED.overlap, WANTED)
        found.append(held)
    return found


async def test_an_exchange_of_the_authority_loses_no_request_and_no_stream(
    tmp_path: Path, make_world: Any, build: Any
) -> None:
    """Each side gets each version after the other, in both orders; after each a connection begins anew."""
    versions = rotation()
    authorities = [len(read_certificates(held[Part.ENVOY][AUTHORITY], "")) for held in versions]
    assert authorities == [1, 2, 2, 1]
    leaves = [held[Part.SERVER][CERTIFICATE] for held in versions]
    assert [leaves[0] == leaf for leaf in leaves] == [True, True, False, False]

    world = make_world(tmp_path / "envoy")
    world.tls = ServerTls(in_folder(tmp_path, Part.SERVER, versions[0][Part.SERVER]))
    world.client_tls = in_folder(tmp_path, Part.ENVOY, versions[0][Part.ENVOY])
    await world.start()
    try:
        replica = await world.replica("a")
        table = world.table([build.route("chat", {"one": 1.0})], [build.cluster("one", replica)])
        snapshot = await world.publish(table)
        load = asyncio.create_task(world.load(300, 50, headers={"x-class": "chat"}))
        for number, held in enumerate(versions[1:]):
            for part in (Part.SERVER, Part.ENVOY) if number % 2 else (Part.ENVOY, Part.SERVER):
                stream = [state.node_id for state in world.ads.envoys()]
                in_folder(tmp_path, part, held[part])
                await asyncio.sleep(STEP_S)
                assert [state.node_id for state in world.ads.envoys()] == stream == ["envoy-1"]
                await world.ads.stop()
                world.ads = AdsServer()
                world.ads.publish(snapshot)
                await world.ads.serve(LOOPBACK, world.ads_ports[0], world.tls)
                await world.until(lambda: world.acknowledged() == snapshot.version, RECONNECT_S)
        assert build.statuses(await load) == {200: 300}
    finally:
        await world.stop()
