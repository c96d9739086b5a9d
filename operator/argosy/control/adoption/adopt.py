"""A snapshot in which the Deployments that users let Argosy adopt take part like its own.

Owns which pods are theirs, the labels by which decisions read what a pod was made for, and how long a
Deployment that is given back still serves: as long as the applied plan lists it, which it does until others
serve in its place. Input: a snapshot, and Deployments that Argosy did not make. Output: the snapshot with
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import replace

from argosy.api.adoption import ADOPT
from argosy.api.fleetplan import PlannedDeployment
from argosy.control.adoption.command_line import NotKnown, Unknown
from argosy.control.adoption.recognition import container_of, group_of, line_of, recognised
from argosy.control.adoption.settings import port_of
from argosy.keys import ClassKey, DeploymentKey
from argosy.snapshot.cluster import (
    LABEL_GROUP,
    LABEL_MODEL,
    LABEL_POOL,
    LABEL_TEMPLATE_HASH,
    LABEL_VARIANT,
    Adoption,
    DeploymentState,
    PodState,
    Unadopted,
    label_value,
)
from argosy.snapshot.fleet import FleetSnapshot

UNLABELLED = f"its label {ADOPT} was removed"


def may_be_adopted(labels: Mapping[str, str], key: DeploymentKey, listed: Container[DeploymentKey]) -> bool:
    """Whether a Deployment that Argosy did not make is looked at. listed: as adopted, in the applied plan"""
    return ADOPT in labels or key in listed


def listed_as_adopted(snapshot: FleetSnapshot) -> dict[DeploymentKey, PlannedDeployment]:
    """The entries of the applied plan that are users' Deployments."""
    plan = snapshot.applied_plan
    return {e.name: e for e in plan.spec.deployments if e.is_adopted} if plan is not None else {}


def with_adopted(snapshot: FleetSnapshot, others: Mapping[DeploymentKey, DeploymentState]) -> FleetSnapshot:
    """The snapshot with what is adopted. others: Deployments that Argosy did not make and that may be"""
    if not others:
        return snapshot
    listed = listed_as_adopted(snapshot)
    deployments, pods = dict(snapshot.deployments), dict(snapshot.pods)
    unadopted: dict[DeploymentKey, Unadopted] = {}
    by_controller = _by_controller(snapshot)
    for key, state in sorted(others.items()):
        its = _pods_of(state, by_controller)
        entry, label = listed.get(key), state.labels.get(ADOPT)
        found = recognised(state, its, snapshot) if label is not None else NotKnown(Unknown.LABEL, UNLABELLED)
        if isinstance(found, NotKnown):
            if label is not None:
                unadopted[key] = Unadopted(label, found.message)
            if entry is None:
                continue
            found = _given_back(entry, found.message, snapshot)
        labels = _labels(found, entry)
        deployments[key] = replace(state, labels={**state.labels, **labels}, adoption=found)
        port = _port(state, found, snapshot, entry)
        pods |= {pod.key: _engine_pod(pod, key, labels, port) for pod in its}
    return replace(snapshot, deployments=deployments, pods=pods, unadopted=unadopted)


def _given_back(entry: PlannedDeployment, problem: str, snapshot: FleetSnapshot) -> Adoption:
    plan = snapshot.applied_plan
    cells = plan.spec.cells if plan is not None else ()
    classes = [c.workload_class for c in cells if c.sharing_group == entry.sharing_group]
    key = min(classes, default=ClassKey.of(entry.namespace, entry.sharing_group.name))
    group = group_of(key, plan) if classes else entry.sharing_group
    return Adoption(key, group, None, problem)


def _by_controller(snapshot: FleetSnapshot) -> Mapping[tuple[str, str], list[PodState]]:
    found: defaultdict[tuple[str, str], list[PodState]] = defaultdict(list)
    for _, pod in sorted(snapshot.pods.items()):
        if pod.controller and not pod.deployment:
            name = pod.controller.removesuffix(f"-{pod.labels.get(LABEL_TEMPLATE_HASH, '')}")
            if name != pod.controller:
                found[pod.namespace, name].append(pod)
    return found


def _pods_of(
    state: DeploymentState, by_controller: Mapping[tuple[str, str], list[PodState]]
) -> tuple[PodState, ...]:
    """Those of its ReplicaSets, whose names are its own with the hash of a template, and of its selector."""
    selected = ((state.spec.get("selector") or {}).get("matchLabels") or {}).items()
    found = by_controller.get((state.key.namespace, state.key.name), [])
    return tuple(pod for pod in found if selected <= pod.labels.items())


def _labels(adoption: Adoption, entry: PlannedDeployment | None) -> dict[str, str]:
    """As Argosy would have labelled it."""
    if adoption.variant is not None:
        variant, model, pool = adoption.variant.name, adoption.variant.model_key.name, adoption.variant.pool
    else:
        assert entry is not None  # only what the plan lists is given back
        variant, model, pool = entry.variant, entry.model, entry.pool
    return {
        LABEL_VARIANT: variant,
        LABEL_GROUP: label_value(adoption.group.name),
        LABEL_MODEL: label_value(model),
        LABEL_POOL: label_value(pool),
    }


def _port(
    state: DeploymentState, adoption: Adoption, snapshot: FleetSnapshot, entry: PlannedDeployment | None
) -> int:
    """Also of one that is given back: its command line still says where it listens."""
    if adoption.variant is not None:
        return adoption.variant.engine.port
    pool = snapshot.pools.get(entry.pool) if entry is not None else None
    if pool is None:
        return 0
    container = container_of(state, pool.spec.resource_name)
    line = container if isinstance(container, NotKnown) else line_of(state, container)
    return 0 if isinstance(line, NotKnown) else port_of(line)


def _engine_pod(pod: PodState, key: DeploymentKey, labels: Mapping[str, str], port: int) -> PodState:
    """Labels of its own make it no pod that Argosy would delete because it lacks others, and a deletion cost
    of its user makes it none that Argosy has chosen to go.
    """
    return replace(
        pod,
        deployment=key,
        labels={**pod.labels, **labels},
        port=port or pod.port,
        origin=DeploymentKey(),
        lacking=(),
        is_users_cost=pod.deletion_cost != 0 and not pod.is_chosen,
    )
