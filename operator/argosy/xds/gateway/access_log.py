"""Envoy's access logs: counters of refused requests and of adapters' requests, and a line for each request.

Owns which fields a line has (no part of a prompt or an answer is among them), and what counts as refused.
Input: the format of lines. Output: the `AccessLog`s of the listener; the one of lines only where it is on.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.access_loggers.stats.v3 import stats_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt64Value

from argosy.route.counters import (
    ADAPTER_COUNTER,
    ADAPTER_NAME,
    REFUSED_CELL,
    REFUSED_COUNTER,
    REFUSED_PREFIX,
)
from argosy.route.table import AccessLogFormat
from argosy.xds.packing import (
    ADAPTER_KEY,
    CLASS_KEY,
    METADATA_NAMESPACE,
    MODEL_KEY,
    REPLICA_ADDRESS,
    EnvoyMessage,
    any_of,
)

FIELDS = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "class": f"%METADATA(ROUTE:{METADATA_NAMESPACE}:{CLASS_KEY})%",
    "model": f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:{MODEL_KEY})%",
    "status": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": REPLICA_ADDRESS,
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}
"""By name, in Envoy's format language; a value that a request does not have is null, or `-` in text."""


def access_logs(log_format: AccessLogFormat | None) -> list[EnvoyMessage]:
    """The logs of the listener."""
    return [_refused_requests(), _adapter_requests(), *_lines(log_format)]


def overload_filter() -> EnvoyMessage:
    """Requests that an open circuit breaker refused."""
    flagged = accesslog_pb2.ResponseFlagFilter(flags=["UO"])
    return accesslog_pb2.AccessLogFilter(response_flag_filter=flagged)


def _refused_requests() -> EnvoyMessage:
    """Counts refused requests by route: Envoy's own counters have them per cluster, which classes share,
    and per route only among all 5xx, without the answer that the client gets instead."""
    return _counter(REFUSED_COUNTER, {REFUSED_CELL: "%ROUTE_NAME%"}, overload_filter())


def _adapter_requests() -> EnvoyMessage:
    """Counts requests by cell and LoRA adapter: all routes of a cell have one set of Envoy's own counters.

    It is there without adapters too: a listener that changes closes its clients' connections.
    """
    name = f"%METADATA(ROUTE:{METADATA_NAMESPACE}:{ADAPTER_KEY})%"
    return _counter(ADAPTER_COUNTER, {REFUSED_CELL: "%ROUTE_NAME%", ADAPTER_NAME: name}, None)


def _counter(name: str, labels: Mapping[str, str], only: EnvoyMessage | None) -> EnvoyMessage:
    """A counter of requests by these labels, each with its format."""
    stats = stats_pb2.Config
    tags = [stats.Tag(name=label, value_format=text) for label, text in labels.items()]
    counter = stats.Counter(stat=stats.Stat(name=name, tags=tags), value_fixed=UInt64Value(value=1))
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.stats",
        filter=only,
        typed_config=any_of(stats(stat_prefix=REFUSED_PREFIX, counters=[counter])),
    )


def _lines(log_format: AccessLogFormat | None) -> list[EnvoyMessage]:
    if log_format is None:
        return []
    format_string = substitution_format_string_pb2.SubstitutionFormatString
    if log_format is AccessLogFormat.JSON:
        fields = Struct()
        fields.update(FIELDS)
        line = format_string(json_format=fields)
    else:
        text = " ".join(f"{name}={value}" for name, value in FIELDS.items())
        line = format_string(text_format_source=base_pb2.DataSource(inline_string=f"{text}\n"))
    return [
        accesslog_pb2.AccessLog(
            name="envoy.access_loggers.stdout",
            typed_config=any_of(stream_pb2.StdoutAccessLog(log_format=line)),
        )
    ]
