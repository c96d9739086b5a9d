"""What a labelled Deployment runs: its ServedModel, pool, shape, settings and class.

Owns the verdict whether it can be adopted. Everything is read from the Deployment, its pods' nodes and the
users' objects. Input: the Deployment, its pods, a snapshot. Output: an `Adoption`, or why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from argosy.api import FleetPlan, GPUPool, ServedModel
from argosy.api.adoption import ADOPT, ADOPT_ARGS, ADOPT_CLASS
from argosy.control.adoption.command_line import CommandLine, NotKnown, Unknown, command_line
from argosy.control.adoption.settings import Running, engine_of
from argosy.control.candidates.variants import adopted_variant
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.snapshot.cluster import Adoption, DeploymentState, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot


def recognised(
    state: DeploymentState, pods: Sequence[PodState], snapshot: FleetSnapshot
) -> Adoption | NotKnown:
    """How a labelled Deployment takes part; or what is not known of it, or does not fit."""
    model = _model(state, snapshot)
    if isinstance(model, NotKnown):
        return model
    workload_class = _class(state, model, snapshot)
    if isinstance(workload_class, NotKnown):
        return workload_class
    pool = _pool(state, pods, snapshot)
    if isinstance(pool, NotKnown):
        return pool
    engine = _engine(state, pool)
    if isinstance(engine, NotKnown):
        return engine
    if (problem := _mismatch(model, engine)) is not None:
        return problem
    variant = adopted_variant(model, pool, engine.shape, engine.engine)
    group = group_of(workload_class, snapshot.applied_plan)
    return Adoption(workload_class, group, variant)


def group_of(workload_class: ClassKey, plan: FleetPlan | None) -> GroupName:
    """The sharing group of a class by the plan; one of its own name where the plan does not have it."""
    for cell in plan.spec.cells if plan is not None else ():
        if cell.workload_class == workload_class:
            return cell.sharing_group
    return GroupName.of_class(workload_class)


def container_of(state: DeploymentState, resource: str) -> Mapping[str, Any] | NotKnown:
    """The one container that asks for GPUs."""
    containers = (state.template.get("spec") or {}).get("containers") or ()
    found = [c for c in containers if _gpus(c, resource)]
    if len(found) == 1:
        return dict(found[0])
    named = ", ".join(str(c.get("name")) for c in found) or "none"
    return NotKnown(
        Unknown.GPUS,
        f"resources.limits of its containers: those that ask for {resource} are {named}; exactly one is"
        " needed",
    )


def line_of(state: DeploymentState, container: Mapping[str, Any]) -> CommandLine | NotKnown:
    """The command line of its engine, with what a user gives by the annotation."""
    return command_line(container, state.annotations.get(ADOPT_ARGS, ""))


def _model(state: DeploymentState, snapshot: FleetSnapshot) -> ServedModel | NotKnown:
    name, namespace = state.labels.get(ADOPT, ""), state.key.namespace
    for key, model in sorted(snapshot.models.items()):
        if key.namespace == namespace and label_value(key.name) == name:
            return model
    return NotKnown(
        Unknown.MODEL,
        f"label {ADOPT}: there is no ServedModel {name or '(empty)'} in namespace {namespace}; create it or"
        " correct the label",
    )


def _class(state: DeploymentState, model: ServedModel, snapshot: FleetSnapshot) -> ClassKey | NotKnown:
    """The class that the annotation names; else the only one that names the model, or one of the group for
    which the plan lists the Deployment: another class that comes takes nothing away.
    """
    able = sorted(key for key, each in snapshot.classes.items() if model.key in each.model_keys)
    named = state.annotations.get(ADOPT_CLASS)
    choices = ", ".join(key.name for key in able) or "none"
    if named is not None:
        key = ClassKey.of(state.key.namespace, named)
        if key in able:
            return key
        return NotKnown(
            Unknown.WORKLOAD_CLASS,
            f"annotation {ADOPT_CLASS}: {named!r} is no WorkloadClass that names ServedModel"
            f" {model.key.name} in spec.models; those that do are {choices}",
        )
    planned = _planned_classes(state.key, snapshot.applied_plan)
    if (kept := next((key for key in able if key in planned), None)) is not None:
        return kept
    if len(able) == 1:
        return able[0]
    return NotKnown(
        Unknown.WORKLOAD_CLASS,
        f"WorkloadClasses that name ServedModel {model.key.name} in spec.models are {choices}; "
        + (f"name one by the annotation {ADOPT_CLASS}" if able else "one is needed: create it"),
    )


def _planned_pool(key: DeploymentKey, plan: FleetPlan | None) -> str:
    entries = plan.spec.deployments if plan is not None else ()
    return next((entry.pool for entry in entries if entry.name == key), "")


def _planned_classes(key: DeploymentKey, plan: FleetPlan | None) -> frozenset[ClassKey]:
    if plan is None:
        return frozenset()
    groups = {entry.sharing_group for entry in plan.spec.deployments if entry.name == key}
    return frozenset(cell.workload_class for cell in plan.spec.cells if cell.sharing_group in groups)


def _pool(state: DeploymentState, pods: Iterable[PodState], snapshot: FleetSnapshot) -> GPUPool | NotKnown:
    """The one pool of all nodes on which its pods run; where none runs, that of the plan which lists it.

    A node that is gone tells nothing: Kubernetes deletes its pods only after a while.
    """
    names = sorted({pod.node for pod in pods if pod.node in snapshot.nodes and pod.is_active})
    planned = snapshot.pools.get(_planned_pool(state.key, snapshot.applied_plan))
    if not names and planned is not None:
        return planned
    if not names:
        return NotKnown(
            Unknown.POOL, "none of its pods runs on a node yet; its GPUPool is known once one does"
        )
    found: dict[str, GPUPool] = {}
    for name in names:
        pool = pool_of_node(snapshot.nodes[name].labels, snapshot)
        if pool is None:
            return NotKnown(
                Unknown.POOL,
                f"a pod of it runs on node {name}, whose labels no spec.nodeSelector of a GPUPool selects;"
                " create a GPUPool for such nodes",
            )
        found[pool.key] = pool
    if len(found) > 1:
        return NotKnown(
            Unknown.POOL,
            f"its pods run on nodes of the GPUPools {', '.join(sorted(found))}; nodes of one pool are needed:"
            " give the Deployment a nodeSelector, or divide it",
        )
    return next(iter(found.values()))


def pool_of_node(labels: Mapping[str, str], snapshot: FleetSnapshot) -> GPUPool | None:
    """The oldest pool that selects a node with these labels."""
    pools = sorted(snapshot.pools.values(), key=lambda pool: pool.metadata.seniority)
    return next((p for p in pools if p.spec.node_selector.items() <= labels.items()), None)


def _engine(state: DeploymentState, pool: GPUPool) -> Running | NotKnown:
    resource = pool.spec.resource_name
    container = container_of(state, resource)
    if isinstance(container, NotKnown):
        return container
    line = line_of(state, container)
    if isinstance(line, NotKnown):
        return line
    found = engine_of(line, str(container.get("image") or ""))
    if isinstance(found, NotKnown):
        return found
    held, shape = _gpus(container, resource), found.shape
    needed = shape.tensor_parallel * shape.pipeline_parallel
    if held != needed:
        return NotKnown(
            Unknown.GPUS,
            f"resources.limits of container {container.get('name')}: {resource} is {held}, and"
            f" --tensor-parallel-size {shape.tensor_parallel} with --pipeline-parallel-size"
            f" {shape.pipeline_parallel} uses {needed}; give the real ones by the annotation {ADOPT_ARGS}",
        )
    return found


def _mismatch(model: ServedModel, engine: Running) -> NotKnown | None:
    """What its engines do not serve of the ServedModel; None where they serve all of it."""
    if engine.model_id != model.spec.model_id:
        return NotKnown(
            Unknown.MODEL,
            f"--model is {engine.model_id}, and spec.modelId of ServedModel {model.key.name} is"
            f" {model.spec.model_id}; label it with the ServedModel of what it runs",
        )
    missing = [name for name in model.served_names if name not in engine.served_names]
    if missing:
        return NotKnown(
            Unknown.MODEL,
            f"--served-model-name is {' '.join(engine.served_names)}, so its engines refuse requests for"
            f" {missing[0]}, a name of ServedModel {model.key.name}; set spec.servedNames of it to names that"
            " they answer to",
        )
    return None


def _gpus(container: Mapping[str, Any], resource: str) -> int:
    limits = (container.get("resources") or {}).get("limits") or {}
    count = str(limits.get(resource, 0))
    return int(count) if count.isdigit() else 0
