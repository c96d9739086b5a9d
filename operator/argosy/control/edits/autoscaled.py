"""What users read of Deployments whose number of replicas an autoscaler sets: a condition, and an event once.

Owns the sentences, and which Deployments they are about: those that Argosy plans with that number. Input: a
snapshot, what was decided, the statuses of the decision. Output: events and statuses, about the ServedModel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from argosy.api import ServedModel
from argosy.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from argosy.control.decision import EventRecord, StatusUpdate
from argosy.control.revision.decided import Decided
from argosy.control.status.verdict import Verdict, dated, false, true
from argosy.keys import ModelKey
from argosy.plan.explain.words import counted
from argosy.plan.problem import Option
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.scaling.autoscalers import CountOwner

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
    by_model: dict[ModelKey, list[Option]] = {}
    for option in sorted(decided.problem.options, key=lambda o: o.name):
        if option.fixed_by and option.name in snapshot.count_owners:
            by_model.setdefault(option.model, []).append(option)
    return {model: _verdict(snapshot, options) for model, options in by_model.items()}


def _verdict(snapshot: FleetSnapshot, options: list[Option]) -> Verdict:
    owners = [snapshot.count_owners[o.name] for o in options]
    named = [_number(snapshot, o, owner) for o, owner in zip(options, owners, strict=True)][:MOST_NAMED]
    if len(options) > MOST_NAMED:
        named.append(f"{len(options) - MOST_NAMED} more Deployments are scaled by others as well")
    remedies = list(dict.fromkeys(owner.remedy for owner in owners))[:MOST_NAMED]
    return true(
        ConditionType.AUTOSCALED,
        Reason.AUTOSCALED,
        numbers="; ".join(named),
        remedy=" and ".join(remedies),
    )


def _number(snapshot: FleetSnapshot, option: Option, owner: CountOwner) -> str:
    state = snapshot.deployments[option.name]
    bounds = f" (it may set {owner.bounds})" if owner.bounds else ""
    count = counted(state.replicas, "replica")
    few = option.least_replicas < state.replicas
    room = f", of which {option.least_replicas} run or find room" if few else ""
    return f"{owner.title} sets {count} of Deployment {option.name}{bounds}{room}"


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
