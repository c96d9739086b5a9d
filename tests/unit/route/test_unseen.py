"""Classes that are named by what runs for them and are not seen: routed on as Envoys have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_class
from route_plans import plan

from argosy.api import WorkloadClass
from argosy.keys import ClassKey
from argosy.route.compile import RouteInputs, compile_routes
from argosy.route.precedence import claim_of, with_unseen
from argosy.route.table import Claim, Endpoint, FormerRoutes, Gateway, RequestMatch, RoutePath, RouteTable

CHAT = ClassKey("default/chat")
GATEWAY = Gateway("0.0.0.0", 8080)
L40S = "default/chat-l40s"


def workload(name: str, **match: Any) -> WorkloadClass:
    return a_class(name, match=match or {"headers": [{"name": "x-class", "value": name}]})


def a_claim(name: str, **match: Any) -> Claim:
    return claim_of(workload(name, **match))


ONE, OTHER = (Claim(ClassKey(f"default/{n}"), RequestMatch(headers=(("x-class", n),))) for n in "ab")
WIDE = Claim(ClassKey("default/wide"), RequestMatch())
DEEP = Claim(ClassKey("default/deep"), RequestMatch(RoutePath("/v1/chat", exact=True)))


@pytest.mark.parametrize(
    ("seen", "former", "unseen", "expected"),
    [
        pytest.param([DEEP, WIDE], [DEEP, ONE, WIDE], ONE, [DEEP, ONE, WIDE], id="in its place"),
        pytest.param([ONE, WIDE], [DEEP], DEEP, [DEEP, ONE, WIDE], id="the most special first"),
        pytest.param([DEEP, ONE], [WIDE], WIDE, [DEEP, ONE, WIDE], id="the most general last"),
        pytest.param([ONE], [ONE, OTHER], OTHER, [ONE, OTHER], id="after its equal that was before it"),
        pytest.param([ONE], [OTHER, ONE], OTHER, [OTHER, ONE], id="before its equal that was after it"),
        pytest.param([ONE], [OTHER], OTHER, [OTHER, ONE], id="before its equal that is new"),
        pytest.param([], [OTHER], OTHER, [OTHER], id="alone"),
        pytest.param([DEEP], [DEEP, ONE], WIDE, [DEEP], id="what Envoys do not have is not made up"),
    ],
)
def test_an_unseen_class_keeps_its_place(
    seen: list[Claim], former: list[Claim], unseen: Claim, expected: list[Claim]
) -> None:
    assert with_unseen(seen, former, {unseen.class_key}) == tuple(expected)


def routed(*seen: str, unseen: str = "", revision: int = 7, **changes: Any) -> RouteTable:
    inputs = RouteInputs(
        GATEWAY,
        plan({L40S: 1.0}, revision),
        tuple(workload(name) for name in seen),
        endpoints={L40S: (Endpoint("10.0.0.1", 8000, "default/p1"),)},
        former=FormerRoutes((a_claim("chat"),)),
        unseen=frozenset({ClassKey(unseen)} if unseen else ()),
    )
    return compile_routes(replace(inputs, **changes))


def test_an_unseen_class_has_the_routes_that_it_would_have_if_it_were_seen() -> None:
    assert replace(routed(unseen=CHAT), hints=None) == replace(routed("chat"), hints=None)


def test_its_shares_follow_the_plan_and_the_endpoints_of_now() -> None:
    h100 = "default/chat-h100"
    found = routed(
        unseen=CHAT,
        plan=plan({L40S: 0.5, h100: 0.5}, 8),
        endpoints={h100: (Endpoint("10.0.0.2", 8000, "default/p2"),)},
    )
    (entry,) = found.routes
    assert (found.revision, [b.cluster for b in entry.backends]) == (8, [h100])


def test_beside_it_other_classes_are_routed_as_they_are_now() -> None:
    found = routed("new", unseen=CHAT)
    assert [entry.class_key for entry in found.routes] == [CHAT, "default/new"]


def test_a_client_reads_that_the_unseen_class_takes_its_model() -> None:
    claim = a_claim("chat", models=["llama"], headers=[{"name": "x-class", "value": "chat"}])
    (hint,) = routed(unseen=CHAT, former=FormerRoutes((claim,))).hints.by_model
    assert hint.model == "llama"
    assert "class default/chat takes it with header x-class: chat" in hint.sentence
