"""What users read of adopted Deployments: the condition Adopted, and events.

Owns the sentences. Input: what is reported, or the steps of a decision. Output: a `Verdict` about a
ServedModel or, where a label names none, about Fleet; events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from argosy.api import ServedModel
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from argosy.control.decision import EventRecord, PlannedStep, StatusUpdate
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, false, true
from argosy.keys import DeploymentKey, ModelKey
from argosy.rollout import ScaleDeployment
from argosy.snapshot.cluster import LABEL_TEMPLATE_HASH, label_value
from argosy.snapshot.fleet import FleetSnapshot

MOST_NAMED = 4
"""Deployments that a sentence names; of more, it gives the number."""

LOWERED = "AdoptedScaledDown"
"""The reason of the event that Argosy lowers the count of a user's Deployment."""


def model_verdict(reported: Reported, item: ServedModel) -> Verdict | None:
    """What became of the Deployments that are labelled with a ServedModel; None where there never was one."""
    snapshot = reported.snapshot
    problems = {
        key: each.problem
        for key, each in snapshot.unadopted.items()
        if key.namespace == item.key.namespace and each.model == label_value(item.key.name)
    }
    running, given_back = list[DeploymentKey](), list[DeploymentKey]()
    for key, state in sorted(snapshot.deployments.items()):
        if (
            state.adoption is None
            or state.model_label != label_value(item.key.name)
            or key.namespace != item.key.namespace
        ):
            continue
        refusal = reported.sizing.resolution.adoption_refusals.get(key)
        if refusal is not None:
            problems[key] = refusal.message.rstrip(".")
        elif state.is_given_back:
            given_back.append(key)
        else:
            running.append(key)
    found = _verdict(problems, running, given_back, item.status.conditions)
    waits = _lowering_waits(reported, running)
    return waits if waits is not None and found is not None and found.reason is Reason.ADOPTED else found


def _lowering_waits(reported: Reported, running: Iterable[DeploymentKey]) -> Verdict | None:
    """That fewer replicas are planned than a user's Deployment has, while it is rolled out; else None."""
    planned = {d.name: d.replicas for d in reported.planned if d.is_adopted}
    for key in running:
        state, wanted = reported.snapshot.deployments[key], planned.get(key)
        pods = [p for p in reported.snapshot.engine_pods if p.deployment == key and p.is_active]
        hashes = {p.labels.get(LABEL_TEMPLATE_HASH) for p in pods if not p.deleting}
        if wanted is None or wanted >= state.replicas or len(hashes) < 2 or not reported.snapshot.acts:
            continue
        return true(
            ConditionType.ADOPTED,
            Reason.LOWERING_WAITS,
            deployment=key,
            replicas=state.replicas,
            planned=wanted,
            templates=len(hashes),
            namespace=key.namespace,
            name=key.name,
        )
    return None


def fleet_verdict(snapshot: FleetSnapshot) -> Verdict | None:
    """The labels that name no ServedModel; None where there never were any."""
    known = {(key.namespace, label_value(key.name)) for key in snapshot.models}
    problems = {
        key: each.problem
        for key, each in snapshot.unadopted.items()
        if (key.namespace, each.model) not in known
    }
    before = snapshot.fleet.status.conditions if snapshot.fleet is not None else ()
    return _verdict(problems, [], [], before)


def _verdict(
    problems: Mapping[DeploymentKey, str],
    running: list[DeploymentKey],
    given_back: list[DeploymentKey],
    before: tuple[Condition, ...],
) -> Verdict | None:
    kind = ConditionType.ADOPTED
    if problems:
        key, problem = min(problems.items())
        parts = {"deployment": key, "problem": problem, "others": _others(len(problems) - 1)}
        return false(kind, Reason.ADOPTION_REFUSED, **parts)
    if given_back:
        return true(kind, Reason.GIVEN_BACK, deployments=_named(given_back))
    if running:
        return true(kind, Reason.ADOPTED, deployments=_named(running))
    if find_condition(before, kind) is None:
        return None
    return false(kind, Reason.NOTHING_ADOPTED)


def _others(number: int) -> str:
    return f"{number + 1} Deployments are not adopted. " if number else ""


def _named(keys: list[DeploymentKey]) -> str:
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    return ", ".join(keys[:MOST_NAMED]) + more


def adoption_events(kind: str, update: StatusUpdate, before: tuple[Condition, ...]) -> list[EventRecord]:
    """One for each change of the condition."""
    old, new = (find_condition(c, ConditionType.ADOPTED) for c in (before, update.status.conditions))
    if new is None or (old is not None and (old.reason, old.message) == (new.reason, new.message)):
        return []
    is_refused = new.status is ConditionStatus.FALSE and new.reason != Reason.NOTHING_ADOPTED
    return [EventRecord(kind, update.key, "Warning" if is_refused else "Normal", new.reason, new.message)]


def lowered_events(snapshot: FleetSnapshot, steps: Iterable[PlannedStep]) -> Iterator[EventRecord]:
    """One for each count of a user's Deployment that a decision lowers."""
    for planned in steps:
        step = planned.step
        state = snapshot.deployments.get(step.key) if isinstance(step, ScaleDeployment) else None
        if state is None or state.adoption is None or state.adoption.variant is None:
            continue
        assert isinstance(step, ScaleDeployment)
        model: ModelKey = state.adoption.variant.model_key
        message = (
            f"Deployment {state.key.name}, which a user runs, is scaled from {state.replicas} to"
            f" {step.replicas}: {planned.relies_on.plan} needs no more of its replicas. Remove the label to"
            " keep it as it is."
        )
        yield EventRecord(ServedModel.KIND, model, "Normal", LOWERED, message)
