"""What does the hop add to a request: Envoy's second pass, through its internal listener as plain TCP?

One real Envoy with the product's own clusters, once as they are and once without the hop, before one
small server; one connection, one request at a time. Requests alternate between the two in blocks, and
each block is compared with its neighbour, so that both see the same machine. Prints the medians over
all pairs of blocks: of their medians, their differences and their ratios.

    python bench/hop_cost.py [--requests 4000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from argosy.manifests.envoy_bootstrap import EnvoyBootstrap, bootstrap
from argosy.route.table import ClusterEntry, Endpoint, EndpointState, OutlierSettings
from argosy.xds import hop
from argosy.xds.resources import assignment_of, cluster_of
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.controlplane.host.processes import Launcher
from argosy_sim.envoy import find_envoy

BLOCK = 100
PATIENCE_S = 15.0
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)


def _static(cluster: Any, assignment: Any, name: str) -> dict[str, Any]:
    """A cluster with its endpoints in it, instead of by ADS."""
    found: dict[str, Any] = MessageToDict(cluster, preserving_proto_field_name=True)
    del found["eds_cluster_config"]
    load: dict[str, Any] = MessageToDict(assignment, preserving_proto_field_name=True)
    load["cluster_name"] = found["name"] = name
    return found | {"type": "STATIC", "load_assignment": load}


def _direct(hopped: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """The same cluster, which connects to its replica itself."""
    found: dict[str, Any] = json.loads(json.dumps(hopped))
    del found["transport_socket"]
    (each,) = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    socket = {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
    each["endpoint"] = {"address": socket}
    found["name"] = found["load_assignment"]["cluster_name"] = "direct"
    return found


def _listener(cluster: str, port: int) -> dict[str, Any]:
    types = "type.googleapis.com/envoy.extensions.filters"
    router = {"@type": f"{types}.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": cluster,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
    return {"name": cluster, "address": address, "filter_chains": [{"filters": filters}]}


def _config(endpoint: Endpoint, admin_port: int, stats_port: int, ports: dict[str, int]) -> dict[str, Any]:
    entry = ClusterEntry("hop", (endpoint,), OutlierSettings(), None)
    hopped = _static(cluster_of(entry), assignment_of(entry), "hop")
    tcp = _static(hop.tcp_cluster_of(entry), hop.tcp_assignment_of(entry), hop.tcp_cluster_name("hop"))
    config = bootstrap(EnvoyBootstrap("bench", ((LOOPBACK, 1),), admin_port, (LOOPBACK, stats_port)))
    del config["dynamic_resources"]
    listeners = [_listener(name, port) for name, port in ports.items()]
    listeners.append(MessageToDict(hop.hop_listener(), preserving_proto_field_name=True))
    config["static_resources"] = {
        "listeners": listeners,
        "clusters": [hopped, tcp, _direct(hopped, endpoint)],
    }
    return config


class _Client:
    """One connection that is kept open."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    async def ask(self) -> float | None:
        """Seconds until the answer; None where it is not 200."""
        began_s = time.perf_counter()
        self._writer.write(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        await self._reader.readexactly(length)
        return time.perf_counter() - began_s if b" 200 " in head.partition(b"\r\n")[0] else None


async def _block_ms(client: _Client) -> float:
    answers = [await client.ask() for _ in range(BLOCK)]
    return 1000 * statistics.median(each for each in answers if each is not None)


async def _client(port: int) -> _Client:
    """A client whose first answer has come: Envoy listens, and counts the replica healthy."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            client = _Client(await asyncio.open_connection(LOOPBACK, port))
            if await client.ask() is not None:
                return client
        except (OSError, asyncio.IncompleteReadError):
            pass
        await asyncio.sleep(0.1)
    raise SystemExit(f"Envoy did not answer on port {port} within {PATIENCE_S:.0f} s")


def _require_hop(admin_port: int, num_requests: int) -> None:
    """End unless the requests of one cluster, and of no other, passed through the hop."""
    name = f"tcp.{hop.HOP_LISTENER}.downstream_cx_rx_bytes_total"
    with urllib.request.urlopen(f"http://{LOOPBACK}:{admin_port}/stats?filter={name}", timeout=5) as answer:
        num_bytes = int(answer.read().partition(b": ")[2] or 0)
    per_request = num_bytes / num_requests
    print(f"{per_request:.0f} bytes per request passed through the hop")
    if not 50 <= per_request <= 1000:
        raise SystemExit("the hop was not measured: it passed on too little or too much for these requests")


async def _measure(num_requests: int, directory: Path) -> list[dict[str, float]]:
    """The median time of a block, in ms, for each pair of blocks."""
    server = await asyncio.start_server(_answer, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    admin_port, stats_port, *others = free_ports(4)
    ports = dict(zip(("direct", "hop"), others, strict=True))
    endpoint = Endpoint(LOOPBACK, port, "default/replica", EndpointState.READY)
    config = directory / "envoy.json"
    config.write_text(json.dumps(_config(endpoint, admin_port, stats_port, ports)))
    launcher = Launcher(os.environ, die_with_parent=True)
    command = [str(find_envoy()), "--config-path", str(config), "--concurrency", "1"]
    launcher.launch("envoy", [*command, "--use-dynamic-base-id"], directory / "envoy.log")
    try:
        clients = {name: await _client(port) for name, port in ports.items()}
        pairs = [
            {name: await _block_ms(client) for name, client in clients.items()}
            for _ in range(num_requests // BLOCK)
        ]
        _require_hop(admin_port, num_requests)
    finally:
        launcher.kill_all()
        server.close()
    return pairs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=4000)
    with tempfile.TemporaryDirectory() as folder:
        pairs = asyncio.run(_measure(parser.parse_args().requests, Path(folder)))
    direct_ms, hop_ms = (statistics.median(pair[name] for pair in pairs) for name in ("direct", "hop"))
    print(f"{len(pairs)} pairs of {BLOCK}: {direct_ms:.3f} ms directly, {hop_ms:.3f} ms through the hop")
    figures = {
        "added_ms": statistics.median(pair["hop"] - pair["direct"] for pair in pairs),
        "ratio": statistics.median(pair["hop"] / pair["direct"] for pair in pairs),
    }
    print(json.dumps({"figures": figures}))
