"""How Envoy finds out that a replica is dead, and how much it sends to a cluster at once.

Owns the health check and the circuit breakers that HTTP and TCP clusters share. Input: the
constants of `snapshot.liveness`. Output: protobuf messages.
"""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2
from envoy.config.core.v3 import health_check_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from argosy.snapshot.liveness import (
    DEATH_TIMEOUT_S,
    HEALTH_INTERVAL_S,
    HEALTH_PATH,
    HEALTH_TIMEOUT_S,
    UNHEALTHY_AFTER,
)
from argosy.xds.packing import EnvoyMessage, duration

NO_LIMIT = 1_000_000
"""Envoy refuses beyond 1,024 requests and 3 concurrent retries per cluster by default. A replica
queues by itself; Envoy must not turn a burst into errors."""


def health_check(*, healthy_after: int, interval_s: float, recheck_s: float) -> EnvoyMessage:
    """The check of one replica; after a failure it is healthy again after so many passes in a row.

    `interval_s`: between checks of a replica that is healthy; `recheck_s`: of one that is not.
    """
    return health_check_pb2.HealthCheck(
        timeout=duration(HEALTH_TIMEOUT_S),
        interval=duration(interval_s),
        # Without traffic Envoy would check once a minute: a new cluster would stay out as long.
        no_traffic_interval=duration(recheck_s),
        no_traffic_healthy_interval=duration(interval_s),
        unhealthy_interval=duration(recheck_s),
        unhealthy_edge_interval=duration(HEALTH_INTERVAL_S),
        unhealthy_threshold=UInt32Value(value=UNHEALTHY_AFTER),
        healthy_threshold=UInt32Value(value=healthy_after),
        http_health_check=health_check_pb2.HealthCheck.HttpHealthCheck(path=HEALTH_PATH, host="argosy"),
    )


def death_check(*, recheck_s: float) -> EnvoyMessage:
    """The check that ends the connections of a replica: an engine may be as late as `DEATH_TIMEOUT_S`.

    One failure is enough: TCP itself sends lost packets again within the time-out. With a connection of its
    own for each check none fails because the engine has just closed one that was idle.
    """
    check = health_check(healthy_after=1, interval_s=HEALTH_INTERVAL_S, recheck_s=recheck_s)
    check.timeout.CopyFrom(duration(DEATH_TIMEOUT_S))
    check.unhealthy_threshold.CopyFrom(UInt32Value(value=1))
    check.reuse_connection.CopyFrom(BoolValue(value=False))
    return check


def limits(max_requests: int | None = None) -> EnvoyMessage:
    """Circuit breakers that open only at this many requests in flight; None: never.

    They never open for retries: a retry that is refused looks like an overload (flag UO).
    """
    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[
            circuit_breaker_pb2.CircuitBreakers.Thresholds(
                max_connections=UInt32Value(value=NO_LIMIT),
                max_pending_requests=UInt32Value(value=NO_LIMIT),
                max_requests=UInt32Value(value=NO_LIMIT if max_requests is None else max_requests),
                max_retries=UInt32Value(value=NO_LIMIT),
            )
        ]
    )
