"""A class whose requests fall into two route cells, in one sharing group or in two."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import (
    FakePerf,
    World,
    a_class,
    a_fleet,
    a_model,
    a_pool,
    body_of,
    condition,
    some_nodes,
    started,
    verdict,
)

from argosy.api import FleetPlan
from argosy.api.fleetplan import DeploymentWeight, PlannedCell, PublishedWeights
from argosy.control.cells import RouteCell, RouteCells
from argosy.control.demand import class_forecasts
from argosy.control.fast import ReactSettings, react
from argosy.control.routes import route_inputs
from argosy.control.step import StepSettings, step
from argosy.control.traffic.balance import balance
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName
from argosy.route.compile import compile_routes
from argosy.route.table import RouteEntry
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

CHAT = ClassKey("default/chat")
SHORT, LONG = CellName.of_class(CHAT, "short"), CellName.of_class(CHAT, "long")
ONE, OTHER = GroupName("default/chat-short"), GroupName("default/chat-long")

IN_ONE_GROUP = RouteCells((RouteCell(LONG, CHAT, ONE, 0.25), RouteCell(SHORT, CHAT, ONE, 0.75)))
IN_TWO_GROUPS = RouteCells((RouteCell(LONG, CHAT, OTHER, 0.25), RouteCell(SHORT, CHAT, ONE, 0.75)))
BOTH_WAYS = pytest.mark.parametrize("cells", [IN_ONE_GROUP, IN_TWO_GROUPS], ids=["one group", "two groups"])


def a_world(cells: RouteCells | None, *objects: object, num_l40s: int = 4) -> World:
    """Class chat at 16 requests/s: four L40S at 4 each."""
    pools = a_pool(), a_pool("h100", "H100", priceUsdPerHour=6.0)
    nodes = [*some_nodes("l40s", num_l40s), *some_nodes("h100", 2)]
    world = World(nodes, a_fleet(), *pools, a_model(), a_class(rate_per_s=16.0))
    world.apply(*objects)  # type: ignore[arg-type]
    world.cells = cells
    return world


def cell_of(plan: FleetPlan, name: CellName) -> PlannedCell:
    return next(c for c in plan.spec.cells if c.name == name)


def routes_of(world: World) -> dict[CellName, RouteEntry]:
    return {r.cell: r for r in compile_routes(route_inputs(world.snapshot(), world.applied)).routes}


def deployments_of(world: World, group: GroupName) -> list[DeploymentKey]:
    return [d.name for d in world.applied.spec.deployments if d.sharing_group == group]


@BOTH_WAYS
def test_a_classs_rate_is_divided_among_its_cells(cells: RouteCells) -> None:
    world = a_world(cells)
    world.settle()
    found = [(c.name, c.workload_class, c.requests_per_second) for c in world.applied.spec.cells]
    assert sorted(found) == [(LONG, CHAT, 4.0), (SHORT, CHAT, 12.0)]
    assert sum(world.replicas().values()) == 4


def test_cells_of_one_group_share_its_replicas_and_cells_of_two_groups_have_their_own() -> None:
    together, apart = a_world(IN_ONE_GROUP), a_world(IN_TWO_GROUPS)
    for world in (together, apart):
        world.settle()
    assert together.replicas() == {"l40s/chat-short": 4}
    assert apart.replicas() == {"l40s/chat-long": 1, "l40s/chat-short": 3}


@BOTH_WAYS
def test_a_revision_records_the_group_of_every_cell_and_deployment(cells: RouteCells) -> None:
    world = a_world(cells)
    world.settle()
    assert {c.name: c.sharing_group for c in world.applied.spec.cells} == {
        r.name: r.group for r in cells.rows
    }
    for cell in world.applied.spec.cells:
        assert {s.deployment for s in cell.shares} == set(deployments_of(world, cell.sharing_group))


def test_every_cell_has_a_capacity_of_its_own_on_every_deployment() -> None:
    world = a_world(IN_ONE_GROUP)
    world.settle()
    capacity = world.decisions[-1].memory.capacity_per_s
    [deployment] = deployments_of(world, ONE)
    assert (capacity[SHORT, deployment], capacity[LONG, deployment]) == (4.0, 4.0)
    assert {cell for cell, _ in capacity} == {SHORT, LONG}


def test_a_deployment_has_no_capacity_for_a_cell_of_another_group() -> None:
    world = a_world(IN_TWO_GROUPS)
    world.settle()
    capacity = world.decisions[-1].memory.capacity_per_s
    [short], [long] = deployments_of(world, ONE), deployments_of(world, OTHER)
    assert (SHORT, short) in capacity
    assert (LONG, short) not in capacity
    assert (SHORT, long) not in capacity


@BOTH_WAYS
def test_the_status_of_a_class_sums_up_its_cells(cells: RouteCells) -> None:
    world = a_world(cells)
    world.settle()
    body = body_of(world.decide(), CHAT)
    assert (body["requestsPerSecond"], body["replicasReady"], body["unservedShare"]) == (16.0, 4, 0)
    assert verdict(world.decisions[-1], CHAT) == ("True", "Ready")


def test_the_unserved_share_of_a_class_weights_its_cells_by_their_rates() -> None:
    world = a_world(IN_TWO_GROUPS, a_fleet(budgetUsdPerHour=1.8))
    world.run(60)
    shares = {c.name: (c.requests_per_second, c.unserved_share) for c in world.applied.spec.cells}
    assert sum(rate * share for rate, share in shares.values()) == pytest.approx(8.0)
    # Two L40S carry half of the class; a mean over the cells would give another figure.
    assert body_of(world.decisions[-1], CHAT)["unservedShare"] == pytest.approx(0.5)
    assert sum(share for _, share in shares.values()) / 2 != pytest.approx(0.5)


def test_a_shortfall_of_a_cell_is_an_event_and_a_condition_of_its_class() -> None:
    world = a_world(IN_TWO_GROUPS, num_l40s=1)
    world.nodes = {name: node for name, node in world.nodes.items() if name.startswith("l40s")}
    first = world.act()
    shortfalls = [e for e in first.events if e.reason == "PoolFull"]
    assert shortfalls
    assert {(e.kind, e.key) for e in shortfalls} == {("WorkloadClass", CHAT)}
    world.run(60)
    assert verdict(world.decisions[-1], CHAT) == ("False", "CapacityShort")
    assert "WorkloadClass" not in {e.kind for e in first.events if e.key in (SHORT, LONG)}


@BOTH_WAYS
def test_a_class_is_ready_only_with_the_replicas_of_all_its_groups(cells: RouteCells) -> None:
    world = a_world(cells)
    world.settle()
    label = "l40s/chat-long" if cells is IN_TWO_GROUPS else "l40s/chat-short"
    pod = world.pods_of(label)[0]
    world.pods[pod.key] = replace(pod, ready=False)
    assert verdict(world.decide(), CHAT)[0] == "False"
    assert condition(world.decisions[-1], CHAT)["message"].startswith("3 of 4")


def test_each_cell_has_its_own_route_with_counters_of_its_own() -> None:
    world = a_world(IN_TWO_GROUPS)
    world.settle()
    routes = routes_of(world)
    assert list(routes) == [LONG, SHORT]
    assert {r.stat_prefix for r in routes.values()} == {"default_chat_long", "default_chat_short"}
    assert {r.class_key for r in routes.values()} == {CHAT}
    assert {r.cell: [b.cluster for b in r.backends] for r in routes.values()} == {
        LONG: deployments_of(world, OTHER),
        SHORT: deployments_of(world, ONE),
    }


def test_cells_of_one_group_are_routed_to_the_same_cluster() -> None:
    world = a_world(IN_ONE_GROUP)
    world.settle()
    [deployment] = deployments_of(world, ONE)
    backends = {r.cell: [(b.cluster, b.share) for b in r.backends] for r in routes_of(world).values()}
    assert backends == {LONG: [(deployment, 1.0)], SHORT: [(deployment, 1.0)]}


def test_weights_published_for_one_cell_do_not_count_for_the_other() -> None:
    world = a_world(IN_TWO_GROUPS, a_pool("h100", "H100", priceUsdPerHour=6.0))
    world.settle()
    [short] = deployments_of(world, ONE)
    weights = (PublishedWeights(cell=SHORT, weights=(DeploymentWeight(deployment=short, weight=1.0),)),)
    plan = world.applied.model_copy(
        update={"status": world.applied.status.model_copy(update={"weights": weights})}
    )
    routes = compile_routes(route_inputs(world.snapshot(), plan)).routes
    assert {r.cell: [b.cluster for b in r.backends] for r in routes}[LONG] == deployments_of(world, OTHER)


def test_what_replicas_of_one_cell_cannot_carry_is_not_sent_to_those_of_the_other() -> None:
    world = a_world(IN_TWO_GROUPS)
    world.settle()
    [pod] = world.pods_of("l40s/chat-long")
    world.pods[pod.key] = replace(pod, ready=False)
    found = balance(world.snapshot(), world.applied, {}, world.decisions[-1].memory.capacity_per_s)
    assert {cell: list(w.weights) for cell, w in found.items()} == {
        LONG: deployments_of(world, OTHER),
        SHORT: deployments_of(world, ONE),
    }


def test_the_traffic_loop_adds_up_the_cells_of_a_class_at_every_envoy() -> None:
    world = a_world(IN_TWO_GROUPS, a_class(rate_per_s=16.0, traffic=observed(16.0)))
    world.settle()
    snapshot, memory, totals = world.snapshot(), started(world.now_s), dict.fromkeys((SHORT, LONG), 0.0)
    for _ in range(30):
        snapshot = replace(snapshot, now_s=snapshot.now_s + 2)
        totals = {SHORT: totals[SHORT] + 12.0, LONG: totals[LONG] + 4.0}
        routes = {
            (node, cell): Sample(RouteCounters(total, 0.0, 0.0), snapshot.now_s)
            for node in ("edge-a", "edge-b")
            for cell, total in totals.items()
        }
        snapshot = replace(snapshot, telemetry=TelemetryReading(routes=routes))
        memory = memory.with_traffic(react(snapshot, memory, ReactSettings(is_leader=False)).memory)
    [forecast] = class_forecasts(snapshot, memory.traffic).values()
    assert forecast.observed_per_s == pytest.approx(2 * (6.0 + 2.0))


def observed(rate_per_s: float) -> dict[str, object]:
    lengths = {"archetype": "azure-conversation"}
    return {"requestsPerSecond": rate_per_s, "lengths": lengths, "source": "Observed"}


def test_a_process_that_has_just_started_holds_the_sum_of_a_classs_cells() -> None:
    world = a_world(IN_TWO_GROUPS, a_class(traffic=observed(16.0)))
    world.settle()
    world.apply(a_class(traffic=observed(1.0)))
    world.memory = started(world.now_s - 20)
    [forecast] = class_forecasts(world.snapshot(), world.memory.traffic).values()
    assert forecast.rate_per_s == pytest.approx(16.0)


@BOTH_WAYS
def test_a_change_of_demand_is_named_by_class_and_not_by_cell(cells: RouteCells) -> None:
    world = a_world(cells)
    world.settle()
    world.apply(a_class(rate_per_s=24.0))
    quiet = StepSettings("the regular look", is_progress=True, plan_time_limit_s=None, cells=cells)
    decision = step(world.snapshot(), world.memory, quiet, FakePerf())
    assert decision.new_plan is not None
    assert decision.new_plan.spec.trigger == "class default/chat needs 24 requests/s, 16 before"


def test_a_class_of_two_groups_keeps_its_minimum_in_each_of_them() -> None:
    world = a_world(IN_TWO_GROUPS, a_class(rate_per_s=0.0, minReplicas=1))
    world.settle()
    assert world.replicas() == {"l40s/chat-long": 1, "l40s/chat-short": 1}


@pytest.mark.parametrize("after", [IN_ONE_GROUP, IN_TWO_GROUPS], ids=["one group", "two groups"])
@pytest.mark.parametrize("before", [None, IN_ONE_GROUP, IN_TWO_GROUPS], ids=["whole", "one group", "two"])
def test_cutting_a_class_anew_takes_no_serving_replica_before_its_successor_serves(
    before: RouteCells | None, after: RouteCells
) -> None:
    world = a_world(before, num_l40s=8)
    world.settle()
    world.cells = after
    world.serving_over_time.clear()
    for _ in range(60):
        world.act()
        assert all(r.backends for r in routes_of(world).values())
        world.now_s += 1.0
        world.reconcile()
        world.serving_over_time.append(sum(world.serving().values()))
        assert body_of(world.decisions[-1], CHAT)["replicasReady"] >= 4
    assert min(world.serving_over_time) >= 4
    world.settle()
    assert sum(world.replicas().values()) == 4
    assert {c.name for c in world.applied.spec.cells} == {SHORT, LONG}


def test_in_a_full_pool_a_class_is_cut_anew_without_losing_the_last_replica_of_a_cell() -> None:
    world = a_world(None, num_l40s=2)
    world.nodes = {name: node for name, node in world.nodes.items() if name.startswith("l40s")}
    world.settle()
    world.cells = IN_TWO_GROUPS
    world.serving_over_time.clear()
    for _ in range(200):
        world.act()
        assert all(r.backends for r in routes_of(world).values())
        world.now_s += 1.0
        world.reconcile()
        world.serving_over_time.append(sum(world.serving().values()))
    # At most one replica for each group that waits for room.
    assert min(world.serving_over_time) >= 2
    world.settle()
    assert world.replicas() == {"l40s/chat-long": 1, "l40s/chat-short": 3}


@BOTH_WAYS
def test_a_deleted_class_takes_the_replicas_of_all_its_cells_along(cells: RouteCells) -> None:
    world = a_world(cells)
    world.settle()
    world.delete(type(a_class()), CHAT)
    world.settle()
    assert (world.replicas(), world.deployments) == ({}, {})


@BOTH_WAYS
def test_a_class_for_which_nothing_can_be_planned_keeps_the_replicas_of_all_its_cells(
    cells: RouteCells,
) -> None:
    world = a_world(cells)
    world.settle()
    before = world.replicas()
    world.apply(a_class(rate_per_s=16.0, slo={"ttft": {"p95Milliseconds": 1}}))
    world.run(30)
    assert world.replicas() == before
    assert verdict(world.decisions[-1], CHAT) == ("False", "SloUnreachable")
