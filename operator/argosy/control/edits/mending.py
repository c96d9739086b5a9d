"""Setting back what others changed: at once the first times, then with pauses; missing replicas at once.

Owns the limit on writes where a HorizontalPodAutoscaler or another tool keeps changing the same field.
Input: the steps of a decision, the snapshot, the workloads, the memory. Output: the steps that may be
taken, the edits that they set back, and what is contested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from argosy.control.decision import PlannedStep, Reliance
from argosy.control.edits.additions import additions, removal
from argosy.control.edits.found import (
    BUDGET,
    COUNT,
    EXISTENCE,
    RELEASED,
    TEMPLATE,
    UNNAMED,
    Edit,
    count_edit,
    foreign_count,
    model_of,
    template_edit,
)
from argosy.control.memory import EditMemory, KnownCount, Mended
from argosy.control.status.verdict import holder
from argosy.keys import DeploymentKey, ModelKey
from argosy.manifests import EngineWorkload, pod_template
from argosy.rollout import (
    AdoptReplicaSet,
    CreateDeployment,
    DeleteDeployment,
    EndProtection,
    MarkVictim,
    ProtectReplicas,
    RestoreDeployment,
    ScaleDeployment,
    Step,
)
from argosy.snapshot.cluster import DeploymentState, label_value
from argosy.snapshot.fleet import FleetSnapshot

AT_ONCE = 3
"""So often the same change by the same client is set back at once ..."""
WINDOW_S = 600.0
"""... within this time. Then pauses follow, each twice as long as the one before."""
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 600.0
CONTESTABLE = (COUNT, TEMPLATE)
"""A Deployment or a budget that is gone is made again at once each time: else nothing serves."""


@dataclass(frozen=True, slots=True)
class Mending:
    """What is done about edits.

    steps:     those of the decision, with those that set templates back, without those that wait
    edits:     what is set back now and reported
    contested: edits of which another client made more than are set back at once
    """

    steps: tuple[PlannedStep, ...]
    edits: tuple[Edit, ...]
    contested: tuple[Edit, ...]
    memory: EditMemory


def mended(
    steps: tuple[PlannedStep, ...],
    snapshot: FleetSnapshot,
    workloads: Mapping[DeploymentKey, EngineWorkload],
    plan: str,
    memory: EditMemory,
) -> Mending:
    """Look for edits; set back what is due. plan: the FleetPlan that is followed; empty: none is."""
    if not plan:
        return Mending(steps, (), (), memory)
    look = _Look(steps, snapshot, memory)
    every = [*_counts(look), *_templates(look, workloads), *_budgets(look), *_deleted(look), *_released(look)]
    # What goes with its namespace is no edit of the object, and cannot be set back.
    found = [edit for edit in every if edit.deployment.namespace not in snapshot.ending]
    heals = _recent(memory.heals, snapshot.monotonic_s)
    waits: set[tuple[DeploymentKey, str]] = set()
    edits, contested = list[Edit](), list[Edit]()
    for edit in found:
        heals_key = (edit.deployment, edit.about)
        before = heals.get(heals_key, Mended(edit.manager))
        before = before if before.manager == edit.manager else Mended(edit.manager)
        is_contested = edit.about in CONTESTABLE and len(before.at_s) >= AT_ONCE
        is_early = snapshot.monotonic_s < before.next_s
        if is_contested and is_early and look.takes_replicas(edit):
            # No pause, which would leave its requests without replicas, and none that grows from it.
            heals[heals_key] = replace(before, at_s=(*before.at_s, snapshot.monotonic_s)[-AT_ONCE:])
            contested.append(edit)
            continue
        if is_contested and is_early:
            waits.add(heals_key)
            contested.append(edit)
            continue
        heals[heals_key] = _again(before, edit, snapshot.monotonic_s)
        (contested if is_contested else edits).append(edit)
    contested += _still_contested(heals, contested, look)
    restored = tuple(
        _restore(workloads[e.deployment], look, plan)
        for e in found
        if e.about == TEMPLATE and (e.deployment, TEMPLATE) not in waits
    )
    kept = tuple(each for each in steps if not _waits(each.step, waits, snapshot))
    now = EditMemory(_known_counts(look, waits), _known_budgets(look, found), heals)
    return Mending((*kept, *restored), tuple(edits), tuple(contested), now)


class _Look:
    """One decision's steps and picture, as the search for edits reads them."""

    def __init__(self, steps: tuple[PlannedStep, ...], snapshot: FleetSnapshot, memory: EditMemory) -> None:
        self.snapshot, self.memory = snapshot, memory
        self.steps: tuple[Step, ...] = tuple(each.step for each in steps)
        self.scaled = {s.key: s.replicas for s in self.steps if isinstance(s, ScaleDeployment)}
        self.protected = {s.key: s.replicas for s in self.steps if isinstance(s, ProtectReplicas)}
        self.removed = {s.key for s in self.steps if isinstance(s, DeleteDeployment | EndProtection)}
        self._models = {(key.namespace, label_value(key.name)): key for key in snapshot.models}

    def model(self, key: DeploymentKey) -> ModelKey:
        """The ServedModel of a Deployment that exists."""
        found = self.snapshot.deployments.get(key)
        return model_of(found, self._models) if found is not None else ModelKey()

    def takes_replicas(self, edit: Edit) -> bool:
        """True if the edit set a count below what the decision wants."""
        if edit.about != COUNT:
            return False
        return self.snapshot.deployments[edit.deployment].replicas < self.count_after(edit.deployment)

    def count_after(self, key: DeploymentKey) -> int:
        """The count of a Deployment that exists, after the decision's steps."""
        return self.scaled.get(key, self.snapshot.deployments[key].replicas)


def _counts(look: _Look) -> list[Edit]:
    """Counts that the decision sets back: one that the plan asks for anyway is no matter."""
    found = [
        count_edit(look.snapshot.deployments[key], look.memory.counts.get(key), look.model(key))
        for key in look.scaled
        # At first the count of a user's Deployment is the user's.
        if not look.snapshot.deployments[key].is_adopted or key in look.memory.counts
    ]
    return [edit for edit in found if edit is not None]


def _templates(look: _Look, workloads: Mapping[DeploymentKey, EngineWorkload]) -> list[Edit]:
    found = [
        template_edit(deployment, workloads[key], look.model(key))
        for key, deployment in look.snapshot.deployments.items()
        if key in workloads and deployment.template and key not in look.removed and not _is_left(deployment)
    ]
    return [edit for edit in found if edit is not None]


def _is_left(deployment: DeploymentState) -> bool:
    """Whether nothing of it is set back: it is being deleted, or a user runs it."""
    return deployment.is_going or deployment.is_adopted


def _budgets(look: _Look) -> list[Edit]:
    """Budgets that are neither what was seen nor what was asked for at the last decision."""
    found: list[Edit] = []
    for key in look.protected:
        known, now = look.memory.budgets.get(key), look.snapshot.protected.get(key)
        if known and now not in known:
            change = f"spec.minAvailable {known[-1]} -> {_budget(now)}" if now is not None else "deleted"
            change = look.snapshot.unlabelled.get(key) or change
            found.append(Edit(key, look.model(key), BUDGET, UNNAMED, 0.0, change))
    return found


def _budget(least: int) -> str:
    return "no whole number" if least < 0 else str(least)


def _deleted(look: _Look) -> list[Edit]:
    """Deployments that stood at the last decision, and whose deletion was requested or that are gone."""
    going = [
        Edit(key, look.model(key), EXISTENCE, UNNAMED, 0.0, holder(each.finalizers))
        for key, each in look.snapshot.deployments.items()
        if each.is_going and key in look.memory.counts and not each.is_adopted
    ]
    return going + [
        Edit(step.workload.key, step.workload.variant.model_key, EXISTENCE, UNNAMED, 0.0, "")
        for step in look.steps
        if isinstance(step, CreateDeployment) and step.workload.key in look.memory.counts
    ]


def _released(look: _Look) -> list[Edit]:
    """ReplicaSets that get the labels back by which their Deployments own them."""
    found: list[Edit] = []
    for step in look.steps:
        if isinstance(step, AdoptReplicaSet):
            key = look.snapshot.loose[step.key].deployment
            change = f"label {', '.join(sorted(step.labels))} of ReplicaSet {step.key.name}"
            found.append(Edit(key, look.model(key), RELEASED, UNNAMED, 0.0, change))
    return found


def _recent(
    heals: Mapping[tuple[DeploymentKey, str], Mended], now_s: float
) -> dict[tuple[DeploymentKey, str], Mended]:
    """What was set back within the window; of a contested field, until it has been left alone that long."""
    found: dict[tuple[DeploymentKey, str], Mended] = {}
    for key, each in heals.items():
        if len(each.at_s) >= AT_ONCE:
            recent = each.at_s if now_s - each.next_s < WINDOW_S else ()
        else:
            recent = tuple(at_s for at_s in each.at_s if now_s - at_s < WINDOW_S)
        if recent:
            found[key] = replace(each, at_s=recent)
    return found


def _again(before: Mended, edit: Edit, now_s: float) -> Mended:
    """Set back once more; from the last one that is done at once on, a pause follows."""
    at_s = (*before.at_s, now_s)[-AT_ONCE:]
    if len(at_s) < AT_ONCE:
        return replace(before, at_s=at_s)
    pause_s = min(2 * before.pause_s, LONGEST_PAUSE_S) if before.pause_s else FIRST_PAUSE_S
    return replace(before, at_s=at_s, pause_s=pause_s, next_s=now_s + pause_s, change=edit.change)


def _still_contested(
    heals: Mapping[tuple[DeploymentKey, str], Mended], now: list[Edit], look: _Look
) -> list[Edit]:
    """Fields that were contested, and are as Argosy set them for less than the window."""
    named = {(edit.deployment, edit.about) for edit in now}
    return [
        Edit(key, look.model(key), about, each.manager, 0.0, each.change)
        for (key, about), each in heals.items()
        if about in CONTESTABLE
        and each.pause_s > FIRST_PAUSE_S
        and (key, about) not in named
        and key in look.snapshot.deployments
    ]


def _restore(workload: EngineWorkload, look: _Look, plan: str) -> PlannedStep:
    is_autoscaled = workload.key in look.snapshot.count_owners
    replicas = None if is_autoscaled else look.count_after(workload.key)
    added = additions(look.snapshot.deployments[workload.key], pod_template(workload))
    step = RestoreDeployment(workload, replicas, removal(added))
    return PlannedStep(step, Reliance(plan, replicas=replicas))


def _waits(step: Step, waits: set[tuple[DeploymentKey, str]], snapshot: FleetSnapshot) -> bool:
    match step:
        case ScaleDeployment(key):
            return (key, COUNT) in waits
        case MarkVictim(pod):
            return (snapshot.pods[pod].deployment, COUNT) in waits
        case _:
            return False


def _known_counts(look: _Look, waits: set[tuple[DeploymentKey, str]]) -> dict[DeploymentKey, KnownCount]:
    """What each count is after the decision, with the other client's count that is accounted for."""
    known: dict[DeploymentKey, KnownCount] = {}
    for key, deployment in look.snapshot.deployments.items():
        if key in look.removed or deployment.is_going:
            continue
        if (key, COUNT) in waits:  # the edit is looked at again
            if key in look.memory.counts:
                known[key] = look.memory.counts[key]
        else:
            known[key] = KnownCount(
                look.count_after(key), edited=foreign_count(deployment), before=deployment.replicas
            )
    return known


def _known_budgets(look: _Look, found: list[Edit]) -> dict[DeploymentKey, tuple[int, ...]]:
    """What each budget may hold at the next decision: what is asked for; what is, unless it was edited."""
    edited = {edit.deployment for edit in found if edit.about == BUDGET}
    known: dict[DeploymentKey, tuple[int, ...]] = {}
    for key, now in look.snapshot.protected.items():
        if key not in look.removed:
            known[key] = (now,)
    for key, wanted in look.protected.items():
        known[key] = (wanted,) if key in edited else (*known.get(key, ()), wanted)
    return known
