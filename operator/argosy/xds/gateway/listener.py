"""Envoy's listener: where requests come in, what is read of them, how Envoy itself replies.

Owns the HTTP connection manager. Input: a `Gateway` and nothing else, no class, model or cluster: a
change of routes must not make Envoy replace the listener, which would close the clients' connections.
Output: one `Listener`.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import (
    address_pb2,
    base_pb2,
    extension_pb2,
    substitution_format_string_pb2,
)
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.json_to_metadata.v3 import json_to_metadata_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import metadata_pb2, value_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from argosy.addresses import is_every_address
from argosy.route.counters import GATEWAY
from argosy.route.table import Gateway
from argosy.xds.gateway.access_log import access_logs, overload_filter
from argosy.xds.packing import (
    CLASS_KEY,
    METADATA_NAMESPACE,
    MODEL_KEY,
    REFUSAL_KEY,
    EnvoyMessage,
    ads_source,
    any_of,
    duration,
)

LISTENER = "gateway"
ROUTE_CONFIGURATION = "argosy"
JSON_FILTER = "envoy.filters.http.json_to_metadata"

PICKED_ENDPOINT_HEADER = "x-gateway-destination-endpoint"
"""An endpoint picker's choice of a replica. Removed from requests: a client could name any replica."""

STREAM_IDLE_S = 3600.0
"""A client that vanished without closing its connection must not hold a stream for ever. Envoy's default of
5 minutes would cut answers that take longer to begin."""

RETRY_AFTER_S = 5

SERVER_NAME = "argosy"
"""The response header `server`, whichever engine answered."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """The body of Envoy's own replies with this status. An empty message keeps Envoy's text."""

    status: int
    type: str
    code: str
    message: str = ""


_REFUSAL = f"%METADATA(ROUTE:{METADATA_NAMESPACE}:{REFUSAL_KEY})%"
"""The sentence in the metadata of the route that refuses."""

NO_CLASS_FOR_MODEL = _Reply(
    404,
    "invalid_request_error",
    "no_workload_class",
    "No workload class takes %REQ(:METHOD)% %REQ(:PATH)% with model"
    f" %DYNAMIC_METADATA({METADATA_NAMESPACE}:{MODEL_KEY})%: {_REFUSAL}.",
)
"""Where the body names a model; without one, Envoy would print a placeholder."""

NO_REPLICA = _Reply(
    503,
    "server_error",
    "no_replica",
    _REFUSAL,
)
"""When no endpoint can be chosen, or none answered; each route's metadata holds the message for its class."""

NOT_REACHED = ("UH", "UF", "UC", "UR")
"""Envoy's response flags: no healthy upstream, connection failed or ended, reset."""

OVERLOADED = _Reply(
    429,
    "rate_limit_error",
    "overloaded",
    f"The replicas that serve %METADATA(ROUTE:{METADATA_NAMESPACE}:{CLASS_KEY})% have as many requests as can"
    f" be answered in time; try again in {RETRY_AFTER_S} s.",
)
"""When a cluster's circuit breaker is open: refused within milliseconds, before any replica is asked."""

# Types as OpenAI's clients know them. A status that is not listed keeps Envoy's text.
_REPLIES = (
    _Reply(400, "invalid_request_error", "bad_request"),
    _Reply(
        404,
        "invalid_request_error",
        "no_workload_class",
        f"No workload class takes %REQ(:METHOD)% %REQ(:PATH)%: {_REFUSAL}.",
    ),
    _Reply(408, "invalid_request_error", "request_timeout"),
    _Reply(413, "invalid_request_error", "request_too_large"),
    _Reply(431, "invalid_request_error", "headers_too_large"),
    _Reply(500, "server_error", "internal_error"),
    _Reply(502, "server_error", "bad_gateway"),
    _Reply(503, "server_error", "service_unavailable"),
    _Reply(504, "server_error", "timeout"),
)


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
            http_connection_manager_pb2.HttpFilter(name=JSON_FILTER, typed_config=any_of(_body_reader())),
            http_connection_manager_pb2.HttpFilter(
                name="envoy.filters.http.router", typed_config=any_of(router_pb2.Router())
            ),
        ],
        local_reply_config=http_connection_manager_pb2.LocalReplyConfig(
            mappers=[
                _no_replica_mapper(),
                _overload_mapper(),
                _no_class_mapper(),
                *(_mapper(reply) for reply in _REPLIES),
            ],
            body_format=_error_format(_Reply(0, "server_error", "gateway_error")),
        ),
    )


def _body_reader() -> EnvoyMessage:
    """Reads the model from a JSON body."""
    reader = json_to_metadata_pb2.JsonToMetadata
    return reader(
        request_rules=reader.MatchRules(
            rules=[
                _rule(MODEL_KEY, reader.ValueType.STRING),
            ],
            # Clients add parameters: application/json; charset=utf-8.
            allow_content_types_regex={"regex": r"application/([a-z.-]+\+)?json(\s*;.*)?"},
        )
    )


def _rule(key: str, kind: int) -> EnvoyMessage:
    reader = json_to_metadata_pb2.JsonToMetadata
    return reader.Rule(
        selectors=[reader.Selector(key=key)],
        on_present=reader.KeyValuePair(metadata_namespace=METADATA_NAMESPACE, key=key, type=kind),
    )


def _strip(header: str) -> EnvoyMessage:
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=any_of(
            header_mutation_pb2.HeaderMutation(mutations=[mutation_rules_pb2.HeaderMutation(remove=header)])
        ),
    )


def _no_replica_mapper() -> EnvoyMessage:
    flagged = accesslog_pb2.ResponseFlagFilter(flags=NOT_REACHED)
    return http_connection_manager_pb2.ResponseMapper(
        filter=accesslog_pb2.AccessLogFilter(response_flag_filter=flagged),
        headers_to_add=[_retry_after()],
        body_format_override=_error_format(NO_REPLICA),
    )


def _overload_mapper() -> EnvoyMessage:
    return http_connection_manager_pb2.ResponseMapper(
        filter=overload_filter(),
        status_code=UInt32Value(value=OVERLOADED.status),
        headers_to_add=[_retry_after()],
        body_format_override=_error_format(OVERLOADED),
    )


def _retry_after() -> EnvoyMessage:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="retry-after", value=str(RETRY_AFTER_S))
    )


def _no_class_mapper() -> EnvoyMessage:
    """For a 404 of a request whose model was read."""
    any_model = metadata_pb2.MetadataMatcher(
        filter=METADATA_NAMESPACE,
        path=[metadata_pb2.MetadataMatcher.PathSegment(key=MODEL_KEY)],
        value=value_pb2.ValueMatcher(present_match=True),
    )
    has_model = accesslog_pb2.AccessLogFilter(
        metadata_filter=accesslog_pb2.MetadataFilter(
            matcher=any_model, match_if_key_not_found=BoolValue(value=False)
        )
    )
    both = accesslog_pb2.AndFilter(filters=[_status_is(NO_CLASS_FOR_MODEL.status), has_model])
    return http_connection_manager_pb2.ResponseMapper(
        filter=accesslog_pb2.AccessLogFilter(and_filter=both),
        body_format_override=_error_format(NO_CLASS_FOR_MODEL),
    )


def _mapper(reply: _Reply) -> EnvoyMessage:
    return http_connection_manager_pb2.ResponseMapper(
        filter=_status_is(reply.status), body_format_override=_error_format(reply)
    )


def _status_is(status: int) -> EnvoyMessage:
    comparison = accesslog_pb2.ComparisonFilter(
        op=accesslog_pb2.ComparisonFilter.EQ,
        value=base_pb2.RuntimeUInt32(default_value=status, runtime_key=f"argosy.reply.{status}"),
    )
    return accesslog_pb2.AccessLogFilter(
        status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=comparison)
    )


def _error_format(reply: _Reply) -> EnvoyMessage:
    error = Struct()
    error.update(
        {
            "error": {
                "message": reply.message or "%LOCAL_REPLY_BODY%",
                "type": reply.type,
                "param": None,
                "code": reply.code,
            }
        }
    )
    return substitution_format_string_pb2.SubstitutionFormatString(json_format=error)
