"""Which pods go when a count falls, and which Envoy holds that up: a table of what Envoys have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from builders import a_fleet, a_node, a_pod

from argosy.control.state.removable import acknowledged, in_order_of_removal, is_due, still_sending
from argosy.control.state.routable import PATIENCE_S, RECONNECT_S
from argosy.keys import DeploymentKey
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView

NOW_S = 1_700_000_000.0
AWAKE_S = 5000.0
"""The process's monotonic clock: far from the time of day."""
CHAT = DeploymentKey("default/d")


def a_replica(name: str = "p", **fields: Any) -> PodState:
    number = sum(map(ord, name)) % 250
    return a_pod(name, **{"deployment": CHAT, "ip": f"10.0.0.{number}", "port": 8000, **fields})


def a_snapshot(*pods: PodState, routing: RoutingView | None = None) -> FleetSnapshot:
    return FleetSnapshot(
        now_s=NOW_S,
        monotonic_s=AWAKE_S,
        fleet=a_fleet(),
        pools={},
        models={},
        classes={},
        policies={},
        plans=(),
        nodes={"n": a_node("n")},
        pods={pod.key: pod for pod in pods},
        routing=routing or RoutingView(),
    )


def envoys(**versions: str) -> tuple[EnvoyState, ...]:
    return tuple(EnvoyState(name, endpoints_version=version) for name, version in versions.items())


POD = a_replica()
WITH, WITHOUT = frozenset({POD.address}), frozenset({"10.9.9.9:8000"})
KNOWN = {"v1": WITH, "v2": WITHOUT}


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        pytest.param(RoutingView("v2", envoys(a="v2"), KNOWN), "", id="every Envoy has it without the pod"),
        pytest.param(
            RoutingView("v2", envoys(a="v2", b="v1"), KNOWN), "Envoy b has not acknowledged", id="one has not"
        ),
        pytest.param(
            RoutingView("v2", envoys(a="v0"), KNOWN),
            "Envoy a has not acknowledged",
            id="what an unknown version holds is not known",
        ),
        pytest.param(RoutingView("v2", envoys(a=""), KNOWN), "", id="it has no endpoint yet"),
        pytest.param(
            RoutingView(
                "v2", envoys(a="v2"), KNOWN, {"c": NOW_S - 59.0, "b": NOW_S - 1.0, "a0": NOW_S - 70.0}
            ),
            "Envoy b is not connected any more",
            id="of those that have gone lately the first by name",
        ),
        pytest.param(
            RoutingView("v2", envoys(a="v2"), KNOWN, {"b": NOW_S - PATIENCE_S}), "", id="gone for long enough"
        ),
        pytest.param(
            RoutingView("v2", since_s=NOW_S - RECONNECT_S + 1.0),
            "no Envoy has connected yet since the operator started",
            id="Envoys may still come back after a restart of the operator",
        ),
        pytest.param(RoutingView("v2", since_s=NOW_S - RECONNECT_S), "", id="they would have come back"),
        pytest.param(
            RoutingView("v2", envoys(a="v2"), KNOWN, since_s=NOW_S - 1.0), "", id="one has come back"
        ),
    ],
)
def test_a_removal_waits_for_whatever_may_still_send_requests_and_names_it(
    routing: RoutingView, expected: str
) -> None:
    found = list(still_sending(a_snapshot(POD, routing=routing), [POD], frozenset()))
    assert [pod for pod, _ in found] == ([POD] if expected else [])
    assert all(why.startswith(expected) for _, why in found)


HOLDS = RoutingView("v2", envoys(a="v0"))
"""An Envoy of which it is not known what it has."""


def test_a_pod_without_an_address_and_a_lost_one_wait_for_no_envoy() -> None:
    unborn, lost = a_replica("unborn", ip=""), a_replica("lost")
    snapshot = a_snapshot(POD, unborn, lost, routing=HOLDS)
    found = still_sending(snapshot, [unborn, lost, POD], frozenset({lost.key}))
    assert [pod.key for pod, _ in found] == [POD.key]


@pytest.mark.parametrize(
    ("waited_s", "expected"), [(None, False), (0.0, False), (PATIENCE_S - 0.1, False), (PATIENCE_S, True)]
)
def test_a_removal_is_waited_for_a_minute_by_the_clock_that_cannot_be_set(
    waited_s: float | None, expected: bool
) -> None:
    awaited_s = {} if waited_s is None else {POD.key: AWAKE_S - waited_s}
    assert is_due(POD.key, awaited_s, a_snapshot(POD)) is expected


def test_what_may_go_on_is_what_no_envoy_holds_up_and_what_has_waited_for_long_enough() -> None:
    held, due, free = a_replica("held"), a_replica("due"), a_replica("free")
    routing = RoutingView("v2", envoys(a="v1"), {"v1": frozenset({held.address, due.address})})
    snapshot = a_snapshot(held, due, free, routing=routing)
    since_s = {free.key: AWAKE_S, held.key: AWAKE_S - 1.0, due.key: AWAKE_S - PATIENCE_S, "default/gone": 0.0}
    assert acknowledged(snapshot, since_s) == [due.key, free.key]
    assert acknowledged(snapshot, {}) == []


def test_pods_go_in_the_order_in_which_a_replicaset_deletes_them() -> None:
    """Not ready ones, then the lowest deletion cost, also one that is about to be written."""
    loading = a_replica("e-loading", ready=False)
    cheap, marked = a_replica("d-cheap", deletion_cost=-5), a_replica("c-marked")
    serving, lost = a_replica("b-serving"), a_replica("a-lost")
    others = (
        a_replica("ended", phase="Succeeded"),
        a_replica("going", deleting=True),
        a_replica("elsewhere", deployment=DeploymentKey("default/other")),
    )
    snapshot = a_snapshot(lost, serving, marked, cheap, loading, *others)
    found = in_order_of_removal(snapshot, CHAT, frozenset({lost.key}), {marked.key: -1000})
    assert [pod.name for pod in found] == ["e-loading", "c-marked", "d-cheap", "b-serving", "a-lost"]
    found = in_order_of_removal(snapshot, CHAT, frozenset({lost.key}))
    assert [pod.name for pod in found] == ["e-loading", "d-cheap", "b-serving", "c-marked", "a-lost"]


def test_the_worst_case_is_assumed_among_equals_where_a_marked_pod_is_lost() -> None:
    first, second = a_replica("a", deletion_cost=-1), a_replica("b", deletion_cost=-1)
    lost = frozenset({first.key})
    assert [p.name for p in in_order_of_removal(a_snapshot(first, second), CHAT, lost)] == ["b", "a"]
    ready = a_snapshot(replace(first, deletion_cost=0), replace(second, deletion_cost=0))
    assert [p.name for p in in_order_of_removal(ready, CHAT, frozenset())] == ["a", "b"]


@pytest.mark.parametrize(
    ("left_s", "endpoints", "is_waited_for"),
    [
        pytest.param(5.0, {}, True, id="what it may have is not known"),
        pytest.param(5.0, {"b": WITH | WITHOUT}, True, id="it may have the victim"),
        pytest.param(5.0, {"b": WITHOUT}, False, id="it had acknowledged the removal"),
        pytest.param(PATIENCE_S, {"b": WITH}, False, id="it left long ago"),
    ],
)
def test_an_envoy_that_left_holds_up_only_what_it_may_still_send_requests_to(
    left_s: float, endpoints: Mapping[str, frozenset[str]], is_waited_for: bool
) -> None:
    routing = RoutingView("v2", gone_at_s={"b": NOW_S - left_s}, gone_endpoints=endpoints)
    found = list(still_sending(a_snapshot(POD, routing=routing), [POD], frozenset()))
    assert [why for _, why in found] == (
        ["Envoy b is not connected any more and may still send requests to it"] if is_waited_for else []
    )
