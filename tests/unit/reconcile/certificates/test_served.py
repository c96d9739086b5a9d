"""The certificates that a process serves with: when it begins to listen, what it reports and measures."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from pathlib import Path
from typing import Any

import pytest
from made_certificates import DAY, HOUR, in_folder, made
from virtual_clock import EPOCH_S, VirtualClock, in_virtual_time, troubles_of

from argosy.certificates.wanted import Part
from argosy.reconcile.certificates.process import Certificates
from argosy.reconcile.certificates.served import MANY_REFUSED, PERIOD_S, ServedCertificates
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.reporting.troubles import LASTING_S, Troubles
from argosy.settings import TlsFiles
from argosy.xds.tls.credentials import ServerTls

NOW = dt.datetime.fromtimestamp(EPOCH_S, dt.UTC)


class World:
    """One process's certificates, in virtual time."""

    def __init__(self, files: TlsFiles) -> None:
        self.clock = VirtualClock()
        self.troubles: Troubles = troubles_of(self.clock)
        self.num_refused = 0
        self.num_listens = 0
        self.files = files
        self.served = ServedCertificates(
            ServerTls(files), self.clock, self.troubles, lambda: self.num_refused
        )

    async def listen(self) -> None:
        self.num_listens += 1

    async def look(self) -> tuple[str, ...]:
        """One look, and what /readyz reports once that has lasted."""
        await self.served.look(self.listen)
        await self.clock.sleep(LASTING_S)
        await self.served.look(self.listen)
        return self.troubles.lasting()


def world(folder: Path, **parts: Any) -> World:
    """With files made so long ago."""
    files = in_folder(folder, Part.SERVER, made(NOW - parts.get("age", HOUR))[Part.SERVER])
    return World(files)


@in_virtual_time
async def test_with_good_files_it_listens_once_and_reports_nothing(tmp_path: Path) -> None:
    found = world(tmp_path)
    assert await found.look() == ()
    assert (found.num_listens, found.served.unserved()) == (1, "")


@in_virtual_time
async def test_it_listens_as_soon_as_files_are_there_and_says_until_then_which_are_missing(
    tmp_path: Path,
) -> None:
    found = World(TlsFiles(*(tmp_path / "server" / name for name in ("tls.crt", "tls.key", "ca.crt"))))
    missing = f"{tmp_path}/server/tls.crt cannot be read: No such file or directory"
    assert await found.look() == (f"certificates of the ADS server: {missing}",)
    assert (found.num_listens, found.served.unserved()) == (0, f"Envoys cannot connect yet: {missing}")
    watch = asyncio.create_task(found.served.run(found.listen))
    in_folder(tmp_path, Part.SERVER, made(NOW)[Part.SERVER])
    await found.clock.sleep(2 * PERIOD_S)
    assert (found.num_listens, found.served.unserved()) == (1, "")
    assert found.troubles.lasting() == ()
    watch.cancel()


@in_virtual_time
async def test_files_that_break_later_are_reported_and_envoys_can_still_connect(tmp_path: Path) -> None:
    found = world(tmp_path)
    await found.look()
    found.files.key.unlink()
    assert await found.look() == (
        f"certificates of the ADS server: {found.files.key} cannot be read: No such file or directory;"
        " the ADS server keeps the certificate that it has",
    )
    assert found.served.unserved() == ""


REMEDY = "renew it by `argosy certificates`, or look why cert-manager or the leader does not"


@in_virtual_time
async def test_a_certificate_that_should_have_been_renewed_is_reported_and_so_is_one_that_ended(
    tmp_path: Path,
) -> None:
    assert await world(tmp_path / "a", age=70 * DAY).look() == ()
    late = world(tmp_path / "b", age=73 * DAY)
    (sentence,) = await late.look()
    ends = f"{NOW + 17 * DAY:%Y-%m-%d at %H:%M} UTC"
    assert sentence == (
        f"certificates of the ADS server: {late.files.certificate} ends on {ends} and has not been renewed,"
        f" though more than 80% of its 90 days are over; {REMEDY}"
    )
    gone = world(tmp_path / "c", age=91 * DAY)
    (sentence,) = await gone.look()
    ended = f"{NOW - DAY:%Y-%m-%d at %H:%M} UTC"
    assert sentence == (
        f"certificates of the ADS server: {gone.files.certificate} ended on {ended}: no Envoy can connect;"
        f" {REMEDY}"
    )


@in_virtual_time
async def test_an_authority_that_ends_is_reported_like_a_certificate(tmp_path: Path) -> None:
    held = made(NOW - 700 * DAY)
    fresh = made(NOW)
    files = in_folder(tmp_path, Part.SERVER, {**fresh[Part.SERVER], "ca.crt": held[Part.SERVER]["ca.crt"]})
    (sentence,) = await World(files).look()
    assert f"the last authority of {files.authority} ends on " in sentence


@in_virtual_time
async def test_refused_envoys_are_logged_without_taking_the_process_for_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = world(tmp_path)
    found.num_refused = MANY_REFUSED - 1  # probes of a port
    assert await found.look() == ()
    assert "certificates of Envoys" not in caplog.text
    found.num_refused = MANY_REFUSED
    assert await found.look() == ()
    assert f"of an authority that {found.files.authority} does not hold" in caplog.text
    found.num_refused = 0
    await found.look()
    assert "certificates of Envoys: works again" in caplog.text


@in_virtual_time
async def test_the_metric_is_the_time_that_is_left_of_what_is_served(tmp_path: Path) -> None:
    found, metrics = world(tmp_path, age=DAY), Metrics()
    certificates = Certificates(found.served, None, metrics, found.clock)
    await certificates.begin(found.listen)
    tasks = [asyncio.ensure_future(each) for each in certificates.loops(found.listen, lambda: False)]
    await found.clock.sleep(1.0)
    shown = {
        sample.labels["certificate"]: sample.value
        for metric in metrics.registry.collect()
        if metric.name == "argosy_certificate_expiry_seconds"
        for sample in metric.samples
    }
    assert shown == {"server": (89 * DAY).total_seconds(), "ca": (729 * DAY).total_seconds()}
    for task in tasks:
        task.cancel()


@in_virtual_time
async def test_without_tls_it_listens_at_once_and_has_nothing_to_watch() -> None:
    clock, listens = VirtualClock(), []
    certificates = Certificates(None, None, Metrics(), clock)

    async def listen() -> None:
        listens.append(True)

    await certificates.begin(listen)
    assert listens == [True]
    assert certificates.loops(listen, lambda: True) == []
    assert certificates.unserved() == ""
