"""The rows of `argosy routes`, `top` and `plans`, of fleets that the real decisions made."""

from __future__ import annotations

import math
from dataclasses import replace

from builders import R, a_class, a_fleet, a_model, a_pool, some_nodes
from route_plans import plan
from small_fleet import World

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleetplan import DeploymentWeight, FleetPlanStatus, PublishedWeights
from argosy.control.survey.classes import class_rows, fleet_row
from argosy.control.survey.revisions import newest_recommended, revision_rows
from argosy.control.survey.routing import RouteRow, reasons_of, route_rows
from argosy.keys import CellName, ClassKey, DeploymentKey
from argosy.snapshot.fleet import FleetSnapshot


def settled(*objects: R) -> World:
    defaults = (a_fleet(), a_pool(), a_model(), *(objects or (a_class(),)))
    world = World(some_nodes("l40s", 4), *defaults)
    world.settle()
    return world


def reported(world: World) -> FleetSnapshot:
    """The world once its statuses are written."""
    snapshot, updates = world.snapshot(), {u.key: u.status for u in world.decide().statuses}
    classes = {
        key: item.model_copy(update={"status": updates[key]}) for key, item in snapshot.classes.items()
    }
    fleet = snapshot.fleet.model_copy(update={"status": updates["default"]}) if snapshot.fleet else None
    return replace(snapshot, classes=classes, fleet=fleet)


def only(world: World) -> RouteRow:
    (row,) = route_rows(world.snapshot())
    return row


def test_at_rest_every_class_is_served_as_planned() -> None:
    row = only(settled())
    assert (row.class_key, row.share, row.planned) == ("default/chat", 1.0, 1.0)
    assert row.ready == row.desired > 0
    assert row.why.startswith("as revision ")
    assert row.variant.startswith("llama-l40s")


def test_before_the_first_plan_the_row_names_the_answer_that_clients_get() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    row = only(world)
    assert row.cluster == ""
    assert row.why.startswith("every request is answered with 503: ")


def test_while_the_planned_replicas_load_it_says_so() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.act()
    rows = route_rows(world.snapshot())
    assert rows[0].share == 0.0
    assert "none of its" in rows[0].why
    assert "takes requests yet" in rows[0].why


def test_in_an_exchange_the_former_replicas_serve_until_the_planned_ones_do() -> None:
    world = settled()
    world.apply(a_model(engine={"maxNumSeqs": 100}))
    world.act()
    rows = route_rows(world.snapshot())
    former = next(row for row in rows if row.desired == 0)
    assert former.share == 1.0
    assert "it serves until the planned replicas do" in former.why


def test_a_corrected_weight_is_told_with_the_planned_share() -> None:
    world = settled()
    applied = world.applied
    cell, entry = applied.spec.cells[0], applied.spec.deployments[0]
    other = entry.model_copy(
        update={"name": DeploymentKey("default/other"), "deployment": "other", "replicas": 1}
    )
    half = [
        cell.shares[0].model_copy(update={"deployment": n, "share": 0.5}) for n in (entry.name, other.name)
    ]
    weights = tuple(
        DeploymentWeight(deployment=n, weight=w) for n, w in ((entry.name, 0.7), (other.name, 0.3))
    )
    spec = applied.spec.model_copy(
        update={
            "cells": (cell.model_copy(update={"shares": tuple(half)}),),
            "deployments": (entry, other),
        }
    )
    status = FleetPlanStatus(
        conditions=applied.status.conditions,
        weights=(PublishedWeights(cell=CellName(cell.name), weights=weights),),
    )
    snapshot = world.snapshot()
    pods = dict(snapshot.pods)
    pod = next(iter(snapshot.engine_pods))
    twin = replace(pod, name="twin", uid="twin", deployment=other.name, ip="10.9.9.9")
    pods[twin.key] = twin
    changed = replace(
        snapshot, plans=(applied.model_copy(update={"spec": spec, "status": status}),), pods=pods
    )
    rows = {row.cluster: row for row in route_rows(changed)}
    assert math.isclose(rows[entry.name].share, 0.7)
    assert rows[entry.name].why.endswith("plans 50%; corrected by the load that was measured")


def test_reasons_of_a_class_are_not_those_of_one_with_a_longer_name() -> None:
    world = settled(a_class("chat"), a_class("chat-2", priority=5))
    applied = world.applied
    for name in ("default/chat", "default/chat-2"):
        found = reasons_of(applied, ClassKey(name))
        assert found
        assert all(f"{name} " in each for each in found)
    assert reasons_of(None, ClassKey("default/chat")) == ()


def test_the_costs_of_classes_add_up_to_that_of_the_engines() -> None:
    world = settled(a_class("chat", 8.0), a_class("batch", 2.0))
    rows = class_rows(reported(world))
    total = sum(row.usd_per_hour or 0.0 for row in rows)
    held = sum(pod.devices.get("nvidia.com/gpu", 0) for pod in world.snapshot().engine_pods)
    assert math.isclose(total, 0.9 * held)
    by_name = {row.key: row.usd_per_hour or 0.0 for row in rows}
    assert by_name["default/chat"] > by_name["default/batch"] > 0


def test_classes_come_by_priority_and_name_what_holds_them() -> None:
    world = settled(a_class("low", 2.0, priority=1), a_class("high", 2.0, priority=9))
    rows = class_rows(reported(world))
    assert [row.key for row in rows] == ["default/high", "default/low"]
    assert {row.state for row in rows} == {"Ready"}
    assert all(row.ready == row.desired for row in rows)


def test_a_class_that_was_never_looked_at_has_no_figure() -> None:
    world = World([], a_fleet(), a_pool(), a_model(), a_class())
    (row,) = class_rows(world.snapshot())
    assert (row.observed_per_s, row.ready, row.attainment, row.state) == (None, None, None, "Unknown")


def test_the_fleet_names_its_plan_and_what_is_not_true() -> None:
    world = settled()
    row = fleet_row(reported(world))
    assert (row.mode, row.plan) == ("Auto", world.applied.key)
    assert row.usd_per_hour is not None


def test_revisions_are_listed_latest_first_with_what_became_of_each() -> None:
    world = settled()
    world.apply(a_class(rate_per_s=30.0, minReplicas=5))
    world.settle()
    rows = revision_rows(world.snapshot())
    assert [row.revision for row in rows] == sorted((row.revision for row in rows), reverse=True)
    assert [row.is_applied for row in rows].count(True) == 1
    assert (rows[0].phase, rows[0].progress) == ("Applied", "RolledOut")
    assert rows[-1].phase == "Superseded"
    assert rows[-1].progress == ""
    assert rows[0].age_s is not None
    assert "default/chat: " in rows[0].replicas


def recommended(revision: int, phase: str | None) -> FleetPlan:
    condition = Condition(type="Applied", status=ConditionStatus.FALSE, reason="Recommended")
    found = plan({"default/a": 1.0}, revision)
    return found.model_copy(update={"status": FleetPlanStatus(phase=phase, conditions=(condition,))})


def test_only_the_latest_plan_can_be_the_recommendation() -> None:
    world = World([], a_fleet("Recommend"), a_pool(), a_model(), a_class())
    snapshot = world.snapshot()
    assert newest_recommended(snapshot) is None
    both = (recommended(1, "Recommended"), recommended(2, "Recommended"))
    latest = newest_recommended(replace(snapshot, plans=both))
    assert latest is not None
    assert latest.spec.revision == 2
    acted = (recommended(1, "Recommended"), recommended(2, "Applied"))
    assert newest_recommended(replace(snapshot, plans=acted)) is None
