"""The last routes: for requests that no class takes.

Owns their order and what each refuses with. Input: the table's `Hints`. Output: routes that answer 404;
the listener writes method, path and model of the request before the sentence in the route's metadata.
"""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from google.protobuf.struct_pb2 import Struct

from argosy.route.table import Hints
from argosy.xds.packing import METADATA_NAMESPACE, MODEL_KEY, REFUSAL_KEY, EnvoyMessage


def refusal_routes(hints: Hints) -> list[EnvoyMessage]:
    """One route for each model with a sentence of its own, one for other models, one without a model."""
    named = [
        _route(f"no-class:{hint.model}", hint.sentence, [_model_is(hint.model)]) for hint in hints.by_model
    ]
    any_model = metadata_matcher(MODEL_KEY, value_pb2.ValueMatcher(present_match=True))
    return [
        *named,
        _route("no-class:other-model", hints.other_model, [any_model]),
        _route("no-class", hints.no_model, []),
    ]


def metadata_matcher(key: str, value: EnvoyMessage) -> EnvoyMessage:
    """A matcher of what the JSON filter has read of a body."""
    segment = metadata_pb2.MetadataMatcher.PathSegment(key=key)
    return metadata_pb2.MetadataMatcher(filter=METADATA_NAMESPACE, path=[segment], value=value)


def refusal_metadata(sentence: str, **more: str) -> EnvoyMessage:
    """Metadata of a route: the sentence that Envoy refuses with, and what the access log shows."""
    fields = Struct()
    fields.update({REFUSAL_KEY: sentence, **more})
    return base_pb2.Metadata(filter_metadata={METADATA_NAMESPACE: fields})


def _model_is(name: str) -> EnvoyMessage:
    exact = value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=name))
    return metadata_matcher(MODEL_KEY, exact)


def _route(name: str, sentence: str, metadata: list[EnvoyMessage]) -> EnvoyMessage:
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(prefix="/", dynamic_metadata=metadata),
        metadata=refusal_metadata(sentence),
        direct_response=route_components_pb2.DirectResponseAction(status=404),
    )
