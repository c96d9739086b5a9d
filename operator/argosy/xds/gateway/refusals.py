"""The last routes: for requests that no class takes.

Owns their order and what each refuses with. Input: the table's `Hints`. Output: routes that answer 404, 400
and 415; `replies` writes method, path and model of the request around the sentence in the route's metadata.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import value_pb2
from google.protobuf.struct_pb2 import Struct

from argosy.route.table import Hints
from argosy.xds.gateway.bodies import (
    BODY_KEY,
    ENCODING_KEY,
    JSON_FILTER,
    JSON_TYPE,
    NO_JSON,
    NO_MODEL,
    exactly,
    header,
    is_encoded,
    metadata_matcher,
    was_decoded,
)
from argosy.xds.packing import METADATA_NAMESPACE, MODEL_KEY, REFUSAL_KEY, EnvoyMessage, any_of


def encoding_route() -> EnvoyMessage:
    """The first route for encoded bodies: 415 where the encoding is not decoded.

    Envoy chooses a request's filters before the body is there, by the route that matches so far. With this
    one the JSON filter reads the body whatever the class: so that also one that grows by a thousand when it
    is decoded is held to the limit of bodies.
    """
    return _route("encoded", "", headers=[is_encoded()], status=415)


def _pathless_routes() -> list[EnvoyMessage]:
    """CONNECT and `OPTIONS *`, which no prefix takes. The body of CONNECT never ends: it is not read."""
    connect = route_components_pb2.RouteMatch.ConnectMatcher()
    matches = [
        route_components_pb2.RouteMatch(connect_matcher=connect),
        route_components_pb2.RouteMatch(path="*"),
    ]
    return [
        route_components_pb2.Route(
            name="no-path",
            match=match,
            direct_response=route_components_pb2.DirectResponseAction(status=404),
            typed_per_filter_config={JSON_FILTER: any_of(route_components_pb2.FilterConfig(disabled=True))},
        )
        for match in matches
    ]


def refusal_routes(hints: Hints) -> list[EnvoyMessage]:
    """One route for each model with a sentence of its own, one for other models, and those without a model:
    a body that is no JSON, by its content type or by its content, one of which nothing may have been decoded,
    and the rest."""
    named = [
        _route(f"no-class:{hint.model}", hint.sentence, [metadata_matcher(MODEL_KEY, exactly(hint.model))])
        for hint in hints.by_model
    ]
    any_model = metadata_matcher(MODEL_KEY, value_pb2.ValueMatcher(present_match=True))
    sends_a_body = header(":method", "POST|PUT|PATCH")
    nothing_decoded = [
        metadata_matcher(BODY_KEY, exactly(NO_MODEL)),
        metadata_matcher(ENCODING_KEY, was_decoded()),
    ]
    no_json_type = header("content-type", JSON_TYPE, invert=True)
    return [
        *_pathless_routes(),
        *named,
        _route("no-class:other-model", hints.other_model, [any_model]),
        _route("no-json-type", hints.other_model, headers=[sends_a_body, no_json_type], status=415),
        # A content type without a body, as of a GET.
        _route("no-class:no-body", hints.no_model, headers=[no_json_type]),
        _route("no-json", "", [metadata_matcher(BODY_KEY, exactly(NO_JSON))], status=400),
        _route("nothing-decoded", "", nothing_decoded, [sends_a_body], status=400),
        _route("no-class", hints.no_model),
    ]


def refusal_metadata(sentence: str, **more: str) -> EnvoyMessage:
    """Metadata of a route: the sentence that Envoy refuses with, and what the access log shows."""
    fields = Struct()
    fields.update({REFUSAL_KEY: sentence, **more})
    return base_pb2.Metadata(filter_metadata={METADATA_NAMESPACE: fields})


def _route(
    name: str,
    sentence: str,
    metadata: Sequence[EnvoyMessage] = (),
    headers: Sequence[EnvoyMessage] = (),
    status: int = 404,
) -> EnvoyMessage:
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(prefix="/", headers=headers, dynamic_metadata=metadata),
        metadata=refusal_metadata(sentence),
        direct_response=route_components_pb2.DirectResponseAction(status=status),
    )
