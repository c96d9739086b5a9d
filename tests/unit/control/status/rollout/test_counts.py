"""How far a roll-out is counted, and what is interrupted or waits: one look at a time."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_model, a_pod, a_pool
from pictures import NOW_S, Entry, a_picture, a_plan

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from argosy.api.fleetplan import FleetPlanStatus
from argosy.api.schema.timestamp import rfc3339
from argosy.control.candidates.resolve import Resolution
from argosy.control.cells import RouteCell, RouteCells
from argosy.control.decision import EventRecord
from argosy.control.sizing import Sizing
from argosy.control.state.owners import Owners
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.exchange import Exchange, exchange_of
from argosy.control.status.rollout.last_replica import (
    LATE,
    interrupted_s,
    interrupted_verdict,
    waits_verdict,
)
from argosy.control.status.rollout.progress import progress_events, progress_updates
from argosy.control.status.verdict import LOADING_LIMIT_S, Verdict
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.place.solution import Placement, Unplaced
from argosy.plan.solution import Plan
from argosy.snapshot.cluster import PodState

CHAT = ClassKey("default/chat")
GROUP, MODEL = GroupName("default/chat"), ModelKey("default/llama")
OLD, NEW = DeploymentKey("default/old"), DeploymentKey("default/new")
MINE = Owners(GROUP, MODEL, "l40s")


def a_look(
    *pods: PodState,
    replicas: int = 2,
    exchange: str = "BriefOutage",
    placement: Placement | None = None,
    lost: frozenset[str] = frozenset(),
    before_s: dict[ClassKey, float] | None = None,
) -> Reported:
    """The plan wants replicas of the Deployment `new`; pods of `old` are of the former plan."""
    snapshot = a_picture(
        pods=pods, classes=[a_class()], models=[a_model(exchange=exchange)], pools=[a_pool()]
    )
    cells = RouteCells((RouteCell(CellName(CHAT), CHAT, GROUP),))
    return Reported(
        sizing=Sizing(snapshot, cells, Resolution({}, {}), {}, {}, lost),
        plan=Plan({}, {}, (), 0.0, None),  # type: ignore[arg-type]
        placement=placement or Placement({}, {}, (), ()),
        follow=a_plan(Entry("new", "chat", ("chat",), replicas=replicas)),
        owners={OLD: MINE, NEW: MINE},
        interrupted_s=before_s or {},
    )


def former(name: str = "old-0", **fields: Any) -> PodState:
    return a_pod(name, **{"deployment": OLD, **fields})


def new(name: str = "new-0", **fields: Any) -> PodState:
    return a_pod(name, **{"deployment": NEW, **fields})


def loading(name: str = "new-0", **fields: Any) -> PodState:
    return new(name, **{"ready": False, **fields})


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


# --- an interruption ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pods", "was", "expected"),
    [
        pytest.param([former(deleting=True), loading()], False, True, id="the former one drains"),
        pytest.param([former(deletion_cost=-1000, ready=False)], False, True, id="it is marked"),
        pytest.param([former(ready=False), loading()], False, False, id="it only is not ready"),
        pytest.param([loading()], False, False, id="there never was one"),
        pytest.param([loading()], True, True, id="it has gone"),
        pytest.param([new(), former("old-0", deleting=True)], True, False, id="a new one serves"),
        pytest.param(
            [former(), former("old-1", deleting=True)], False, False, id="another former one serves"
        ),
        pytest.param([new(deleting=True)], False, False, id="a planned one is deleted"),
    ],
)
def test_a_class_is_interrupted_where_its_last_replica_went_for_planned_ones(
    pods: list[PodState], was: bool, expected: bool
) -> None:
    before_s = {CHAT: NOW_S - 30.0} if was else {}
    since_s = NOW_S - 30.0 if was else NOW_S
    assert interrupted_s(a_look(*pods), before_s) == ({CHAT: since_s} if expected else {})


def test_no_class_is_interrupted_whose_model_waits_or_for_which_nothing_is_planned() -> None:
    pods = [former(deleting=True), loading()]
    assert interrupted_s(a_look(*pods, exchange="Wait"), {CHAT: NOW_S}) == {}
    assert interrupted_s(a_look(*pods, replicas=0), {CHAT: NOW_S}) == {}


def test_an_interruption_says_since_when_how_many_load_and_how_many_are_planned() -> None:
    since_s = NOW_S - 30.5
    pods = [former(deleting=True), loading("new-0"), loading("new-1", node="")]
    found = interrupted_verdict(a_look(*pods, before_s={CHAT: since_s}), CHAT)
    assert found is not None
    assert (found.type, found.status, found.reason) == ("Ready", "False", Reason.INTERRUPTED)
    expected = Reason.INTERRUPTED.sentence(
        since=rfc3339(NOW_S - 31.0), model=MODEL, loading=1, desired=2, late=""
    )
    assert found.message == expected
    assert interrupted_verdict(a_look(new()), CHAT) is None


@pytest.mark.parametrize(("seconds", "is_late"), [(LOADING_LIMIT_S - 0.1, False), (LOADING_LIMIT_S, True)])
def test_an_interruption_that_lasts_says_where_to_look(seconds: float, is_late: bool) -> None:
    found = interrupted_verdict(a_look(loading(), before_s={CHAT: NOW_S - seconds}), CHAT)
    assert found is not None
    assert (LATE in found.message) is is_late


# --- an exchange that waits -----------------------------------------------------------------------


def without_room(deployment: DeploymentKey = NEW) -> Placement:
    return Placement({}, {}, (), (an_unplaced(deployment),))


def an_unplaced(deployment: DeploymentKey = NEW) -> Unplaced:
    return Unplaced(deployment, 1, "no node has a free GPU.")


def waits(
    *pods: PodState, exchange: str = "Wait", said: Unplaced | None = None, **fields: Any
) -> Verdict | None:
    chosen = {"placement": without_room(), "replicas": 1, **fields}
    return waits_verdict(a_look(*pods, exchange=exchange, **chosen), CHAT, said)


def test_a_last_replica_that_stays_for_want_of_room_says_what_placement_says() -> None:
    found = waits(former(), said=an_unplaced())
    assert found is not None
    assert (found.type, found.status, found.reason) == ("Ready", "False", Reason.EXCHANGE_WAITS)
    assert found.message == Reason.EXCHANGE_WAITS.sentence(unplaced="no node has a free GPU", model=MODEL)
    found = waits(former())
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
    ],
)
def test_nothing_waits_where_another_reason_holds(pods: list[PodState], fields: dict[str, Any]) -> None:
    assert waits(*pods, **fields) is None


# --- events and the status of the plan ------------------------------------------------------------


def a_verdict(status: str, reason: Reason, type: ConditionType = ConditionType.PROGRESSING) -> Verdict:
    return Verdict(type, ConditionStatus(status), reason, "a sentence")


def a_followed(status: str = "", reason: str = "") -> FleetPlan:
    before = (Condition(type="Progressing", status=ConditionStatus(status), reason=reason),) if status else ()
    plan = a_plan(Entry("new", "chat", ("chat",)))
    return plan.model_copy(update={"status": FleetPlanStatus(conditions=before)})


TRUE, FALSE = "True", "False"


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(("", ""), (TRUE, Reason.STARTING), "Normal", id="it begins"),
        pytest.param((TRUE, "Starting"), (TRUE, Reason.EXCHANGING), None, id="it goes on"),
        pytest.param((TRUE, "Exchanging"), (TRUE, Reason.ROLLED_OUT), "Normal", id="it ends"),
        pytest.param((TRUE, "Exchanging"), (FALSE, Reason.UNPLACEABLE), "Warning", id="it stops"),
        pytest.param((FALSE, "Unplaceable"), (FALSE, Reason.UNPLACEABLE), None, id="it still stands"),
        pytest.param(
            (FALSE, "Unplaceable"), (FALSE, Reason.EXCHANGE_WAITS), "Warning", id="for another reason"
        ),
        pytest.param((FALSE, "Unplaceable"), (TRUE, Reason.EXCHANGING), "Normal", id="it goes on again"),
        pytest.param(("", ""), (FALSE, Reason.UNPLACEABLE), "Warning", id="it cannot begin"),
    ],
)
def test_a_roll_out_is_an_event_where_it_begins_stops_goes_on_and_ends(
    before: tuple[str, str], now: tuple[str, Reason], expected: str | None
) -> None:
    plan, other = a_followed(*before), a_verdict(FALSE, Reason.DRAINING, ConditionType.ROLLED_OUT)
    found = progress_events(plan, (other, a_verdict(*now)))
    assert found == (
        ()
        if expected is None
        else (EventRecord("FleetPlan", plan.key, expected, now[1].value, "a sentence"),)
    )
    assert progress_events(plan, (other,)) == ()


def test_the_status_of_a_followed_plan_has_the_conditions_with_their_times() -> None:
    plan = a_followed(TRUE, "Starting")
    snapshot = a_picture()
    [update] = progress_updates(snapshot, plan, (a_verdict(FALSE, Reason.UNPLACEABLE),))
    assert (update.kind, update.key) == ("fleetplans", plan.key)
    [condition] = update.status.conditions
    assert (condition.status, condition.reason) == ("False", "Unplaceable")
    assert condition.last_transition_time == rfc3339(NOW_S)
    assert progress_updates(snapshot, plan, ()) == ()
