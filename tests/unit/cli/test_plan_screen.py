"""What `argosy plan` prints of a plan, whatever its route cells and sharing groups."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.cli.screens.plan import percent, print_plan
from argosy.control.cells import RouteCell, RouteCells
from argosy.keys import CellName, ClassKey, GroupName

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
SHARED, OWN = GroupName("default/shared"), GroupName("default/own")
SHORT, LONG = CellName.of_class(CHAT, "short"), CellName.of_class(CHAT, "long")


def printed(*rows: RouteCell, chat_per_s: float = 8.0) -> list[list[str]]:
    """The cells of the printed table, by line."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=chat_per_s))
    world.apply(a_class("batch", rate_per_s=4.0))
    world.cells = RouteCells(rows)
    plan = world.decide().new_plan
    assert plan is not None
    page = StringIO()
    print_plan(plan, Console(file=page, width=200))
    lines = [line for line in page.getvalue().splitlines() if line.startswith("\u2502")]
    return [[cell.strip() for cell in line.strip("\u2502").split("\u2502")] for line in lines]


def shares(lines: list[list[str]]) -> list[tuple[str, str, str]]:
    return [(line[0], line[1], line[-1]) for line in lines]


def test_each_class_of_a_group_has_a_line_with_its_own_share() -> None:
    rows = [RouteCell(CellName.of_class(c), c, SHARED) for c in (BATCH, CHAT)]
    assert shares(printed(*rows)) == [("default/batch", "3", "100%"), ("default/chat", "", "100%")]


@pytest.mark.parametrize("chat_per_s", [8.0, 0.0])
def test_the_share_of_a_class_sums_up_its_cells_in_a_group(chat_per_s: float) -> None:
    rows = [RouteCell(LONG, CHAT, SHARED, 0.25), RouteCell(SHORT, CHAT, SHARED, 0.75)]
    lines = shares(printed(*rows, chat_per_s=chat_per_s))
    assert [share for name, _, share in lines if name == CHAT] == ["100%"]


def test_a_class_of_two_groups_has_a_part_of_its_requests_in_each() -> None:
    rows = [RouteCell(LONG, CHAT, OWN, 0.25), RouteCell(SHORT, CHAT, SHARED, 0.75)]
    lines = shares(printed(*rows))
    assert sorted(share for name, _, share in lines if name == CHAT) == ["25%", "75%"]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0%"), (1e-4, "<1%"), (0.25, "25%"), (0.9999, ">99%"), (0.9999999, "100%"), (1.0, "100%")],
)
def test_only_nothing_and_all_are_printed_as_such(share: float, shown: str) -> None:
    assert percent(share) == shown
