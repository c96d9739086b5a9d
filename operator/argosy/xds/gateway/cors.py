"""Web pages of other origins (CORS): their preflights, and the headers by which browsers let them read.

Owns both. Input: the gateway's `Cors`. Output: routes of preflights, and headers of all responses.

Not Envoy's CORS filter: it passes over routes that answer by themselves (measured on Envoy 1.40), and here
those are refusals and the list of models. A page must be able to read why it was refused.
"""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2

from argosy.route.table import Cors
from argosy.xds.gateway.bodies import header
from argosy.xds.gateway.refusals import refusal_metadata
from argosy.xds.packing import EnvoyMessage

ENGINES_HEADERS = (
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
)
"""vLLM lets every origin read; where origins are chosen here, that would undo the choice."""

_ANY = "*"
_NOT_LISTED = "the origin is not in spec.gateway.cors.allowOrigins of the Fleet"
_NONE_LISTED = "no origin is allowed: list origins in spec.gateway.cors.allowOrigins of the Fleet"


def preflight_routes(cors: Cors | None) -> list[EnvoyMessage]:
    """An answer for each origin, and a refusal for all others."""
    if cors is None:
        return [_preflight("preflight-refused", [], 403, _NONE_LISTED)]
    allowed = [_preflight("preflight", _origin_is(origin), 200) for origin in cors.origins]
    for route in allowed:
        route.response_headers_to_add.extend(
            [
                _set("access-control-allow-methods", ", ".join(cors.methods)),
                _set("access-control-allow-headers", ", ".join(cors.headers)),
                _set("access-control-max-age", str(cors.max_age_s)),
            ]
        )
    return [*allowed, _preflight("preflight-refused", [], 403, _NOT_LISTED)]


def response_headers(cors: Cors) -> list[EnvoyMessage]:
    """What each response says; to a page whose origin is not allowed, nothing."""
    if _ANY in cors.origins:
        return [_set(ENGINES_HEADERS[0], _ANY), _set(ENGINES_HEADERS[2], ", ".join(cors.exposed))]
    allowed = " || ".join(_asks_for(origin) for origin in cors.origins)
    values = [
        "request.headers['origin']",
        "'true'" if cors.credentials else "''",
        f"'{', '.join(cors.exposed)}'",
    ]
    return [
        *(
            _set(name, f"%CEL({allowed} ? {value} : '')%")
            for name, value in zip(ENGINES_HEADERS, values, strict=True)
        ),
        # A cache must not give one page what another was answered.
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key="vary", value="Origin"),
            append_action=base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
        ),
    ]


def _preflight(name: str, origin: list[EnvoyMessage], status: int, sentence: str = "") -> EnvoyMessage:
    asks = [
        header(":method", "OPTIONS"),
        *(
            route_components_pb2.HeaderMatcher(name=each, present_match=True)
            for each in ("origin", "access-control-request-method")
        ),
    ]
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(prefix="/", headers=[*asks, *origin]),
        metadata=refusal_metadata(sentence),
        direct_response=route_components_pb2.DirectResponseAction(status=status),
    )


def _origin_is(origin: str) -> list[EnvoyMessage]:
    """Without regular expressions: Envoy takes no long ones, and domains may be long."""
    if origin == _ANY:
        return []
    before, star, after = origin.partition(_ANY)
    parts = [{"prefix": before}, {"suffix": after}] if star else [{"exact": origin}]
    return [
        route_components_pb2.HeaderMatcher(name="origin", string_match=string_pb2.StringMatcher(**part))
        for part in parts
    ]


def _asks_for(origin: str) -> str:
    """The condition in CEL; validation leaves no quotes, backslashes or percent signs in an origin."""
    sent = "request.headers['origin']"
    before, star, after = origin.partition(_ANY)
    return (
        f"({sent}.startsWith('{before}') && {sent}.endsWith('{after}'))" if star else f"{sent} == '{origin}'"
    )


def _set(name: str, value: str) -> EnvoyMessage:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
