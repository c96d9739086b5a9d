"""How the requests of classes are recognised, read back from Envoy's route configuration.

Owns the way back from `routes`, which makes the configuration. Input: a `RouteConfiguration` that Argosy
made. Output: `FormerRoutes`: a process that has just started knows by them what Envoys do for a class that
it does not see. A prefix `/` is read as no path: both take the same requests.
"""

from __future__ import annotations

from argosy.keys import ClassKey
from argosy.route.table import Claim, FormerRoutes, RequestMatch, RoutePath
from argosy.xds.packing import ADAPTER_KEY, CLASS_KEY, METADATA_NAMESPACE, MODEL_KEY, EnvoyMessage


def former_routes(configuration: EnvoyMessage) -> FormerRoutes:
    """The claims of all classes, first match first, each once; and the limit of a request's body."""
    claims: dict[ClassKey, Claim] = {}
    limit_bytes = 0
    for host in configuration.virtual_hosts:
        limit_bytes = max(limit_bytes, host.request_body_buffer_limit.value)
        for route in host.routes:
            fields = route.metadata.filter_metadata[METADATA_NAMESPACE].fields
            if CLASS_KEY in fields and ADAPTER_KEY not in fields:
                key = ClassKey(fields[CLASS_KEY].string_value)
                claims.setdefault(key, Claim(key, _match_of(route.match)))
    return FormerRoutes(tuple(claims.values()), limit_bytes)


def _match_of(found: EnvoyMessage) -> RequestMatch:
    path = None
    if found.WhichOneof("path_specifier") == "path":
        path = RoutePath(found.path, exact=True)
    elif found.WhichOneof("path_specifier") == "path_separated_prefix":
        path = RoutePath(found.path_separated_prefix, exact=False)
    headers = tuple((header.name, header.string_match.exact) for header in found.headers)
    models = [
        name
        for matcher in found.dynamic_metadata
        if [segment.key for segment in matcher.path] == [MODEL_KEY]
        for name in _names(matcher.value)
    ]
    return RequestMatch(path, headers, tuple(models))


def _names(value: EnvoyMessage) -> list[str]:
    """The values that a matcher takes: one, or any of several."""
    if value.WhichOneof("match_pattern") == "or_match":
        return [each.string_match.exact for each in value.or_match.value_matchers]
    return [value.string_match.exact]
