"""What `argosy down` removes next, and when it refuses."""

from __future__ import annotations

import pytest

from argosy.api.fleet import Mode
from argosy.control.teardown.course import Round, TeardownReason, next_round
from argosy.control.teardown.remains import Leader, Left, PodLeft, Remains
from argosy.keys import DeploymentKey, NamespacedName
from argosy.refusals import Refused

ENGINE, BUDGET = Left("deployments", "default/m", False), Left("poddisruptionbudgets", "default/m", False)
PLAN, LEASE = Left("fleetplans", "plan-000001", False), Left("leases", "argosy-system/argosy-operator", False)
MODEL, FLEET = Left("servedmodels", "default/m", False), Left("fleets", "default", False)
POD = PodLeft(NamespacedName("default/m-1"), DeploymentKey("default/m"), 300.0, 1_700_000_000.0, "node-1")
ALL = (ENGINE, BUDGET, PLAN, LEASE, MODEL, FLEET)


def round_of(remains: Remains, *, everything: bool = False) -> Round:
    found = next_round(remains, everything=everything)
    assert isinstance(found, Round)
    return found


def test_engines_go_first_and_plans_and_leases_once_the_last_pod_has_ended() -> None:
    assert round_of(Remains(ALL, (POD,))) == Round((ENGINE, BUDGET), is_last=False)
    assert round_of(Remains((PLAN, LEASE, MODEL), (POD,))) == Round((), is_last=False)
    assert round_of(Remains((PLAN, LEASE, MODEL))) == Round((PLAN, LEASE), is_last=True)


ORPHAN = Left("replicasets", "default/n-5b", False)


def test_a_replica_set_without_a_deployment_goes_with_the_engines() -> None:
    assert round_of(Remains((ENGINE, ORPHAN, BUDGET), (POD,))).removals == (ENGINE, ORPHAN, BUDGET)
    assert round_of(Remains((ORPHAN, PLAN))) == Round((ORPHAN,), is_last=False)


def test_beside_an_operator_that_drains_it_goes_once_the_users_objects_are_gone() -> None:
    leader = Leader("op-0", Mode.AUTO)
    assert round_of(Remains((MODEL, ORPHAN), (POD,), leader), everything=True).removals == (MODEL,)
    assert round_of(Remains((ENGINE, ORPHAN), (POD,), leader), everything=True).removals == (ORPHAN,)


def test_what_is_being_deleted_is_not_deleted_again_and_waited_for() -> None:
    going = Left("deployments", "default/m", True)
    assert round_of(Remains((going, PLAN))) == Round((), is_last=False)
    held = Left("fleetplans", "plan-000001", True)
    assert round_of(Remains((held, LEASE))) == Round((LEASE,), is_last=False)


def test_nothing_left_is_the_end() -> None:
    assert round_of(Remains()) == Round((), is_last=True)
    assert round_of(Remains((MODEL,))) == Round((), is_last=True)


def test_an_operator_in_mode_auto_is_refused_with_the_remedy() -> None:
    found = next_round(Remains(ALL, (POD,), Leader("op-0", Mode.AUTO)), everything=False)
    assert isinstance(found, Refused)
    assert found.reason is TeardownReason.OPERATOR_ACTS
    assert "the operator op-0 leads in mode Auto" in found.message
    assert "stop the operator, or set spec.mode of Fleet/default to Observe" in found.message


@pytest.mark.parametrize("everything", [False, True])
def test_an_operator_whose_mode_nothing_says_may_be_in_auto(everything: bool) -> None:
    found = next_round(Remains(ALL, (POD,), Leader("op-0", None)), everything=everything)
    assert isinstance(found, Refused)
    assert found.reason is TeardownReason.MODE_UNKNOWN


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.RECOMMEND])
def test_an_operator_that_changes_nothing_keeps_its_leases_only(mode: Mode) -> None:
    leader = Leader("op-0", mode)
    assert round_of(Remains(ALL, (POD,), leader)).removals == (ENGINE, BUDGET)
    assert round_of(Remains((PLAN, LEASE), (), leader)) == Round((PLAN,), is_last=True)


def test_with_all_an_operator_in_mode_auto_drains_what_the_users_objects_leave_behind() -> None:
    leader = Leader("op-0", Mode.AUTO)
    assert round_of(Remains(ALL, (POD,), leader), everything=True).removals == (MODEL, FLEET)
    assert round_of(Remains((ENGINE, BUDGET, PLAN), (POD,), leader), everything=True).removals == ()
    assert round_of(Remains((BUDGET, PLAN, LEASE), (), leader), everything=True) == Round(
        (BUDGET, PLAN), True
    )


def test_with_all_and_no_operator_users_objects_and_engines_go_at_once() -> None:
    assert round_of(Remains(ALL, (POD,)), everything=True).removals == (MODEL, FLEET, ENGINE, BUDGET)


def test_with_all_records_stay_until_the_users_objects_are_gone() -> None:
    """Until then a plan says in which mode an operator acts that is started in between."""
    going = Left("servedmodels", "default/m", True)
    assert round_of(Remains((going, PLAN, LEASE)), everything=True) == Round((), is_last=False)
    assert round_of(Remains((MODEL, PLAN, LEASE)), everything=True) == Round((MODEL,), is_last=False)


def test_without_all_a_users_object_is_never_removed() -> None:
    leaders = (None, Leader("op-0", Mode.OBSERVE))
    for remains in (Remains(ALL, pods, leader) for pods in ((), (POD,)) for leader in leaders):
        assert {MODEL, FLEET}.isdisjoint(round_of(remains).removals)
