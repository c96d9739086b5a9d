"""What clients read where Envoy itself answers: OpenAI's shape, with the cause.

Owns status, type, code and sentence of Envoy's own replies. Input: the limit of a body. Output: the
`LocalReplyConfig` of the listener. A sentence about one class or model is in the metadata of the route that
refuses (`refusals`, `routes`); here is which sentence is written when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2, value_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from argosy.xds.gateway.access_log import overload_filter
from argosy.xds.gateway.bodies import (
    BODY_KEY,
    ENCODING_KEY,
    ENCODINGS,
    NO_JSON,
    NO_MODEL,
    exactly,
    header,
    is_encoded,
    metadata_matcher,
    was_decoded,
)
from argosy.xds.packing import CLASS_KEY, METADATA_NAMESPACE, MODEL_KEY, REFUSAL_KEY, EnvoyMessage

RETRY_AFTER_S = 5

MODELS_PATH = "/v1/models"
READS = "GET|HEAD"
"""The methods of requests that ask for a list."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """The body of Envoy's own replies with this status. An empty message keeps Envoy's text."""

    status: int
    type: str
    code: str
    message: str = ""
    param: str | None = None


_REQUEST = "%REQ(:METHOD)% %REQ(:PATH)%"
_REFUSAL = f"%METADATA(ROUTE:{METADATA_NAMESPACE}:{REFUSAL_KEY})%"
"""The sentence in the metadata of the route that refuses."""

NO_CLASS_FOR_MODEL = _Reply(
    404,
    "invalid_request_error",
    "no_workload_class",
    f"No workload class takes {_REQUEST} with model"
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

NO_SUCH_MODEL = _Reply(
    404,
    "invalid_request_error",
    "model_not_found",
    f"{_REQUEST}: no such model for this caller. GET {MODELS_PATH}, with the headers that requests have,"
    " lists those that there are.",
    "model",
)
"""Where a model is asked for by its path."""

NO_ORIGIN = _Reply(
    403,
    "invalid_request_error",
    "origin_not_allowed",
    "A page of origin %REQ(ORIGIN)% may not send %REQ(ACCESS-CONTROL-REQUEST-METHOD)% %REQ(:PATH)%:"
    f" {_REFUSAL}.",
)
"""The answer to a browser that asks before it sends a page's request."""

NO_PATH = _Reply(
    404,
    "invalid_request_error",
    "no_path",
    "%REQ(:METHOD)% without a path reaches no workload class: send a path, such as /v1/chat/completions.",
)
"""`OPTIONS *`, and CONNECT, to which Envoy answers 403."""

INVALID_JSON = _Reply(
    400,
    "invalid_request_error",
    "invalid_json",
    f"The body of {_REQUEST} is not valid JSON in UTF-8: it is cut short, has a value such as NaN that JSON"
    " does not know, has bytes of another character set, is nested a thousand deep, was damaged in"
    " compression, or grows by more than a hundred as br or zstd is unpacked.",
)
NOTHING_DECODED = _Reply(
    400,
    "invalid_request_error",
    "no_model_decoded",
    f"The body of {_REQUEST}, decoded from content-encoding"
    f" %DYNAMIC_METADATA({METADATA_NAMESPACE}:{ENCODING_KEY})%, is JSON without a model, or is not in that"
    " encoding at all: name a model in it, and send the header only with a body that is encoded so.",
)
UNKNOWN_ENCODING = _Reply(
    415,
    "invalid_request_error",
    "unsupported_content_encoding",
    f"The body of {_REQUEST} has content-encoding %REQ(CONTENT-ENCODING)%, and this gateway decodes"
    f" {', '.join(ENCODINGS)}, each once, of a body that is not empty: send it so, or uncompressed.",
)
NO_JSON_TYPE = _Reply(
    415,
    "invalid_request_error",
    "unsupported_media_type",
    f"No workload class takes {_REQUEST} by path or headers alone, and the model is read only from JSON, not"
    f" from content-type %REQ(CONTENT-TYPE)%: send content-type application/json; {_REFUSAL}.",
)


def _replies(max_body_bytes: int) -> tuple[_Reply, ...]:
    """Types as OpenAI's clients know them. A status that is not listed keeps Envoy's text."""
    return (
        _Reply(
            400,
            "invalid_request_error",
            "bad_request",
            "The request is no HTTP that this gateway reads: %RESPONSE_CODE_DETAILS%.",
        ),
        _Reply(
            403,
            "invalid_request_error",
            "upgrade_refused",
            f"{_REQUEST} asks to change to %REQ(UPGRADE)%, and this gateway passes on HTTP alone.",
        ),
        _Reply(
            404,
            "invalid_request_error",
            "no_workload_class",
            f"No workload class takes {_REQUEST}: {_REFUSAL}.",
        ),
        _Reply(408, "invalid_request_error", "request_timeout"),
        _Reply(
            413,
            "invalid_request_error",
            "request_too_large",
            f"The body of {_REQUEST} is longer than {max_body_bytes} bytes, which no model's context holds.",
        ),
        NO_JSON_TYPE,
        _Reply(
            426, "invalid_request_error", "http_version", "The request is HTTP/1.0: send it as HTTP/1.1 or 2."
        ),
        _Reply(431, "invalid_request_error", "headers_too_large"),
        _Reply(500, "server_error", "internal_error"),
        _Reply(502, "server_error", "bad_gateway"),
        _Reply(503, "server_error", "service_unavailable"),
        _Reply(504, "server_error", "timeout"),
    )


def local_replies(max_body_bytes: int) -> EnvoyMessage:
    """The first mapper that fits writes the reply."""
    return http_connection_manager_pb2.LocalReplyConfig(
        mappers=[
            _as_it_is(),
            _no_replica_mapper(),
            _overload_mapper(),
            _mapper(replace(NO_PATH, status=403), _has(header(":method", "CONNECT"))),
            _mapper(NO_PATH, _has(header(":path", r"\*"))),
            _mapper(NO_ORIGIN, _has(header("access-control-request-method", ".+"))),
            _mapper(INVALID_JSON, _metadata_is(BODY_KEY, exactly(NO_JSON))),
            _mapper(
                NOTHING_DECODED,
                _metadata_is(BODY_KEY, exactly(NO_MODEL)),
                _metadata_is(ENCODING_KEY, was_decoded()),
            ),
            _mapper(UNKNOWN_ENCODING, _has(is_encoded())),
            _mapper(
                NO_SUCH_MODEL, _has(header(":path", f"{MODELS_PATH}/.+")), _has(header(":method", READS))
            ),
            _mapper(NO_CLASS_FOR_MODEL, _metadata_is(MODEL_KEY, _some_text())),
            *(_mapper(reply) for reply in _replies(max_body_bytes)),
        ],
        body_format=_error_format(_Reply(0, "server_error", "gateway_error")),
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


def _mapper(reply: _Reply, *more: EnvoyMessage) -> EnvoyMessage:
    """For replies of this status that meet the other conditions too."""
    conditions = [_status_is(reply.status), *more]
    both = accesslog_pb2.AccessLogFilter(and_filter=accesslog_pb2.AndFilter(filters=conditions))
    return http_connection_manager_pb2.ResponseMapper(
        filter=both if more else conditions[0], body_format_override=_error_format(reply)
    )


def _as_it_is() -> EnvoyMessage:
    """For answers that are no refusal: the list of models."""
    text = base_pb2.DataSource(inline_string="%LOCAL_REPLY_BODY%")
    return http_connection_manager_pb2.ResponseMapper(
        filter=_status_is(200),
        body_format_override=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=text, content_type="application/json"
        ),
    )


def _has(header_matcher: EnvoyMessage) -> EnvoyMessage:
    """Of requests with such a header."""
    return accesslog_pb2.AccessLogFilter(header_filter=accesslog_pb2.HeaderFilter(header=header_matcher))


def _metadata_is(key: str, value: EnvoyMessage) -> EnvoyMessage:
    """Of requests of which this was read. Without the flag those without a value would count too."""
    return accesslog_pb2.AccessLogFilter(
        metadata_filter=accesslog_pb2.MetadataFilter(
            matcher=metadata_matcher(key, value), match_if_key_not_found=BoolValue(value=False)
        )
    )


def _some_text() -> EnvoyMessage:
    any_character = regex_pb2.RegexMatcher(regex="(?s).+")
    return value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(safe_regex=any_character))


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
                "param": reply.param,
                "code": reply.code,
            }
        }
    )
    return substitution_format_string_pb2.SubstitutionFormatString(json_format=error)
