"""A route table as Envoy's resources.

Owns clusters and their endpoints, and the assembly of the whole. Input: a `RouteTable`. Output:
protobuf messages, a pure function of the table. The reason for each setting stands beside it.
"""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from argosy.route.table import ClusterEntry, Endpoint, EndpointState, OutlierSettings, RouteTable
from argosy.snapshot.liveness import HEALTH_INTERVAL_S, ROTATION_INTERVAL_S
from argosy.xds import hop, waiting
from argosy.xds.gateway.listener import listener_of
from argosy.xds.gateway.routes import NO_REPLICA_CLUSTER, route_configuration_of
from argosy.xds.health import health_check, limits
from argosy.xds.packing import TAKES_ANY, EnvoyMessage, ads_source, any_of, duration

UPSTREAM_IDLE_S = 4.0
"""vLLM closes idle connections after 5 s (uvicorn's keep-alive). Envoy closes them earlier: a request
written into a connection that is just being closed costs a retry."""


def resources_of(table: RouteTable) -> tuple[EnvoyMessage, ...]:
    """All of Envoy's resources for this table: clusters, assignments, listener, routes."""
    refuses = any(
        not entry.backends or any(not adapter.backends for adapter in entry.adapters)
        for entry in table.routes
    )
    kinds_of_cluster = (hop.tcp_cluster_of, cluster_of, waiting.waiting_cluster_of, waiting.any_cluster_of)
    kinds_of_assignment = (hop.tcp_assignment_of, assignment_of, waiting.waiting_assignment_of)
    with_adapters = [cluster for cluster in table.clusters if cluster.has_adapters]
    return (
        *([_no_replica()] if refuses else []),
        *(make(cluster) for cluster in table.clusters for make in kinds_of_cluster),
        *map(waiting.holding_cluster_of, with_adapters),
        *([waiting.nowhere_cluster()] if table.clusters else []),
        *(make(cluster) for cluster in table.clusters for make in kinds_of_assignment),
        *map(waiting.holding_assignment_of, with_adapters),
        hop.hop_listener(),
        waiting.waiting_listener(),
        listener_of(table.gateway),
        route_configuration_of(table),
    )


def _no_replica() -> EnvoyMessage:
    return cluster_pb2.Cluster(
        name=NO_REPLICA_CLUSTER,
        type=cluster_pb2.Cluster.STATIC,
        load_assignment=endpoint_pb2.ClusterLoadAssignment(cluster_name=NO_REPLICA_CLUSTER),
    )


def cluster_of(entry: ClusterEntry) -> EnvoyMessage:
    """The Envoy cluster of one variant in one sharing group."""
    return cluster_pb2.Cluster(
        name=entry.name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads_source()),
        connect_timeout=duration(hop.CONNECT_TIMEOUT_S),
        transport_socket=hop.hop_transport(),
        lb_subset_config=hop.adapter_subsets(TAKES_ANY) if entry.has_adapters else None,
        # Two random choices, not a full scan: a scan would return to the replica that fails
        # fastest (it has the fewest requests) however often a retry asks for another one.
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(
            # By default health changes wait for up to a second to be applied together.
            update_merge_window=duration(0),
            # By default Envoy ignores health once half of the replicas are out: silent ones would
            # get requests again. With none left at all it may: a try that fails is made again in
            # another cluster, while "no healthy upstream" would be final.
            healthy_panic_threshold={"value": 1.0},
        ),
        # A replica is out of rotation before its TCP cluster refuses connections, and back after it
        # takes them again (one pass more): requests drawn to it in between would only be lost tries.
        health_checks=[
            health_check(healthy_after=2, interval_s=ROTATION_INTERVAL_S, recheck_s=HEALTH_INTERVAL_S)
        ],
        # A pod that is gone leaves at once, without waiting for its health check to notice.
        ignore_health_on_host_removal=True,
        outlier_detection=_outlier_detection(entry.outlier),
        circuit_breakers=limits(entry.request_limit),
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _upstream_protocol()
        },
    )


def assignment_of(entry: ClusterEntry) -> EnvoyMessage:
    """The endpoints of a cluster: its ready and draining replicas, and where requests wait."""
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=entry.name,
        endpoints=[
            *hop.localities(
                _lb_endpoint(entry, endpoint)
                for endpoint in entry.endpoints
                if endpoint.state in (EndpointState.READY, EndpointState.DRAINING)
            ),
            waiting.waiting_locality(entry),
        ],
        policy=waiting.ALL_TO_THE_HEALTHY,
    )


def _lb_endpoint(entry: ClusterEntry, endpoint: Endpoint) -> EnvoyMessage:
    draining = endpoint.state is EndpointState.DRAINING
    health = health_check_pb2.HealthStatus.DRAINING if draining else health_check_pb2.HealthStatus.UNKNOWN
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(
            address=hop.hop_address(endpoint),
            # Checked without the hop: through it no check passes (measured on Envoy 1.40).
            health_check_config=endpoint_components_pb2.Endpoint.HealthCheckConfig(
                address=hop.socket_address(endpoint)
            ),
            # Shown by Envoy's admin interface, and the only trace of the pod there.
            hostname=endpoint.pod,
        ),
        metadata=hop.hop_metadata(entry, endpoint),
        # Unknown, not healthy: it serves once its first health check has passed.
        health_status=health,
    )


def _outlier_detection(settings: OutlierSettings) -> EnvoyMessage:
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=UInt32Value(value=settings.consecutive_errors),
        enforcing_consecutive_5xx=UInt32Value(value=100),
        # Success-rate ejection compares many hosts; with a handful of them it gives false positives.
        enforcing_success_rate=UInt32Value(value=0),
        interval=duration(1.0),
        base_ejection_time=duration(settings.ejection_s),
        max_ejection_time=duration(max(300.0, settings.ejection_s)),
        # At most half of the replicas: errors that all share are not one replica's fault. The waiting
        # endpoint is one host more: half of ten replicas are 45 % of eleven hosts, one of one is 50 %.
        max_ejection_percent=UInt32Value(value=49),
        # Else a health check that passes, every second, would end each ejection at once.
        successful_active_health_check_uneject_host=BoolValue(value=False),
    )


def _upstream_protocol() -> AnyMessage:
    options = http_protocol_options_pb2.HttpProtocolOptions
    return any_of(
        options(
            common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
                idle_timeout=duration(UPSTREAM_IDLE_S)
            ),
            explicit_http_config=options.ExplicitHttpConfig(
                http_protocol_options=protocol_pb2.Http1ProtocolOptions()
            ),
        )
    )
