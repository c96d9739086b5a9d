"""The revisions of the plan as rows: when and why each was made, what it costs, what became of it.

Input: a snapshot of a cluster. Output: `RevisionRow`s, the latest first.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, find_condition
from argosy.api.fleetplan import PlanPhase
from argosy.api.schema.timestamp import seconds_of
from argosy.control.decision import replicas_by_classes
from argosy.control.revision.window import made_at_s
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """One FleetPlan.

    age_s: since it was made; None: not known
    phase: Applied, Recommended or Superseded; `Written` before the operator has recorded it
    progress: how far it is carried out: Starting, Loading, RolledOut ...; empty where that does not apply
    replicas: by classes, as sentences write them
    """

    revision: int
    name: str
    age_s: float | None
    usd_per_hour: float
    phase: str
    is_applied: bool
    progress: str
    message: str
    replicas: str
    trigger: str


def revision_rows(snapshot: FleetSnapshot) -> tuple[RevisionRow, ...]:
    """Every FleetPlan, the latest first."""
    applied = snapshot.applied_plan
    plans = sorted(snapshot.plans, key=lambda plan: -plan.spec.revision)
    return tuple(_row(plan, snapshot.now_s, plan is applied) for plan in plans)


def _row(plan: FleetPlan, now_s: float, is_applied: bool) -> RevisionRow:
    made_s = seconds_of(plan.metadata.creation_timestamp) or made_at_s(plan)
    progress = _progress(plan) if is_applied else None
    what = (f"{who}: {replicas}" for who, replicas in replicas_by_classes(plan).items())
    return RevisionRow(
        revision=plan.spec.revision,
        name=plan.key,
        age_s=None if made_s is None else max(0.0, now_s - made_s),
        usd_per_hour=plan.spec.cost_usd_per_hour,
        phase=plan.status.phase or "Written",
        is_applied=is_applied,
        progress=progress.reason if progress is not None else "",
        message=progress.message if progress is not None else "",
        replicas="; ".join(what) or "no replicas",
        trigger=plan.spec.trigger,
    )


def _progress(plan: FleetPlan) -> Condition | None:
    found = [find_condition(plan.status.conditions, kind) for kind in _PROGRESS]
    done, going = found
    return done if done is not None and done.status is ConditionStatus.TRUE else going


_PROGRESS = (ConditionType.ROLLED_OUT, ConditionType.PROGRESSING)


def newest_recommended(snapshot: FleetSnapshot) -> FleetPlan | None:
    """The latest plan, where it is a recommendation that nothing acts on; else None."""
    latest = max(snapshot.plans, key=lambda plan: plan.spec.revision, default=None)
    return latest if latest is not None and latest.status.phase == PlanPhase.RECOMMENDED else None
