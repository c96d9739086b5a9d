"""How far a roll-out is counted, and what is interrupted or waits: one look at a time."""

from __future__ import annotations

from typing import Any

import pytest
from pictures import Entry
from rollout_look import (
    CHAT,
    GROUP,
    MODEL,
    OLD,
    a_look,
    an_unplaced,
    former,
    loading,
    new,
    without_room,
)

from argosy.api.conditions import Reason
from argosy.control.state.owners import Owners
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.exchange import Exchange, exchange_of
from argosy.control.status.rollout.last_replica import (
    waits_verdict,
)
from argosy.control.status.verdict import Verdict
from argosy.keys import DeploymentKey
from argosy.place.solution import Placement, Unplaced
from argosy.snapshot.cluster import PodState

# --- the count ------------------------------------------------------------------------------------


def counted(reported: Reported) -> Exchange:
    return exchange_of(reported, reported.planned, iter(reported.snapshot.engine_pods))


def test_planned_replicas_that_serve_count_up_to_what_is_planned_and_all_others_apart() -> None:
    found = counted(a_look(former(), new("new-0"), new("new-1"), new("new-2")))
    assert (found.ready, found.wanted, found.others) == (2, 2, 2)
    found = counted(a_look(former("old-0"), former("old-1"), new(), loading("new-1")))
    assert (found.ready, found.wanted, found.others) == (1, 2, 2)
    assert counted(a_look(former(), lost=frozenset({"default/old-0"}))).others == 0


@pytest.mark.parametrize(
    ("pod", "is_moving", "is_draining"),
    [
        pytest.param(former(), False, False, id="it serves"),
        pytest.param(former(deleting=True), True, True, id="it drains"),
        pytest.param(former(deletion_cost=-1000), True, True, id="it is about to be drained"),
        pytest.param(former(deleting=True, phase="Succeeded"), False, False, id="it has ended"),
        pytest.param(loading(), True, False, id="it loads"),
        pytest.param(loading(node=""), False, False, id="it has no node"),
        pytest.param(loading(node="", assigned_node="n"), True, False, id="it has just got one"),
        pytest.param(loading(phase="Failed"), False, False, id="it has failed"),
    ],
)
def test_a_roll_out_moves_where_a_replica_drains_or_loads(
    pod: PodState, is_moving: bool, is_draining: bool
) -> None:
    for pods in ([pod], [former("old-1"), pod, new("new-1")]):
        found = counted(a_look(*pods))
        assert (found.is_moving, found.is_draining) == (is_moving, is_draining)


def test_a_roll_out_moves_where_any_new_replica_has_got_room() -> None:
    other = DeploymentKey("default/other")
    assert counted(a_look(former(), placement=Placement({}, {other: ("n",)}, (), ()))).is_moving
    assert not counted(a_look(former(), placement=Placement({}, {other: ()}, (), ()))).is_moving


@pytest.mark.parametrize(
    ("ready", "wanted", "others", "is_moving", "expected"),
    [
        pytest.param(2, 2, 1, True, False, id="all planned ones serve"),
        pytest.param(1, 2, 0, True, False, id="no former one serves"),
        pytest.param(1, 2, 1, False, True, id="former ones serve in place of all that are missing"),
        pytest.param(0, 3, 2, True, True, id="or of all but moving ones"),
        pytest.param(0, 3, 2, False, False, id="one is missing"),
    ],
)
def test_replicas_are_being_exchanged_while_former_ones_stand_in(
    ready: int, wanted: int, others: int, is_moving: bool, expected: bool
) -> None:
    assert Exchange(ready, wanted, others, is_moving, False).is_exchanging is expected


# --- an exchange that waits -----------------------------------------------------------------------


def waits(
    *pods: PodState, exchange: str = "Wait", said: Unplaced | None = None, **fields: Any
) -> Verdict | None:
    chosen = {"placement": without_room(), "replicas": 1, **fields}
    return waits_verdict(a_look(*pods, exchange=exchange, **chosen), CHAT, said)


def test_of_several_deployments_without_room_the_first_by_name_is_said() -> None:
    both = Placement({}, {}, (), (an_unplaced(), an_unplaced(DeploymentKey("default/newer"))))
    found = waits(former(), placement=both, more=(Entry("newer", "chat", ("chat",)),))
    assert found is not None
    assert "of Deployment default/new finds" in found.message


def test_a_last_replica_that_stays_for_want_of_room_says_what_placement_says() -> None:
    found = waits(former(), said=an_unplaced())
    assert found is not None
    assert (found.type, found.status, found.reason) == ("Ready", "False", Reason.EXCHANGE_WAITS)
    assert found.message == Reason.EXCHANGE_WAITS.sentence(unplaced="no node has a free GPU", model=MODEL)
    found = waits(former(), loading(node=""))
    assert found is not None
    assert "the planned replica of Deployment default/new finds no node with free GPUs" in found.message


@pytest.mark.parametrize(
    ("pods", "fields"),
    [
        pytest.param([former()], {"placement": Placement({}, {}, (), ())}, id="there is room"),
        pytest.param([former()], {"placement": without_room(OLD)}, id="another Deployment's finds none"),
        pytest.param([former()], {"replicas": 0}, id="none is planned"),
        pytest.param([former("old-0"), former("old-1")], {}, id="it is not the last"),
        pytest.param([], {}, id="there is none"),
        pytest.param([new()], {}, id="it is of the plan"),
        pytest.param([former()], {"exchange": "BriefOutage"}, id="its model takes a brief outage"),
        pytest.param([former(ready=False)], {}, id="it does not serve"),
        pytest.param([former()], {"owners": Owners(GROUP, None, "l40s")}, id="its model is gone"),
    ],
)
def test_nothing_waits_where_another_reason_holds(pods: list[PodState], fields: dict[str, Any]) -> None:
    assert waits(*pods, **fields) is None
