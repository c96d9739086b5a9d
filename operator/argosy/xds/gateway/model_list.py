"""`GET /v1/models` and `/v1/models/NAME`: Envoy answers by itself, as vLLM does.

Owns the paths and the JSON. Input: the table's `Listings`. Output: routes with the whole answer in them, so
that it does not depend on a running operator, and no engine is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2

from argosy.route.table import Header, Listings, ModelCard
from argosy.xds.gateway.bodies import header
from argosy.xds.gateway.replies import MODELS_PATH, READS
from argosy.xds.packing import EnvoyMessage

_UNESCAPED = ("/:@!$&'()*+,;=~", ":@!$&'()*+,;=~", "")
"""What clients leave as it is in a name that they put into a path: all that a path may have; the same without
the slash, as OpenAI's do; or nothing."""


def model_routes(listings: Listings) -> list[EnvoyMessage]:
    """The lists, each model, and a 404 for all other names."""
    lists = [
        _route("models", {"path": path}, offer.headers, _list_of(offer.cards))
        for offer in listings.by_caller
        for path in (MODELS_PATH, f"{MODELS_PATH}/")
    ]
    each = [
        _route(f"model:{card.name}", {"path": f"{MODELS_PATH}/{name}"}, offer.headers, _entry_of(card))
        for offer in listings.by_name
        for card in offer.cards
        for name in _spellings(card.name)
    ]
    return [*lists, *each, _route("no-model", {"prefix": f"{MODELS_PATH}/"}, (), None)]


def longest_answer_bytes(routes: Sequence[EnvoyMessage]) -> int:
    """What Envoy must be allowed to answer by itself."""
    return max(len(route.direct_response.body.inline_string.encode()) for route in routes)


def _spellings(name: str) -> list[str]:
    """A name as it may stand in a path; percent signs are followed by either case."""
    escaped = [quote(name, safe=safe) for safe in _UNESCAPED]
    lower = [re.sub("%..", lambda found: found[0].lower(), each) for each in escaped]
    return list(dict.fromkeys([*escaped, *lower]))


def _list_of(cards: Sequence[ModelCard]) -> dict[str, Any]:
    return {"object": "list", "data": [_entry_of(card) for card in cards]}


def _entry_of(card: ModelCard) -> dict[str, Any]:
    """vLLM's fields in its order. It makes up an id and a time at each answer; here the same card is the
    same bytes in every process."""
    digest = hashlib.sha256(card.name.encode()).hexdigest()
    permission = {
        "id": f"modelperm-{digest[:32]}",
        "object": "model_permission",
        "created": card.created_s,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": card.name,
        "object": "model",
        "created": card.created_s,
        "owned_by": "vllm",
        "root": card.root,
        "parent": card.parent,
        "max_model_len": card.max_model_len,
        "permission": [permission],
    }


def _route(
    name: str, path: dict[str, str], headers: Sequence[Header], body: dict[str, Any] | None
) -> EnvoyMessage:
    """body: None answers 404"""
    exact = [
        route_components_pb2.HeaderMatcher(name=key, string_match=string_pb2.StringMatcher(exact=value))
        for key, value in headers
    ]
    text = "" if body is None else json.dumps(body)
    return route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(**path, headers=[header(":method", READS), *exact]),
        direct_response=route_components_pb2.DirectResponseAction(
            status=404 if body is None else 200, body=base_pb2.DataSource(inline_string=text)
        ),
    )
