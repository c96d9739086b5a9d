"""The hop: each connection to a replica passes through Envoy a second time, as plain TCP.

Owns the internal listener and, for each cluster of replicas, its *TCP cluster*, which holds the same
replicas by their addresses. Input: `ClusterEntry`s. Output: protobuf messages, and the parts with which
`resources` points an HTTP cluster's endpoints at the hop. docs/design/0005 has the measurements.

Why: only a TCP cluster closes the connections of a replica whose health check fails. An HTTP cluster
lets them wait (Envoy 1.40), and its time-outs cannot tell a dead engine from one that is busy or quiet.

One listener serves all replicas and never changes: were there one for each, its removal would cut the
streams that still run through it. Which cluster and which replica a connection is for travels as
metadata of the HTTP endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import (
    address_pb2,
    base_pb2,
    substitution_format_string_pb2,
)
from envoy.config.core.v3 import (
    extension_pb2 as core_extension_pb2,
)
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2
from envoy.extensions.load_balancing_policies.subset.v3 import subset_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.type.metadata.v3 import metadata_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from argosy.route.table import ClusterEntry, Endpoint
from argosy.snapshot.liveness import ROTATION_INTERVAL_S
from argosy.xds.health import death_check, health_check, limits
from argosy.xds.packing import (
    ADAPTER_KEY,
    REPLICA_KEY,
    SUBSET_NAMESPACE,
    TAKES_ANY,
    TAKES_KEY,
    EnvoyMessage,
    ads_source,
    any_of,
    duration,
)

HOP_LISTENER = "argosy-hop"
TCP_PREFIX = "tcp:"
"""A TCP cluster is named after its HTTP cluster. Kubernetes names have no colon."""

HOP_NAMESPACE = "argosy.hop"
CLUSTER_KEY = "cluster"

CONNECT_TIMEOUT_S = 1.0
"""A node that vanished does not refuse a connection, it only stays silent; inside a Kubernetes cluster,
connecting takes milliseconds."""

RECHECK_S = 0.1
"""Between checks of an unhealthy replica. When its pod is ready again, the HTTP cluster has it within
milliseconds; while the TCP cluster refuses, tries fail, and five in a row eject the replica."""

KEEPALIVE_IDLE_S = 4
KEEPALIVE_INTERVAL_S = 3
KEEPALIVE_PROBES = 3
"""A connection to a machine that vanished ends after 4 + 3 x 3 = 13 s, also where its replica is no longer
checked because its pod is gone."""


@dataclass(frozen=True, slots=True)
class HopReference:
    """Where an HTTP endpoint leads: through a listener to a replica (`ip:port`) of a cluster.

    replica: empty where it is any one of the cluster's
    """

    listener: str
    cluster: str
    replica: str

    def __str__(self) -> str:
        return f"{self.replica or 'any replica'} in {self.cluster}"


def tcp_cluster_name(http_cluster: str) -> str:
    """The TCP cluster with the replicas of this HTTP cluster."""
    return f"{TCP_PREFIX}{http_cluster}"


def hop_listener() -> EnvoyMessage:
    """The listener: takes cluster and replica from the connection's metadata and connects them."""
    return listener_of(tcp_proxy_pb2.TcpProxy(stat_prefix=HOP_LISTENER))


def listener_of(proxy: EnvoyMessage) -> EnvoyMessage:
    """An internal listener that connects to the cluster in the metadata; named as its counters."""
    cluster = f"%DYNAMIC_METADATA({HOP_NAMESPACE}:{CLUSTER_KEY})%"
    chosen = value_pb2.FilterStateValue(
        object_key="envoy.tcp_proxy.cluster",
        format_string=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=base_pb2.DataSource(inline_string=cluster)
        ),
    )
    # Replaced for each connection by the filter before it.
    proxy.cluster = proxy.stat_prefix
    # By default a connection ends after an hour without a byte.
    proxy.idle_timeout.CopyFrom(duration(0))
    return listener_pb2.Listener(
        name=proxy.stat_prefix,
        internal_listener=listener_pb2.Listener.InternalListenerConfig(),
        filter_chains=[
            listener_components_pb2.FilterChain(
                filters=[
                    listener_components_pb2.Filter(
                        name="envoy.filters.network.set_filter_state",
                        typed_config=any_of(set_filter_state_pb2.Config(on_new_connection=[chosen])),
                    ),
                    listener_components_pb2.Filter(
                        name="envoy.filters.network.tcp_proxy", typed_config=any_of(proxy)
                    ),
                ]
            )
        ],
    )


def tcp_cluster_of(entry: ClusterEntry) -> EnvoyMessage:
    """The TCP cluster of an HTTP cluster's replicas, from which the hop chooses one by its address."""
    cluster = _closing_cluster(tcp_cluster_name(entry.name), death_check(recheck_s=RECHECK_S))
    if entry.has_adapters:
        cluster.load_balancing_policy.CopyFrom(_by_replica_alone())
        return cluster
    cluster.lb_subset_config.CopyFrom(
        cluster_pb2.Cluster.LbSubsetConfig(
            fallback_policy=cluster_pb2.Cluster.LbSubsetConfig.NO_FALLBACK,
            subset_selectors=[cluster_pb2.Cluster.LbSubsetConfig.LbSubsetSelector(keys=[REPLICA_KEY])],
        )
    )
    return cluster


def _by_replica_alone() -> EnvoyMessage:
    """The same choice where endpoints of the HTTP cluster hand over their adapters too: those are a key more
    than the selector has, which only this form of the policy allows (Envoy 1.40)."""
    policy = cluster_pb2.LoadBalancingPolicy
    within = core_extension_pb2.TypedExtensionConfig(
        name="envoy.load_balancing_policies.round_robin", typed_config=any_of(round_robin_pb2.RoundRobin())
    )
    subsets = subset_pb2.Subset(
        fallback_policy=subset_pb2.Subset.NO_FALLBACK,
        subset_selectors=[subset_pb2.Subset.LbSubsetSelector(keys=[REPLICA_KEY])],
        allow_redundant_keys=True,
        subset_lb_policy=policy(policies=[policy.Policy(typed_extension_config=within)]),
    )
    chosen = core_extension_pb2.TypedExtensionConfig(
        name="envoy.load_balancing_policies.subset", typed_config=any_of(subsets)
    )
    return policy(policies=[policy.Policy(typed_extension_config=chosen)])


def adapter_subsets(others_to: str = "") -> EnvoyMessage:
    """A request for an adapter goes to endpoints that hold it or to none.

    others_to: the endpoints, by `TAKES_KEY`, for any other request; empty: all of them
    """
    config = cluster_pb2.Cluster.LbSubsetConfig
    return config(
        fallback_policy=config.DEFAULT_SUBSET if others_to else config.ANY_ENDPOINT,
        default_subset=_struct({TAKES_KEY: others_to}) if others_to else None,
        subset_selectors=[
            config.LbSubsetSelector(keys=[ADAPTER_KEY], fallback_policy=config.LbSubsetSelector.NO_FALLBACK)
        ],
        # An endpoint has the list of its adapters, and is in the subset of each.
        list_as_any=True,
    )


def _struct(fields: Mapping[str, str]) -> Struct:
    found = Struct()
    found.update(fields)
    return found


def waiting_cluster(name: str) -> EnvoyMessage:
    """A cluster that ends the connections of a replica as soon as the HTTP cluster takes it out."""
    check = health_check(healthy_after=1, interval_s=ROTATION_INTERVAL_S, recheck_s=RECHECK_S)
    return _closing_cluster(name, check)


def _closing_cluster(name: str, check: EnvoyMessage) -> EnvoyMessage:
    """A cluster that ends the connections of a replica that fails the check."""
    return cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads_source()),
        connect_timeout=duration(CONNECT_TIMEOUT_S),
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(
            update_merge_window=duration(0),
            # Never a replica that is unhealthy: what connects after its other connections were
            # closed would wait for ever. Refused at once, the request is retried elsewhere.
            healthy_panic_threshold={"value": 0.0},
        ),
        health_checks=[check],
        close_connections_on_host_health_failure=True,
        ignore_health_on_host_removal=True,
        circuit_breakers=limits(),
        upstream_connection_options=cluster_pb2.UpstreamConnectionOptions(
            tcp_keepalive=address_pb2.TcpKeepalive(
                keepalive_probes=UInt32Value(value=KEEPALIVE_PROBES),
                keepalive_time=UInt32Value(value=KEEPALIVE_IDLE_S),
                keepalive_interval=UInt32Value(value=KEEPALIVE_INTERVAL_S),
            )
        ),
    )


def tcp_assignment_of(entry: ClusterEntry) -> EnvoyMessage:
    """All replicas that may have a request in flight, ready or not, by address."""
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=tcp_cluster_name(entry.name),
        endpoints=localities(tcp_endpoint(endpoint) for endpoint in entry.endpoints),
    )


def tcp_endpoint(endpoint: Endpoint, *, with_adapters: bool = False) -> EnvoyMessage:
    """A replica by its own address; with_adapters: it can be chosen by what it holds, too."""
    adapters = _adapters(endpoint) if with_adapters else {}
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=socket_address(endpoint), hostname=endpoint.pod),
        metadata=_metadata({SUBSET_NAMESPACE: {REPLICA_KEY: endpoint.socket, **adapters}}),
    )


def hop_metadata(entry: ClusterEntry, endpoint: Endpoint) -> EnvoyMessage:
    """An HTTP endpoint's metadata, from which the hop knows where to connect."""
    takes = {TAKES_KEY: TAKES_ANY} if entry.has_adapters else {}
    return _metadata(
        {
            SUBSET_NAMESPACE: {REPLICA_KEY: endpoint.socket, **takes, **_adapters(endpoint)},
            HOP_NAMESPACE: {CLUSTER_KEY: tcp_cluster_name(entry.name)},
        }
    )


def _adapters(endpoint: Endpoint) -> Mapping[str, Any]:
    return {ADAPTER_KEY: list(endpoint.adapters)} if endpoint.adapters else {}


def metadata_for_any_replica(cluster: str, chosen_by: Mapping[str, str]) -> EnvoyMessage:
    """An HTTP endpoint's metadata that names a cluster and none of its replicas.

    chosen_by: what chooses the endpoint, and, where the cluster has subsets by it, one of those
    """
    of_subset = {SUBSET_NAMESPACE: chosen_by} if chosen_by else {}
    return _metadata({**of_subset, HOP_NAMESPACE: {CLUSTER_KEY: cluster}})


def metadata_of(chosen_by: Mapping[str, Any]) -> EnvoyMessage | None:
    """An endpoint's metadata that has only what chooses it; None where nothing does."""
    return _metadata({SUBSET_NAMESPACE: chosen_by}) if chosen_by else None


def hop_address(endpoint: Endpoint) -> EnvoyMessage:
    """The address of a replica as an HTTP cluster knows it: the hop, told apart by the replica's own."""
    return address_pb2.Address(
        envoy_internal_address=address_pb2.EnvoyInternalAddress(
            server_listener_name=HOP_LISTENER, endpoint_id=endpoint.socket
        )
    )


def socket_address(endpoint: Endpoint) -> EnvoyMessage:
    """The replica's own address."""
    return address_pb2.Address(
        socket_address=address_pb2.SocketAddress(address=endpoint.address, port_value=endpoint.port)
    )


def hop_transport() -> EnvoyMessage:
    """The transport socket of HTTP clusters: it hands an endpoint's metadata to the hop."""
    kind = metadata_pb2.MetadataKind(host=metadata_pb2.MetadataKind.Host())
    source = internal_upstream_pb2.InternalUpstreamTransport.MetadataValueSource
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.internal_upstream",
        typed_config=any_of(
            internal_upstream_pb2.InternalUpstreamTransport(
                passthrough_metadata=[
                    source(kind=kind, name=namespace) for namespace in (SUBSET_NAMESPACE, HOP_NAMESPACE)
                ],
                transport_socket=base_pb2.TransportSocket(
                    name="envoy.transport_sockets.raw_buffer", typed_config=any_of(raw_buffer_pb2.RawBuffer())
                ),
            )
        ),
    )


def hops_of(assignment: EnvoyMessage) -> Iterator[HopReference]:
    """What the endpoints of an assignment refer to."""
    for endpoint in _endpoints_of(assignment):
        address, metadata = endpoint.endpoint.address, endpoint.metadata.filter_metadata
        if address.HasField("envoy_internal_address"):
            yield HopReference(
                listener=address.envoy_internal_address.server_listener_name,
                cluster=_text(metadata, HOP_NAMESPACE, CLUSTER_KEY),
                replica=_text(metadata, SUBSET_NAMESPACE, REPLICA_KEY),
            )


def replicas_of(assignment: EnvoyMessage) -> frozenset[str]:
    """The replicas (`ip:port`) that a TCP cluster's assignment has under their names."""
    return frozenset(
        _text(endpoint.metadata.filter_metadata, SUBSET_NAMESPACE, REPLICA_KEY)
        for endpoint in _endpoints_of(assignment)
        if endpoint.endpoint.address.HasField("socket_address")
    )


def _endpoints_of(assignment: EnvoyMessage) -> Iterator[EnvoyMessage]:
    return (endpoint for locality in assignment.endpoints for endpoint in locality.lb_endpoints)


def _text(metadata: Mapping[str, Struct], namespace: str, key: str) -> str:
    return str(metadata[namespace].fields[key].string_value) if namespace in metadata else ""


def localities(endpoints: Iterable[EnvoyMessage]) -> list[EnvoyMessage]:
    """Endpoints as the one locality of an assignment; none where there are no endpoints."""
    members = list(endpoints)
    return [endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=members)] if members else []


def _metadata(fields_by_namespace: Mapping[str, Mapping[str, Any]]) -> EnvoyMessage:
    found = {}
    for namespace, fields in fields_by_namespace.items():
        found[namespace] = Struct()
        found[namespace].update(dict(fields))
    return base_pb2.Metadata(filter_metadata=found)
