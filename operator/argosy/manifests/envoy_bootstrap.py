"""Envoy's bootstrap: what an Envoy needs before its first ADS request.

Owns its shape, and the one thing that an Envoy tells of itself: where its statistics can be read. Input:
an `EnvoyBootstrap`. Output: the static configuration as a value, to be written as YAML, and with mutual TLS
the files beside it. Listeners, routes, clusters and endpoints are not in it: they come over ADS.

The admin interface can end Envoy (`POST /quitquitquit`), so it listens on the loopback address only. What
the operator reads of it (counters, and the health of endpoints) passes through a second listener that knows
four paths and one method. That listener's address travels in the node's metadata, so that an Envoy which
connects over ADS is read without being listed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.addresses import is_every_address, written
from argosy.manifests.envoy_secrets import secret_files, transport_socket
from argosy.settings import TlsFiles

ADS_CLUSTER = "argosy-ads"
ADMIN_CLUSTER = "argosy-admin"
STATS_LISTENER = "argosy-stats"
BOOTSTRAP = "bootstrap.yaml"
STATS_KEY = "argosy.dev/stats-address"
"""In the node's metadata: `host:port` of the read-only listener."""

READABLE_PATHS = ("/stats", "/stats/prometheus", "/clusters", "/ready")
"""What passes to the admin interface, with any query string."""

LOOPBACK = "127.0.0.1"
_LARGEST_PORT = 65535
_TYPES = "type.googleapis.com/envoy"

Address = tuple[str, int]
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EnvoyBootstrap:
    """One Envoy, as it is started.

    node_id: unique per instance
    ads: of the leader and the standbys; each serves the same
    stats: where the read-only listener listens; an address that means "all" lets the operator take the
        one that Envoy's connection comes from
    tls: files of the client's certificate and key, and of the authority that signs the ADS server's, as Envoy
        sees them; they may be written after Envoy has started
    directory: where Envoy sees the files that `files` names
    """

    node_id: str
    ads: tuple[Address, ...]
    admin_port: int = 9901
    stats: Address = (LOOPBACK, 9902)
    tls: TlsFiles | None = None
    directory: Path = Path("/etc/envoy")


def files(wanted: EnvoyBootstrap) -> dict[str, Message]:
    """All that Envoy reads at its start, by the file's name in `wanted.directory`."""
    return {BOOTSTRAP: bootstrap(wanted)} | (secret_files(wanted.tls) if wanted.tls is not None else {})


def bootstrap(wanted: EnvoyBootstrap) -> Message:
    """The whole static configuration."""
    return {
        "node": {
            "id": wanted.node_id,
            "cluster": "argosy",
            "metadata": {STATS_KEY: written(*wanted.stats)},
        },
        "admin": {"address": _socket_address((LOOPBACK, wanted.admin_port))},
        # Replicas are reached through listeners inside Envoy.
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": _typed("extensions.bootstrap.internal_listener.v3.InternalListener"),
            }
        ],
        "dynamic_resources": _dynamic_resources(),
        "static_resources": {
            "listeners": [_stats_listener(wanted.stats)],
            "clusters": [
                _ads_cluster(wanted),
                _cluster(ADMIN_CLUSTER, ((LOOPBACK, wanted.admin_port),)),
            ],
        },
    }


def stats_url(announced: str, peer_host: str) -> str:
    """Where to read an Envoy that announces `host:port`; empty where it announces nothing usable.

    peer_host: the address that its ADS connection comes from, used where it listens on all of its own
    """
    host, separator, port = announced.rpartition(":")
    host = host.strip("[]")
    if not (separator and host and port.isdecimal() and 0 < int(port) <= _LARGEST_PORT):
        return ""
    if not all(c.isalnum() or c in ".:-" for c in host):
        return ""
    if is_every_address(host):
        host = peer_host
    if not host:
        return ""
    return f"http://{written(host, int(port))}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _dynamic_resources() -> Message:
    grpc = {
        "cluster_name": ADS_CLUSTER,
        # The default waits up to 30 s between tries: a standby would idle.
        "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}},
    }
    return {
        "ads_config": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": grpc}],
        },
        "cds_config": {"ads": {}, "resource_api_version": "V3"},
        "lds_config": {"ads": {}, "resource_api_version": "V3"},
    }


def _ads_cluster(wanted: EnvoyBootstrap) -> Message:
    # A server that fell silent is noticed within two seconds by unanswered pings.
    keepalive = {"interval": "1s", "timeout": "1s"}
    protocol = {
        **_typed("extensions.upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
    }
    cluster = _cluster(ADS_CLUSTER, wanted.ads) | {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
        }
    }
    if wanted.tls is None:
        return cluster
    hosts = {host: _is_ip(host) for host, _ in wanted.ads}
    return cluster | {"transport_socket": transport_socket(wanted.tls, wanted.directory, hosts)}


def _stats_listener(address: Address) -> Message:
    routes: list[Message] = [
        {
            # An exact path: Envoy compares it without the query string.
            "match": {
                "path": path,
                "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
            },
            "route": {"cluster": ADMIN_CLUSTER},
        }
        for path in READABLE_PATHS
    ]
    words = f"Only GET {', '.join(READABLE_PATHS)} can be read here.\n"
    routes.append(
        {"match": {"prefix": "/"}, "direct_response": {"status": 403, "body": {"inline_string": words}}}
    )
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": _typed("extensions.filters.http.router.v3.Router"),
    }
    manager = {
        **_typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": STATS_LISTENER,
        "route_config": {
            "virtual_hosts": [{"name": STATS_LISTENER, "domains": ["*"], "routes": routes}],
        },
        "http_filters": [router],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": STATS_LISTENER,
        "address": _socket_address(address),
        # A second Envoy on this port ends with an error, instead of answering with counters of its own.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": filters}],
    }


def _cluster(name: str, addresses: tuple[Address, ...]) -> Message:
    endpoints = [{"endpoint": {"address": _socket_address(each)}} for each in addresses]
    return {
        "name": name,
        "type": "STATIC" if all(_is_ip(host) for host, _ in addresses) else "STRICT_DNS",
        "connect_timeout": "0.5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _socket_address(address: Address) -> Message:
    host, port = address
    # Without it `::` listens on IPv6 alone.
    both = {"ipv4_compat": True} if ":" in host and is_every_address(host) else {}
    return {"socket_address": {"address": host, "port_value": port, **both}}


def _typed(name: str) -> Message:
    return {"@type": f"{_TYPES}.{name}"}
