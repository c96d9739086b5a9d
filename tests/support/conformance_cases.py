"""Which class each request belongs to, by Gateway API's rules: for the route table and for a real Envoy.

Owns the cases. Their rules are those that the conformance tests of Gateway API (HTTPRoute: exact paths, order
of paths, headers, matching across routes) and of its inference extension (several pools of one gateway) have,
as far as a WorkloadClass has the field: it matches no methods, queries, host names or patterns.
Input: nothing. Output: `CASES`, and the classes of a case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from matching_class import matching_class

from argosy.api import WorkloadClass
from argosy.route.table import RequestMatch

NO_CLASS = ""
OLDER, YOUNGER = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@dataclass(frozen=True)
class Asked:
    """One request, and the class that it belongs to."""

    path: str
    expected: str
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = "m"


@dataclass(frozen=True)
class Case:
    """Classes by `namespace/name`: their match, and the time of creation where it decides."""

    matches: Mapping[str, Mapping[str, Any]]
    asked: tuple[Asked, ...]
    created: Mapping[str, str] = field(default_factory=dict)

    def classes(self) -> tuple[WorkloadClass, ...]:
        """The last one first: the order of reading must decide nothing."""
        return tuple(
            matching_class(key, match, self.created.get(key, OLDER))
            for key, match in reversed(self.matches.items())
        )


def exact(value: str) -> dict[str, Any]:
    return {"path": {"type": "Exact", "value": value}}


def prefix(value: str) -> dict[str, Any]:
    return {"path": {"type": "Prefix", "value": value}}


def with_headers(**values: str) -> dict[str, Any]:
    return {"headers": [{"name": name, "value": value} for name, value in values.items()]}


CASES = [
    pytest.param(
        Case(
            {"n/one": exact("/one"), "n/two": exact("/two")},
            (
                Asked("/one", "n/one"),
                Asked("/two?x=1", "n/two"),
                Asked("/", NO_CLASS),
                Asked("/one/more", NO_CLASS),
                Asked("/two/", NO_CLASS),
                Asked("/Two", NO_CLASS),
            ),
        ),
        id="an exact path is the whole path, in its case",
    ),
    pytest.param(
        Case(
            {
                "n/all": prefix("/match"),
                "n/deep": prefix("/match/prefix/"),
                "n/deeper": prefix("/match/prefix/one"),
                "n/exact": exact("/match"),
                "n/exact-deep": exact("/match/prefix/one"),
            },
            (
                Asked("/match", "n/exact"),
                Asked("/match/", "n/all"),
                Asked("/match/any", "n/all"),
                Asked("/matching", NO_CLASS),
                Asked("/match/prefix", "n/deep"),
                Asked("/match/prefixes", "n/all"),
                Asked("/match/prefix/any", "n/deep"),
                Asked("/match/prefix/one", "n/exact-deep"),
                Asked("/match/prefix/one/any", "n/deeper"),
            ),
        ),
        id="an exact path before a prefix, the longest prefix first, prefixes by elements",
    ),
    pytest.param(
        Case(
            {
                "n/one": with_headers(version="one"),
                "n/two": with_headers(version="two"),
                "n/two-orange": with_headers(version="two", color="orange"),
                "n/blue": with_headers(color="blue"),
            },
            (
                Asked("/", "n/one", {"version": "one"}),
                Asked("/", "n/two", {"Version": "two"}),
                Asked("/", "n/two-orange", {"color": "orange", "version": "two"}),
                Asked("/", NO_CLASS, {"color": "orange"}),
                Asked("/", "n/blue", {"color": "blue", "other": "one"}),
                Asked("/", NO_CLASS, {"version": "One"}),
                Asked("/", NO_CLASS, {"other": "one"}),
                Asked("/", NO_CLASS),
            ),
        ),
        id="all headers of a class, the most headers first, names in any case",
    ),
    pytest.param(
        Case(
            {
                "n/all": prefix("/"),
                "n/v2": prefix("/v2"),
                "n/header": with_headers(version="two"),
                "n/v2-header": prefix("/v2") | with_headers(version="two"),
                "n/exact": exact("/v2/exact"),
            },
            (
                Asked("/", "n/all"),
                Asked("/example", "n/all", {"version": "one"}),
                Asked("/example", "n/header", {"version": "two"}),
                Asked("/v2", "n/v2"),
                Asked("/v2/example", "n/v2", {"version": "one"}),
                Asked("/v2/example", "n/v2-header", {"version": "two"}),
                Asked("/v2/exact", "n/exact", {"version": "two"}),
                Asked("/v2example", "n/all"),
            ),
        ),
        id="no path is the prefix of all paths: then headers decide; a longer path before any headers",
    ),
    pytest.param(
        Case(
            {
                "b/young": with_headers(first="1"),
                "z/old": with_headers(second="1"),
                "c/same-age": with_headers(third="1"),
                "c/same-age-too": with_headers(fourth="1"),
            },
            (
                Asked("/", "z/old", {"first": "1", "second": "1", "third": "1"}),
                Asked("/", "b/young", {"first": "1", "third": "1", "fourth": "1"}),
                Asked("/", "c/same-age", {"third": "1", "fourth": "1"}),
            ),
            {"b/young": YOUNGER, "z/old": OLDER, "c/same-age": YOUNGER, "c/same-age-too": YOUNGER},
        ),
        id="of equals the oldest, then the first by namespace and name",
    ),
    pytest.param(
        Case(
            {"n/old": prefix("/same"), "n/young": prefix("/same/")},
            (Asked("/same", "n/old"), Asked("/same/x", "n/old")),
            {"n/young": YOUNGER},
        ),
        id="the same twice: all of it is the older one's",
    ),
    pytest.param(
        Case(
            {
                "n/primary": prefix("/primary") | {"models": ["m"]},
                "n/secondary": prefix("/secondary") | {"models": ["m"]},
                "n/any": {"models": ["m"]},
                "n/tenant": with_headers(tenant="a"),
            },
            (
                Asked("/primary/v1/completions", "n/primary"),
                Asked("/secondary/v1/completions", "n/secondary"),
                Asked("/v1/completions", "n/any"),
                Asked("/v1/completions", "n/tenant", {"tenant": "a"}),
                Asked("/primary/x", "n/primary", {"tenant": "a"}),
                Asked("/primary/x", "n/tenant", {"tenant": "a"}, model="other"),
                Asked("/primary/x", NO_CLASS, model="other"),
            ),
        ),
        id="several pools behind one gateway; a model decides after path and headers",
    ),
]
"""For pytest: one parameter per case."""


def first_taker(matches: Mapping[str, RequestMatch], asked: Asked) -> str:
    """The first of these that takes the request, by the letter of Gateway API; a reader written twice."""
    sent = {name.lower(): value for name, value in asked.headers.items()}
    path = asked.path.partition("?")[0]
    for key, match in matches.items():
        if match.path is None or match.path.value == "/":
            fits = True
        elif match.path.exact:
            fits = path == match.path.value
        else:
            elements = match.path.value.split("/")
            fits = path.split("/")[: len(elements)] == elements
        named = not match.models or asked.model in match.models
        if fits and named and all(sent.get(name) == value for name, value in match.headers):
            return key
    return NO_CLASS
