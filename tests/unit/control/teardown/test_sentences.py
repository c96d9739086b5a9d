"""What `argosy down` says."""

from __future__ import annotations

from dataclasses import replace

from argosy.api.fleet import Mode
from argosy.control.teardown.remains import Leader, Left, PodLeft, Remains
from argosy.control.teardown.sentences import finished, intention, timed_out, waiting
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
