"""However classes are cut into cells and cells are joined in groups: every class is planned for once."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, some_nodes

from argosy.control.cells import RouteCell, RouteCells
from argosy.control.routes import route_inputs
from argosy.keys import CellName, ClassKey, GroupName
from argosy.route.compile import compile_routes

CLASSES = tuple(ClassKey.of("default", name) for name in ("batch", "chat", "code"))
GROUPS = tuple(GroupName.of("default", name) for name in ("one", "two", "three"))
RATES = {"batch": 3.0, "chat": 8.0, "code": 5.0}


@st.composite
def tables(draw: st.DrawFn) -> RouteCells:
    rows: list[RouteCell] = []
    for key in CLASSES:
        bands = draw(st.integers(1, 3))
        parts = [draw(st.integers(0, 3)) for _ in range(bands)]
        parts[0] += 1
        rows += [
            RouteCell(CellName.of_class(key, f"b{i}"), key, draw(st.sampled_from(GROUPS)), part / sum(parts))
            for i, part in enumerate(parts)
        ]
    return RouteCells(tuple(rows))


def a_world() -> World:
    """Pools that hold all classes once, so that a change of cells may have to wait for room."""
    world = World(
        [*some_nodes("l40s", 4), *some_nodes("h100", 1)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=6.0),
        a_model(),
        *(a_class(key.name, rate_per_s=RATES[key.name], minReplicas=0) for key in CLASSES),
    )
    world.cells = RouteCells(())
    return world


def check(world: World) -> None:
    """What holds after every decision, whatever the table was and is."""
    assert world.cells is not None
    plan, decision = world.applied, world.decisions[-1]
    table = world.cells.covering(CLASSES)
    assert sorted(c.name for c in plan.spec.cells) == [row.name for row in table.rows]
    for key in CLASSES:
        cells = [c for c in plan.spec.cells if c.workload_class == key]
        rate_per_s = math.fsum(c.requests_per_second for c in cells)
        assert math.isclose(rate_per_s, RATES[key.name], abs_tol=1e-3)
        body = body_of(decision, key)
        assert math.isclose(body["requestsPerSecond"], rate_per_s, abs_tol=1e-3)
        assert 0.0 <= body["unservedShare"] <= 1.0
    for cell in plan.spec.cells:
        shares = math.fsum(s.share for s in cell.shares)
        assert math.isclose(shares + cell.unserved_share, 1.0, abs_tol=1e-4) or not cell.requests_per_second
    routes = compile_routes(route_inputs(world.snapshot(), plan)).routes
    assert sorted(r.cell for r in routes) == [row.name for row in table.rows]
    if world.serving():
        assert {r.cell: r.backends for r in routes if not r.backends and served(world, r.cell)} == {}


def served(world: World, cell: CellName) -> bool:
    """Whether a replica runs that the plan names for the cell."""
    [row] = [c for c in world.applied.spec.cells if c.name == cell]
    return any(world.serving()[s.deployment] for s in row.shares)


@given(story=st.lists(tables(), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None)
def test_any_table_of_cells_after_any_other_makes_a_sound_plan(story: list[RouteCells]) -> None:
    world = a_world()
    world.settle()
    for table in story:
        world.cells = table
        for _ in range(12):
            world.act()  # raises for an alarm
            check(world)
            world.now_s += 4.0
            world.reconcile()
            assert sum(world.serving().values()) > 0
