"""Where requests wait while no replica of a cluster is healthy, until one is again.

Owns the waiting listener, the endpoints of each HTTP cluster that lead to it, and the clusters behind
it. Input: `ClusterEntry`s. Output: protobuf messages.

Why not retries: a request that makes its engine crash is tried again, and each try costs an engine. So
tries are few, and they end within milliseconds where the hop refuses them. Waiting reaches no engine.

The waiting endpoint has the second priority in its HTTP cluster: Envoy uses it only while no replica has
passed its health checks. The waiting listener tries to connect until a replica takes the request: to an
aggregate of the *waiting clusters*, which hold the replicas once more, and, while none of them is
healthy, an address that refuses each connection. docs/design/0005 has the measurements.

A request for a LoRA adapter does the same among the replicas that hold it, in the *holding cluster*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, backoff_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.clusters.aggregate.v3 import cluster_pb2 as aggregate_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from argosy.route.counters import ENDPOINT_ENDING
from argosy.route.table import ClusterEntry, Endpoint, EndpointState
from argosy.xds import hop
from argosy.xds.packing import ADAPTER_KEY, TAKES_ANY, TAKES_KEY, EnvoyMessage, any_of, duration

WAITING_LISTENER = "argosy-waiting"
WAITING_PREFIX = "waiting:"
ANY_PREFIX = "any:"
HOLDING_PREFIX = "holding:"
"""A waiting cluster, the aggregate of it and its alternatives, and the cluster where requests for adapters
wait, are named after the HTTP cluster."""
NOWHERE_CLUSTER = "argosy-nowhere"
_NOWHERE_PATH = "/argosy/nowhere"
"""A Unix socket that does not exist: connecting fails at once, and no other program can listen there."""

WAIT_S = 20.0
"""About how long one try waits before it fails. Paused hypervisors, switches that restart and stalled
storage take seconds to tens of seconds; clients that are sent away would only come back."""

ALL_TO_THE_HEALTHY = endpoint_pb2.ClusterLoadAssignment.Policy(
    overprovisioning_factor=UInt32Value(value=1_000_000)
)
"""A priority takes all requests while one of its replicas is healthy. By default Envoy moves a part of
them to the next priority as soon as fewer than 72 % are."""

_NO_CHECK = endpoint_components_pb2.Endpoint.HealthCheckConfig(disable_active_health_check=True)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
_ATTEMPTS = round(WAIT_S / (_LONGEST_PAUSE_S / 2))
"""Envoy draws each pause between 0 and its bound, half of it on average."""


def waiting_listener() -> EnvoyMessage:
    """The listener: tries to connect to a replica until one is healthy, for about `WAIT_S`."""
    return hop.listener_of(
        tcp_proxy_pb2.TcpProxy(
            stat_prefix=WAITING_LISTENER,
            max_connect_attempts=UInt32Value(value=_ATTEMPTS),
            backoff_options=backoff_pb2.BackoffStrategy(
                base_interval=duration(_FIRST_PAUSE_S), max_interval=duration(_LONGEST_PAUSE_S)
            ),
        )
    )


def nowhere_cluster() -> EnvoyMessage:
    """The cluster that refuses each connection."""
    return cluster_pb2.Cluster(
        name=NOWHERE_CLUSTER,
        type=cluster_pb2.Cluster.STATIC,
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=NOWHERE_CLUSTER, endpoints=hop.localities([_nowhere({})])
        ),
    )


def _nowhere(chosen_by: Mapping[str, Any]) -> EnvoyMessage:
    """The address that refuses each connection."""
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(
            address=address_pb2.Address(pipe=address_pb2.Pipe(path=_NOWHERE_PATH)),
            health_check_config=_NO_CHECK if chosen_by else None,
        ),
        metadata=hop.metadata_of(chosen_by),
    )


def waiting_cluster_name(http_cluster: str) -> str:
    """The cluster of the replicas that may take requests that have waited."""
    return f"{WAITING_PREFIX}{http_cluster}"


def any_cluster_name(http_cluster: str) -> str:
    """The aggregate in which requests wait."""
    return f"{ANY_PREFIX}{http_cluster}"


def holding_cluster_name(http_cluster: str) -> str:
    """The cluster in which requests for an adapter wait."""
    return f"{HOLDING_PREFIX}{http_cluster}"


def waiting_cluster_of(entry: ClusterEntry) -> EnvoyMessage:
    """The cluster of the replicas that may take requests that have waited.

    Its health check is as fast as the HTTP cluster's. The TCP cluster's is not: a request whose
    connection it has just closed would come to the next replica that stands still, and lose one try after
    the other.
    """
    return hop.waiting_cluster(waiting_cluster_name(entry.name))


def waiting_assignment_of(entry: ClusterEntry) -> EnvoyMessage:
    """All replicas that may take new requests, now or once they are ready again, by address."""
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=waiting_cluster_name(entry.name),
        endpoints=hop.localities(map(hop.tcp_endpoint, _able(entry))),
        policy=ALL_TO_THE_HEALTHY,
    )


def holding_cluster_of(entry: ClusterEntry) -> EnvoyMessage:
    """The same replicas by the adapters that they hold: where requests for an adapter wait.

    The aggregate cannot do this: it chooses among clusters by their health, whatever their healthy replicas
    hold, and a listener that gets no replica at all does not try again.
    """
    cluster = hop.waiting_cluster(holding_cluster_name(entry.name))
    cluster.lb_subset_config.CopyFrom(hop.adapter_subsets())
    return cluster


def holding_assignment_of(entry: ClusterEntry) -> EnvoyMessage:
    """Those replicas, and, for each adapter that waits here, an address that refuses each connection: it is
    used while no replica that holds the adapter is healthy."""
    refusing = endpoint_components_pb2.LocalityLbEndpoints(
        priority=1,
        lb_endpoints=[_nowhere({ADAPTER_KEY: list(entry.waiting)})] if entry.waiting else [],
    )
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=holding_cluster_name(entry.name),
        endpoints=[
            *hop.localities(hop.tcp_endpoint(each, with_adapters=True) for each in _able(entry)),
            refusing,
        ],
        policy=ALL_TO_THE_HEALTHY,
    )


def _able(entry: ClusterEntry) -> list[Endpoint]:
    """The replicas that may take requests, now or once they are ready again."""
    return [e for e in entry.endpoints if e.state in (EndpointState.READY, EndpointState.NOT_READY)]


def any_cluster_of(entry: ClusterEntry) -> EnvoyMessage:
    """The first healthy of: the cluster's own replicas, those of its alternatives, nowhere."""
    members = [waiting_cluster_name(name) for name in (entry.name, *entry.alternatives)]
    return cluster_pb2.Cluster(
        name=any_cluster_name(entry.name),
        connect_timeout=duration(hop.CONNECT_TIMEOUT_S),
        lb_policy=cluster_pb2.Cluster.CLUSTER_PROVIDED,
        cluster_type=cluster_pb2.Cluster.CustomClusterType(
            name="envoy.clusters.aggregate",
            typed_config=any_of(aggregate_pb2.ClusterConfig(clusters=[*members, NOWHERE_CLUSTER])),
        ),
    )


def members_of(cluster: EnvoyMessage) -> Sequence[str]:
    """The clusters that an aggregate refers to; none where `cluster` is of another kind."""
    aggregate = aggregate_pb2.ClusterConfig()
    cluster.cluster_type.typed_config.Unpack(aggregate)
    return tuple(aggregate.clusters)


def waiting_locality(entry: ClusterEntry) -> EnvoyMessage:
    """The endpoints of the second priority, which are always healthy: one for any request, and one for each
    adapter whose requests wait here, which leads to the replicas that hold it."""
    takes = {TAKES_KEY: TAKES_ANY} if entry.has_adapters else {}
    return endpoint_components_pb2.LocalityLbEndpoints(
        priority=1,
        lb_endpoints=[
            _waiting_endpoint("", hop.metadata_for_any_replica(any_cluster_name(entry.name), takes)),
            *(
                _waiting_endpoint(
                    f"{name}{ENDPOINT_ENDING}",
                    hop.metadata_for_any_replica(holding_cluster_name(entry.name), {ADAPTER_KEY: name}),
                )
                for name in entry.waiting
            ),
        ],
    )


def _waiting_endpoint(endpoint_id: str, metadata: EnvoyMessage) -> EnvoyMessage:
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(
            address=address_pb2.Address(
                envoy_internal_address=address_pb2.EnvoyInternalAddress(
                    server_listener_name=WAITING_LISTENER, endpoint_id=endpoint_id
                )
            ),
            # Shown by Envoy's admin interface.
            hostname=WAITING_LISTENER,
            health_check_config=_NO_CHECK,
        ),
        metadata=metadata,
    )
