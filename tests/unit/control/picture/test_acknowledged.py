"""Steps that remove replicas wait for the Envoys one by one: what is left out, said and remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from builders import a_pod
from pictures import AWAKE_S, NOW_S, a_picture

from argosy.control.decision import PlannedStep, Reliance
from argosy.control.picture.acknowledged import Acknowledged, acknowledged_steps
from argosy.control.state.routable import PATIENCE_S, RECONNECT_S
from argosy.keys import DeploymentKey
from argosy.rollout import DeletePod, MarkVictim, ScaleDeployment, Step
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView

A, B = DeploymentKey("default/a"), DeploymentKey("default/b")
ADDRESSES = {f"{name}-{i}": f"10.0.{n}.{i}" for n, name in enumerate("ab") for i in range(3)}
FREE = frozenset[str]()


def a_replica(name: str, **fields: Any) -> PodState:
    deployment = DeploymentKey(f"default/{name[0]}")
    return a_pod(name, deployment=deployment, ip=ADDRESSES[name], port=8000, **fields)


def a_world(*still_known: str, **fields: Any) -> FleetSnapshot:
    """Three replicas of each of two Deployments. still_known: those that the one Envoy sends requests to."""
    known = frozenset(f"{ADDRESSES[name]}:8000" for name in still_known)
    routing = RoutingView("v2", (EnvoyState("edge", endpoints_version="v1"),), {"v1": known})
    return a_picture(pods=map(a_replica, ADDRESSES), routing=routing, **fields)


def planned(*steps: Step) -> tuple[PlannedStep, ...]:
    return tuple(PlannedStep(step, Reliance("plan-000001", replicas=3)) for step in steps)


def acknowledged(
    snapshot: FleetSnapshot, *steps: Step, lost: frozenset[str] = FREE, **waited_s: float
) -> Acknowledged:
    """waited_s: for how long each pod has been waited for, by name with an underscore."""
    before_s = {f"default/{n.replace('_', '-')}": AWAKE_S - s for n, s in waited_s.items()}
    return acknowledged_steps(planned(*steps), snapshot, lost, before_s)


def taken(found: Acknowledged) -> list[Step]:
    return [each.step for each in found.steps]


def test_a_count_falls_where_no_envoy_sends_requests_to_the_victims_and_nothing_is_remembered() -> None:
    steps = planned(ScaleDeployment(A, 2), ScaleDeployment(B, 1))
    found = acknowledged_steps(steps, a_world("a-1", "a-2", "b-2"), FREE, {})
    assert found == Acknowledged(steps)


def test_of_two_counts_only_the_one_whose_victim_gets_requests_waits() -> None:
    found = acknowledged(a_world("a-0"), ScaleDeployment(A, 2), ScaleDeployment(B, 2), a_0=3.0)
    assert taken(found) == [ScaleDeployment(B, 2)]
    assert found.awaited_s == {"default/a-0": AWAKE_S - 3.0}
    assert (found.waiting, found.events) == ("", ())


def test_a_wait_begins_with_the_decision_that_finds_it() -> None:
    found = acknowledged(a_world("a-0", "a-1"), ScaleDeployment(A, 1), a_0=3.0, b_0=9.0)
    assert found.awaited_s == {"default/a-0": AWAKE_S - 3.0, "default/a-1": AWAKE_S}


def test_a_decision_without_the_step_begins_no_wait_of_a_marked_pod_anew() -> None:
    marked = [a_replica(name, deletion_cost=-1000 if name == "a-0" else 0) for name in ADDRESSES]
    world = replace(a_world("a-0"), pods={pod.key: pod for pod in marked})
    doubted = acknowledged(world, a_0=PATIENCE_S - 1.0)
    assert (doubted.awaited_s, doubted.waiting) == ({}, "")
    later = replace(world, monotonic_s=AWAKE_S + 1.0)
    found = acknowledged_steps(planned(ScaleDeployment(A, 2)), later, FREE, doubted.chosen_s)
    assert taken(found) == [ScaleDeployment(A, 2)]


def test_a_pod_that_is_marked_no_more_is_chosen_no_more() -> None:
    assert acknowledged(a_world("a-0"), a_0=PATIENCE_S).chosen_s == {}


def test_the_victims_are_those_that_marks_of_the_same_decision_choose() -> None:
    mark = MarkVictim("default/a-2", -1000)
    assert taken(acknowledged(a_world("a-0"), mark, ScaleDeployment(A, 2))) == [mark, ScaleDeployment(A, 2)]
    assert taken(acknowledged(a_world("a-2"), mark, ScaleDeployment(A, 2))) == [mark]


def test_a_count_that_stays_or_grows_waits_for_nothing() -> None:
    for count in (3, 4):
        found = acknowledged(a_world(*ADDRESSES), ScaleDeployment(A, count))
        assert (taken(found), found.awaited_s) == ([ScaleDeployment(A, count)], {})


def test_a_pod_that_is_deleted_by_itself_waits_too() -> None:
    delete = DeletePod("default/a-1")
    assert taken(acknowledged(a_world("a-1"), delete)) == []
    assert taken(acknowledged(a_world("a-0"), delete)) == [delete]


def test_what_is_lost_waits_for_no_envoy() -> None:
    lost = frozenset({"default/a-0"})
    delete = DeletePod("default/a-0")
    assert taken(acknowledged(a_world("a-0"), delete, lost=lost)) == [delete]
    down = ScaleDeployment(A, 0)
    assert set(acknowledged(a_world(*ADDRESSES), down, lost=lost).awaited_s) == {"default/a-1", "default/a-2"}


# --- what lasts -----------------------------------------------------------------------------------


def test_a_wait_is_said_once_it_has_lasted_longer_than_an_envoy_needs() -> None:
    down = ScaleDeployment(A, 2)
    assert acknowledged(a_world("a-0"), down, a_0=RECONNECT_S - 0.1).waiting == ""
    assert acknowledged(a_world("a-0"), down, a_0=RECONNECT_S).waiting == (
        "pod default/a-0 takes no new requests where others can, and is removed once every Envoy knows that,"
        " at the latest 60 s after it was chosen: Envoy edge has not acknowledged that it takes no requests"
        " any more"
    )


def test_of_several_that_wait_the_first_is_named_and_only_late_ones_are_counted() -> None:
    every = a_world(*ADDRESSES)
    found = acknowledged(every, ScaleDeployment(A, 0), a_0=1.0, a_1=RECONNECT_S, a_2=RECONNECT_S)
    assert found.waiting.startswith("pod default/a-1 (and 1 more pod) takes no new requests")
    found = acknowledged(every, ScaleDeployment(A, 0), a_0=RECONNECT_S, a_1=RECONNECT_S, a_2=RECONNECT_S)
    assert found.waiting.startswith("pod default/a-0 (and 2 more pods) takes no new requests")
    found = acknowledged(every, ScaleDeployment(A, 0), a_0=1.0, a_1=RECONNECT_S, a_2=1.0)
    assert found.waiting.startswith("pod default/a-1 takes no new requests")


def test_a_count_falls_once_every_victim_has_been_waited_for_long_enough_and_that_is_an_event_each() -> None:
    every, down = a_world(*ADDRESSES), ScaleDeployment(A, 1)
    found = acknowledged(every, down, a_0=PATIENCE_S, a_1=PATIENCE_S - 1.0)
    assert (taken(found), found.events) == ([], ())
    assert "default/a-1" in found.waiting
    assert "more pods" not in found.waiting, "the first is not waited for any longer"
    found = acknowledged(every, down, a_0=PATIENCE_S, a_1=PATIENCE_S)
    assert (taken(found), found.waiting) == ([down], "")
    assert [(e.key, e.type, e.message[:13]) for e in found.events] == [
        ("default", "Warning", "default/a-0: "),
        ("default", "Warning", "default/a-1: "),
    ]
    assert "although it was waited for 60 s and Envoy edge has not acknowledged" in found.events[0].message


def test_pods_are_named_in_the_order_of_their_names_whichever_goes_first() -> None:
    marks = (MarkVictim("default/a-2", -2000), MarkVictim("default/a-1", -1000))
    every, down = a_world(*ADDRESSES), ScaleDeployment(A, 1)
    found = acknowledged(every, *marks, down, a_1=RECONNECT_S, a_2=RECONNECT_S)
    assert found.waiting.startswith("pod default/a-1 (and 1 more pod)")
    found = acknowledged(every, *marks, down, a_1=PATIENCE_S, a_2=PATIENCE_S)
    assert [e.message[:11] for e in found.events] == ["default/a-1", "default/a-2"]


def test_a_step_that_goes_on_without_an_envoys_word_relies_on_that() -> None:
    [step] = acknowledged(a_world(*ADDRESSES), ScaleDeployment(A, 2), a_0=PATIENCE_S).steps
    assert step.relies_on == Reliance("plan-000001", replicas=3, unacknowledged=frozenset({"default/a-0"}))


def test_without_a_fleet_object_there_is_no_event() -> None:
    found = acknowledged(a_world(*ADDRESSES, fleet=None), ScaleDeployment(A, 2), a_0=PATIENCE_S)
    assert (taken(found), found.events) == ([ScaleDeployment(A, 2)], ())


def test_a_clock_that_is_set_ends_no_wait() -> None:
    ahead = replace(a_world("a-0"), now_s=NOW_S + 3600.0)
    assert taken(acknowledged(ahead, ScaleDeployment(A, 2), a_0=3.0)) == []
