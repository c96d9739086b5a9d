"""The limit on destruction, at its bounds: what counts, what explains it, which steps wait, how long."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_pod, a_pool
from pictures import AWAKE_S, Entry, a_picture, a_plan

from argosy.api import GPUPool, WorkloadClass
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import PlannedStep, Reliance
from argosy.control.memory import PlanInputs
from argosy.control.picture.removal import (
    REMOVAL,
    Explanation,
    Guarded,
    cause_of,
    guarded,
    inputs_of,
    is_destructive,
)
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.manifests import EngineWorkload
from argosy.rollout import (
    CreateDeployment,
    DeleteDeployment,
    DeletePod,
    EndProtection,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    ScaleDeployment,
    Step,
)
from argosy.snapshot.cluster import DeploymentState, PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import SECOND_LOOK_S, ObjectRef, Seen

A, B, C = DeploymentKey("default/a"), DeploymentKey("default/b"), DeploymentKey("default/c")
UNEXPLAINED = Explanation()


def some_pods(deployment: DeploymentKey, count: int, **fields: Any) -> list[PodState]:
    return [a_pod(f"{deployment.name}-{i}", deployment=deployment, **fields) for i in range(count)]


def a_fleet_of(num_a: int, num_b: int, *more: PodState, **fields: Any) -> FleetSnapshot:
    """Ready replicas of two Deployments."""
    pods = (*some_pods(A, num_a), *some_pods(B, num_b), *more)
    states = (DeploymentState(A, num_a), DeploymentState(B, num_b))
    return a_picture(pods=pods, deployments=states, **fields)


def planned(*steps: Step) -> tuple[PlannedStep, ...]:
    return tuple(PlannedStep(step, Reliance("plan-000001")) for step in steps)


def taken(found: Guarded) -> list[Step]:
    return [each.step for each in found.steps]


@pytest.mark.parametrize(
    ("num_a", "num_b", "step", "waits"),
    [
        pytest.param(4, 4, ScaleDeployment(A, 0), False, id="exactly half of the fleet"),
        pytest.param(5, 4, ScaleDeployment(A, 0), True, id="more than half"),
        pytest.param(5, 4, ScaleDeployment(A, 1), False, id="less than half"),
        pytest.param(2, 0, ScaleDeployment(A, 0), False, id="all, but no more than two"),
        pytest.param(3, 0, ScaleDeployment(A, 0), True, id="all three"),
        pytest.param(3, 0, DeleteDeployment(A), True, id="with their Deployment"),
        pytest.param(3, 0, ScaleDeployment(A, 4), False, id="it grows"),
    ],
)
def test_more_than_two_and_more_than_half_of_the_ready_replicas_wait(
    num_a: int, num_b: int, step: Step, waits: bool
) -> None:
    found = guarded(planned(step), a_fleet_of(num_a, num_b), UNEXPLAINED)
    assert (taken(found) == [], found.is_large, bool(found.waiting)) == (waits, waits, waits)


def test_the_removals_of_all_deployments_are_added_up() -> None:
    steps = planned(ScaleDeployment(A, 2), ScaleDeployment(B, 1))
    found = guarded(steps, a_fleet_of(4, 4), UNEXPLAINED)
    assert taken(found) == []
    assert found.waiting == (
        "5 of 8 ready replicas would go at once and no deleted or edited object, cordoned node, lower"
        " demand or changed price explains it: more than 50% wait for a second look, at most 30 s"
    )


def test_one_replica_of_a_deployment_counts_too() -> None:
    found = guarded(planned(ScaleDeployment(A, 0), ScaleDeployment(B, 0)), a_fleet_of(4, 1), UNEXPLAINED)
    assert found.waiting.startswith("5 of 5 ready replicas")
    found = guarded(planned(ScaleDeployment(A, 2), ScaleDeployment(B, 0)), a_fleet_of(4, 1), UNEXPLAINED)
    assert found.waiting.startswith("3 of 5 ready replicas")


def test_replicas_that_do_not_serve_or_are_going_already_are_not_counted() -> None:
    more = (
        *some_pods(DeploymentKey("default/c"), 5, ready=False),
        *some_pods(DeploymentKey("default/d"), 5, deleting=True),
    )
    assert guarded(planned(ScaleDeployment(A, 0)), a_fleet_of(4, 3, *more), UNEXPLAINED).is_large
    going = planned(ScaleDeployment(DeploymentKey("default/d"), 0), DeleteDeployment(more[0].deployment))
    assert guarded(going, a_fleet_of(1, 0, *more), UNEXPLAINED) == Guarded(going)


@pytest.mark.parametrize(
    ("waited_s", "medium_s", "waits"),
    [
        pytest.param(SECOND_LOOK_S - 0.1, 60, True, id="not yet"),
        pytest.param(SECOND_LOOK_S, 60, False, id="for as long as a second look"),
        pytest.param(9.9, 10, True, id="a shorter planning period, not yet"),
        pytest.param(10.0, 10, False, id="a shorter planning period"),
    ],
)
def test_a_large_removal_waits_for_one_planning_period_at_most(
    waited_s: float, medium_s: int, waits: bool
) -> None:
    snapshot = a_fleet_of(4, 0, fleet=a_fleet(intervals={"mediumSeconds": medium_s}))
    steps = planned(ScaleDeployment(A, 0))
    seen = Explanation(first_seen_s={REMOVAL: AWAKE_S - waited_s})
    found = guarded(steps, snapshot, seen)
    assert taken(found) == ([] if waits else [ScaleDeployment(A, 0)])
    assert bool(found.waiting) is waits
    assert found.is_large, "its look goes on"
    assert f"at most {min(30, medium_s)} s" in guarded(steps, snapshot, UNEXPLAINED).waiting


@pytest.mark.parametrize("cause", ["Demand", "Price"])
def test_a_removal_that_is_explained_does_not_wait(cause: str) -> None:
    steps = planned(ScaleDeployment(A, 0))
    assert guarded(steps, a_fleet_of(4, 0), Explanation(cause)) == Guarded(steps)


def a_workload(snapshot: FleetSnapshot) -> EngineWorkload:
    variant = next(iter(variants_of(snapshot, a_model())))
    return EngineWorkload(variant, GroupName("default/chat"), a_pool())


def test_of_a_removal_that_waits_every_part_waits_and_nothing_else() -> None:
    loading = some_pods(C, 2, ready=False)
    snapshot = a_fleet_of(5, 3, *loading, protected={A: 5, B: 2}, pools=[a_pool()], models=[a_model()])
    others = (
        ScaleDeployment(B, 3),
        ScaleDeployment(C, 0),
        DeleteDeployment(C),
        CreateDeployment(a_workload(snapshot), 1),
        ScaleDeployment(B, 4),
        ProtectReplicas(B, 1),
        MarkVictim("default/b-0", -1000),
        MarkVictim("default/a-1", 0),
        PlacePod("default/a-2", "n"),
        ProtectReplicas(A, 6),
    )
    parts = (ScaleDeployment(A, 0), ProtectReplicas(A, 0), MarkVictim("default/a-0", -1000))
    found = guarded(planned(*parts, *others), snapshot, UNEXPLAINED)
    assert taken(found) == list(others)


# --- what users have deleted ----------------------------------------------------------------------

PLAN = a_plan(Entry("a", "chat", ("chat",), pool="h100"), Entry("b", "code", ("code",)))


def test_what_a_user_deleted_explains_the_removal_of_what_was_made_for_it_and_of_nothing_else() -> None:
    present = {"pools": [a_pool()], "models": [a_model()], "classes": [a_class("chat"), a_class("code")]}
    deleted = Seen(deleted=frozenset({ObjectRef(GPUPool.PLURAL, "h100")}))
    steps = planned(ScaleDeployment(A, 0), ScaleDeployment(B, 0))
    some = a_fleet_of(6, 2, plans=(PLAN,), seen=deleted, **present)
    assert guarded(steps, some, UNEXPLAINED) == Guarded(steps), "the two of b are few"
    most = a_fleet_of(3, 5, plans=(PLAN,), seen=deleted, **present)
    found = guarded(steps, most, UNEXPLAINED)
    assert taken(found) == []
    assert found.waiting.startswith("5 of 8 ready replicas")


def test_an_object_that_is_only_not_seen_explains_nothing() -> None:
    """Another object was deleted, which neither was made for."""
    seen = Seen(deleted=frozenset({ObjectRef(WorkloadClass.PLURAL, "default/other")}))
    snapshot = a_fleet_of(3, 0, plans=(PLAN,), seen=seen)
    assert guarded(planned(ScaleDeployment(A, 0)), snapshot, UNEXPLAINED).is_large


# --- which steps take something away --------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (ScaleDeployment(A, 2), True),
        (ScaleDeployment(A, 3), False),
        (ScaleDeployment(A, 4), False),
        (ScaleDeployment(DeploymentKey("default/new"), 0), False),
        (ProtectReplicas(A, 1), True),
        (ProtectReplicas(A, 2), False),
        (ProtectReplicas(B, 0), False),
        (EndProtection(A), True),
        (DeleteDeployment(A), True),
        (DeletePod("default/a-0"), True),
        (MarkVictim("default/a-0", -1), True),
        (MarkVictim("default/a-0", 0), False),
        (PlacePod("default/a-0", "n"), False),
    ],
)
def test_a_step_takes_something_away_where_fewer_replicas_serve_or_are_protected(
    step: Step, expected: bool
) -> None:
    assert is_destructive(step, a_fleet_of(3, 1, protected={A: 2})) is expected


# --- what explains a smaller fleet ----------------------------------------------------------------


def rates(**per_s: float) -> PlanInputs:
    return PlanInputs(rate_per_s={ClassKey(f"default/{name}"): rate for name, rate in per_s.items()})


def prices(**usd: float) -> PlanInputs:
    return PlanInputs(prices=usd)


def specs(**digests: str) -> PlanInputs:
    return PlanInputs(specs={ObjectRef("gpupools", name): digest for name, digest in digests.items()})


def leaving(**nodes: bool) -> PlanInputs:
    return PlanInputs(leaving=nodes)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(specs(a="1", b="1"), specs(a="1", b="2"), "Edit", id="an edited object"),
        pytest.param(specs(a="1", b="1"), specs(a="1"), "", id="an object that is not there, or not seen"),
        pytest.param(specs(a="1"), specs(a="1", b="2"), "", id="an object more"),
        pytest.param(leaving(n=False, m=False), leaving(n=True, m=False), "Nodes", id="a cordon"),
        pytest.param(leaving(n=True), leaving(n=False), "Nodes", id="the end of a cordon"),
        pytest.param(leaving(n=False, m=False), leaving(n=False), "", id="a node that is gone"),
        pytest.param(leaving(n=False), leaving(n=False, m=True), "", id="a cordoned node that is new"),
        pytest.param(rates(a=100.0), rates(a=95.0), "", id="as much as noise"),
        pytest.param(rates(a=100.0), rates(a=94.9), "Demand", id="more than noise"),
        pytest.param(rates(a=1.0, b=9.0), rates(a=1.0, b=2.0), "Demand", id="of one class"),
        pytest.param(rates(a=9.0), rates(b=1.0), "", id="a class that is gone has no rate"),
        pytest.param(rates(a=1.0), rates(a=9.0), "", id="a higher one explains no removal"),
        pytest.param(prices(l=1.0, h=2.0), prices(l=1.0, h=3.0), "Price", id="of one pool"),
        pytest.param(prices(l=1.0), prices(l=1.0, h=3.0), "", id="a new pool"),
    ],
)
def test_a_change_of_any_class_or_pool_that_is_known_before_and_after_is_a_cause(
    before: PlanInputs, now: PlanInputs, expected: str
) -> None:
    assert cause_of(before, now) == expected


def test_a_plan_is_made_for_prices_by_pool_and_rates_by_class() -> None:
    rate_per_s = {ClassKey("default/chat"): 3.0}
    snapshot = a_picture(pools=[a_pool(), a_pool("h100", "H100", priceUsdPerHour=2.5)])
    found = inputs_of(snapshot, rate_per_s)
    assert (found.prices, found.rate_per_s) == ({"l40s": 0.9, "h100": 2.5}, rate_per_s)
    assert set(found.specs) >= {ObjectRef("gpupools", "l40s"), ObjectRef("gpupools", "h100")}
    assert dict(found.leaving) == dict.fromkeys(snapshot.nodes, False)
