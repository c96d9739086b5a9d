"""What differs from what is wanted and stays so, because the mode of the Fleet lets Argosy act on no plan.

Owns the sentences about that for a class, a model and the plan. Input: `Reported`. Output: a
`Verdict`, None where nothing differs or Argosy acts.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api import FleetPlan
from argosy.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.fleet import Mode
from argosy.control.state.differences import Difference
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, because, mode_not_auto, true
from argosy.keys import ClassKey, ModelKey

MOST_NAMED = 3
"""Deployments that a sentence names; of more it gives the number."""


def class_unacted(reported: Reported, key: ClassKey) -> Verdict | None:
    """Ready of a class that lacks replicas, or has others than are wanted, for as long as the mode stays."""
    if any(pod.key in reported.silent_s for pod in reported.pods_of_class(key)):
        return None  # the sentence of a silent engine names the mode, too
    cells = reported.cells_of(key)
    groups = {*reported.sizing.cells.groups_of(key), *(cell.sharing_group for cell in cells)}
    lacking = [
        each
        for each in reported.differences
        if each.is_lacking and each.group in groups and reported.may_run(key, each.group, each.model)
    ]
    return _stays(ConditionType.READY, reported.mode, lacking)


def model_unacted(reported: Reported, key: ModelKey) -> Verdict | None:
    """Ready of a model whose replicas differ from what is wanted."""
    own = [each for each in reported.differences if each.model == key]
    return _stays(ConditionType.READY, reported.mode, own)


def plan_unacted(reported: Reported) -> Verdict | None:
    """PlanCurrent where the replicas that run, or those of the followed plan, are not the wanted ones."""
    kind, mode = ConditionType.PLAN_CURRENT, reported.mode
    if mode is Mode.AUTO:
        return None
    if reported.follow is None:
        return _because_of_mode(kind, mode, "No FleetPlan is applied")
    found = _stays(kind, mode, reported.differences)
    if found is None and reported.is_plan_outdated:
        return _because_of_mode(kind, mode, f"{reported.follow.key} plans other replicas than are wanted")
    return found


def applied_verdict(mode: Mode) -> Verdict:
    """Applied of the followed plan: in every mode Envoys route by it."""
    if mode is Mode.AUTO:
        return true(ConditionType.APPLIED, Reason.APPLIED)
    return true(ConditionType.APPLIED, Reason.ROUTES_ONLY, mode=mode.value)


def applied_changes(plan: FleetPlan, mode: Mode) -> tuple[Verdict, ...]:
    """The same, where the plan's condition does not read so yet."""
    now, before = applied_verdict(mode), find_condition(plan.status.conditions, ConditionType.APPLIED)
    if before is not None and before.status is ConditionStatus.TRUE and before.message == now.message:
        return ()
    return (now,)


def _stays(kind: ConditionType, mode: Mode, found: Iterable[Difference]) -> Verdict | None:
    named = [str(each) for each in found]
    if not named:
        return None
    more = f"; and {len(named) - MOST_NAMED} Deployments more differ" if len(named) > MOST_NAMED else ""
    return _because_of_mode(kind, mode, "; ".join(named[:MOST_NAMED]) + more)


def _because_of_mode(kind: ConditionType, mode: Mode, what: str) -> Verdict:
    return because(kind, Reason.MODE_NOT_AUTO, f"{what}. {mode_not_auto(kind, mode).message}")
