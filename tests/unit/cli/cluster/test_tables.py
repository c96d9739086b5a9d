"""What `argosy doctor`, `routes`, `top` and `plans` print of a fleet, as text and as JSON."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import typer
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from rich.console import Console
from small_fleet import World

from argosy.cli.cluster import doctor, plans, routes, top
from argosy.cli.cluster.words import age, share
from argosy.cli.output import Output
from argosy.control.survey.installation import Finding, Installation, LeaseSeen, Severity
from argosy.errors import SpecError
from argosy.snapshot.fleet import FleetSnapshot


@pytest.fixture(scope="module")
def fleet() -> FleetSnapshot:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    return world.snapshot()


EMPTY = World([]).snapshot()


def printed(show: Callable[[Output], object]) -> tuple[int, str]:
    """Exit code and text."""
    text = io.StringIO()
    code = 0
    try:
        show(Output("argosy", False, Console(file=text, width=160, highlight=False, markup=False)))
    except typer.Exit as ended:
        code = ended.exit_code
    return code, text.getvalue()


def document(show: Callable[[Output], object], capsys: pytest.CaptureFixture[str]) -> dict[str, list[object]]:
    with contextlib.suppress(typer.Exit):
        show(Output("argosy", True, Console()))
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_routes_name_the_cluster_its_share_and_why(fleet: FleetSnapshot) -> None:
    code, text = printed(lambda output: routes.show(fleet, "", output))
    assert code == 0
    first, *rest = text.splitlines()
    assert first.startswith("default/chat: requests with the header x-class: chat")
    assert "100%" in rest[1]
    assert "as revision 1 plans it" in rest[1]
    assert "default/chat has a demand of 8.0 req/s" in text


def test_a_class_without_a_cluster_is_exit_code_3() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    code, text = printed(lambda output: routes.show(world.snapshot(), "chat", output))
    assert code == 3
    assert "(none)" in text


def test_an_unknown_class_is_refused_with_those_that_there_are(fleet: FleetSnapshot) -> None:
    with pytest.raises(
        SpecError, match=r"CLASS: there is no WorkloadClass default/chap; there are: default/chat"
    ):
        routes.show(fleet, "chap", Output("argosy routes", False, Console()))


def test_without_a_class_routes_and_top_say_that_there_is_none() -> None:
    assert "no WorkloadClass" in printed(lambda output: routes.show(EMPTY, "", output))[1]
    assert "no WorkloadClass" in printed(lambda output: output.console.print(top.screen(EMPTY)))[1]


def test_routes_as_json_have_shares_and_null_for_what_there_is_not(
    fleet: FleetSnapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = document(lambda output: routes.show(fleet, "", output), capsys)["routes"]
    assert isinstance(row, dict)
    assert (row["class"], row["share"], row["planned_share"]) == ("default/chat", 1.0, 1.0)


def test_top_has_a_dash_for_what_is_not_known(fleet: FleetSnapshot) -> None:
    text = printed(lambda output: output.console.print(top.screen(fleet)))[1]
    heading, _, columns, row = text.splitlines()[:4]
    assert heading.startswith("-/h · plan-000001 · mode Auto")
    assert columns.split()[:4] == ["CLASS", "STATE", "REQ/S", "PLANNED"]
    assert row.split()[:4] == ["default/chat", "Unknown", "-", "-"]


def test_plans_list_the_applied_one_with_its_progress(fleet: FleetSnapshot) -> None:
    text = printed(lambda output: plans.show(fleet, None, output))[1]
    assert "Applied (RolledOut)" in text.splitlines()[1]


def test_one_plan_is_shown_with_its_reasons_and_its_conditions(fleet: FleetSnapshot) -> None:
    text = printed(lambda output: plans.show(fleet, 1, output))[1]
    assert text.startswith("revision 1: ")
    assert "Applied is True: Argosy acts on the plan." in text
    assert "has a demand of" in text


def test_a_revision_that_there_is_not_is_refused_with_those_that_there_are(fleet: FleetSnapshot) -> None:
    both = replace(fleet, plans=(*fleet.plans, *(_numbered(fleet, n) for n in (2, 3, 5))))
    with pytest.raises(SpecError, match=r"no FleetPlan of revision 9; there are 1-3, 5 \(argosy plans\)"):
        plans.find_plan(both, 9)
    with pytest.raises(SpecError, match="there is no FleetPlan yet"):
        plans.find_plan(EMPTY, 1)


def _numbered(fleet: FleetSnapshot, revision: int) -> object:
    (plan,) = fleet.plans
    return plan.model_copy(update={"spec": plan.spec.model_copy(update={"revision": revision})})


def test_plans_as_json_have_one_object_each(fleet: FleetSnapshot, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = document(lambda output: plans.show(fleet, None, output), capsys)["plans"]
    assert isinstance(row, dict)
    assert (row["revision"], row["is_applied"]) == (1, True)


FINDING = Finding(Severity.BROKEN, "Fleet default", "it is out of order", "order it")


def test_the_doctor_prints_each_finding_with_its_remedy_and_ends_with_3(fleet: FleetSnapshot) -> None:
    found = Installation(fleet, "argosy-system", lease=LeaseSeen("operator-0", is_renewed=True))
    code, text = printed(lambda output: doctor.show(found, (FINDING,), output))
    assert code == 3
    assert text.startswith("leader: operator-0 · Envoys: ")
    assert "BROKEN  Fleet default\n  it is out of order\n  remedy: order it\n" in text


def test_hints_alone_are_no_failure_and_without_a_finding_nothing_is_wrong(fleet: FleetSnapshot) -> None:
    found = Installation(fleet, "argosy-system")
    hint = replace(FINDING, severity=Severity.HINT)
    assert printed(lambda output: doctor.show(found, (hint,), output))[0] == 0
    code, text = printed(lambda output: doctor.show(found, (), output))
    assert (code, text.splitlines()[-1]) == (0, "nothing is wrong")


def test_the_doctor_as_json_names_the_leader(
    fleet: FleetSnapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(lambda o: doctor.show(Installation(fleet, "n"), (FINDING,), o), capsys)
    assert found["leader"] is None
    assert found["findings"][0] == {
        "severity": "Broken",
        "about": "Fleet default",
        "message": "it is out of order",
        "remedy": "order it",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.4, "0s"), (119, "119s"), (121, "2m"), (7300, "2h"), (180000, "2d")],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0%"), (0.001, "<1%"), (0.5, "50%"), (0.997, ">99%"), (1.0, "100%")],
)
def test_all_and_nothing_are_printed_for_exactly_that(value: float | None, text: str) -> None:
    assert share(value) == text
