"""The bootstrap that `argosy envoy bootstrap` prints, on a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from perf_command import ran

from argosy.settings import TlsFiles
from argosy.xds.server import AdsServer
from argosy_sim.controlplane.credentials.certificates import Authority, CertificateSubject, KeyPair
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.envoy import EnvoyProcess, EnvoySettings, find_envoy

CONNECT_S = 10.0


async def status(world: Any, method: str, target: str) -> int:
    """The status line's number; the target is sent as it is, which clients such as aiohttp do not do."""
    host, port = world.envoy.stats_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = f"Host: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    writer.write(f"{method} {target} HTTP/1.1\r\n{headers}".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_what_the_operator_reads_passes_to_the_admin_interface(world: Any, build: Any) -> None:
    await world.publish(world.table([build.route("chat", {})], []))
    for target in ("/stats", "/stats/prometheus?usedonly", "/clusters?format=json", "/ready"):
        assert (target, await status(world, "GET", target)) == (target, 200)
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://{world.envoy.stats_address}/stats?format=json&usedonly") as answer,
    ):
        assert "stats" in json.loads(await answer.read())


async def test_nothing_else_passes_and_nothing_can_be_changed(world: Any, build: Any) -> None:
    await world.publish(world.table([build.route("chat", {})], []))
    for method, target in (
        ("POST", "/quitquitquit"),
        ("GET", "/quitquitquit"),
        ("POST", "/stats"),
        ("POST", "/clusters"),
        ("PUT", "/ready"),
        ("HEAD", "/stats"),
        ("POST", "/logging?level=debug"),
        ("POST", "/drain_listeners"),
        ("GET", "/config_dump"),
        ("GET", "/certs"),
        ("GET", "/stats/recentlookups"),
        ("GET", "/"),
        ("POST", "//quitquitquit"),
        ("POST", "/stats/../quitquitquit"),
        ("POST", "/stats/%2e%2e/quitquitquit"),
        ("POST", "/stats;/quitquitquit"),
        ("POST", "/quitquitquit?/stats"),
    ):
        found = await status(world, method, target)
        assert (method, target, found) in {(method, target, 403), (method, target, 400)}
    assert world.envoy.is_running
    assert await status(world, "GET", "/clusters") == 200


async def test_an_envoy_announces_where_its_counters_can_be_read(world: Any) -> None:
    await world.until(lambda: len(world.ads.envoys()) == 1)
    (envoy,) = world.ads.envoys()
    assert (envoy.node_id, envoy.stats_url) == ("envoy-1", f"http://{world.envoy.stats_address}")


async def test_over_ipv6_the_printed_bootstrap_is_valid_and_its_envoy_connects(tmp_path: Path) -> None:
    connected, (ads_port, stats_port, admin_port) = asyncio.Event(), free_ports(3)
    flags = ("--ads", f"[::1]:{ads_port}", "--stats-address", f"[::1]:{stats_port}")
    printed = await asyncio.to_thread(ran, "envoy", "bootstrap", *flags, "--admin-port", str(admin_port))
    config, envoy = tmp_path / "bootstrap.yaml", str(find_envoy())
    config.write_text(printed.stdout)
    validated = await asyncio.create_subprocess_exec(envoy, "--mode", "validate", "-c", str(config), **QUIET)
    assert await validated.wait() == 0

    ads = AdsServer(connected.set)
    assert await ads.serve("::1", ads_port) == ads_port
    running = await asyncio.create_subprocess_exec(envoy, "-c", str(config), "--use-dynamic-base-id", **QUIET)
    try:
        await asyncio.wait_for(connected.wait(), CONNECT_S)
        [found] = ads.envoys()
        assert found.stats_url == f"http://[::1]:{stats_port}"
    finally:
        running.kill()
        await running.wait()
        await ads.stop()


QUIET = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}

# --- mutual TLS ---------------------------------------------------------------------------------


def written(directory: Path, name: str, pair: KeyPair, authority: KeyPair) -> TlsFiles:
    files = TlsFiles(*(directory / f"{name}.{part}" for part in ("crt", "key", "ca")))
    contents = (pair.certificate_pem, pair.key_pem, authority.certificate_pem)
    for path, content in zip((files.certificate, files.key, files.authority), contents, strict=True):
        path.write_bytes(content)
    return files


@contextlib.asynccontextmanager
async def secured(directory: Path, server: TlsFiles, client: TlsFiles | None) -> AsyncIterator[asyncio.Event]:
    """An ADS server with TLS, and an Envoy that was told of it; set once the Envoy is connected."""
    connected, (port,) = asyncio.Event(), free_ports(1)
    ads = AdsServer(connected.set)
    await ads.serve(LOOPBACK, port, server)
    settings = EnvoySettings("secured", ((LOOPBACK, port),), directory, find_envoy(), tls=client)
    envoy = await EnvoyProcess.start(settings)
    try:
        yield connected
    finally:
        await envoy.stop()
        await ads.stop()


@pytest.fixture
def pairs() -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    ours, other = Authority("ours", now), Authority("other", now)
    return {
        "ours": ours.pair,
        "other": other.pair,
        "server": ours.issue_server(CertificateSubject("argosy"), (LOOPBACK,)),
        "elsewhere": ours.issue_server(CertificateSubject("argosy"), ("10.0.0.1",)),
        "envoy": ours.issue_client(CertificateSubject("envoy")),
        "stranger": other.issue_client(CertificateSubject("envoy")),
    }


async def test_with_mutual_tls_an_envoy_of_the_authority_connects(
    tmp_path: Path, pairs: dict[str, KeyPair]
) -> None:
    server = written(tmp_path, "server", pairs["server"], pairs["ours"])
    client = written(tmp_path, "client", pairs["envoy"], pairs["ours"])
    async with secured(tmp_path, server, client) as connected:
        await asyncio.wait_for(connected.wait(), CONNECT_S)


@pytest.mark.parametrize(
    ("server", "client"),
    [("server", "stranger"), ("server", ""), ("elsewhere", "envoy")],
    ids=["an Envoy of another authority", "an Envoy without a certificate", "a server of another name"],
)
async def test_with_mutual_tls_no_other_side_connects(
    tmp_path: Path, pairs: dict[str, KeyPair], server: str, client: str
) -> None:
    theirs = written(tmp_path, "client", pairs[client], pairs["ours"]) if client else None
    ours = written(tmp_path, "server", pairs[server], pairs["ours"])
    async with secured(tmp_path, ours, theirs) as connected:
        with pytest.raises(TimeoutError):  # Envoy tries ten times in a second
            await asyncio.wait_for(connected.wait(), 1.0)
