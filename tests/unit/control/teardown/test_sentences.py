"""What `argosy down` says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.api.fleet import Mode
from argosy.control.teardown.remains import Leader, Left, PodLeft, Remains
from argosy.control.teardown.sentences import (
    OVERDUE_AFTER_S,
    finished,
    intention,
    is_empty,
    timed_out,
    waiting,
)
from argosy.keys import DeploymentKey, NamespacedName

NOW_S = 1_700_000_000.0  # 22:13:20
AUTO, OBSERVE = Leader("op-0", Mode.AUTO), Leader("op-0", Mode.OBSERVE)


def a_pod(number: int, ends_s: float | None) -> PodLeft:
    return PodLeft(
        NamespacedName(f"default/m-{number}"), DeploymentKey("default/m"), 30.0, ends_s, f"node-{number}"
    )


MADE = (
    Left("deployments", "default/m", False),
    Left("poddisruptionbudgets", "default/m", False),
    Left("fleetplans", "plan-000001", False),
    Left("fleetplans", "plan-000002", False),
    Left("leases", "argosy-system/argosy-operator", False),
)
USERS = (
    Left("servedmodels", "default/m", False),
    Left("workloadclasses", "default/a", False),
    Left("workloadclasses", "default/b", False),
)
PODS = (a_pod(1, None), a_pod(2, None))


def test_before_it_asks_it_counts_what_goes_and_says_what_stays() -> None:
    said = intention(Remains(MADE, PODS), everything=False)
    assert said == (
        "removes 1 Deployment, 1 PodDisruptionBudget, 2 FleetPlans and 1 Lease and ends 2 replicas once"
        " their requests have finished, 30 s at most; your own objects stay"
    )


def test_with_all_it_counts_the_users_objects_and_says_that_the_operator_drains() -> None:
    said = intention(Remains((*MADE, *USERS), PODS, AUTO), everything=True)
    assert said.startswith(
        "deletes 2 WorkloadClasses and 1 ServedModel, waits until the operator op-0 has drained 2 replicas,"
    )
    assert "Lease" not in said, "a running operator keeps them"


def test_kinds_that_are_not_installed_are_named() -> None:
    said = intention(Remains(MADE, missing=frozenset({"fleets"})), everything=False)
    assert said.endswith("(of Fleet nothing can be there: not installed)")


def test_replicas_that_drain_have_the_last_ones_latest_end() -> None:
    pods = (a_pod(1, NOW_S + 10), a_pod(2, NOW_S + 30), a_pod(3, NOW_S + 20))
    assert waiting(Remains((), pods), NOW_S, everything=False) == (
        "3 replicas finish their requests, until 22:13:50 UTC at the latest"
    )
    assert waiting(Remains((), pods[:1]), NOW_S, everything=False) == (
        "1 replica finishes its requests, until 22:13:30 UTC at the latest"
    )


def test_a_replica_past_its_end_is_named_with_its_node_and_the_remedy() -> None:
    said = waiting(Remains((), (a_pod(1, NOW_S - 60),)), NOW_S, everything=False)
    assert "1 replica should have ended by now (default/m-1 on node-1)" in said
    assert "kubectl delete pod m-1 -n default --force" in said


def test_replicas_in_the_grace_of_deleted_objects_wait_for_the_operator() -> None:
    said = waiting(Remains(MADE, PODS, AUTO), NOW_S, everything=True)
    assert said == "2 replicas serve until the operator op-0 drains them, after the grace of deleted objects"


def test_replicas_of_a_replica_set_without_a_deployment_are_about_to_be_ended() -> None:
    orphan = Left("replicasets", "default/m-5b", False)
    pods = tuple(replace(pod, made_by="default/m-5b") for pod in PODS)
    assert waiting(Remains((orphan,), pods), NOW_S, everything=False) == "2 replicas are about to be ended"
    assert "1 ReplicaSet" in intention(Remains((orphan,), pods), everything=False)


def test_replicas_whose_deployment_is_gone_are_named_with_the_remedy() -> None:
    assert waiting(Remains(MADE, PODS), NOW_S, everything=False) == "2 replicas are about to be ended"
    said = waiting(Remains((), PODS), NOW_S, everything=False)
    assert "2 replicas without a Deployment (default/m-1, default/m-2)" in said
    assert "kubectl delete replicasets,pods -n default -l argosy.dev/deployment=m" in said


def test_at_the_time_out_it_says_what_is_left_and_that_it_can_go_on() -> None:
    said = timed_out(Remains((), (a_pod(1, NOW_S + 30),)), NOW_S, 5.0, everything=False)
    assert said == (
        "after 5 s: 1 replica finishes its requests, until 22:13:50 UTC at the latest. Run argosy down again,"
        " with a longer --timeout: it goes on from here"
    )
    held = replace(MADE[0], is_going=True)
    assert "a finalizer may hold Deployment default/m" in timed_out(
        Remains((held,)), NOW_S, 5.0, everything=False
    )


def test_at_the_end_it_counts_what_is_gone_and_says_that_nothing_is_left() -> None:
    assert finished(MADE[:2], 2, Remains()) == (
        "removed 1 Deployment and 1 PodDisruptionBudget with 2 replicas; nothing of Argosy's is left"
    )
    assert finished((), 0, Remains()) == "nothing of Argosy's is left"
    assert "but what the operator op-0 writes while it runs" in finished((), 0, Remains(leader=OBSERVE))


# --- what a sentence leaves out -------------------------------------------------------------------


def test_the_longest_drain_is_what_a_user_waits_for_at_most() -> None:
    pods = (replace(PODS[0], drain_s=30.0), replace(PODS[1], drain_s=300.0))
    assert "300 s at most" in intention(Remains(MADE, pods), everything=False)


def test_replicas_without_any_object_are_what_is_removed() -> None:
    assert intention(Remains((), PODS[:1]), everything=False) == (
        "removes 1 replica once its requests have finished, 30 s at most; your own objects stay"
    )
    assert intention(Remains((), PODS), everything=False).startswith("removes 2 replicas once their requests")


def test_kinds_that_are_not_installed_are_in_the_order_of_their_plurals() -> None:
    missing = frozenset({"workloadclasses", "servedmodels", "fleets", "gpupools"})
    said = intention(Remains(MADE, missing=missing), everything=False)
    assert "(of Fleet, GPUPool, ServedModel, WorkloadClass nothing can be there: not installed)" in said


@pytest.mark.parametrize(
    ("remains", "expected"),
    [
        pytest.param(
            Remains(MADE[:1]), "finds none of your own objects, and removes 1 Deployment", id="none"
        ),
        pytest.param(Remains(USERS[:1]), "deletes 1 ServedModel", id="nothing but the users'"),
        pytest.param(
            Remains((*MADE[:1], *USERS[:1]), (), AUTO),
            "deletes 1 ServedModel, and removes 1 Deployment",
            id="no replica to drain",
        ),
        pytest.param(
            Remains((*MADE[:1], *USERS[:1]), PODS[:1], OBSERVE),
            "deletes 1 ServedModel, and removes 1 Deployment and ends 1 replica once",
            id="an operator that drains nothing",
        ),
        pytest.param(
            Remains((*MADE[:1], *USERS[:1]), PODS[:1]),
            "deletes 1 ServedModel, and removes 1 Deployment and ends 1 replica once",
            id="no operator",
        ),
    ],
)
def test_with_all_nothing_is_announced_that_is_not_there(remains: Remains, expected: str) -> None:
    assert intention(remains, everything=True).startswith(expected)


def test_with_all_where_only_users_objects_are_left_nothing_else_is_announced() -> None:
    assert intention(Remains(USERS[:1]), everything=True) == "deletes 1 ServedModel"


LEASE = MADE[-1]


@pytest.mark.parametrize(
    ("remains", "everything", "expected"),
    [
        pytest.param(Remains(), False, True, id="nothing"),
        pytest.param(Remains(USERS), False, True, id="users' objects stay"),
        pytest.param(Remains(USERS), True, False, id="users' objects go too"),
        pytest.param(Remains(), True, True, id="nothing, nor of the users'"),
        pytest.param(Remains(MADE[:1]), False, False, id="a Deployment"),
        pytest.param(Remains(MADE[1:2]), False, False, id="a budget"),
        pytest.param(Remains(MADE[2:3]), False, False, id="a plan"),
        pytest.param(Remains((), PODS), False, False, id="replicas alone"),
        pytest.param(Remains((LEASE,)), False, False, id="a Lease of an operator that is gone"),
        pytest.param(Remains((LEASE,), (), OBSERVE), False, True, id="the Lease of one that runs"),
        pytest.param(Remains((LEASE, MADE[2]), (), OBSERVE), False, False, id="its plan"),
    ],
)
def test_there_is_nothing_to_do_only_where_nothing_would_be_removed(
    remains: Remains, everything: bool, expected: bool
) -> None:
    assert is_empty(remains, everything=everything) is expected


def test_a_replica_is_late_only_after_the_time_in_which_a_kubelet_reports_its_end() -> None:
    due, late = a_pod(1, NOW_S - OVERDUE_AFTER_S), a_pod(2, NOW_S - OVERDUE_AFTER_S - 1.0)
    said = waiting(Remains((), (due,)), NOW_S, everything=False)
    assert said.startswith("1 replica finishes its requests, until ")
    said = waiting(Remains((), (due, late)), NOW_S, everything=False)
    assert said.startswith(
        "1 replica finishes its requests, until 22:13:05 UTC at the latest; 1 replica should"
    )
    assert "(default/m-2 on node-2)" in said
    assert "where its node node-2 will not come back" in said


def test_several_late_replicas_are_on_several_nodes_and_one_without_a_node_is_named_alone() -> None:
    late = (a_pod(1, NOW_S - 60), replace(a_pod(2, NOW_S - 60), node=""))
    said = waiting(Remains((), late), NOW_S, everything=False)
    assert (
        "2 replicas should have ended by now (default/m-1 on node-1, default/m-2): where their nodes" in said
    )
    assert "where their nodes will not come back" in waiting(Remains((), late[1:]), NOW_S, everything=False)


def test_of_many_replicas_five_are_named() -> None:
    late = tuple(a_pod(number, NOW_S - 60) for number in range(7))
    said = waiting(Remains((), late), NOW_S, everything=False)
    assert "default/m-4 on node-4 and 2 more)" in said
    said = waiting(Remains((), late[:5]), NOW_S, everything=False)
    assert "default/m-4 on node-4)" in said


@pytest.mark.parametrize(
    ("remains", "everything", "expected"),
    [
        pytest.param(Remains(MADE[:1]), False, "1 Deployment is being deleted", id="one"),
        pytest.param(
            Remains(MADE[:2]), False, "1 Deployment and 1 PodDisruptionBudget are being deleted", id="two"
        ),
        pytest.param(Remains(USERS), False, "nothing of Argosy's is left", id="users' objects stay"),
        pytest.param(Remains(USERS[:1]), True, "1 ServedModel is being deleted", id="users' objects"),
        pytest.param(Remains(MADE[2:3]), False, "nothing of Argosy's is left", id="a plan goes last"),
        pytest.param(
            Remains((replace(MADE[2], is_going=True),)),
            False,
            "1 FleetPlan is being deleted",
            id="it is held",
        ),
    ],
)
def test_objects_that_are_left_without_replicas_are_counted(
    remains: Remains, everything: bool, expected: str
) -> None:
    assert waiting(remains, NOW_S, everything=everything) == expected


def test_one_replica_that_stays_is_spoken_of_as_one() -> None:
    assert waiting(Remains(MADE, PODS[:1], AUTO), NOW_S, everything=False) == (
        "1 replica serves until the operator op-0 drains it, after the grace of deleted objects"
    )
    assert waiting(Remains(MADE, PODS[:1], OBSERVE), NOW_S, everything=False) == (
        "1 replica is about to be ended"
    )


def test_only_the_replicas_without_a_deployment_are_orphans() -> None:
    other = replace(PODS[1], deployment=DeploymentKey("default/gone"))
    said = waiting(Remains(MADE, (PODS[0], other)), NOW_S, everything=False)
    assert said.startswith("1 replica without a Deployment (default/m-2)")
    assert said.endswith("-l argosy.dev/deployment=gone")


def test_while_replicas_run_no_finalizer_is_suspected() -> None:
    held = replace(MADE[0], is_going=True)
    said = timed_out(Remains((held,), (a_pod(1, NOW_S + 30),)), NOW_S, 5.0, everything=False)
    assert "finalizer" not in said
    assert "finalizer" not in timed_out(Remains(MADE[:1]), NOW_S, 5.0, everything=False)


def test_replicas_alone_are_counted_at_the_end() -> None:
    assert finished((), 1, Remains()) == "removed 1 replica; nothing of Argosy's is left"
    assert finished(MADE[:1], 0, Remains()) == "removed 1 Deployment; nothing of Argosy's is left"
