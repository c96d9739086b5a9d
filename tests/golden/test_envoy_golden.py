"""All of Envoy's resources for one small table, as a file to read, judged by Envoy itself.

Regenerate with ARGOSY_REGENERATE=1. The file shows the fields that the protobuf bindings know; the
others (`xds.gateway.unknown_fields`) are in the binary form that Envoy validates here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.json_format import MessageToJson

from argosy.route.table import (
    Backend,
    ClusterEntry,
    Endpoint,
    EndpointState,
    Gateway,
    OutlierSettings,
    RequestMatch,
    RouteEntry,
    RoutePath,
    RouteTable,
)
from argosy.xds.packing import any_of
from argosy.xds.resources import resources_of
from argosy_sim.envoy import find_envoy

GOLDEN = Path(__file__).parent / "envoy" / "small.yaml"


def small_table() -> RouteTable:
    """Each kind of route once: by path and model, by header, and one that no replica serves."""
    chat = RouteEntry(
        cell="default/chat",
        class_key="default/chat",
        stat_prefix="default_chat",
        match=RequestMatch(RoutePath("/v1/chat", exact=False), models=("llama", "llama-8b")),
        backends=(Backend("default/llama-h100", 1 / 3), Backend("default/llama-l40s", 2 / 3)),
        retry_attempts=2,
    )
    batch = RouteEntry(
        cell="default/batch",
        class_key="default/batch",
        stat_prefix="default_batch",
        match=RequestMatch(headers=(("x-argosy-class", "batch"),)),
        backends=(Backend("default/llama-batch", 1.0),),
        retry_attempts=0,
        per_try_idle_timeout_s=2.5,
    )
    idle = RouteEntry(
        cell="default/idle",
        class_key="default/idle",
        stat_prefix="default_idle",
        match=RequestMatch(RoutePath("/v1/embeddings", exact=True), headers=(("x-argosy-class", "idle"),)),
        backends=(),
        retry_attempts=2,
        refusal="No replica that serves default/idle is ready; try again in a few seconds.",
    )
    clusters = (
        ClusterEntry("default/llama-batch", ()),
        ClusterEntry(
            "default/llama-h100",
            (
                Endpoint("10.0.0.1", 8000, "default/llama-h100-0"),
                Endpoint("10.0.0.2", 8000, "default/llama-h100-1", EndpointState.DRAINING),
            ),
            OutlierSettings(consecutive_errors=2, ejection_s=7.5),
        ),
        ClusterEntry(
            "default/llama-l40s",
            (
                Endpoint("10.0.1.1", 8000, "default/llama-l40s-0"),
                Endpoint("10.0.1.2", 8000, "default/llama-l40s-1", EndpointState.NOT_READY),
            ),
        ),
    )
    return RouteTable(7, Gateway("0.0.0.0", 8080), (idle, chat, batch), clusters)


def as_yaml(table: RouteTable) -> str:
    documents = []
    for message in resources_of(table):
        # By way of JSON: extensions come as ordered dictionaries, which YAML does not know.
        body = json.loads(MessageToJson(message, preserving_proto_field_name=True, sort_keys=True))
        documents.append({"type": message.DESCRIPTOR.full_name, **body})
    return yaml.safe_dump_all(documents, sort_keys=False, width=110)


def static_bootstrap(table: RouteTable) -> Any:
    """The same resources as a configuration that needs no server."""
    by_type: dict[str, list[Any]] = {}
    for message in resources_of(table):
        by_type.setdefault(message.DESCRIPTOR.name, []).append(message)
    bootstrap = bootstrap_pb2.Bootstrap()
    assignments = {each.cluster_name: each for each in by_type["ClusterLoadAssignment"]}
    for cluster in by_type["Cluster"]:
        if cluster.type == cluster_pb2.Cluster.EDS:
            cluster.ClearField("eds_cluster_config")
            cluster.type = cluster_pb2.Cluster.STATIC
            cluster.load_assignment.CopyFrom(assignments[cluster.name])
        bootstrap.static_resources.clusters.append(cluster)
    *internal, listener = by_type["Listener"]
    listener.address.socket_address.port_value = 0  # any free one
    (network_filter,) = listener.filter_chains[0].filters
    manager = http_connection_manager_pb2.HttpConnectionManager()
    network_filter.typed_config.Unpack(manager)
    manager.route_config.CopyFrom(by_type["RouteConfiguration"][0])
    manager.route_config.validate_clusters.value = True
    network_filter.typed_config.Pack(manager)
    bootstrap.static_resources.listeners.extend([*internal, listener])
    bootstrap.bootstrap_extensions.add(
        name="envoy.bootstrap.internal_listener",
        typed_config=any_of(internal_listener_pb2.InternalListener()),
    )
    bootstrap.admin.address.CopyFrom(
        address_pb2.Address(socket_address=address_pb2.SocketAddress(address="127.0.0.1", port_value=0))
    )
    return bootstrap


@dataclass(frozen=True)
class Verdict:
    """Whether Envoy took a configuration, and its log."""

    taken: bool
    log: str


def judged(bootstrap: Any, directory: Path) -> Verdict:
    """What a real Envoy does with this configuration: serve, or end with a reason.

    It is started, not asked to validate: `envoy --mode validate` aborts on internal listeners, also on those
    that it serves well.
    """
    config, log = directory / "bootstrap.pb", directory / "envoy.log"
    config.write_bytes(bootstrap.SerializeToString())
    admin = directory / "admin-address"
    command = [find_envoy(), "-c", config, "--use-dynamic-base-id", "--admin-address-path", admin]
    with log.open("w") as output, subprocess.Popen(command, stderr=output, stdout=output) as envoy:
        try:
            deadline = time.monotonic() + 20
            while envoy.poll() is None and time.monotonic() < deadline:
                if admin.exists() and is_ready(admin.read_text()):
                    return Verdict(True, log.read_text())
                time.sleep(0.02)
        finally:
            envoy.terminate()
    return Verdict(False, log.read_text())


def is_ready(admin_address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{admin_address}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def remove_cluster(bootstrap: Any, name: str) -> None:
    (cluster,) = (each for each in bootstrap.static_resources.clusters if each.name == name)
    bootstrap.static_resources.clusters.remove(cluster)


def test_the_resources_are_as_recorded() -> None:
    found = as_yaml(small_table())
    if os.environ.get("ARGOSY_REGENERATE"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text(), "run with ARGOSY_REGENERATE=1 and read the difference"


def test_envoy_takes_the_recorded_resources(tmp_path: Path) -> None:
    verdict = judged(static_bootstrap(small_table()), tmp_path)
    assert verdict.taken, verdict.log


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        pytest.param(
            lambda b: remove_cluster(b, "default/llama-l40s"),
            "unknown weighted cluster",
            id="a route into a cluster that is not there",
        ),
        pytest.param(
            lambda b: b.static_resources.clusters[1].health_checks[0].ClearField("timeout"),
            "Timeout",
            id="a health check without a time-out",
        ),
        pytest.param(
            lambda b: b.ClearField("bootstrap_extensions"),
            "internal_listener",
            id="no extension for internal listeners",
        ),
    ],
)
def test_envoy_refuses_what_is_broken(tmp_path: Path, break_it: Any, words: str) -> None:
    bootstrap = static_bootstrap(small_table())
    break_it(bootstrap)
    verdict = judged(bootstrap, tmp_path)
    assert not verdict.taken
    assert words in verdict.log
