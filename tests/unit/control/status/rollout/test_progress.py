"""What a plan says of its roll-out, and its events: one look at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_pool
from pictures import NOW_S, Entry, a_picture, a_plan
from rollout_look import (
    CHAT,
    GROUP,
    MODEL,
    a_look,
    an_unplaced,
    former,
    loading,
    new,
)

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from argosy.api.fleetplan import FleetPlanStatus
from argosy.api.schema.timestamp import rfc3339
from argosy.control.candidates.resolve import Candidate, Resolution, ResolvedClass
from argosy.control.candidates.variants import variants_of
from argosy.control.candidates.workload import mix_of
from argosy.control.decision import EventRecord
from argosy.control.status.rollout.progress import progress_events, progress_updates, progress_verdicts
from argosy.control.status.verdict import Verdict
from argosy.manifests import EngineWorkload
from argosy.perf.protocol import Capacity
from argosy.place.solution import Placement
from argosy.snapshot import SloTerm, Term
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import EnvoyState, RoutingView

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


# --- progress -------------------------------------------------------------------------------------

FULL = Placement({}, {}, (), (an_unplaced(),))


def a_resolution(*, is_plannable: bool = True) -> Resolution:
    snapshot = a_picture(pools=[a_pool()], models=[a_model()])
    variant = next(iter(variants_of(snapshot, snapshot.models[MODEL])))
    workload = EngineWorkload(variant, GROUP, snapshot.pools["l40s"])
    carries = Capacity(4.0, SloTerm(Term.TTFT, 0.95, 500.0))
    candidates = (Candidate(workload, carries, 30.0),) if is_plannable else ()
    spec = a_class()
    found = ResolvedClass(CHAT, spec, mix_of(spec.spec.traffic.lengths), spec.spec.slo, (), (), candidates)
    return Resolution({CHAT: found}, {})


def progressing(
    *pods: PodState,
    is_applied: bool = True,
    is_plannable: bool = True,
    mode: str = "Auto",
    routing: RoutingView | None = None,
    waiting: str = "",
    **fields: Any,
) -> tuple[Verdict, ...]:
    """A minute after the plan was applied. routing: also what Envoys say; else nothing is routed."""
    look = a_look(*pods, **fields)
    assert look.follow is not None
    applied = Condition(
        type="Applied",
        status=ConditionStatus.TRUE,
        reason="Applied",
        last_transition_time=rfc3339(NOW_S - 60.0),
    )
    plan = look.follow.model_copy(
        update={"status": FleetPlanStatus(conditions=(applied,) if is_applied else ())}
    )
    snapshot = replace(look.snapshot, fleet=a_fleet(mode))
    if routing is not None:
        snapshot = replace(snapshot, plans=(plan,), routing=routing)
    sizing = replace(look.sizing, snapshot=snapshot, resolution=a_resolution(is_plannable=is_plannable))
    kept = {} if is_plannable else {pod.deployment: (CHAT,) for pod in pods}
    return progress_verdicts(replace(look, sizing=sizing, follow=plan, unplannable=kept), plan, waiting)


def said(*pods: PodState, **fields: Any) -> tuple[str, str, str]:
    """Status, reason and sentence of Progressing; RolledOut says the same."""
    progress, rolled_out = progressing(*pods, **fields)
    assert (progress.type, rolled_out.type) == ("Progressing", "RolledOut")
    assert (rolled_out.reason, rolled_out.message) == (progress.reason, progress.message)
    assert (rolled_out.status == "True") is (progress.reason is Reason.ROLLED_OUT)
    return progress.status.value, progress.reason.value, progress.message


JUST_NOW = {"created_s": NOW_S}


def test_replicas_of_a_new_plan_start() -> None:
    status, reason, message = said(loading(**JUST_NOW), new("new-1"))
    assert (status, reason) == ("True", "Starting")
    assert "1 of 2 replicas of default/chat on l40s get requests" in message
    assert "former plan" not in message


def test_replicas_take_over_from_those_of_the_former_plan() -> None:
    found = said(former(), loading(**JUST_NOW))
    assert found == (
        "True",
        "Exchanging",
        "Exchanged 0 of 2 replicas: 0 of 2 replicas of default/chat on l40s get requests, 1 of the former"
        " plan still serve.",
    )


def test_what_is_left_of_the_former_plan_drains() -> None:
    serving = (new("new-0"), new("new-1"))
    left = (former(deleting=True), former("old-1", deleting=True), former("old-2", phase="Succeeded"))
    status, reason, message = said(*serving, *left)
    assert (status, reason) == ("True", "Draining")
    assert message.startswith("All 2 planned replicas get requests; 2 of the former plan")
    assert said(*serving, new("new-2"))[1] == "Draining", "one more than planned"
    assert said(*serving, former(), is_plannable=False)[1] == "RolledOut", "it is kept"


def test_what_is_held_back_serves_on_and_is_told_from_what_finishes_its_requests() -> None:
    serving = (new("new-0"), new("new-1"))
    held = (former(), former("old-1"), former("old-2", deleting=True))
    status, reason, message = said(*serving, *held, waiting="they wait for a second look")
    assert (status, reason) == ("True", "RemovalWaits")
    assert message == (
        "All 2 planned replicas get requests; 2 of the former plan still serve, 1 more finish theirs and go:"
        " they wait for a second look."
    )
    assert said(*serving, former(), waiting="one waits")[2] == (
        "All 2 planned replicas get requests; 1 of the former plan still serves: one waits."
    )
    assert said(*serving, former(deleting=True), waiting="others wait")[1] == "Draining"


def test_a_roll_out_ends_with_the_plan_applied_and_says_how_long_it_took() -> None:
    serving = (new("new-0"), new("new-1"))
    assert said(*serving, is_applied=False)[:2] == ("True", "Starting")
    status, reason, message = said(*serving)
    assert (status, reason) == ("True", "RolledOut")
    assert message == Reason.ROLLED_OUT.sentence(desired=2, at=rfc3339(NOW_S), seconds=60)


@pytest.mark.parametrize(("status", "number"), [("True", 0), ("False", 2), ("Unknown", 2)])
def test_a_plan_that_is_rolled_out_says_no_more(status: str, number: int) -> None:
    look = a_look(loading())
    done = Condition(type="RolledOut", status=ConditionStatus(status), reason="RolledOut")
    plan = a_followed().model_copy(update={"status": FleetPlanStatus(conditions=(done,))})
    assert len(progress_verdicts(look, plan)) == number


@pytest.mark.parametrize("routing", [None, RoutingView()], ids=["nothing is routed", "routed before"])
def test_where_argosy_does_not_act_nothing_goes_on(routing: RoutingView | None) -> None:
    status, reason, _ = said(loading(**JUST_NOW), mode="Recommend", routing=routing)
    assert (status, reason) == ("False", "ModeNotAuto")


def test_without_an_envoy_a_roll_out_stands_whatever_is_ready() -> None:
    assert said(former(), loading(**JUST_NOW), routing=RoutingView("v2"))[:2] == ("False", "NoEnvoy")


def test_an_envoy_that_has_not_acknowledged_the_routes_keeps_a_roll_out_from_its_end_only() -> None:
    here = {"ip": "10.0.0.1", "port": 8000}
    serving = (new("new-0", **here), new("new-1", **here))
    edge = EnvoyState("edge", "v1", endpoints_version="e", endpoints_since_s=NOW_S - 60.0)
    routing = RoutingView("v2", (edge,), {"e": frozenset({"10.0.0.1:8000"})})
    assert said(*serving, routing=routing)[:2] == ("True", "EnvoyPending")
    starting = said(serving[0], loading("new-1", **JUST_NOW), routing=routing)
    assert starting[:2] == ("True", "Starting")
    done = replace(routing, envoys=(replace(edge, acknowledged_version="v2"),))
    assert said(*serving, routing=done)[:2] == ("True", "RolledOut")


def other_groups(number: int) -> tuple[Entry, ...]:
    """Of classes that are gone, so that no replica serves them."""
    return tuple(Entry(f"other-{i}", f"g{i}", (f"g{i}",)) for i in range(number))


@pytest.mark.parametrize(
    ("number", "expected"), [(2, ""), (3, "; and 1 group more"), (4, "; and 2 groups more")]
)
def test_of_many_groups_three_are_named(number: int, expected: str) -> None:
    message = said(former(), loading(**JUST_NOW), more=other_groups(number))[2]
    assert message.startswith(f"Exchanged 0 of {2 + number} replicas: 0 of 2 replicas of default/chat")
    assert message.count(" get requests") == 3
    assert message.endswith(f"default/g1 on l40s get requests{expected}.")


def test_a_group_names_its_first_class_and_its_pools() -> None:
    two = said(loading(**JUST_NOW), more=(Entry("b", "chat", ("chat", "code")),))[2]
    assert "0 of 3 replicas of default/chat and 1 more on l40s get requests" in two
    members = ("chat", "code", "docs")
    more = (
        Entry("b", "chat", members, pool="z"),
        Entry("c", "chat", members, pool="h100"),
        Entry("d", "chat", members, pool="a", replicas=0),
        Entry("e", "g", ("g",), replicas=0),
    )
    message = said(loading(**JUST_NOW), more=more)[2]
    assert "0 of 4 replicas of default/chat and 2 more on h100 and l40s and z get requests" in message


def test_a_replica_that_does_not_start_stops_a_roll_out_also_beside_former_ones() -> None:
    assert said(former(), loading(restarts=3, **JUST_NOW))[:2] == ("False", "NoReplicasReady")
    assert said(former(restarts=3), loading(**JUST_NOW))[1] == "Exchanging", "the former one is no matter"


def test_a_replica_without_a_port_is_named() -> None:
    status, reason, message = said(former(), new(portless=("engine",)))
    assert (status, reason) == ("False", "EnginePortMissing")
    assert "default/new-0" in message
    assert said(former(), new(portless=("engine",), ready_since_s=NOW_S))[1] == "EnginePortMissing", "at once"


def test_replicas_beyond_the_count_of_one_deployment_are_none_of_another() -> None:
    newer = Entry("newer", "chat", ("chat",))
    status, reason, message = said(new("new-0"), new("new-1"), replicas=1, more=(newer,))
    assert (status, reason) == ("True", "Exchanging")
    assert "1 of 2 replicas" in message


def test_a_plan_for_which_there_is_no_room_says_so_while_nothing_moves() -> None:
    waiting = loading(node="", **JUST_NOW)
    option = a_resolution().classes[CHAT].candidates[0].workload.key
    full = Placement({}, {}, (), (an_unplaced(option),))
    assert said(waiting, placement=full)[:2] == ("False", "Unplaceable")
    assert said(waiting, new("new-1"), placement=full)[:2] == ("False", "Unplaceable"), "one of two serves"
    assert said(loading(**JUST_NOW), placement=full)[1] == "Starting", "one loads"
    assert said(waiting)[1] == "Starting", "placement has room"
    assert said(former(), former("old-1"), waiting, placement=full)[1] == "Exchanging"


def test_a_last_replica_that_waits_stops_the_roll_out() -> None:
    waiting = loading(node="", **JUST_NOW)
    assert said(former(), waiting, exchange="Wait", placement=FULL)[:2] == ("False", "ExchangeWaits")
