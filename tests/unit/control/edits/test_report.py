"""What users read of edits: on which object, how often, and until when a field counts as contested."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_fleet, a_model
from pictures import NOW_S, a_picture

from argosy.api import Fleet, ServedModel, WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleet import FleetStatus
from argosy.api.schema.timestamp import rfc3339
from argosy.api.servedmodel import ServedModelStatus
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.decision import StatusUpdate
from argosy.control.edits.found import (
    BUDGET,
    COUNT,
    EXISTENCE,
    ORPHAN,
    POD,
    RELEASED,
    TEMPLATE,
    UNNAMED,
    Edit,
)
from argosy.control.edits.mending import Mending
from argosy.control.edits.report import edit_events, sentence, with_contested
from argosy.control.memory import EditMemory
from argosy.keys import DeploymentKey, ModelKey
from argosy.snapshot.fleet import FleetSnapshot

MODEL, ELSEWHERE = ModelKey("default/llama"), ModelKey("default/gone")


def an_edit(about: str = COUNT, manager: str = "kubectl", change: str = "spec.replicas 3 -> 5",
            model: ModelKey = MODEL) -> Edit:  # fmt: skip
    return Edit(DeploymentKey("default/d"), model, about, manager, 0.0, change)


def contested_condition(status: str) -> Condition:
    return Condition(type="FieldsContested", status=ConditionStatus(status), reason="Before")


def with_status(item: Any, *conditions: Condition) -> Any:
    return item.model_copy(update={"status": type(item.status)(conditions=conditions)})


def a_world(*conditions: Condition, of_fleet: tuple[Condition, ...] = ()) -> FleetSnapshot:
    return a_picture(models=[with_status(a_model(), *conditions)], fleet=with_status(a_fleet(), *of_fleet))


# --- sentences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (an_edit(), "Deployment d was changed by kubectl (spec.replicas 3 -> 5): set back"),
        (
            an_edit(manager=UNNAMED),
            "Deployment d was changed, and not by Argosy (spec.replicas 3 -> 5): set back",
        ),
        (
            an_edit(BUDGET, UNNAMED, "deleted"),
            "PodDisruptionBudget d was changed, and not by Argosy (deleted): set back",
        ),
        (
            an_edit(EXISTENCE, change=""),
            "Deployment d was deleted, and not by Argosy: it is made again",
        ),
        (
            an_edit(EXISTENCE, change="finalizer a/b holds it"),
            "Deployment d was deleted, and not by Argosy: what the plan has of it is made again once it is"
            " gone: finalizer a/b holds it",
        ),
        (
            an_edit(RELEASED, change="label x of ReplicaSet d-1"),
            "label x of ReplicaSet d-1 was removed or changed by another client, so that Deployment d no"
            " longer owns its replicas: set back",
        ),
        (an_edit(POD, change="d-1"), "pod d-1 was deleted by another client: its successor starts"),
        (
            an_edit(ORPHAN, change="label x of pod d-1"),
            "label x of pod d-1 was removed or changed by another client: no replica of Deployment d any"
            " more, it is drained and deleted once its successor serves",
        ),
    ],
)
def test_a_sentence_names_the_object_the_change_the_client_and_what_follows(
    edit: Edit, expected: str
) -> None:
    assert sentence(edit) == expected


# --- events ---------------------------------------------------------------------------------------


def events(snapshot: FleetSnapshot, *edits: Edit, contested: tuple[Edit, ...] = ()) -> list[tuple[str, ...]]:
    found = edit_events(snapshot, Mending((), edits, contested, EditMemory()))
    return [(e.kind, e.key, e.type, e.reason) for e in found]


ON_MODEL = ("ServedModel", "default/llama", "Warning")
ON_FLEET = ("Fleet", "default", "Warning")


def test_an_edit_is_an_event_of_its_model_or_of_the_fleet_where_that_is_gone() -> None:
    found = events(a_world(), an_edit(), an_edit(model=ELSEWHERE))
    assert found == [(*ON_MODEL, "ChangedByHand"), (*ON_FLEET, "ChangedByHand")]


def test_an_edit_without_a_model_and_a_fleet_is_no_event() -> None:
    snapshot = a_picture(fleet=None)
    assert events(snapshot, an_edit(), contested=(an_edit(),)) == []


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param((), [(*ON_MODEL, "FieldContested")], id="it begins"),
        pytest.param((contested_condition("False"),), [(*ON_MODEL, "FieldContested")], id="it begins again"),
        pytest.param((contested_condition("True"),), [], id="it goes on"),
    ],
)
def test_a_field_that_becomes_contested_is_one_event(
    before: tuple[Condition, ...], expected: list[tuple[str, ...]]
) -> None:
    assert events(a_world(*before), contested=(an_edit(),)) == expected


def test_of_a_model_that_is_gone_the_fleets_condition_tells_whether_it_was_said() -> None:
    edit = an_edit(model=ELSEWHERE)
    assert events(a_world(), contested=(edit,)) == [(*ON_FLEET, "FieldContested")]
    assert events(a_world(of_fleet=(contested_condition("True"),)), contested=(edit,)) == []


# --- conditions -----------------------------------------------------------------------------------


def updates(*conditions: Condition, of_fleet: tuple[Condition, ...] = ()) -> tuple[StatusUpdate, ...]:
    """Of the model, of Fleet, of a class and of a model that is gone."""
    return (
        StatusUpdate(ServedModel.PLURAL, MODEL, ServedModelStatus(conditions=conditions)),
        StatusUpdate(Fleet.PLURAL, "default", FleetStatus(conditions=of_fleet, envoys_connected=2)),
        StatusUpdate(WorkloadClass.PLURAL, "default/llama", WorkloadClassStatus()),
        StatusUpdate(ServedModel.PLURAL, ELSEWHERE, ServedModelStatus()),
    )


def rows(found: tuple[StatusUpdate, ...]) -> list[list[tuple[str, str, str]]]:
    return [[(c.type, c.status.value, c.reason) for c in update.status.conditions] for update in found]


CONTESTED = [("FieldsContested", "True", "FieldContested")]
UNCONTESTED = [("FieldsContested", "False", "Uncontested")]


def test_a_contested_field_is_a_condition_of_its_model_and_of_nothing_else() -> None:
    found = with_contested(a_world(), updates(), [an_edit(TEMPLATE, change="spec.template.x a -> b")])
    assert rows(found) == [CONTESTED, [], [], []]
    [condition] = found[0].status.conditions
    assert condition.last_transition_time == rfc3339(NOW_S)
    message = condition.message
    for part in ("kubectl", "spec.template.x", "Deployment d"):
        assert part in message
    assert "a -> b" not in message, "the values change with every edit"


def test_of_a_model_that_is_gone_it_is_a_condition_of_the_fleet() -> None:
    edit = an_edit(BUDGET, change="spec.minAvailable 1 -> 0", model=ELSEWHERE)
    found = with_contested(a_world(), updates(), [edit])
    assert rows(found) == [[], CONTESTED, [], []]
    assert "PodDisruptionBudget d" in found[1].status.conditions[0].message
    assert found[1].status.envoys_connected == 2  # type: ignore[union-attr]


def test_a_field_that_is_contested_no_more_says_so_where_it_was() -> None:
    before = contested_condition("True")
    found = with_contested(a_world(before), updates(before), [])
    assert rows(found) == [UNCONTESTED, [], [], []]
    assert rows(with_contested(a_world(), updates(of_fleet=(before,)), [])) == [[], UNCONTESTED, [], []]


def test_where_no_field_ever_was_contested_statuses_are_as_they_were() -> None:
    assert with_contested(a_world(), updates(), []) == updates()
    assert with_contested(a_picture(fleet=None), updates(), [an_edit(model=ELSEWHERE)]) == updates()
