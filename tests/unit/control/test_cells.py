"""Which class a route cell belongs to, and which sharing group serves it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import FleetPlan, ObjectMeta
from argosy.api.fleetplan import FleetPlanSpec, PlannedCell, SolverReport
from argosy.control.cells import RouteCell, RouteCells, cells_of_plan, known_cells, one_cell_each
from argosy.keys import CellName, ClassKey, GroupName

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
SHORT, LONG = CellName.of_class(CHAT, "short"), CellName.of_class(CHAT, "long")
SHARED, OWN = GroupName("default/shared"), GroupName("default/long-chat")

TABLE = RouteCells(
    (
        RouteCell(CellName.of_class(BATCH), BATCH, SHARED),
        RouteCell(LONG, CHAT, OWN, 0.25),
        RouteCell(SHORT, CHAT, SHARED, 0.75),
    )
)


def a_plan(revision: int, *cells: tuple[CellName, ClassKey, GroupName, float]) -> FleetPlan:
    spec = FleetPlanSpec(
        revision=revision,
        trigger="a test",
        cost_usd_per_hour=0.0,
        cells=tuple(
            PlannedCell(
                name=name,
                workload_class=workload_class,
                sharing_group=group,
                requests_per_second=rate_per_s,
                capacity_requests_per_second=0.0,
            )
            for name, workload_class, group, rate_per_s in cells
        ),
        solver=SolverReport(status="Optimal"),
    )
    return FleetPlan(metadata=ObjectMeta(name=f"plan-{revision:06d}"), spec=spec)


def test_a_class_has_all_its_cells_and_the_groups_that_serve_them() -> None:
    assert [row.name for row in TABLE.of_class(CHAT)] == [LONG, SHORT]
    assert TABLE.groups_of(CHAT) == (OWN, SHARED)
    assert TABLE.groups_of(BATCH) == (SHARED,)
    assert TABLE.of_class(ClassKey("default/none")) == ()


def test_a_group_has_every_class_that_shares_it_once() -> None:
    assert TABLE.classes_of(SHARED) == (BATCH, CHAT)
    assert TABLE.classes_of(OWN) == (CHAT,)
    assert TABLE.groups == (SHARED, OWN)


def test_two_cells_of_a_class_in_one_group_are_one_class_of_the_group() -> None:
    both = RouteCells((RouteCell(LONG, CHAT, SHARED, 0.5), RouteCell(SHORT, CHAT, SHARED, 0.5)))
    assert (both.classes_of(SHARED), both.groups_of(CHAT), both.groups) == ((CHAT,), (SHARED,), (SHARED,))


def test_a_cell_is_found_by_its_name_only() -> None:
    found = TABLE.find(SHORT)
    assert found is not None
    assert (found.workload_class, found.group) == (CHAT, SHARED)
    assert TABLE.find(CellName.of_class(CHAT)) is None


def test_no_two_rows_name_one_cell() -> None:
    with pytest.raises(ValueError, match="route cell default/chat/long is named twice"):
        RouteCells((RouteCell(LONG, CHAT, OWN), RouteCell(LONG, BATCH, SHARED)))


@pytest.mark.parametrize("share", [-0.1, float("nan")])
def test_a_cells_share_is_a_number_of_zero_or_more(share: float) -> None:
    with pytest.raises(ValueError, match="rate_share"):
        RouteCell(LONG, CHAT, OWN, share)


def test_without_another_table_a_class_is_one_cell_and_one_group() -> None:
    assert one_cell_each([CHAT, BATCH]).rows == (
        RouteCell(CellName("default/batch"), BATCH, GroupName("default/batch"), 1.0),
        RouteCell(CellName("default/chat"), CHAT, GroupName("default/chat"), 1.0),
    )


def test_a_table_that_is_older_than_the_classes_covers_those_that_exist() -> None:
    new = ClassKey("default/new")
    found = TABLE.covering([CHAT, new])
    assert [(row.name, row.group) for row in found.rows] == [
        (LONG, OWN),
        (SHORT, SHARED),
        (CellName("default/new"), GroupName("default/new")),
    ]
    assert found.classes_of(SHARED) == (CHAT,)


def test_cells_that_leave_a_part_of_their_classs_requests_out_are_refused() -> None:
    partial = RouteCells((RouteCell(LONG, CHAT, OWN, 0.25), RouteCell(SHORT, CHAT, SHARED, 0.5)))
    with pytest.raises(ValueError, match=r"cells of class default/chat must sum to 1, got 0\.75"):
        partial.covering([CHAT])


@pytest.mark.parametrize("group", ["other/shared", "shared", ""])
def test_a_group_outside_the_namespace_of_its_class_is_refused(group: str) -> None:
    table = RouteCells((RouteCell(LONG, CHAT, GroupName(group)),))
    with pytest.raises(ValueError, match=r"^group .*must be in the namespace of class default/chat$"):
        table.covering({CHAT})


def test_a_plans_cells_have_their_parts_of_their_classs_rate() -> None:
    plan = a_plan(
        1, (SHORT, CHAT, SHARED, 6.0), (LONG, CHAT, OWN, 2.0), (CellName(BATCH), BATCH, SHARED, 9.0)
    )
    assert cells_of_plan(plan) == TABLE


def test_the_cells_of_a_class_without_requests_have_equal_shares() -> None:
    plan = a_plan(1, (SHORT, CHAT, SHARED, 0.0), (LONG, CHAT, OWN, 0.0))
    assert [row.rate_share for row in cells_of_plan(plan).rows] == [0.5, 0.5]


def test_an_envoy_may_have_the_cells_of_every_plan_and_the_newer_plan_decides_their_group() -> None:
    world = World(some_nodes("l40s", 1), a_fleet(), a_pool(), a_model(), a_class())
    older = a_plan(1, (SHORT, CHAT, OWN, 6.0), (LONG, CHAT, OWN, 2.0))
    newer = a_plan(2, (SHORT, CHAT, SHARED, 6.0))
    for plans in ((older, newer), (newer, older)):
        found = known_cells(replace(world.snapshot(), plans=plans))
        assert {row.name: row.group for row in found.rows} == {
            CellName.of_class(CHAT): GroupName("default/chat"),
            LONG: OWN,
            SHORT: SHARED,
        }
        assert {row.workload_class for row in found.rows} == {CHAT}
