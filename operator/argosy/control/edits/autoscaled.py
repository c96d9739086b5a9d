"""What users read of Deployments whose number of replicas an autoscaler sets: a condition, and an event once.

Owns the sentences, and which Deployments they are about: those that Argosy plans with that number, or keeps.
Input: a snapshot, what was decided, the statuses of the decision. Output: events and statuses, about the
ServedModel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from argosy.api import ServedModel
from argosy.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from argosy.control.decision import EventRecord, StatusUpdate
from argosy.control.revision.decided import Decided
from argosy.control.status.verdict import Verdict, dated, false, true
from argosy.keys import DeploymentKey, ModelKey
from argosy.plan.explain.words import counted
from argosy.snapshot.fleet import FleetSnapshot

MOST_NAMED = 4
"""Deployments that a sentence names; of more, it gives the number."""


def with_autoscaled(
    snapshot: FleetSnapshot, updates: Iterable[StatusUpdate], decided: Decided
) -> tuple[StatusUpdate, ...]:
    """`updates`, with the condition Autoscaled of the models that an autoscaler scales, or has scaled."""
    verdicts = _verdicts(snapshot, decided)
    found: list[StatusUpdate] = []
    for update in updates:
        model = snapshot.models.get(ModelKey(update.key)) if update.kind == ServedModel.PLURAL else None
        found.append(update if model is None else _with(snapshot, update, model, verdicts.get(model.key)))
    return tuple(found)


def autoscaled_events(snapshot: FleetSnapshot, decided: Decided) -> tuple[EventRecord, ...]:
    """One where an autoscaler begins to set a number, and one where Argosy decides again."""
    verdicts = _verdicts(snapshot, decided)
    found: list[EventRecord] = []
    for key, model in sorted(snapshot.models.items()):
        verdict, was = verdicts.get(key), _was_autoscaled(model)
        if verdict is not None and not was:
            found.append(EventRecord(ServedModel.KIND, key, "Normal", verdict.reason.value, verdict.message))
        elif verdict is None and was:
            again = false(ConditionType.AUTOSCALED, Reason.NOT_AUTOSCALED)
            found.append(EventRecord(ServedModel.KIND, key, "Normal", again.reason.value, again.message))
    return tuple(found)


def _verdicts(snapshot: FleetSnapshot, decided: Decided) -> dict[ModelKey, Verdict]:
    """The condition of each ServedModel of which an autoscaler scales a Deployment."""
    by_key: dict[DeploymentKey, tuple[ModelKey, int | None]] = {
        key: (decided.kept[key].entry.model_key, None) for key in decided.kept_autoscaled
    }
    for option in decided.problem.options:
        if option.fixed_by and option.name in snapshot.count_owners:
            by_key[option.name] = (option.model, option.least_replicas)
    by_model: dict[ModelKey, dict[DeploymentKey, int | None]] = {}
    for key, (model, planned) in sorted(by_key.items()):
        by_model.setdefault(model, {})[key] = planned
    return {model: _verdict(snapshot, deployments) for model, deployments in by_model.items()}


def _verdict(snapshot: FleetSnapshot, planned: Mapping[DeploymentKey, int | None]) -> Verdict:
    """planned: replicas by Deployment; None where nothing is planned and all are kept"""
    owners = [snapshot.count_owners[key] for key in planned]
    named = [_number(snapshot, key, count) for key, count in planned.items()][:MOST_NAMED]
    if len(planned) > MOST_NAMED:
        named.append(f"{len(planned) - MOST_NAMED} more Deployments are scaled by others as well")
    remedies = list(dict.fromkeys(owner.remedy for owner in owners))[:MOST_NAMED]
    return true(
        ConditionType.AUTOSCALED,
        Reason.AUTOSCALED,
        numbers="; ".join(named),
        remedy=" and ".join(remedies),
    )


def _number(snapshot: FleetSnapshot, key: DeploymentKey, planned: int | None) -> str:
    state, owner = snapshot.deployments[key], snapshot.count_owners[key]
    bounds = f" (it may set {owner.bounds})" if owner.bounds else ""
    count = counted(state.replicas, "replica")
    few = planned is not None and planned < state.replicas
    room = f", of which {planned} run or find room" if few else ""
    return f"{owner.title} sets {count} of Deployment {key}{bounds}{room}"


def _with(
    snapshot: FleetSnapshot, update: StatusUpdate, model: ServedModel, verdict: Verdict | None
) -> StatusUpdate:
    before = find_condition(update.status.conditions, ConditionType.AUTOSCALED)
    if verdict is None and before is None:
        return update
    verdict = verdict or false(ConditionType.AUTOSCALED, Reason.NOT_AUTOSCALED)
    now = dated(update.status.conditions, model.metadata, (verdict,), snapshot.now_s)
    return replace(update, status=update.status.model_copy(update={"conditions": now}))


def _was_autoscaled(model: ServedModel) -> bool:
    before = find_condition(model.status.conditions, ConditionType.AUTOSCALED)
    return before is not None and before.status is ConditionStatus.TRUE
