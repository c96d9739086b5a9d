"""How often an edit is set back, what waits meanwhile and what is remembered of it: decision by decision."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from builders import a_model, a_pod, a_pool
from pictures import NOW_S, a_picture

from argosy.api.schema.ownership import FieldManager
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import PlannedStep, Reliance
from argosy.control.edits.found import BUDGET, COUNT, EXISTENCE, TEMPLATE, UNNAMED
from argosy.control.edits.mending import LONGEST_PAUSE_S, WINDOW_S, Mending, mended
from argosy.control.memory import EditMemory, KnownCount, Mended
from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.manifests import EngineWorkload, deployment_manifest
from argosy.rollout import (
    CreateDeployment,
    DeleteDeployment,
    EndProtection,
    MarkVictim,
    ProtectReplicas,
    RestoreDeployment,
    ScaleDeployment,
    Step,
)
from argosy.snapshot.cluster import LABEL_MODEL, DeploymentState

A, B = DeploymentKey("default/a"), DeploymentKey("default/b")
MODEL = ModelKey("default/llama")
PLAN = "plan-000001"


def a_state(
    key: DeploymentKey = A, replicas: int = 3, manager: str = "", at_s: float = 0.0
) -> DeploymentState:
    """manager: the client that set the count last; empty: Argosy."""
    owner = FieldManager(
        manager or "argosy", "scale" if manager else "", at_s, {"f:spec": {"f:replicas": {}}}
    )
    return DeploymentState(key, replicas, labels={LABEL_MODEL: "llama"}, managers=(owner,))


def decided(
    *steps: Step,
    now_s: float = 0.0,
    memory: EditMemory | None = None,
    states: tuple[DeploymentState, ...] = (),
    workloads: Mapping[DeploymentKey, EngineWorkload] | None = None,
    **fields: Any,
) -> Mending:
    """One decision with these steps, at this instant of the monotonic clock."""
    snapshot = a_picture(
        models=[a_model()], deployments=states or (a_state(),), now_s=NOW_S, monotonic_s=now_s, **fields
    )
    planned = tuple(PlannedStep(step, Reliance(PLAN)) for step in steps)
    return mended(planned, snapshot, workloads or {}, PLAN, memory or EditMemory())


def taken(found: Mending) -> list[Step]:
    return [each.step for each in found.steps]


# --- how often ------------------------------------------------------------------------------------

BACK = ScaleDeployment(A, 3)


class Fight:
    """A client sets five replicas again and again, and Argosy wants three."""

    def __init__(self) -> None:
        self.memory = decided().memory
        self._edits = 0

    def look(self, now_s: float, manager: str = "kubectl", replicas: int = 5) -> Mending:
        """The client has just edited, and a decision sees it."""
        self._edits += 1
        state = a_state(replicas=replicas, manager=manager, at_s=float(self._edits))
        found = decided(BACK, now_s=now_s, memory=self.memory, states=(state,))
        self.memory = found.memory
        return found

    def calm(self, now_s: float, *states: DeploymentState) -> Mending:
        """A decision that sees what Argosy wants."""
        found = decided(now_s=now_s, memory=self.memory, states=states or (a_state(),))
        self.memory = found.memory
        return found

    def until_contested(self) -> None:
        for now_s in (0.0, 2.0, 4.0):
            assert len(self.look(now_s).edits) == 1


@pytest.mark.parametrize(
    ("now_s", "is_set_back"), [(4.1, False), (13.9, False), (14.0, True)], ids=["at once", "early", "due"]
)
def test_after_three_edits_the_next_is_set_back_when_the_first_pause_has_passed(
    now_s: float, is_set_back: bool
) -> None:
    fight = Fight()
    fight.until_contested()
    found = fight.look(now_s)
    assert taken(found) == ([BACK] if is_set_back else [])
    assert (len(found.edits), len(found.contested)) == (0, 1)


def test_a_count_below_what_is_wanted_is_set_back_at_once_however_often_and_its_pauses_do_not_grow() -> None:
    fight = Fight()
    fight.until_contested()
    for tenth in range(41, 140):
        found = fight.look(tenth / 10, replicas=0)
        assert taken(found) == [BACK]
        assert (len(found.edits), len(found.contested)) == (0, 1), "it is a condition, not an event each time"
    assert taken(fight.look(13.95, replicas=5)) == [], "more than is wanted can wait"
    assert taken(fight.look(14.0, replicas=5)) == [BACK]


def test_each_pause_is_twice_as_long_as_the_one_before_up_to_ten_minutes() -> None:
    fight = Fight()
    fight.until_contested()
    gaps, last_s = list[float](), 4.0
    for tenths in range(41, 30_000):
        if taken(fight.look(tenths / 10)):
            gaps.append(round(tenths / 10 - last_s, 1))
            last_s = tenths / 10
            if len(gaps) == 8:
                break
    assert gaps == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_another_client_that_edits_the_same_field_begins_anew() -> None:
    fight = Fight()
    fight.until_contested()
    found = fight.look(5.0, manager="helm")
    assert (taken(found), [e.manager for e in found.edits], found.contested) == ([BACK], ["helm"], ())


def test_three_edits_count_however_long_the_process_has_run() -> None:
    fight = Fight()
    for now_s in (9000.0, 9002.0, 9004.0):
        assert fight.look(now_s).edits
    assert fight.look(9005.0).contested


@pytest.mark.parametrize(
    ("gap_s", "num_contested"), [(WINDOW_S / 2 - 1.0, 1), (WINDOW_S / 2, 0)], ids=["within", "not within"]
)
def test_three_edits_count_where_the_window_holds_all_of_them(gap_s: float, num_contested: int) -> None:
    fight = Fight()
    for number in range(3):
        assert fight.look(number * gap_s).edits
    assert len(fight.look(2 * gap_s + 1.0).contested) == num_contested


def test_a_field_stays_contested_until_it_has_been_left_alone_for_the_window_after_its_pause() -> None:
    fight = Fight()
    fight.until_contested()
    assert fight.look(14.0, replicas=7).contested, "set back; the next pause ends at 34"
    assert [e.change for e in fight.calm(34.0 + WINDOW_S - 0.1).contested] == ["spec.replicas 3 -> 7"]
    assert fight.calm(34.0 + WINDOW_S).contested == ()
    assert fight.memory.heals == {}


def test_a_field_that_was_set_back_three_times_and_then_left_alone_is_not_contested() -> None:
    fight = Fight()
    fight.until_contested()
    assert fight.calm(5.0).contested == ()


def test_a_deployment_that_is_gone_has_no_contested_field() -> None:
    fight = Fight()
    fight.until_contested()
    fight.look(14.0)
    assert fight.calm(15.0, a_state(B)).contested == ()


def test_times_are_those_of_the_clock_that_cannot_be_set() -> None:
    fight = Fight()
    fight.until_contested()
    [healed] = fight.memory.heals.values()
    assert (healed.at_s, healed.next_s) == ((0.0, 2.0, 4.0), 14.0)
    fight.look(14.0)
    [healed] = fight.memory.heals.values()
    assert (healed.at_s, healed.next_s) == ((2.0, 4.0, 14.0), 34.0), "the last three, however long it lasts"


# --- what waits with it ---------------------------------------------------------------------------


def test_while_a_count_waits_its_marks_wait_too_and_other_steps_are_taken() -> None:
    fight = Fight()
    fight.until_contested()
    pods = {p.key: p for p in (a_pod("a-0", deployment=A), a_pod("b-0", deployment=B))}
    state = a_state(replicas=5, manager="kubectl", at_s=99.0)
    others = (MarkVictim("default/b-0", -1000), ScaleDeployment(B, 1), ProtectReplicas(A, 3))
    found = decided(
        BACK, MarkVictim("default/a-0", -1000), *others, now_s=5.0, memory=fight.memory,
        states=(state, a_state(B, 2)), pods=pods.values(),
    )  # fmt: skip
    assert taken(found) == list(others)
    assert found.memory.counts[A] == fight.memory.counts[A], "the edit is looked at again"


# --- counts ---------------------------------------------------------------------------------------


def test_what_is_known_of_a_count_is_what_the_decision_leaves_and_found() -> None:
    state = a_state(replicas=5, manager="kubectl", at_s=7.0)
    found = decided(BACK, states=(state, a_state(B, 2)))
    assert found.memory.counts == {
        A: KnownCount(3, edited=KnownCount(5, "kubectl", 7.0), before=5),
        B: KnownCount(2, before=2),
    }


def test_a_count_that_argosy_has_changed_since_is_known_anew() -> None:
    memory = EditMemory(counts={A: KnownCount(3)})
    assert decided(memory=memory, states=(a_state(replicas=2),)).memory.counts == {A: KnownCount(2, before=2)}


def test_a_contested_count_of_which_nothing_was_known_waits_as_well() -> None:
    fight = Fight()
    fight.until_contested()
    memory, state = EditMemory(heals=fight.memory.heals), a_state(replicas=5, manager="kubectl", at_s=9.0)
    for now_s in (5.0, 6.0):
        found = decided(BACK, now_s=now_s, memory=memory, states=(state,))
        assert (taken(found), len(found.contested)) == ([], 1)
        memory = found.memory


@pytest.mark.parametrize("step", [DeleteDeployment(A), EndProtection(A)])
def test_a_deployment_that_the_decision_removes_is_forgotten(step: Step) -> None:
    found = decided(step, states=(a_state(), a_state(B)), protected={A: 1, B: 1})
    assert (set(found.memory.counts), set(found.memory.budgets)) == ({B}, {B})


def test_a_count_that_the_decision_does_not_change_is_no_edit() -> None:
    memory = decided().memory
    state = a_state(replicas=5, manager="kubectl", at_s=7.0)
    assert decided(memory=memory, states=(state,)).edits == ()


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "protected", "expected"),
    [
        pytest.param((2,), {A: 0}, "spec.minAvailable 2 -> 0", id="lowered to nothing"),
        pytest.param(
            (1, 2), {A: 5}, "spec.minAvailable 2 -> 5", id="neither what was nor what was asked for"
        ),
        pytest.param((2,), {A: -1}, "spec.minAvailable 2 -> no whole number", id="a percentage"),
        pytest.param((2,), {}, "deleted", id="deleted"),
        pytest.param((1, 2), {A: 1}, None, id="the last step was not taken yet"),
        pytest.param((1, 2), {A: 2}, None, id="it was taken"),
        pytest.param(None, {A: 0}, None, id="a process that knows no earlier one"),
    ],
)
def test_a_budget_that_no_decision_left_or_found_is_an_edit(
    known: tuple[int, ...] | None, protected: dict[DeploymentKey, int], expected: str | None
) -> None:
    memory = EditMemory(budgets={} if known is None else {A: known})
    found = decided(ProtectReplicas(A, 2), memory=memory, protected=protected)
    assert [(e.about, e.manager, e.at_s, e.model, e.change) for e in found.edits] == (
        [] if expected is None else [(BUDGET, UNNAMED, 0.0, MODEL, expected)]
    )
    assert taken(found) == [ProtectReplicas(A, 2)]


def test_a_budget_that_lost_its_label_is_not_said_to_be_deleted() -> None:
    lost = "label app.kubernetes.io/managed-by argosy -> none"
    memory = EditMemory(budgets={A: (2,)})
    found = decided(ProtectReplicas(A, 2), memory=memory, unlabelled={A: lost})
    assert [(e.about, e.change) for e in found.edits] == [(BUDGET, lost)]
    assert taken(found) == [ProtectReplicas(A, 2)]


def test_what_is_known_of_a_budget_is_what_is_and_what_is_asked_for_but_not_what_was_edited() -> None:
    protected = {A: 1, B: 4}
    assert decided(ProtectReplicas(A, 2), protected=protected).memory.budgets == {A: (1, 2), B: (4,)}
    edited = decided(ProtectReplicas(A, 2), protected=protected, memory=EditMemory(budgets={A: (2,)}))
    assert edited.memory.budgets == {A: (2,), B: (4,)}


def test_an_edit_of_a_count_is_none_of_the_budget() -> None:
    state = a_state(replicas=5, manager="kubectl", at_s=7.0)
    memory = EditMemory(counts={A: KnownCount(3)})
    found = decided(BACK, ProtectReplicas(A, 2), states=(state,), memory=memory, protected={A: 1})
    assert [e.about for e in found.edits] == [COUNT]
    assert found.memory.budgets == {A: (1, 2)}


def test_a_budget_that_went_with_its_deployment_is_an_edit_of_no_known_model() -> None:
    memory = EditMemory(budgets={B: (2,)})
    [edit] = decided(ProtectReplicas(B, 2), memory=memory).edits
    assert (edit.about, edit.deployment, edit.model, edit.change) == (BUDGET, B, ModelKey(), "deleted")


def test_a_budget_and_a_deployment_that_are_gone_are_made_again_at_once_however_often() -> None:
    workload = a_workload()
    memory = EditMemory(budgets={A: (2,)}, counts={workload.key: KnownCount(1)})
    steps = (CreateDeployment(workload, 1), ProtectReplicas(A, 2))
    for number in range(6):
        found = decided(*steps, now_s=float(number), memory=memory)
        assert ([e.about for e in found.edits], found.contested) == ([BUDGET, EXISTENCE], ())
        assert taken(found) == list(steps)
        memory = EditMemory(memory.counts, memory.budgets, found.memory.heals)


# --- Deployments and templates --------------------------------------------------------------------


def a_workload() -> EngineWorkload:
    snapshot = a_picture(pools=[a_pool()], models=[a_model()])
    variant = next(iter(variants_of(snapshot, snapshot.models[MODEL])))
    return EngineWorkload(variant, GroupName("default/chat"), snapshot.pools["l40s"])


def test_a_deployment_is_made_again_only_where_it_was_there_before() -> None:
    workload = a_workload()
    create = CreateDeployment(workload, 1)
    assert decided(create).edits == ()
    [edit] = decided(create, memory=EditMemory(counts={workload.key: KnownCount(1)})).edits
    assert (edit.about, edit.deployment, edit.model, edit.at_s) == (EXISTENCE, workload.key, MODEL, 0.0)


IMAGE: dict[str, Any] = {"f:image": {}}
for _name in ('k:{"name":"engine"}', "f:containers", "f:spec", "f:template", "f:spec"):
    IMAGE = {_name: IMAGE}


def with_image(workload: EngineWorkload, at_s: float = 1.0) -> DeploymentState:
    """As `kubectl set image` leaves it."""
    item = copy.deepcopy(deployment_manifest(workload, 3))
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    return DeploymentState(
        workload.key,
        3,
        labels=item["metadata"]["labels"],
        annotations=item["metadata"]["annotations"],
        spec=item["spec"],
        managers=(FieldManager("kubectl-set", "", at_s, IMAGE),),
    )


def test_a_template_is_restored_with_the_count_that_the_decision_leaves() -> None:
    workload = a_workload()
    down = ScaleDeployment(workload.key, 2)
    found = decided(down, states=(with_image(workload),), workloads={workload.key: workload})
    assert [e.about for e in found.edits] == [TEMPLATE]
    assert found.steps[0].step == down
    assert found.steps[1:] == (PlannedStep(RestoreDeployment(workload, 2), Reliance(PLAN, replicas=2)),)


def test_a_contested_template_is_not_restored_until_its_pause_has_passed() -> None:
    workload = a_workload()
    key = (workload.key, TEMPLATE)
    healed = Mended("kubectl-set", (1.0, 2.0, 3.0), pause_s=10.0, next_s=13.0)
    memory = EditMemory(heals={key: healed})
    known = {"states": (with_image(workload),), "workloads": {workload.key: workload}}
    waits = decided(now_s=12.9, memory=memory, **known)  # type: ignore[arg-type]
    assert (waits.steps, [e.about for e in waits.contested]) == ((), [TEMPLATE])
    assert waits.memory.heals == {key: healed}
    due = decided(now_s=13.0, memory=memory, **known)  # type: ignore[arg-type]
    assert (taken(due), due.memory.heals[key].next_s) == ([RestoreDeployment(workload, 3)], 33.0)


def test_a_template_as_argosy_made_it_is_left_alone() -> None:
    workload = a_workload()
    item = deployment_manifest(workload, 3)
    state = DeploymentState(
        workload.key,
        3,
        labels=item["metadata"]["labels"],
        annotations=item["metadata"]["annotations"],
        spec=item["spec"],
    )
    found = decided(states=(state,), workloads={workload.key: workload})
    assert (found.steps, found.edits) == ((), ())


def test_a_template_that_goes_or_is_not_known_is_not_compared() -> None:
    workload = a_workload()
    state, workloads = with_image(workload), {workload.key: workload}
    delete = DeleteDeployment(workload.key)
    assert taken(decided(delete, states=(state,), workloads=workloads)) == [delete]
    assert decided(states=(state,)).steps == (), "the plan names it no more"
    bare = DeploymentState(workload.key, 3)
    assert decided(states=(bare,), workloads=workloads).edits == (), "read by a process that keeps none"


def test_an_edit_of_a_count_does_not_keep_that_of_a_template_from_being_set_back() -> None:
    workload = a_workload()
    memory = EditMemory(heals={(workload.key, COUNT): Mended("kubectl", (1.0, 2.0, 3.0), 10.0, 13.0)})
    found = decided(
        now_s=5.0, memory=memory, states=(with_image(workload),), workloads={workload.key: workload}
    )
    assert taken(found) == [RestoreDeployment(workload, 3)]
