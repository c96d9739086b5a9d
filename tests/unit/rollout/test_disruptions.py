"""How many replicas evictions must leave ready, and which replicas on leaving nodes are replaced first."""

from __future__ import annotations

from typing import Any

import builders
import pytest
from small_fleet import a_pool

from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.manifests import EngineWorkload
from argosy.rollout import (
    EndProtection,
    MarkVictim,
    ProtectReplicas,
    RolloutInputs,
    ScaleDeployment,
    Step,
    Target,
    protection_steps,
    rollout_steps,
)
from argosy.rollout.make_room import giving_way
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.cluster import DeploymentState, PodState

GROUP = GroupName("default/chat")
WORKLOAD = EngineWorkload(
    Variant(ModelKey("default/llama"), "small", ("llama",), "l40s", "L40S", 1, EngineSettings()),
    GROUP,
    a_pool(),
)
A, B, C = (DeploymentKey(f"default/{name}") for name in "abc")


def pods(deployment: DeploymentKey, serving: int, loading: int = 0) -> tuple[PodState, ...]:
    """`a0`, `a1`, ... of Deployment a: those that serve come first."""
    return tuple(
        builders.a_pod(f"{deployment.name}{i}", deployment=deployment, ready=i < serving)
        for i in range(serving + loading)
    )


def scene(planned: dict[DeploymentKey, int], its_pods: tuple[PodState, ...], **fields: Any) -> RolloutInputs:
    """Each Deployment asks for as many replicas as it has pods."""
    shown = {key: sum(p.deployment == key for p in its_pods) for key in planned}
    is_short = fields.pop("is_short", False)
    return RolloutInputs(
        targets=tuple(
            Target(key, GROUP, n, WORKLOAD, "l40s", is_short=is_short) for key, n in planned.items()
        ),
        deployments={key: DeploymentState(key, n) for key, n in shown.items()},
        pods=its_pods,
        **fields,
    )


@pytest.mark.parametrize(
    ("inputs", "least"),
    [
        pytest.param(scene({A: 1}, pods(A, 1)), {A: 1}, id="the only replica"),
        pytest.param(scene({A: 3}, pods(A, 3)), {A: 3}, id="all that are planned"),
        pytest.param(scene({A: 3}, pods(A, 1, loading=2)), {A: 3}, id="more are loading"),
        pytest.param(
            scene({A: 1}, pods(A, 1, loading=1), leaving=frozenset({"default/a0"})),
            {A: 1},
            id="its successor loads: two will be ready, one may go",
        ),
        pytest.param(
            scene({A: 0, B: 1}, (*pods(A, 2), *pods(B, 0, loading=1))),
            {A: 2, B: 1},
            id="a surplus stands in for what loads",
        ),
        pytest.param(scene({A: 0, B: 1}, (*pods(A, 2), *pods(B, 1))), {A: 0, B: 1}, id="it may go now"),
        pytest.param(
            scene({A: 1}, pods(A, 2), lost=frozenset({"default/a1"})),
            {A: 2},
            id="a lost replica that Kubernetes still calls ready",
        ),
        pytest.param(
            scene({A: 2}, pods(A, 2, loading=1), unrouted=frozenset({"default/a0", "default/a1"})),
            {A: 3},
            id="all have become ready and get no requests yet: none may go, and no more is asked for",
        ),
        pytest.param(
            scene({A: 1}, pods(A, 1, loading=1), lost=frozenset({"default/a1"})),
            {A: 1},
            id="a lost replica that Kubernetes calls not ready",
        ),
        pytest.param(
            scene({A: 1}, pods(A, 2), unrouted=frozenset({"default/a1"})),
            {A: 2},
            id="a ready replica that gets no requests yet",
        ),
        pytest.param(
            scene({A: 0, B: 1}, (*pods(A, 2), *pods(B, 1)), is_short=True, closed=frozenset({"default/a1"})),
            {A: 1, B: 1},
            id="a former replica serves on where nothing else could use its GPU",
        ),
    ],
)
def test_evictions_leave_what_has_to_serve(inputs: RolloutInputs, least: dict[DeploymentKey, int]) -> None:
    assert protection_steps(inputs) == tuple(ProtectReplicas(key, n) for key, n in least.items())


@pytest.mark.parametrize(
    ("protected", "steps"),
    [
        pytest.param({A: 1}, (), id="as it should be"),
        pytest.param({A: -1}, (ProtectReplicas(A, 1),), id="it counts another way"),
        pytest.param({A: 1, B: 2}, (EndProtection(B),), id="its Deployment is gone"),
        pytest.param({A: 1, C: 1, B: 2}, (EndProtection(B), EndProtection(C)), id="two are gone, in order"),
    ],
)
def test_budgets_are_put_right(protected: dict[DeploymentKey, int], steps: tuple[Step, ...]) -> None:
    assert protection_steps(scene({A: 1}, pods(A, 1), protected=protected)) == steps


def test_a_budget_is_not_ended_while_its_deployment_is_about_to_be_made() -> None:
    target = Target(A, GROUP, 1, WORKLOAD)
    assert protection_steps(RolloutInputs((target,), {}, (), protected={A: 1})) == ()


def test_a_budget_is_not_made_before_its_deployment() -> None:
    assert protection_steps(RolloutInputs((Target(A, GROUP, 1, WORKLOAD),), {}, ())) == ()


def test_a_budget_ends_where_the_plan_wants_no_replica_of_a_deployment_that_is_gone() -> None:
    inputs = RolloutInputs((Target(A, GROUP, 0, None),), {}, (), protected={A: 1})
    assert protection_steps(inputs) == (EndProtection(A),)


def test_a_budget_stays_with_a_deployment_that_has_no_target() -> None:
    inputs = RolloutInputs((), {A: DeploymentState(A, 1)}, (), protected={A: 1})
    assert protection_steps(inputs) == ()


LEAVES = frozenset({"default/a0"})


@pytest.mark.parametrize(
    ("inputs", "steps"),
    [
        pytest.param(
            scene({A: 1}, pods(A, 1), leaving=LEAVES, closed=LEAVES),
            (ScaleDeployment(A, 2),),
            id="its successor is started",
        ),
        pytest.param(
            scene({A: 1}, pods(A, 1, loading=1), leaving=LEAVES, closed=LEAVES), (), id="its successor loads"
        ),
        pytest.param(
            scene({A: 1}, pods(A, 2), leaving=LEAVES, closed=LEAVES),
            (MarkVictim("default/a0", -1000), ScaleDeployment(A, 1)),
            id="its successor serves",
        ),
        pytest.param(
            scene({A: 2}, pods(A, 2), closed=LEAVES), (), id="no other node has room: it stays where it is"
        ),
        pytest.param(
            scene(
                {A: 0, B: 1},
                (*pods(A, 2), *pods(B, 1)),
                closed=LEAVES,
                is_short=True,
                victims=(
                    "default/a0",
                    "default/a1",
                ),
            ),
            (MarkVictim("default/a1", -1000), ScaleDeployment(A, 1)),
            id="a former one on a closed node stays while its group is short of room",
        ),
    ],
)
def test_a_replica_on_a_leaving_node_goes_when_its_successor_serves(
    inputs: RolloutInputs, steps: tuple[Step, ...]
) -> None:
    assert rollout_steps(inputs) == steps


def test_replicas_where_nothing_could_start_do_not_give_way() -> None:
    two = (*pods(A, 2), *pods(B, 0, loading=1))
    starved = {"without_room": {B: 1}}
    assert giving_way(scene({A: 0, B: 1}, two, **starved)) == {A}
    everywhere = frozenset(p.key for p in two)
    assert giving_way(scene({A: 0, B: 1}, two, closed=everywhere, **starved)) == frozenset()
