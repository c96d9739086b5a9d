"""When a new revision is due, what it says, and how large it may become."""

from __future__ import annotations

from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_node, a_pool, some_nodes, steps_of, verdict

from argosy.api import FleetPlan, ObjectMeta
from argosy.api.fleetplan import (
    Alternative,
    CellShare,
    FleetPlanSpec,
    NodeReplicas,
    PlannedCell,
    PlannedDeployment,
    PlanReason,
    SolverReport,
)
from argosy.control.revision import bounds
from argosy.control.revision.revision import differs
from argosy.control.step import StepSettings, step


def entry(name: str = "a", replicas: int = 2, nodes: dict[str, int] | None = None) -> PlannedDeployment:
    placed = {"n1": 1, "n2": 1} if nodes is None else nodes
    return PlannedDeployment(
        name=f"default/{name}",
        namespace="default",
        deployment=name,
        model="llama",
        variant=name,
        pool="l40s",
        sharing_group="default/chat",
        tensor_parallel=1,
        gpus_per_replica=1,
        replicas=replicas,
        nodes=tuple(NodeReplicas(node=n, replicas=c) for n, c in placed.items()),
    )


def cell(rate_per_s: float = 8.0, name: str = "default/chat", **shares: float) -> PlannedCell:
    return PlannedCell(
        name=name,
        workload_class=name,
        sharing_group=name,
        requests_per_second=rate_per_s,
        shares=tuple(
            CellShare(deployment=f"default/{d}", share=s) for d, s in (shares or {"a": 1.0}).items()
        ),
        capacity_requests_per_second=10.0,
    )


def a_plan(*entries: PlannedDeployment, cells: tuple[PlannedCell, ...] = (), **fields: Any) -> FleetPlan:
    spec = FleetPlanSpec(
        revision=1,
        trigger="a test",
        cost_usd_per_hour=1.8,
        deployments=entries or (entry(),),
        cells=cells or (cell(),),
        solver=SolverReport(status="Optimal"),
        **fields,
    )
    return FleetPlan(metadata=ObjectMeta(name="plan-000001"), spec=spec)


@pytest.mark.parametrize(
    ("new", "is_due"),
    [
        pytest.param(a_plan(), False, id="the same again"),
        pytest.param(a_plan(cells=(cell(7.0),)), False, id="another rate, the same replicas"),
        pytest.param(a_plan(reasons=(PlanReason(code="x", message="y"),)), False, id="other words"),
        pytest.param(a_plan(entry(replicas=3)), True, id="another count"),
        pytest.param(a_plan(entry(nodes={"n1": 2})), True, id="other nodes"),
        pytest.param(a_plan(entry(nodes={"n1": 1})), True, id="a place is given up"),
        pytest.param(a_plan(entry(nodes={"n1": 1, "n2": 1, "n3": 1})), False, id="a place is found"),
        pytest.param(a_plan(entry(), entry("b", 0, {})), False, id="an outgoing Deployment is listed"),
        pytest.param(a_plan(entry(), entry("b", 1, {"n3": 1})), True, id="one Deployment more"),
        pytest.param(a_plan(entry("b")), True, id="another Deployment"),
        pytest.param(
            a_plan(entry().model_copy(update={"request_limit": 512})), True, id="another request limit"
        ),
        pytest.param(a_plan(cells=(cell(a=1.0, b=0.0),)), False, id="an outgoing cluster in the cell"),
        pytest.param(a_plan(cells=(cell(a=0.995, b=0.005),)), True, id="a cluster gets its first requests"),
        pytest.param(a_plan(cells=(cell(a=0.991),)), False, id="a share by less than a point"),
        pytest.param(a_plan(cells=(cell(a=0.98),)), True, id="a share by more than a point"),
        pytest.param(a_plan(cells=(cell(), cell(0.0, "default/new", b=0.0))), True, id="a class more"),
    ],
)
def test_a_revision_is_due_where_counts_nodes_or_shares_change(new: FleetPlan, is_due: bool) -> None:
    assert differs(new, a_plan()) is is_due


def test_the_first_plan_is_always_due() -> None:
    assert differs(a_plan(), None)


def long(word: str, length: int) -> str:
    return word + "x" * (length - len(word))


def test_the_longest_names_that_the_api_takes_are_planned_and_told_apart() -> None:
    models = [a_model(long("llama", 252) + end) for end in "ab"]
    classes = [
        a_class(
            long("chat", 252) + end,
            rate_per_s=4.0,
            models=[{"name": m.metadata.name} for m in models],
            priority=priority,  # or they would share a group
        )
        for end, priority in (("a", 1), ("b", 2))
    ]
    pools = [a_pool(long("l40s", 252) + end, nodeSelector={"nvidia.com/gpu.product": "L40S"}) for end in "a"]
    world = World([a_node(f"n{i}", "L40S") for i in range(2)], a_fleet(), *models, *classes, *pools)
    world.settle()
    assert len(world.deployments) == 2
    assert {c.workload_class for c in world.applied.spec.cells} == {c.key for c in classes}
    for each in classes:
        assert verdict(world.decisions[-1], each.key) == ("True", "Ready")
        assert [p.ready for p in world.pods_of_class(each.key)] == [True]
    assert isinstance(FleetPlan.from_object(world.applied.to_object()), FleetPlan)


def a_large_plan(num_deployments: int, nodes_each: int, sentences: int = 64) -> FleetPlanSpec:
    """Names as long as they are in life, sentences as long as they may be."""
    names = [f"llama-3-1-70b-instruct-h100-east-{i:03}-{'c' * 8}" for i in range(num_deployments)]
    words = "w" * 1000
    nodes = {f"ip-10-0-{i:03}-17.eu-central-1.compute.internal": 1 for i in range(nodes_each)}
    return a_plan(
        *(entry(n, nodes_each, nodes) for n in names),
        cells=tuple(cell(8.0, f"default/{n}", **{n: 1.0}) for n in names),
        reasons=tuple(PlanReason(code="Capacity", message=f"{i} {words}") for i in range(sentences)),
        alternatives=tuple(Alternative(description=words, reason=words) for _ in range(sentences)),
    ).spec


@pytest.mark.parametrize(
    ("spec", "what_is_left_out"),
    [
        pytest.param(a_large_plan(100, 4, 8), "", id="a large fleet: nothing"),
        pytest.param(a_large_plan(512, 2, 64), "reasons and alternatives", id="the most Deployments: words"),
        pytest.param(a_large_plan(512, 64, 64), "the nodes of", id="and many nodes each: nodes"),
        pytest.param(a_large_plan(40, 256, 64), "the nodes of", id="the most nodes: nodes"),
    ],
)
def test_a_plan_stays_under_its_size_and_says_what_it_leaves_out(
    spec: FleetPlanSpec, what_is_left_out: str
) -> None:
    found = bounds.bounded(spec)
    assert bounds.size_bytes(found) <= 512 * 1024
    assert [(d.name, d.replicas) for d in found.deployments] == [
        (d.name, d.replicas) for d in spec.deployments
    ]
    assert found.cells == spec.cells
    said = [r.message for r in found.reasons if r.code == "Summarised"]
    assert what_is_left_out in "".join(said)
    assert (found == spec) is (what_is_left_out == "")


def test_nodes_left_out_are_as_few_as_will_do() -> None:
    spec = a_large_plan(40, 256, 0)
    bare = [d for d in bounds.bounded(spec).deployments if not d.nodes]
    assert 0 < len(bare) < 20


def test_a_cell_lists_its_largest_shares_and_gives_them_the_rest() -> None:
    shares = tuple(CellShare(deployment=f"default/d{i:02}", share=0.02) for i in range(40))
    listed = bounds.largest_shares((CellShare(deployment="default/big", share=0.2), *shares))
    assert len(listed) == bounds.MAX_SHARES
    assert listed[0].deployment == "default/big"
    assert sum(s.share for s in listed) == pytest.approx(1.0, abs=1e-4)


def test_replicas_whose_nodes_the_plan_had_to_leave_out_are_placed_all_the_same() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.act()
    [plan] = world.plans
    bare = tuple(d.model_copy(update={"nodes": ()}) for d in plan.spec.deployments)
    world.plans = (plan.model_copy(update={"spec": plan.spec.model_copy(update={"deployments": bare})}),)
    decision = world.decide()
    assert sorted(s.node for s in steps_of(decision) if hasattr(s, "node")) == ["l40s-0", "l40s-1"]


@pytest.mark.parametrize(
    ("is_progress", "trigger"),
    [
        pytest.param(
            True, "class default/chat needs 16 requests/s, 8 before", id="the clock: demand says why"
        ),
        pytest.param(False, "a test", id="a fact of the world says why itself"),
    ],
)
def test_a_revision_for_more_demand_says_so_where_nothing_else_asked_for_it(
    is_progress: bool, trigger: str
) -> None:
    world = World(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=8.0))
    world.settle()
    world.apply(a_class(rate_per_s=16.0))
    settings = StepSettings("a test", is_progress=is_progress, plan_time_limit_s=None)
    decision = step(world.snapshot(), world.memory, settings, world.perf)
    assert decision.new_plan is not None
    assert decision.new_plan.spec.trigger == trigger
