from __future__ import annotations

from typing import Any

import pytest
from matching_class import matching_class

from argosy.api import WorkloadClass
from argosy.route.precedence import Conflict, conflicts, in_order, may_overlap
from argosy.route.table import RequestMatch, RoutePath

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def workload(
    name: str, match: dict[str, Any], created: str = EARLY, namespace: str = "default"
) -> WorkloadClass:
    return matching_class(f"{namespace}/{name}", match, created)


def path(value: str, kind: str = "Prefix") -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}}


def headers(*pairs: str) -> dict[str, Any]:
    return {"headers": [dict(zip(("name", "value"), pair.split("="), strict=True)) for pair in pairs]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(
            path("/v1", "Exact"), path("/v1/chat/completions"), id="an exact path beats a longer prefix"
        ),
        pytest.param(
            path("/v1/chat"), path("/v1") | headers("a=1", "b=2"), id="a longer prefix beats headers"
        ),
        pytest.param(headers("a=1"), path("/"), id="no path is the prefix of all: a header beats it"),
        pytest.param({"models": ["m"]}, path("/"), id="and so does a model"),
        pytest.param(
            headers("a=1", "b=2"), headers("c=1") | {"models": ["m"]}, id="two headers beat one and a model"
        ),
        pytest.param(headers("a=1") | {"models": ["m"]}, headers("b=1"), id="a model beats none"),
    ],
)
def test_the_more_special_class_is_asked_first(first: dict[str, Any], second: dict[str, Any]) -> None:
    # The winner is the younger one with the later name: neither age nor name may decide here.
    special, general = workload("z", first, LATE), workload("a", second, EARLY)
    assert in_order([general, special]) == (special, general)


def test_the_older_class_is_asked_first_among_equals() -> None:
    older, younger = workload("z", headers("a=1"), EARLY), workload("a", headers("b=1"), LATE)
    assert in_order([younger, older]) == (older, younger)


def test_among_equals_a_class_that_was_deleted_is_asked_last_and_gets_what_the_others_leave() -> None:
    deleted, living = workload("a", {"models": ["x", "y"]}, EARLY), workload("b", {"models": ["x"]}, LATE)
    both = [deleted, living]
    assert in_order(both) == (deleted, living)
    assert [(each.loser, each.winner) for each in conflicts(both)] == [(living.key, deleted.key)]
    assert in_order(both, {deleted.key}) == (living, deleted)
    assert conflicts(both, {deleted.key}) == ()
    special = workload("c", headers("a=1"), LATE)
    assert in_order([living, special], {special.key}) == (special, living), "what it alone asks for stays its"


def test_namespace_and_name_decide_among_equals_of_one_age() -> None:
    first = workload("b", headers("a=1"), namespace="east")
    second = workload("a", headers("b=1"), namespace="west")
    assert in_order([second, first]) == (first, second)


def test_an_object_that_was_never_created_yields_to_those_that_were() -> None:
    draft, real = workload("a", headers("a=1"), ""), workload("b", headers("b=1"), LATE)
    draft = draft.model_copy(
        update={"metadata": draft.metadata.model_copy(update={"creation_timestamp": None})}
    )
    assert in_order([draft, real]) == (real, draft)


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        pytest.param(headers("a=1"), headers("a=1"), id="the same headers"),
        pytest.param(path("/v1"), path("/v1/"), id="the same prefix, written with a slash"),
        pytest.param({"models": ["m", "n"]}, {"models": ["n"]}, id="some of the other's models"),
        pytest.param(path("/v1", "Exact"), path("/v1", "Exact"), id="the same exact path"),
    ],
)
def test_a_class_that_can_never_get_a_request_is_named(winner: dict[str, Any], loser: dict[str, Any]) -> None:
    classes = [workload("b", loser, LATE), workload("a", winner, EARLY)]
    assert conflicts(classes) == (Conflict("default/b", ("default/a",)),)


def test_two_classes_together_can_take_all_of_a_third_ones_requests() -> None:
    classes = [
        workload("a", {"models": ["m"]}),
        workload("b", {"models": ["n"]}),
        workload("c", {"models": ["m", "n"]}, LATE),
    ]
    assert conflicts(classes) == (Conflict("default/c", ("default/a", "default/b")),)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(path("/v1"), path("/v1/chat"), id="a narrower path leaves the rest"),
        pytest.param(path("/v1"), path("/v10"), id="prefixes end with a path element"),
        pytest.param(headers("a=1"), headers("a=2"), id="another value"),
        pytest.param(headers("a=1") | {"models": ["m"]}, headers("a=1"), id="other models are left"),
        pytest.param({"models": ["m"]}, {"models": ["m", "n"]}, id="one of two models is left"),
    ],
)
def test_classes_that_leave_each_other_requests_do_not_conflict(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert conflicts([workload("a", one), workload("b", other)]) == ()


def test_the_losers_message_names_field_and_winner() -> None:
    message = Conflict("default/b", ("default/a",)).message
    assert "spec.match" in message
    assert "WorkloadClass default/a" in message


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(RequestMatch(), RequestMatch(headers=(("a", "1"),)), True, id="anything overlaps"),
        pytest.param(
            RequestMatch(headers=(("a", "1"),)),
            RequestMatch(headers=(("a", "2"),)),
            False,
            id="one header, two values",
        ),
        pytest.param(
            RequestMatch(headers=(("a", "1"),)),
            RequestMatch(headers=(("b", "2"),)),
            True,
            id="two different headers",
        ),
        pytest.param(
            RequestMatch(RoutePath("/v1", False)),
            RequestMatch(RoutePath("/v1/a", True)),
            True,
            id="a path below",
        ),
        pytest.param(
            RequestMatch(RoutePath("/v1", True)),
            RequestMatch(RoutePath("/v1/a", False)),
            False,
            id="an exact path",
        ),
        pytest.param(
            RequestMatch(RoutePath("/v1", False)),
            RequestMatch(RoutePath("/v2", False)),
            False,
            id="other paths",
        ),
    ],
)
def test_overlap_looks_at_paths_and_headers(one: RequestMatch, other: RequestMatch, expected: bool) -> None:
    assert (may_overlap(one, other), may_overlap(other, one)) == (expected, expected)
