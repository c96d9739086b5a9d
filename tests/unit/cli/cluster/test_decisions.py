"""Which annotations an order sets, what is refused before anything is written, and what is an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.api import Fleet
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.orders import APPROVED, PAUSED, ROLLBACK
from argosy.cli.cluster.decisions import approving, going_back, pausing, resuming
from argosy.cli.cluster.orders import Order
from argosy.errors import SpecError
from argosy.snapshot.fleet import FleetSnapshot


def a_world(mode: str) -> FleetSnapshot:
    """Two revisions."""
    fleet = a_fleet(mode, stabilizationSeconds=0)
    world = World(some_nodes("l40s", 4), fleet, a_pool(), a_model(), a_class())
    world.run(5.0)
    world.apply(a_class(rate_per_s=12.0))
    world.run(5.0)
    assert [plan.spec.revision for plan in world.plans] == [1, 2]
    return world.snapshot()


@pytest.fixture(scope="module")
def auto() -> FleetSnapshot:
    return a_world("Auto")


@pytest.fixture(scope="module")
def recommend() -> FleetSnapshot:
    return a_world("Recommend")


def with_fleet(seen: FleetSnapshot, reason: str = "", **annotations: str) -> FleetSnapshot:
    """With annotations, by the end of their names, and PlanCurrent with a reason."""
    assert seen.fleet is not None
    names = {f"argosy.dev/{name}": value for name, value in annotations.items()}
    metadata = seen.fleet.metadata.model_copy(update={"annotations": names})
    status = seen.fleet.status
    if reason:
        held = Condition(
            type="PlanCurrent", status=ConditionStatus.FALSE, reason=reason, message="of revision 1"
        )
        status = status.model_copy(update={"conditions": (held,)})
    return replace(seen, fleet=seen.fleet.model_copy(update={"metadata": metadata, "status": status}))


def test_to_pause_sets_the_reason_and_waits_for_the_condition(auto: FleetSnapshot) -> None:
    order = pausing(auto, "a freeze")
    assert (order.plural, order.key, order.annotations) == (Fleet.PLURAL, "default", {PAUSED: "a freeze"})
    assert order.answer(auto) == ""
    assert order.answer(with_fleet(auto, "Paused")) == "of revision 1"
    assert pausing(auto, "").annotations == {PAUSED: "true"}


def test_to_resume_removes_both_annotations_and_waits_until_neither_holds(auto: FleetSnapshot) -> None:
    order = resuming(with_fleet(auto, paused="x", rollback="1"))
    assert order.annotations == {PAUSED: None, ROLLBACK: None}
    assert order.answer(with_fleet(auto, "RolledBack")) == ""
    assert order.answer(with_fleet(auto, "PlanCurrent")) == "Planning goes on. of revision 1"


def test_to_go_back_waits_for_the_revision_that_restores_the_named_one(auto: FleetSnapshot) -> None:
    order = going_back(auto, 1, "")
    assert order.annotations == {PAUSED: "argosy rollback 1", ROLLBACK: "1"}
    held = with_fleet(auto, "RolledBack")
    assert order.answer(held) == "", "that is the answer to an earlier order"
    latest = held.plans[-1]
    made = latest.model_copy(update={"spec": latest.spec.model_copy(update={"restores": 1, "revision": 3})})
    answer = order.answer(replace(held, plans=(*held.plans, made)))
    assert answer == "Revision 3 has the replicas of revision 1. of revision 1"
    assert order.answer(with_fleet(auto, "HoldRefused")) == "of revision 1"


def test_to_approve_marks_the_latest_recommendation_and_waits_until_it_is_applied(
    recommend: FleetSnapshot,
) -> None:
    order = approving(recommend, None)
    assert (order.key, order.annotations) == ("plan-000002", {APPROVED: "true"})
    assert approving(recommend, 2).key == "plan-000002"
    assert order.answer(recommend) == ""


@pytest.mark.parametrize(
    ("give", "sentence"),
    [
        (lambda seen: pausing(replace(seen, fleet=None), ""), "there is no Fleet default"),
        (lambda seen: pausing(replace(seen, fleet=a_fleet("Observe")), ""), "Observe makes no plan"),
        (resuming, "nothing is paused"),
        (lambda seen: going_back(seen, 9, ""), "there is no FleetPlan of revision 9; there are 1-2"),
        (lambda seen: going_back(seen, 2, ""), "revision 2 is the applied one"),
        (lambda seen: approving(seen, None), "Auto acts on every plan"),
    ],
)
def test_in_mode_auto_what_cannot_be_done_is_refused(
    give: Callable[[FleetSnapshot], Order], sentence: str, auto: FleetSnapshot
) -> None:
    with pytest.raises(SpecError, match=sentence):
        give(auto)


@pytest.mark.parametrize(
    ("give", "sentence"),
    [
        (
            lambda seen: approving(seen, 1),
            "revision 1 is no recommendation any more; revision 2 is",
        ),
        (lambda seen: approving(seen, 7), "there is no FleetPlan of revision 7"),
        (lambda seen: approving(replace(seen, plans=()), None), "no plan waits for approval: there is none"),
    ],
)
def test_in_mode_recommend_only_the_latest_recommendation_can_be_approved(
    give: Callable[[FleetSnapshot], Order], sentence: str, recommend: FleetSnapshot
) -> None:
    with pytest.raises(SpecError, match=sentence):
        give(recommend)
