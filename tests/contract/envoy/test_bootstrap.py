"""The bootstrap that `argosy envoy bootstrap` prints, on a real Envoy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from perf_command import ran

from argosy.xds.server import AdsServer
from argosy_sim.controlplane.host.ports import free_ports
from argosy_sim.envoy import find_envoy

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
