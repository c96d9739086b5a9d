"""The planning loop in virtual time: when it decides, what it carries out, what it does after an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_model
from solved_once import solve_once
from virtual_clock import in_virtual_time
from virtual_shell import Call, VirtualShell, node_object

from argosy.control.decision import Decision
from argosy.control.triggers import Trigger
from argosy.errors import ActuationError, InvariantError, NextStep, ObservationError
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits
from argosy.reconcile.loops.planning import STALE_S
from argosy.snapshot.fleet import EnvoyState, RoutingView

STATUSES = [
    Call("patch", plural, sub="status")
    for plural in ("fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies")
]


async def settled(directory: Path) -> VirtualShell:
    """A small fleet whose two replicas of `chat` are ready, and a loop that has nothing left to do."""
    shell = VirtualShell(directory)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert sum(shell.cluster.serving().values()) == 2
    shell.decider.started_s.clear()
    shell.decider.triggers.clear()
    shell.server.calls.clear()
    return shell


# --- when it decides ----------------------------------------------------------------------------


@in_virtual_time
async def test_it_decides_at_the_start_and_then_once_per_interval(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    shell.apply(a_fleet("Observe", intervals={"mediumSeconds": 60}))
    async with shell.running():
        await shell.clock.sleep(150.0)
    assert shell.decider.started_s == pytest.approx([0.2, 60.4, 120.6])
    assert shell.decider.triggers == [
        "the operator started",
        "the planning interval has passed",
        "the planning interval has passed",
    ]


@in_virtual_time
async def test_changes_that_come_together_make_one_decision(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    async with shell.running():
        await shell.clock.sleep(10.0)
        for name in ("a", "b", "c"):
            shell.apply(a_class(name))
            await shell.clock.sleep(0.05)
        await shell.clock.sleep(5.0)
    assert shell.decider.started_s == pytest.approx([0.2, 10.2])
    assert shell.decider.triggers[1] == "; ".join(f"WorkloadClass default/{n} was created" for n in "abc")


@pytest.mark.parametrize(
    ("is_progress", "expected_s"), [(True, [10.2, 11.2, 12.2]), (False, [10.2, 10.4, 10.6])]
)
@in_virtual_time
async def test_steps_that_take_effect_wait_for_a_gap_and_new_facts_do_not(
    tmp_path: Path, is_progress: bool, expected_s: list[float]
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    async with shell.running():
        await shell.clock.sleep(10.0)
        while len(shell.decider.started_s) < 4:
            shell.planning.wake(Trigger(f"at {shell.clock.monotonic_s()}", is_progress))
            await shell.clock.sleep(0.01)
    assert shell.decider.started_s[1:] == pytest.approx(expected_s, abs=0.02)


@in_virtual_time
async def test_what_changes_while_profiles_are_read_is_named_by_the_revision_that_contains_it(
    tmp_path: Path,
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Recommend")
    shell.server.drop("workloadclasses", "default/chat")
    shell.apply(a_model(profiles=[{"configMap": "measured"}]))
    late = [a_class()]

    def arrive(call: Call) -> None:
        if call.plural == "configmaps" and late:
            shell.apply(late.pop())

    shell.server.refusal = arrive
    async with shell.running():
        await shell.clock.sleep(5.0)
    assert shell.plan_triggers() == ["the operator started; WorkloadClass default/chat was created"]


@in_virtual_time
async def test_a_standby_decides_nothing_and_keeps_no_triggers(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.election.lose()
    async with shell.running():
        await shell.clock.sleep(1.0)
        for number in range(1000):
            shell.server.put("nodes", node_object(f"more-{number}"))
            await shell.clock.sleep(1.0)
        assert shell.decider.started_s == []
        shell.election.gain()
        await shell.clock.sleep(5.0)
    assert shell.decider.triggers[0] == "the operator started"
    assert shell.decider.started_s[0] == pytest.approx(1001.2)


# --- what makes a whole decision void ---------------------------------------------------------


def writes(shell: VirtualShell) -> list[Call]:
    return [call for call in shell.server.calls if call.verb not in ("list", "find")]


@in_virtual_time
async def test_leadership_lost_while_deciding_writes_nothing(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.decider.takes_s, shell.decider.meanwhile = 2.0, shell.election.lose
    async with shell.running():
        await shell.clock.sleep(60.0)
        assert (writes(shell), len(shell.decider.started_s)) == ([], 1)
        shell.decider.meanwhile = lambda: None
        shell.election.gain()
        await shell.clock.sleep(5.0)
    assert shell.decider.started_s[:2] == pytest.approx([0.2, 60.2])
    assert shell.plan_triggers() == ["the operator started; this process took over"]


@in_virtual_time
async def test_a_mode_changed_while_deciding_voids_the_decision(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Auto")
    shell.decider.takes_s = 2.0
    shell.decider.meanwhile = lambda: shell.apply(a_fleet("Observe"))
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert shell.server.of("fleetplans") == {}
    assert shell.server.of("deployments") == {}
    assert shell.decider.started_s[:2] == pytest.approx([0.2, 2.6])


@pytest.mark.parametrize("excess_s", [pytest.param(-1.0, id="in time"), pytest.param(1.0, id="too late")])
@in_virtual_time
async def test_a_decision_that_took_too_long_is_dropped_and_another_follows(
    tmp_path: Path, excess_s: float
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.decider.takes_s = STALE_S + excess_s

    def be_quick_next(decision: Decision) -> Decision:
        shell.decider.takes_s = 5.0
        return decision

    shell.decider.change = be_quick_next
    async with shell.running():
        await shell.clock.sleep(STALE_S + 2.0)
        is_dropped = excess_s > 0
        assert shell.server.of("fleetplans").keys() == (set() if is_dropped else {"plan-000001"})
        if is_dropped:
            assert writes(shell) == []
            assert shell.decider.started_s == pytest.approx([0.2, 0.6 + STALE_S + excess_s])
        await shell.clock.sleep(10.0)
    assert shell.plan_triggers() == ["the operator started"]


# --- alarms and errors ------------------------------------------------------------------------


def too_many_replicas(problem: PlanProblem, limits: SolveLimits) -> Plan:
    plan = solve(problem, limits)
    return replace(plan, replicas=dict.fromkeys(plan.replicas, 99))


@pytest.mark.parametrize("are_statuses_refused", [False, True])
@in_virtual_time
async def test_an_alarm_is_reported_and_nothing_else_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, are_statuses_refused: bool
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.decider.solver = too_many_replicas
    if are_statuses_refused:
        shell.refuse(*STATUSES)
    async with shell.running():
        await shell.clock.sleep(40.0)
    expected = ("", "") if are_statuses_refused else ("False", "CheckFailed")
    assert shell.condition("fleets", "default", "Ready") == expected
    assert {call.plural for call in writes(shell)} == (set() if are_statuses_refused else {"fleets"})
    assert any("the plan failed its independent check" in message for message in caplog.messages)
    assert shell.decider.started_s == pytest.approx([0.2, 30.4])


@in_virtual_time
async def test_the_revision_after_an_alarm_names_what_was_asked_for_before_it(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    shell.decider.solver = too_many_replicas
    async with shell.running():
        await shell.clock.sleep(5.0)
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(5.0)
        shell.decider.solver = solve_once
        await shell.clock.sleep(80.0)
    assert "WorkloadClass default/chat changed (traffic)" in shell.plan_triggers()[-1]
    assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")


@pytest.mark.parametrize(
    ("error", "next_s"),
    [
        pytest.param(ActuationError("no answer", NextStep.RETRY), 1.2, id="an API server that is away"),
        pytest.param(ActuationError("another version", NextStep.REPLAN), 0.4, id="a world that changed"),
        pytest.param(ActuationError("invalid", NextStep.GIVE_UP), 30.2, id="a refusal that stays"),
        pytest.param(ObservationError("no metrics"), 1.2, id="nothing can be observed"),
        pytest.param(InvariantError("two parts disagree"), 30.2, id="a bug that was foreseen"),
        pytest.param(ZeroDivisionError("division by zero"), 5.2, id="a bug that was not"),
    ],
)
@in_virtual_time
async def test_a_failed_iteration_is_tried_again_when_the_table_of_errors_says(
    tmp_path: Path, error: Exception, next_s: float
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    failures = iter([error])

    def fail_once(decision: Decision) -> Decision:
        for failure in failures:
            raise failure
        return decision

    shell.decider.change = fail_once
    async with shell.running():
        await shell.clock.sleep(35.0)
    first_s, second_s, *_ = shell.decider.started_s
    assert second_s - first_s == pytest.approx(next_s)
    assert shell.plan_triggers() == ["the operator started"]


@in_virtual_time
async def test_a_change_is_named_once_though_statuses_are_refused_after_its_revision(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Recommend")
    shell.refuse(*STATUSES)
    async with shell.running():
        await shell.clock.sleep(10.0)
        assert len(shell.decider.started_s) > 2
        shell.apply(a_class(minReplicas=4))
        await shell.clock.sleep(5.0)
    assert shell.plan_triggers() == [
        "the operator started",
        "WorkloadClass default/chat changed (minReplicas)",
    ]


# --- one refusal stops nothing else -----------------------------------------------------------


def deployments_by_group(shell: VirtualShell) -> dict[str, str]:
    return {
        item["metadata"]["labels"]["argosy.dev/sharing-group"]: key
        for key, item in shell.server.of("deployments").items()
    }


@in_virtual_time
async def test_a_deployment_that_is_refused_keeps_no_other_from_being_created(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.apply(a_model("another"), a_class("another", models=[{"name": "another"}]))
    shell.apply(a_class("third", priority=50))

    def refuse_another(call: Call) -> NextStep | None:
        return NextStep.GIVE_UP if call.verb == "apply" and "another" in call.key else None

    shell.server.refusal = refuse_another
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert set(deployments_by_group(shell)) == {"chat", "third"}
    assert shell.condition("workloadclasses", "default/third", "Ready") == ("True", "Ready")
    assert shell.condition("workloadclasses", "default/another", "Ready") == ("False", "Loading")
    assert len(shell.decider.started_s) < 60  # it is tried again with the interval, not at once


@in_virtual_time
async def test_an_object_that_refuses_its_status_keeps_no_other_from_having_one(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(Call("patch", "workloadclasses", "default/chat", "status"), next_step=NextStep.GIVE_UP)
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert shell.condition("workloadclasses", "default/chat", "Ready") == ("", "")
    assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")


@in_virtual_time
async def test_a_replica_that_cannot_be_marked_is_not_removed_by_chance(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    shell.refuse(Call("patch", "pods"), next_step=NextStep.GIVE_UP)
    shell.apply(a_class(rate_per_s=2.0))
    async with shell.running():
        await shell.clock.sleep(20.0)
        assert shell.server.count("patch", "deployments", "scale") == 0
        shell.refuse_nothing()
        await shell.clock.sleep(60.0)
    assert sum(shell.cluster.serving().values()) == 1


# --- what it carries out ----------------------------------------------------------------------


@in_virtual_time
async def test_a_class_is_served_from_nothing(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert sum(shell.cluster.serving().values()) == 2
    assert {pod["spec"]["nodeName"][:4] for pod in shell.server.of("pods").values()} == {"l40s"}
    assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")


@in_virtual_time
async def test_a_settled_fleet_is_written_to_no_more(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(300.0)
    assert len(shell.decider.started_s) == 10
    assert writes(shell) == []


@in_virtual_time
async def test_a_pod_is_placed_before_the_next_decision_is_made(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    shell.decider.takes_s = 8.0
    async with shell.running():
        await shell.clock.sleep(12.0)
        lost = next(iter(shell.server.of("pods")))
        shell.server.drop("pods", lost)
        deployment = next(iter(shell.server.of("deployments").values()))
        shell.server.put(
            "deployments", {**deployment, "metadata": {**deployment["metadata"], "annotations": {"a": "b"}}}
        )
        await shell.clock.sleep(1.0)
        assert all("nodeName" in pod["spec"] for pod in shell.server.of("pods").values())
        assert len(shell.server.of("pods")) == 2


@in_virtual_time
async def test_old_revisions_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Recommend")
    shell.apply(a_fleet("Recommend", revisionHistoryLimit=2))
    async with shell.running():
        for floor in range(2, 8):
            shell.apply(a_class(minReplicas=floor))
            await shell.clock.sleep(2.0)
    assert sorted(shell.server.of("fleetplans")) == ["plan-000005", "plan-000006"]


# --- plans that are lost ------------------------------------------------------------------------


@in_virtual_time
async def test_deleted_plans_are_replaced_at_once_and_the_numbers_go_on(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    plans = sorted(shell.server.of("fleetplans"))
    async with shell.running():
        await shell.clock.sleep(5.0)
        deleted_s = shell.clock.monotonic_s()
        shell.decider.started_s.clear()
        for name in plans:
            shell.server.drop("fleetplans", name)
        await shell.clock.sleep(3.0)
        assert shell.decider.started_s[0] == pytest.approx(deleted_s + 0.2, abs=0.1)
    (name,) = shell.server.of("fleetplans")
    assert name > plans[-1]
    assert shell.plan_triggers() == [f"FleetPlan {plans[-1]}, which was applied, was deleted"]
    assert sum(shell.cluster.serving().values()) == 2
    assert shell.server.count("patch", "deployments", "scale") == 0


@in_virtual_time
async def test_a_restarted_operator_goes_on_from_the_state_directory(tmp_path: Path) -> None:
    before = await settled(tmp_path)
    last = max(before.server.of("fleetplans"))
    after = VirtualShell(tmp_path)
    after.a_small_fleet()
    async with after.running():
        await after.clock.sleep(5.0)
    assert min(after.server.of("fleetplans")) > last


@in_virtual_time
async def test_an_operator_without_plans_or_files_goes_on_from_its_envoys(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.routing = RoutingView("v1", (EnvoyState("edge", "00000017-0", revision=17, is_ahead=True),))
    async with shell.running():
        await shell.clock.sleep(5.0)
    assert min(shell.server.of("fleetplans")) == "plan-000018"


@in_virtual_time
async def test_a_name_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(3.0)
        # A plan that cannot be read, and that no watch reports: as after a missed event.
        shell.server.watchers.remove(shell._seen)
        shell.server.put("fleetplans", {"metadata": {"name": "plan-000002"}, "spec": {"odd": True}})
        shell.server.watchers.append(shell._seen)
        shell.apply(a_class(minReplicas=3))
        await shell.clock.sleep(3.0)
    assert sorted(shell.server.of("fleetplans")) == ["plan-000001", "plan-000002", "plan-000003"]
    assert shell.condition("fleetplans", "plan-000003", "Applied") == ("True", "Applied")
    assert shell.state.metrics.iterations.labels("failed")._value.get() == 1


# --- nodes that go ------------------------------------------------------------------------------


@in_virtual_time
async def test_a_disruption_budget_comes_and_goes_with_its_deployment(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    [(key, budget)] = shell.server.of("poddisruptionbudgets").items()
    assert (key, budget["spec"]["minAvailable"]) == (next(iter(shell.server.of("deployments"))), 2)
    async with shell.running():
        shell.apply(a_model(engine={"maxNumSeqs": 64}))
        await shell.clock.sleep(120.0)
    [new] = shell.server.of("deployments")
    assert new != key
    assert list(shell.server.of("poddisruptionbudgets")) == [new]


@in_virtual_time
@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "edited"])
async def test_a_budget_edited_or_deleted_by_hand_is_set_back_within_two_seconds(
    tmp_path: Path, is_deleted: bool
) -> None:
    shell = await settled(tmp_path)
    [(key, budget)] = shell.server.of("poddisruptionbudgets").items()
    async with shell.running():
        await shell.clock.sleep(40.0)
        plans = sorted(shell.server.of("fleetplans"))
        if is_deleted:
            shell.server.drop("poddisruptionbudgets", key)
        else:
            shell.server.put(
                "poddisruptionbudgets", {**budget, "spec": {**budget["spec"], "minAvailable": 0}}
            )
        await shell.clock.sleep(2.0)
        assert shell.server.of("poddisruptionbudgets")[key]["spec"]["minAvailable"] == 2
        await shell.clock.sleep(120.0)
    notes = [e["message"] for e in shell.server.of("events").values() if e["reason"] == "ChangedByHand"]
    assert len(notes) == 1, notes
    assert sorted(shell.server.of("fleetplans")) == plans
