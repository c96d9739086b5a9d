"""What each cluster of a cell gets right now, and when Envoy is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, parsed, some_nodes

from argosy.api import FleetPlan, RouterPolicy
from argosy.api.crd.resource import status_body
from argosy.api.fleetplan import DeploymentWeight, PublishedWeights
from argosy.control.traffic.balance import balance, published_weights, weights_status, worth_publishing
from argosy.route.weights import CellWeights
from argosy.snapshot import EngineReading, Sample, TelemetryReading

CELL = "default/chat"


def a_mixed_world() -> tuple[World, str, str]:
    """Chat on two L40S of its old plan, while the H100 of the new plan loads."""
    world = World(
        [*some_nodes("l40s", 4), *some_nodes("h100", 2)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=6.0),
        a_model(),
        a_class(),
    )
    world.rest()
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.5))
    world.act()
    names = {world.label(key).split("/")[0]: key for key in world.deployments}
    return world, names["l40s"], names["h100"]


def weights_of(world: World, previous: Mapping[str, CellWeights] | None = None) -> dict[str, float]:
    capacity = world.decisions[-1].memory.capacity_per_s
    found = balance(world.snapshot(), world.applied, previous or {}, capacity)
    return {name: round(w, 3) for name, w in found[CELL].weights.items()}


def test_outgoing_replicas_carry_the_cell_while_the_planned_ones_load() -> None:
    world, old, new = a_mixed_world()
    assert weights_of(world) == {old: 1.0, new: 0.0}


def test_the_planned_replicas_take_over_once_they_are_ready() -> None:
    world, old, new = a_mixed_world()
    for pod in world.pods_of("h100/chat"):
        world.pods[pod.key] = replace(pod, ready=True, ready_since_s=world.now_s, node="h100-0")
    assert weights_of(world) == {old: 0.0, new: 1.0}


def test_a_cluster_whose_engines_are_lost_gets_nothing() -> None:
    world, old, new = a_mixed_world()
    for pod in world.pods_of("l40s/chat"):
        world.nodes[pod.node] = replace(world.nodes[pod.node], ready=False)
    for pod in world.pods_of("h100/chat"):
        world.pods[pod.key] = replace(pod, ready=True, ready_since_s=world.now_s, node="h100-0")
    assert weights_of(world) == {old: 0.0, new: 1.0}


def test_a_draining_engine_gets_no_new_requests() -> None:
    world, old, _ = a_mixed_world()
    [first, _] = world.pods_of("l40s/chat")
    world.delete_pod(first.key)
    assert weights_of(world)[old] == 1.0


def test_where_nothing_can_be_used_the_plans_shares_stand() -> None:
    world, old, new = a_mixed_world()
    world.pods = {}
    assert weights_of(world) == {old: 0.0, new: 1.0}


def test_a_replica_that_the_plan_no_longer_names_still_helps_its_class() -> None:
    world, old, new = a_mixed_world()
    plan = world.applied
    cells = tuple(
        c.model_copy(update={"shares": tuple(s for s in c.shares if s.deployment == new)})
        for c in plan.spec.cells
    )
    spec = plan.spec.model_copy(update={"cells": cells})
    world.plans = (plan.model_copy(update={"spec": spec}),)
    assert weights_of(world) == {old: 1.0, new: 0.0}


@pytest.mark.parametrize(
    ("correction", "moved"),
    [
        pytest.param("Enabled", True, id="enabled"),
        pytest.param("Disabled", False, id="disabled by the policy"),
    ],
)
def test_queues_move_weights_where_the_policy_lets_them(correction: str, moved: bool) -> None:
    world = World(
        [*some_nodes("l40s", 1), *some_nodes("h100", 1)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=6.0),
        a_model(),
        a_class(rate_per_s=20.0),
        parsed(
            RouterPolicy,
            "p",
            {"targetRefs": [{"name": "chat"}], "weightCorrection": correction},
            "default",
        ),
    )
    world.settle()
    names = {world.label(key).split("/")[0]: key for key in world.deployments}
    assert set(names) == {"l40s", "h100"}
    planned = {s.deployment: s.share for s in world.applied.spec.cells[0].shares}
    snapshot = world.snapshot()
    queue = {
        p.address: Sample(
            EngineReading(8, 40 if p.deployment == names["l40s"] else 0, 0.5, 0, 0, 0), world.now_s
        )
        for p in world.pods.values()
    }
    snapshot = replace(snapshot, telemetry=TelemetryReading(engines=queue))
    capacity = world.decisions[-1].memory.capacity_per_s
    found = balance(snapshot, world.applied, {}, capacity)[CELL].weights
    assert (found[names["l40s"]] < planned[names["l40s"]] - 0.01) is moved


def with_weights(plan: FleetPlan, **weights: float) -> FleetPlan:
    rows = tuple(DeploymentWeight(deployment=name, weight=w) for name, w in weights.items())
    status = plan.status.model_copy(update={"weights": (PublishedWeights(cell=CELL, weights=rows),)})
    return plan.model_copy(update={"status": status})


@pytest.mark.parametrize(
    ("found", "is_worth_it"),
    [
        pytest.param({"a": 0.6, "b": 0.4}, False, id="as served"),
        pytest.param({"a": 0.595, "b": 0.405}, False, id="by less than a point"),
        pytest.param({"a": 0.58, "b": 0.42}, True, id="by more than a point"),
        pytest.param({"a": 0.6, "b": 0.4, "c": 0.0}, False, id="a cluster without weight more"),
        pytest.param({"a": 0.596, "b": 0.4, "c": 0.004}, True, id="a cluster gets its first requests"),
        pytest.param({"a": 1.0}, True, id="a cluster gets its last"),
    ],
)
def test_envoy_is_told_of_changes_that_it_can_notice(found: dict[str, float], is_worth_it: bool) -> None:
    plan = with_weights(a_mixed_world()[0].applied, a=0.6, b=0.4)
    assert worth_publishing(plan, {CELL: CellWeights(found)}) is is_worth_it


def test_before_anything_is_published_the_plans_shares_are_what_is_served() -> None:
    world, old, new = a_mixed_world()
    assert published_weights(world.applied) == {}
    assert not worth_publishing(world.applied, {CELL: CellWeights({old: 0.0, new: 1.0})})
    assert worth_publishing(world.applied, {CELL: CellWeights({old: 1.0, new: 0.0})})


def test_published_weights_are_read_back_after_a_restart() -> None:
    plan = with_weights(a_mixed_world()[0].applied, a=0.6, b=0.4)
    assert published_weights(plan) == {CELL: CellWeights({"a": 0.6, "b": 0.4})}


def test_written_weights_are_those_that_every_replica_reads() -> None:
    world, *_ = a_mixed_world()
    written = weights_status({CELL: {"default/b": 1 / 3, "default/a": 2 / 3}})
    assert status_body(written) == {
        "weights": [
            {
                "cell": "default/chat",
                "weights": [
                    {"deployment": "default/a", "weight": 0.6667},
                    {"deployment": "default/b", "weight": 0.3333},
                ],
            }
        ]
    }
    plan = world.applied.model_copy(update={"status": written})
    assert published_weights(plan)[CELL].weights == {"default/a": 0.6667, "default/b": 0.3333}
