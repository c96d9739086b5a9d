"""Which class takes a request whose model is not known."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_model

from argosy.keys import ClassKey
from argosy.route.compile import RouteInputs, compile_routes
from argosy.route.precedence import claim_of, in_order
from argosy.route.table import Gateway, Unnamed
from argosy.route.unnamed import names_of_the_only_model, unnamed_by_class

AUDIO = {"type": "Prefix", "value": "/v1/audio"}
HEADER = [{"name": "x-class", "value": "a"}]


@pytest.mark.parametrize(
    ("matches", "only", "expected"),
    [
        pytest.param([{"models": ["m"]}], ["m"], [Unnamed.ANY], id="the only model is what is meant"),
        pytest.param([{"models": ["m"]}], [], [Unnamed.REFUSED], id="a model alone does not lead there"),
        pytest.param([{"models": ["m"], "path": AUDIO}], [], [Unnamed.UNREADABLE], id="a path does"),
        pytest.param([{"models": ["m"], "headers": HEADER}], [], [Unnamed.UNREADABLE], id="a header does"),
        pytest.param(
            [{"models": ["m"], "path": AUDIO}, {"models": ["n"], "path": AUDIO}],
            [],
            [Unnamed.REFUSED, Unnamed.REFUSED],
            id="two models of one path: which of them is not known",
        ),
        pytest.param(
            [{"models": ["m"], "path": AUDIO}, {"models": ["n"]}],
            [],
            [Unnamed.UNREADABLE, Unnamed.REFUSED],
            id="another model of any path does not take the path",
        ),
        pytest.param(
            [{"models": ["m"], "path": AUDIO}, {"path": {"type": "Prefix", "value": "/v1"}}],
            [],
            [Unnamed.REFUSED, Unnamed.REFUSED],
            id="a class that asks for no model takes it by itself",
        ),
        pytest.param(
            [{"models": ["m"], "path": AUDIO}, {"models": ["m"], "headers": HEADER}],
            ["m", "alias"],
            [Unnamed.ANY, Unnamed.ANY],
            id="one model by several ways: each takes its own",
        ),
    ],
)
def test_a_request_without_a_known_model_goes_where_one_class_is_meant(
    matches: list[dict[str, Any]], only: list[str], expected: list[Unnamed]
) -> None:
    classes = [a_class(f"c{position}", match=match) for position, match in enumerate(matches)]
    found = unnamed_by_class([claim_of(each) for each in in_order(classes)], only)
    assert [found[each.key] for each in classes] == expected


@pytest.mark.parametrize(
    ("models", "referred", "expected"),
    [
        pytest.param(["llama"], "llama", {"llama", "l8"}, id="one, by all of its names"),
        pytest.param(["llama", "qwen"], "llama", set(), id="two"),
        pytest.param(["llama"], "ghost", set(), id="one, and a class is for another"),
        pytest.param([], "llama", set(), id="none is seen"),
    ],
)
def test_a_fleet_has_one_model_only_if_every_class_is_for_it(
    models: list[str], referred: str, expected: set[str]
) -> None:
    known = [a_model(name, servedNames=[name, "l8"]) for name in models]
    assert names_of_the_only_model([a_class(models=[{"name": referred}])], known) == expected


@pytest.mark.parametrize(
    ("unseen", "expected"),
    [
        pytest.param((), Unnamed.ANY, id="one model"),
        pytest.param(("default/other",), Unnamed.REFUSED, id="a class that is not seen may be for another"),
    ],
)
def test_routes_carry_which_requests_are_taken(unseen: tuple[str, ...], expected: Unnamed) -> None:
    inputs = RouteInputs(
        Gateway("0.0.0.0", 8080),
        None,
        (a_class(match={"models": ["llama"]}, models=[{"name": "llama"}]),),
        models=(a_model("llama"),),
        unseen=frozenset(map(ClassKey, unseen)),
    )
    (entry,) = compile_routes(inputs).routes
    assert entry.unnamed is expected
