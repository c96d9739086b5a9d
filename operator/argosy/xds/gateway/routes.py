"""Envoy's route configuration: which request goes to which cluster, tried how often.

Owns matches, weights as integers, retries, and the reply where a class has no replica. Input: a
`RouteTable`, whose order and shares are kept, first match first. Output: one `RouteConfiguration`
with one virtual host.

Messages to clients are plain sentences here; the listener gives Envoy's own replies the shape of
OpenAI's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import string_pb2, value_pb2
from envoy.type.v3 import percent_pb2, range_pb2
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from argosy.route.counters import VIRTUAL_HOST
from argosy.route.precedence import may_overlap
from argosy.route.table import (
    AdapterRoute,
    Backend,
    MirrorRoute,
    RequestMatch,
    RouteEntry,
    RouteTable,
)
from argosy.xds.gateway.bodies import (
    JSON_FILTER,
    Conditions,
    is_read_as_json,
    metadata_matcher,
    unnamed_conditions,
)
from argosy.xds.gateway.cors import ENGINES_HEADERS, preflight_routes, response_headers
from argosy.xds.gateway.listener import ROUTE_CONFIGURATION
from argosy.xds.gateway.model_list import longest_answer_bytes, model_routes
from argosy.xds.gateway.refusals import encoding_route, refusal_metadata, refusal_routes
from argosy.xds.gateway.unknown_fields import retry_in_another_cluster
from argosy.xds.packing import (
    ADAPTER_KEY,
    CLASS_KEY,
    METADATA_NAMESPACE,
    MODEL_KEY,
    REPLICA_ADDRESS,
    SUBSET_NAMESPACE,
    EnvoyMessage,
    any_of,
    duration,
)

NO_REPLICA_CLUSTER = "argosy-no-replica"
"""A cluster without endpoints: where requests go that no replica can take."""

ENDPOINT_HEADER = "x-argosy-endpoint"
"""The address of the replica that answered: shown only where Fleet's spec.gateway.endpointHeader asks."""

WEIGHT_TOTAL = 10_000
"""Weights are integers of this sum: a step of a hundredth of a point, finer than any plan."""

RETRY_ON = "connect-failure,refused-stream,reset,gateway-error"
"""`reset` covers a connection that was lost or closed by the hop, and a try that timed out, before the
response header; after the header nothing is retried. `gateway-error` is 502, 503 and 504."""

HOST_TRIES = 64
"""How often a retry draws again when it drew a replica that was tried before. The draws are two
random choices each: with two replicas, one of them dead, three in four are wrong."""

_MILLION = 1_000_000

_MAX_REPLY_BYTES = 4096
"""Envoy's own limit of an answer that a route holds; lists of models may be longer."""
_LARGEST_LENGTH = 2**63 - 1


def route_configuration_of(table: RouteTable) -> EnvoyMessage:
    """All routes, first match first."""
    body_limit = table.gateway.max_body_bytes
    models = model_routes(table.listings)
    cors = table.gateway.cors
    preflights = preflight_routes(cors)
    routes = [*(preflights if cors else []), *models, _too_large(body_limit), encoding_route()]
    for position, entry in enumerate(table.routes):
        routes.extend(_routes_of(entry, reads_body=_may_read_body(table.routes, position)))
    # Engines answer preflights themselves: without a word of the user they may, where a class takes them.
    routes.extend([*([] if cors else preflights), *refusal_routes(table.hints)])
    return route_pb2.RouteConfiguration(
        name=ROUTE_CONFIGURATION,
        max_direct_response_body_size_bytes=UInt32Value(
            value=max(_MAX_REPLY_BYTES, longest_answer_bytes(models))
        ),
        response_headers_to_add=[
            *(_endpoint_header() if table.gateway.shows_endpoint else []),
            *(response_headers(cors) if cors else []),
        ],
        # Addresses inside the cluster are no matter of clients.
        response_headers_to_remove=[
            *([] if table.gateway.shows_endpoint else [ENDPOINT_HEADER]),
            *(ENGINES_HEADERS if cors else []),
        ],
        virtual_hosts=[
            route_components_pb2.VirtualHost(
                name=VIRTUAL_HOST,
                domains=["*"],
                routes=routes,
                # What the JSON filter and a later retry may keep of a request.
                request_body_buffer_limit=UInt64Value(value=body_limit),
                include_attempt_count_in_response=True,
            )
        ],
    )


def integer_weights(shares: Sequence[float]) -> tuple[int, ...]:
    """Shares (sum 1) as integers that sum to WEIGHT_TOTAL, each within one of its share.

    Largest remainder; among equal remainders the first, so that the answer is unique.
    """
    exact = [share * WEIGHT_TOTAL for share in shares]
    weights = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (weights[i] - exact[i], i))
    for index in by_remainder[: WEIGHT_TOTAL - sum(weights)]:
        weights[index] += 1
    return tuple(weights)


def _routes_of(entry: RouteEntry, *, reads_body: bool) -> list[EnvoyMessage]:
    """The entry's route, and the same for its requests without a model and for those that name an adapter:
    one name, one set of counters."""
    filters = {} if reads_body else {JSON_FILTER: _disabled()}
    adapters = [_adapter_route(entry, adapter, filters) for adapter in entry.adapters]
    return adapters + [
        _route_of(entry, match, filters)
        for match in (
            _match(entry.match),
            *(_unnamed_match(entry.match, each) for each in unnamed_conditions(entry.unnamed)),
        )
    ]


def _adapter_route(
    entry: RouteEntry, adapter: AdapterRoute, filters: dict[str, EnvoyMessage]
) -> EnvoyMessage:
    """The requests that name an adapter: to endpoints that hold it, in the clusters that have such."""
    narrowed = replace(entry, backends=adapter.backends, refusal=adapter.refusal, mirrors=())
    route = _route_of(narrowed, _match(replace(entry.match, models=(adapter.name,))), filters)
    route.metadata.filter_metadata[METADATA_NAMESPACE].update({ADAPTER_KEY: adapter.name})
    if adapter.backends:
        criteria = route.route.metadata_match.filter_metadata[SUBSET_NAMESPACE]
        criteria.update({ADAPTER_KEY: adapter.name})
    return route


def _route_of(entry: RouteEntry, match: EnvoyMessage, filters: dict[str, EnvoyMessage]) -> EnvoyMessage:
    """A class without a replica has a cluster without endpoints, which refuses and counts.

    A direct response would not be counted (measured on Envoy 1.40): refused demand would look like none.
    """
    served = bool(entry.backends)
    unreached = f"No replica that serves {entry.class_key} can be reached."
    return route_components_pb2.Route(
        name=entry.cell,
        match=match,
        stat_prefix=entry.stat_prefix,
        route=_action(entry) if served else route_components_pb2.RouteAction(cluster=NO_REPLICA_CLUSTER),
        metadata=_metadata(entry, unreached if served else entry.refusal),
        typed_per_filter_config=filters,
    )


def _may_read_body(entries: Sequence[RouteEntry], position: int) -> bool:
    """Whether the body of a request that is at this entry by path and headers may be needed.

    Filters are chosen before the body is there, by the route that matches so far. If this entry
    switched the JSON filter off, an earlier one that waits for the model would never be found.
    """
    match = entries[position].match
    if entries[position].adapters:
        return True
    earlier = (other.match for other in entries[:position] if other.match.models or other.adapters)
    return bool(match.models) or any(may_overlap(other, match) for other in earlier)


def _match(match: RequestMatch) -> EnvoyMessage:
    metadata = []
    if match.models:
        names = [
            value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=model))
            for model in match.models
        ]
        any_of_them = value_pb2.ValueMatcher(or_match=value_pb2.OrMatcher(value_matchers=names))
        metadata.append(metadata_matcher(MODEL_KEY, names[0] if len(names) == 1 else any_of_them))
    return route_components_pb2.RouteMatch(**_path(match), headers=_headers(match), dynamic_metadata=metadata)


def _unnamed_match(match: RequestMatch, conditions: Conditions) -> EnvoyMessage:
    """The same path and headers, and what stands for the model."""
    return route_components_pb2.RouteMatch(
        **_path(match),
        headers=[*_headers(match), *conditions.headers],
        dynamic_metadata=conditions.metadata,
    )


def _headers(match: RequestMatch) -> list[EnvoyMessage]:
    return [
        route_components_pb2.HeaderMatcher(name=name, string_match=string_pb2.StringMatcher(exact=value))
        for name, value in match.headers
    ]


def _path(match: RequestMatch) -> dict[str, str]:
    if match.path is None or (match.path.value == "/" and not match.path.exact):
        return {"prefix": "/"}
    return {"path" if match.path.exact else "path_separated_prefix": match.path.value}


def _action(entry: RouteEntry) -> EnvoyMessage:
    return route_components_pb2.RouteAction(
        weighted_clusters=_weighted(entry.backends),
        # By default a route cuts every answer after 15 s.
        timeout=duration(0),
        retry_policy=retry_in_another_cluster(_retry_policy(entry)),
        request_mirror_policies=[_mirror(mirror) for mirror in entry.mirrors],
    )


def _mirror(mirror: MirrorRoute) -> EnvoyMessage:
    """Envoy sends the copy and drops its answer; the cluster's own limits refuse it like any request."""
    share = percent_pb2.FractionalPercent(
        numerator=round(mirror.share * _MILLION), denominator=percent_pb2.FractionalPercent.MILLION
    )
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=mirror.cluster,
        runtime_fraction=base_pb2.RuntimeFractionalPercent(default_value=share),
        # An engine checks nothing by its host name, so the copy has the name that the request has.
        disable_shadow_host_suffix_append=True,
    )


def _retry_policy(entry: RouteEntry) -> EnvoyMessage:
    # No limit on a try unless a user sets one: a live engine may be silent for minutes (it queues, or
    # vLLM holds back a tool call). The hop ends the tries on a dead one.
    idle_s = entry.per_try_idle_timeout_s
    return route_components_pb2.RetryPolicy(
        retry_on=RETRY_ON,
        num_retries=UInt32Value(value=entry.retry_attempts),
        per_try_idle_timeout=duration(idle_s) if idle_s is not None else None,
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=any_of(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=HOST_TRIES,
    )


def _weighted(backends: Sequence[Backend]) -> EnvoyMessage:
    weights = integer_weights([backend.share for backend in backends])
    return route_components_pb2.WeightedCluster(
        clusters=[
            route_components_pb2.WeightedCluster.ClusterWeight(
                name=backend.cluster, weight=UInt32Value(value=weight)
            )
            for backend, weight in zip(backends, weights, strict=True)
            if weight
        ]
    )


def _metadata(entry: RouteEntry, refusal: str) -> EnvoyMessage:
    """What the listener's replies and the access log say of the route."""
    return refusal_metadata(refusal, **{CLASS_KEY: entry.class_key})


def _endpoint_header() -> list[EnvoyMessage]:
    """The address of the replica; an engine that names itself, as simulated ones do, keeps its word."""
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=ENDPOINT_HEADER, value=REPLICA_ADDRESS),
            append_action=base_pb2.HeaderValueOption.ADD_IF_ABSENT,
        )
    ]


def _too_large(limit_bytes: int) -> EnvoyMessage:
    """Refuses a JSON body by its declared length, before a byte of it is read.

    Others (the form of an audio transcription) pass by piece by piece: no filter keeps them.
    """
    longer = range_pb2.Int64Range(start=limit_bytes + 1, end=_LARGEST_LENGTH)
    length = route_components_pb2.HeaderMatcher(name="content-length", range_match=longer)
    return route_components_pb2.Route(
        name="too-large",
        match=route_components_pb2.RouteMatch(prefix="/", headers=[length, is_read_as_json()]),
        direct_response=_reply(413, f"The request body is longer than {limit_bytes} bytes."),
        typed_per_filter_config={JSON_FILTER: _disabled()},
    )


def _reply(status: int, sentence: str) -> EnvoyMessage:
    text = sentence.encode()[:_MAX_REPLY_BYTES].decode(errors="ignore")
    return route_components_pb2.DirectResponseAction(
        status=status, body=base_pb2.DataSource(inline_string=text)
    )


def _disabled() -> EnvoyMessage:
    return any_of(route_components_pb2.FilterConfig(disabled=True))
