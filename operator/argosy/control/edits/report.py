"""What users read of changes by hand: an event each, and a condition where a field is contested.

Owns the sentences. Input: what is done about edits, the snapshot, the statuses of the decision. Output:
events and statuses, about the ServedModel; about Fleet where the model does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from argosy.api import Fleet, ServedModel
from argosy.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.fleet import Mode
from argosy.control.decision import EventRecord, StatusUpdate
from argosy.control.edits.found import BUDGET, EXISTENCE, ORPHAN, POD, RELEASED, UNNAMED, Edit
from argosy.control.edits.mending import Mending
from argosy.control.status.verdict import Verdict, dated, false, mode_not_auto, true
from argosy.keys import ModelKey
from argosy.snapshot.fleet import FleetSnapshot

CHANGED_BY_HAND = "ChangedByHand"
"""The reason of the event."""


def sentence(edit: Edit) -> str:
    """What was changed, by which client, and that it is set back."""
    name = edit.deployment.name
    if edit.about == EXISTENCE:
        later = f"what the plan has of it is made again once it is gone: {edit.change}"
        follows = later if edit.change else "it is made again"
        return f"Deployment {name} was deleted, and not by Argosy: {follows}"
    if edit.about == POD:
        return f"pod {edit.change} was deleted by another client: its successor starts"
    if edit.about == RELEASED:
        return (
            f"{edit.change} was removed or changed by another client, so that Deployment {name} no longer"
            " owns its replicas: set back"
        )
    if edit.about == ORPHAN:
        return (
            f"{edit.change} was removed or changed by another client: no replica of Deployment {name} any"
            " more, it is drained and deleted once its successor serves"
        )
    kind = "PodDisruptionBudget" if edit.about == BUDGET else "Deployment"
    by = f" by {edit.manager}" if edit.manager != UNNAMED else ", and not by Argosy"
    return f"{kind} {name} was changed{by} ({edit.change}): set back"


def edit_events(snapshot: FleetSnapshot, mending: Mending) -> tuple[EventRecord, ...]:
    """One for each edit that is set back, and one where a field becomes contested."""
    found = [_event(snapshot, edit, CHANGED_BY_HAND, sentence(edit)) for edit in mending.edits]
    for edit in mending.contested:
        if not _is_said(snapshot, edit):
            found.append(_event(snapshot, edit, Reason.FIELD_CONTESTED.value, _contested([edit]).message))
    return tuple(event for event in found if event is not None)


def with_contested(
    snapshot: FleetSnapshot, updates: Iterable[StatusUpdate], contested: Iterable[Edit]
) -> tuple[StatusUpdate, ...]:
    """`updates`, with the condition FieldsContested where a field is, or was, contested."""
    by_model: dict[ModelKey, list[Edit]] = {}
    for edit in contested:
        by_model.setdefault(edit.model if edit.model in snapshot.models else ModelKey(), []).append(edit)
    found: list[StatusUpdate] = []
    for update in updates:
        if update.kind == ServedModel.PLURAL and (model := snapshot.models.get(ModelKey(update.key))):
            found.append(_with(snapshot, update, model, by_model.get(model.key, [])))
        elif update.kind == Fleet.PLURAL and snapshot.fleet is not None:
            found.append(_with(snapshot, update, snapshot.fleet, by_model.get(ModelKey(), [])))
        else:
            found.append(update)
    return tuple(found)


def _with(
    snapshot: FleetSnapshot, update: StatusUpdate, item: ServedModel | Fleet, contested: list[Edit]
) -> StatusUpdate:
    kind, conditions = ConditionType.FIELDS_CONTESTED, update.status.conditions
    if not contested and find_condition(conditions, kind) is None:
        return update
    mode = snapshot.acting_mode
    quiet = false(kind, Reason.UNCONTESTED) if mode is Mode.AUTO else mode_not_auto(kind, mode)
    verdict = _contested(contested) if contested else quiet
    now = dated(conditions, item.metadata, (verdict,), snapshot.now_s)
    return replace(update, status=update.status.model_copy(update={"conditions": now}))


def _contested(contested: list[Edit]) -> Verdict:
    edit = contested[0]
    kind = "PodDisruptionBudget" if edit.about == BUDGET else "Deployment"
    field = edit.change.partition(" ")[0]
    return true(
        ConditionType.FIELDS_CONTESTED,
        Reason.FIELD_CONTESTED,
        manager=edit.manager,
        field=field,
        object=f"{kind} {edit.deployment.name}",
    )


def _is_said(snapshot: FleetSnapshot, edit: Edit) -> bool:
    """Whether the object's condition reports a contested field already."""
    item = snapshot.models.get(edit.model) or snapshot.fleet
    before = find_condition(item.status.conditions, ConditionType.FIELDS_CONTESTED) if item else None
    return before is not None and before.status is ConditionStatus.TRUE


def _event(snapshot: FleetSnapshot, edit: Edit, reason: str, message: str) -> EventRecord | None:
    if edit.model in snapshot.models:
        return EventRecord(ServedModel.KIND, edit.model, "Warning", reason, message)
    return EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", reason, message) if snapshot.fleet else None
