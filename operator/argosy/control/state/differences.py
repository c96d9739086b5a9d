"""Where what runs is not what is wanted, for modes in which nothing changes that.

Owns the comparison, Deployment by Deployment: replicas, and what other clients changed of the template.
Input: a snapshot, what is wanted and what the followed plan lists. Output: `Difference`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.api.fleetplan import PlannedDeployment
from argosy.api.gpupool import PlacementMode
from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.manifests import EngineWorkload
from argosy.plan.explain.words import counted
from argosy.snapshot.cluster import LABEL_POOL, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is compared with what runs.

    replicas:  that prices, rates, SLOs and settings ask for, by Deployment
    planned:   the entries of the followed plan, by Deployment
    workloads: what would run, by Deployment
    edits:     what other clients have changed of templates, in words, by Deployment
    """

    replicas: Mapping[DeploymentKey, int]
    planned: Mapping[DeploymentKey, PlannedDeployment]
    workloads: Mapping[DeploymentKey, EngineWorkload]
    edits: Mapping[DeploymentKey, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A Deployment that is not as it is wanted.

    running: replicas that serve, load, or start by themselves
    planned: of the followed plan; wanted: of a plan that would be made now
    edit:    what another client has changed of its template, in words; else empty
    """

    deployment: DeploymentKey
    model: ModelKey
    group: GroupName
    variant: str
    running: int
    planned: int
    wanted: int
    edit: str = ""

    @property
    def is_lacking(self) -> bool:
        """Whether the classes that it serves get less than they ask for."""
        return self.running < max(self.wanted, self.planned) or bool(self.edit)

    def __str__(self) -> str:
        if self.edit:
            return f"Deployment {self.deployment} was changed by another client ({self.edit})"
        is_wanted = self.running != self.wanted
        asked = self.wanted if is_wanted else self.planned
        verb = "is" if asked == 1 else "are"
        runs = "runs" if self.running == 1 else "run"
        what = "wanted" if is_wanted else "planned"
        return f"{counted(asked, 'replica')} of {self.variant} {verb} {what} and {self.running} {runs}"


def differences(snapshot: FleetSnapshot, lost: frozenset[str], wanted: Wanted) -> tuple[Difference, ...]:
    """Every Deployment that is not as it is wanted, in order of names. lost: pods that do not count."""
    pods: dict[DeploymentKey, list[PodState]] = {}
    for pod in snapshot.engine_pods:
        if pod.is_active and not pod.deleting:
            pods.setdefault(pod.deployment, []).append(pod)
    models = {(key.namespace, label_value(key.name)): key for key in snapshot.models}
    found: list[Difference] = []
    for name in sorted(wanted.replicas.keys() | snapshot.deployments.keys()):
        running = _running(snapshot, name, pods.get(name, []), lost)
        each = _difference(snapshot, name, running, wanted, models)
        if each.running != each.wanted or each.is_lacking:
            found.append(each)
    return tuple(found)


def _running(snapshot: FleetSnapshot, name: DeploymentKey, pods: list[PodState], lost: frozenset[str]) -> int:
    """Replicas that nothing of Argosy has to start: a gated one waits until Argosy gives it a node."""
    deployment = snapshot.deployments.get(name)
    if deployment is None:
        return 0
    num_alive = sum(not p.gated and p.key not in lost for p in pods)
    pool = snapshot.pools.get(pods[0].labels.get(LABEL_POOL, "")) if pods else None
    if pool is not None and pool.spec.placement is PlacementMode.SCHEDULER:
        num_alive += max(0, deployment.replicas - len(pods))
    return min(num_alive, deployment.replicas)


def _difference(
    snapshot: FleetSnapshot,
    name: DeploymentKey,
    running: int,
    wanted: Wanted,
    models: Mapping[tuple[str, str], ModelKey],
) -> Difference:
    workload, entry = wanted.workloads.get(name), wanted.planned.get(name)
    deployment = snapshot.deployments.get(name)
    if workload is not None:
        model, group, variant = workload.variant.model_key, workload.group, workload.variant.name
    elif entry is not None:
        model, group, variant = entry.model_key, entry.sharing_group, entry.variant
    else:
        label = deployment.model_label if deployment is not None else ""
        model = models.get((name.namespace, label), ModelKey())
        group, variant = GroupName(), f"Deployment {name}"
    return Difference(
        deployment=name,
        model=model,
        group=group,
        variant=variant,
        running=running,
        planned=entry.replicas if entry is not None else 0,
        wanted=wanted.replicas.get(name, 0),
        edit=wanted.edits.get(name, ""),
    )
