"""What Envoy reads of a request's body, and how routes tell what it found.

Owns the filters that decode and read bodies, and the matches of requests whose model is not known. Input:
`Unnamed`, which of those requests a route takes. Output: filters of the listener, conditions of routes.

A body that cannot be read is never guessed at: the JSON filter leaves a mark, and routes decide on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.compression.brotli.decompressor.v3 import brotli_pb2
from envoy.extensions.compression.gzip.decompressor.v3 import gzip_pb2
from envoy.extensions.compression.zstd.decompressor.v3 import zstd_pb2
from envoy.extensions.filters.http.decompressor.v3 import decompressor_pb2
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2
from envoy.extensions.filters.http.json_to_metadata.v3 import json_to_metadata_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import metadata_pb2, regex_pb2, string_pb2, value_pb2
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from argosy.route.table import Unnamed
from argosy.xds.packing import METADATA_NAMESPACE, MODEL_KEY, EnvoyMessage, any_of

JSON_FILTER = "envoy.filters.http.json_to_metadata"

BODY_KEY = "body"
"""Dynamic metadata: why no model was read."""
NO_MODEL = "no-model"
"""JSON without a model, or no body."""
EMPTY = "empty"
"""JSON in which the model has a value: only where none is read, which is the empty one."""
NO_JSON = "no-json"
"""A body that is no JSON, by its content or its content type."""

ENCODING_KEY = "encoding"
"""Dynamic metadata: the content encoding as the client sent it. A filter that decodes removes the header."""

JSON_TYPE = r"(?i)application/([a-z0-9.-]+\+)?json(\s*;.*)?"
"""Clients add parameters (`; charset=utf-8`) and write it in any case. None at all is read as JSON."""

ENCODINGS = ("gzip", "br", "zstd")
"""What a body may be compressed with. Engines decode none of them."""

_MOST_GROWTH = 1032
"""Deflate cannot pack anything smaller."""

_MODEL_PATHS = r"/v[12]/((chat|audio|images)/)?[a-z]+|/(de)?tokenize|/score|/rerank|/pooling|/classify"
"""Where a request is for a model though it names none. Other paths of an engine load adapters, put it to
sleep or show its metrics: none of them (their names have an underscore, or are not below /v1) is reached
because a model was left out. Envoy takes no regular expression whose program is longer than 100."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a route asks for besides path and headers of its class: matchers of headers and of metadata."""

    headers: tuple[EnvoyMessage, ...]
    metadata: tuple[EnvoyMessage, ...] = ()


def body_filters() -> list[EnvoyMessage]:
    """The filters of the listener, in order: note the encoding, decode, then read."""
    # By default Envoy cuts off, without a word, what grows by more than a hundred.
    gzip = gzip_pb2.Gzip(max_inflate_ratio=UInt32Value(value=_MOST_GROWTH))
    libraries = (gzip, brotli_pb2.Brotli(), zstd_pb2.Zstd())
    return [
        http_connection_manager_pb2.HttpFilter(
            name="envoy.filters.http.header_to_metadata", typed_config=any_of(_encoding_note())
        ),
        *(_decompressor(name, library) for name, library in zip(ENCODINGS, libraries, strict=True)),
        http_connection_manager_pb2.HttpFilter(name=JSON_FILTER, typed_config=any_of(_reader())),
    ]


def unnamed_conditions(unnamed: Unnamed) -> list[Conditions]:
    """For each kind of request without a model that is taken, what it is recognised by."""
    if unnamed is Unnamed.REFUSED:
        return []
    asks = (header(":method", "POST"), header(":path", rf"({_MODEL_PATHS})(\?.*)?"))
    unreadable = Conditions((*asks, header("content-type", JSON_TYPE, invert=True)))
    if unnamed is Unnamed.UNREADABLE:
        return [unreadable]
    # As for engines, an empty name counts as none.
    marks = value_pb2.OrMatcher(value_matchers=[exactly(NO_MODEL), exactly(EMPTY)])
    plain = metadata_matcher(ENCODING_KEY, was_decoded())
    plain.invert = True
    missing = (metadata_matcher(BODY_KEY, value_pb2.ValueMatcher(or_match=marks)), no_model_was_read(), plain)
    return [Conditions(asks, missing), unreadable]


def no_model_was_read() -> EnvoyMessage:
    """Matches requests without a model that can be routed by."""
    matcher = metadata_matcher(MODEL_KEY, value_pb2.ValueMatcher(present_match=True))
    matcher.invert = True
    return matcher


def is_encoded() -> EnvoyMessage:
    """Matches a body that is encoded; of what a filter has decoded, the header is gone."""
    return header("content-encoding", r"(?i)\s*(identity)?\s*", invert=True)


def was_decoded() -> EnvoyMessage:
    """The value of `ENCODING_KEY` where a filter has decoded the body.

    Of bytes that are not in that encoding at all, Envoy decodes nothing and marks what it reads as JSON
    without a model: the two cannot be told apart, so a model is left out only of bodies as they are.
    """
    regex = rf"(?i)\s*({'|'.join(ENCODINGS)})\s*"
    return value_pb2.ValueMatcher(
        string_match=string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=regex))
    )


def is_read_as_json() -> EnvoyMessage:
    """Matches a content type that is JSON, and none at all."""
    matcher = header("content-type", f"({JSON_TYPE})?")
    matcher.treat_missing_header_as_empty = True
    return matcher


def header(name: str, regex: str, *, invert: bool = False) -> EnvoyMessage:
    """A matcher of a header that is present, and whose whole value is like this; invert: is not."""
    like = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=regex))
    return route_components_pb2.HeaderMatcher(name=name, string_match=like, invert_match=invert)


def metadata_matcher(key: str, value: EnvoyMessage) -> EnvoyMessage:
    """A matcher of what the JSON filter has read of a body."""
    segment = metadata_pb2.MetadataMatcher.PathSegment(key=key)
    return metadata_pb2.MetadataMatcher(filter=METADATA_NAMESPACE, path=[segment], value=value)


def exactly(text: str) -> EnvoyMessage:
    """Matches this value."""
    return value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=text))


def _decompressor(encoding: str, library: EnvoyMessage) -> EnvoyMessage:
    decompressor = decompressor_pb2.Decompressor
    direction = decompressor.CommonDirectionConfig
    flag = base_pb2.RuntimeFeatureFlag(
        default_value=BoolValue(value=False), runtime_key="argosy.decode.answers"
    )
    return http_connection_manager_pb2.HttpFilter(
        name=f"argosy.decode.{encoding}",
        typed_config=any_of(
            decompressor(
                decompressor_library=extension_pb2.TypedExtensionConfig(
                    name=encoding, typed_config=any_of(library)
                ),
                # An engine that is asked for compressed answers would hold back streams.
                request_direction_config=decompressor.RequestDirectionConfig(
                    advertise_accept_encoding=BoolValue(value=False),
                    common_config=direction(ignore_no_transform_header=True),
                ),
                response_direction_config=decompressor.ResponseDirectionConfig(
                    common_config=direction(enabled=flag)
                ),
            )
        ),
    )


def _encoding_note() -> EnvoyMessage:
    config = header_to_metadata_pb2.Config
    note = config.KeyValuePair(metadata_namespace=METADATA_NAMESPACE, key=ENCODING_KEY)
    return config(request_rules=[config.Rule(header="content-encoding", on_header_present=note)])


def _reader() -> EnvoyMessage:
    """Reads the model from a JSON body, or marks why there is none."""
    reader = json_to_metadata_pb2.JsonToMetadata
    selectors = [reader.Selector(key=MODEL_KEY)]
    model = reader.KeyValuePair(
        metadata_namespace=METADATA_NAMESPACE, key=MODEL_KEY, type=reader.ValueType.STRING
    )
    return reader(
        request_rules=reader.MatchRules(
            rules=[
                # An empty model writes nothing, and a filter that writes nothing leaves the route that was
                # chosen before the body was read: so there is a mark of it too.
                reader.Rule(selectors=selectors, on_present=_mark(EMPTY)),
                reader.Rule(
                    selectors=selectors, on_present=model, on_missing=_mark(NO_MODEL), on_error=_mark(NO_JSON)
                ),
            ],
            allow_empty_content_type=True,
            allow_content_types_regex={"regex": JSON_TYPE},
        )
    )


def _mark(why: str) -> EnvoyMessage:
    return json_to_metadata_pb2.JsonToMetadata.KeyValuePair(
        metadata_namespace=METADATA_NAMESPACE, key=BODY_KEY, value=Value(string_value=why)
    )
