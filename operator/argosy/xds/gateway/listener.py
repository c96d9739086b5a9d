"""Envoy's listener: where requests come in, which filters they pass.

Owns the HTTP connection manager. Input: a `Gateway` and nothing else, no class, model or cluster: a
change of routes must not make Envoy replace the listener, which would close the clients' connections.
Output: one `Listener`.
"""

from __future__ import annotations

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import address_pb2, extension_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from argosy.addresses import is_every_address
from argosy.route.counters import GATEWAY
from argosy.route.table import Gateway
from argosy.xds.gateway.access_log import access_logs
from argosy.xds.gateway.bodies import body_filters
from argosy.xds.gateway.replies import local_replies
from argosy.xds.packing import EnvoyMessage, ads_source, any_of, duration

LISTENER = "gateway"
ROUTE_CONFIGURATION = "argosy"

PICKED_ENDPOINT_HEADER = "x-gateway-destination-endpoint"
"""An endpoint picker's choice of a replica. Removed from requests: a client could name any replica."""

STREAM_IDLE_S = 3600.0
"""A client that vanished without closing its connection must not hold a stream for ever. Envoy's default of
5 minutes would cut answers that take longer to begin."""

SERVER_NAME = "argosy"
"""The response header `server`, whichever engine answered."""


def listener_of(gateway: Gateway) -> EnvoyMessage:
    """The one listener."""
    manager = _connection_manager(gateway)
    return listener_pb2.Listener(
        name=LISTENER,
        address=address_pb2.Address(
            socket_address=address_pb2.SocketAddress(
                address=gateway.address,
                port_value=gateway.port,
                # `::` without it listens on IPv6 alone.
                ipv4_compat=":" in gateway.address and is_every_address(gateway.address),
            )
        ),
        # By default two Envoys of one machine share a port without a word, and each gets some of the
        # other's requests. With it off the second one refuses the listener.
        enable_reuse_port=BoolValue(value=False),
        # Its workers then take connections from one queue; without this, one of two took up to all.
        connection_balance_config=listener_pb2.Listener.ConnectionBalanceConfig(
            exact_balance=listener_pb2.Listener.ConnectionBalanceConfig.ExactBalance()
        ),
        # The JSON filter and retries keep whole bodies, up to this.
        per_connection_buffer_limit_bytes=UInt32Value(value=gateway.max_body_bytes),
        filter_chains=[
            listener_components_pb2.FilterChain(
                filters=[
                    listener_components_pb2.Filter(
                        name="envoy.filters.network.http_connection_manager", typed_config=any_of(manager)
                    )
                ]
            )
        ],
    )


def _connection_manager(gateway: Gateway) -> EnvoyMessage:
    manager = http_connection_manager_pb2.HttpConnectionManager
    return manager(
        stat_prefix=GATEWAY,
        rds=http_connection_manager_pb2.Rds(
            route_config_name=ROUTE_CONFIGURATION,
            config_source=ads_source(),
        ),
        use_remote_address=BoolValue(value=True),
        normalize_path=BoolValue(value=True),
        # Engines name themselves with their versions.
        server_header_transformation=manager.OVERWRITE,
        server_name=SERVER_NAME,
        # A client that reports a failure names the request by what the access log shows.
        always_set_request_id_in_response=True,
        access_log=access_logs(gateway.access_log),
        stream_idle_timeout=duration(STREAM_IDLE_S),
        early_header_mutation_extensions=[_strip(PICKED_ENDPOINT_HEADER)],
        http_filters=[
            *body_filters(),
            http_connection_manager_pb2.HttpFilter(
                name="envoy.filters.http.router", typed_config=any_of(router_pb2.Router())
            ),
        ],
        local_reply_config=local_replies(gateway.max_body_bytes),
    )


def _strip(header: str) -> EnvoyMessage:
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=any_of(
            header_mutation_pb2.HeaderMutation(mutations=[mutation_rules_pb2.HeaderMutation(remove=header)])
        ),
    )
