"""What another client has changed of the Deployments that Argosy made.

Owns the comparison: only fields that Argosy sets count, and what another client adds to the pod template, so
that defaults of the API server, sidecars of a webhook and annotations of other tools are no edits; nor is a
value that Argosy's own request got from a webhook. Input: a snapshot, workloads, what the last decision knew.
Output: `Edit`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.schema.ownership import Path, other_owner, remover
from argosy.control.edits.additions import additions
from argosy.control.memory import KnownCount
from argosy.keys import DeploymentKey, ModelKey
from argosy.manifests import EngineWorkload, deployment_manifest
from argosy.snapshot.cluster import DeploymentState
from argosy.snapshot.fleet import FleetSnapshot

COUNT, TEMPLATE, BUDGET, EXISTENCE = "spec.replicas", "template", "minAvailable", "existence"
"""What of a Deployment an edit is about: those of one kind are set back together. All of its fields but the
count go with the template."""
POD, ORPHAN, RELEASED = "pod", "orphan", "replicaset"
"""One of its pods is gone, or has lost labels; or a ReplicaSet of it has."""

UNNAMED = "a client that the API server does not name"
"""It only removed fields, or deleted the object: of that, no managedFields are kept."""

MOST_FIELDS = 3
"""Fields that a sentence names; of more, it gives the number."""
MOST_CHARACTERS = 100
"""Of a value that a sentence repeats."""

_COUNT_PATH: Path = ("spec", "replicas")


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that Argosy did not make.

    model:   the ServedModel that the Deployment runs; empty where that is not known
    about:   COUNT, TEMPLATE, BUDGET, EXISTENCE, POD, ORPHAN or RELEASED
    manager: the field manager that made it, or UNNAMED
    at_s:    when, by the API server's clock (seconds since the epoch); 0 where it is not known
    change:  the fields, with the values before and after, in words; of a pod, its name; of a
             Deployment that is being deleted, what holds it; of an orphan or
             a ReplicaSet, the labels and its name
    """

    deployment: DeploymentKey
    model: ModelKey
    about: str
    manager: str
    at_s: float
    change: str


def model_of(deployment: DeploymentState, models: Mapping[tuple[str, str], ModelKey]) -> ModelKey:
    """The ServedModel of a Deployment. models: by namespace, and by what a label holds of the name."""
    return models.get((deployment.key.namespace, deployment.model_label), ModelKey())


def count_edit(deployment: DeploymentState, known: KnownCount | None, model: ModelKey) -> Edit | None:
    """Another client's count; None where Argosy set it, or where the change is known already.

    Not every write of `/scale` leaves an owner of the count: one without an owner that no decision left or
    found is an edit as well.
    """
    found = foreign_count(deployment) or _unexplained_count(deployment, known)
    if found is None:
        return None
    if known is not None and (found.replicas == known.replicas or found == known.edited):
        return None
    before = f" {known.replicas} -> {found.replicas}" if known is not None else f" is {found.replicas}"
    return Edit(deployment.key, model, COUNT, found.manager, found.at_s, f"{COUNT}{before}")


def _unexplained_count(deployment: DeploymentState, known: KnownCount | None) -> KnownCount | None:
    if known is None or deployment.replicas in (known.replicas, known.before):
        return None
    if any(manager.owns(_COUNT_PATH) for manager in deployment.managers):
        return None  # Argosy's own
    return KnownCount(deployment.replicas, UNNAMED)


def foreign_count(deployment: DeploymentState) -> KnownCount | None:
    """The count, where another client than Argosy set it last."""
    owner = other_owner(deployment.managers, _COUNT_PATH)
    return None if owner is None else KnownCount(deployment.replicas, owner.title, owner.at_s)


def template_edits(
    snapshot: FleetSnapshot, workloads: Mapping[DeploymentKey, EngineWorkload]
) -> dict[DeploymentKey, str]:
    """What other clients have changed of templates, in words, by Deployment."""
    found = (
        template_edit(deployment, workloads[key], ModelKey())
        for key, deployment in sorted(snapshot.deployments.items())
        if key in workloads and deployment.template and not deployment.is_adopted
    )
    return {edit.deployment: edit.change for edit in found if edit is not None}


def template_edit(deployment: DeploymentState, workload: EngineWorkload, model: ModelKey) -> Edit | None:
    """Fields but the count that differ from what Argosy applied, and what was added to its template; None
    where there is nothing of it."""
    manifest = deployment_manifest(workload, deployment.replicas)
    metadata, spec = manifest["metadata"], {**manifest["spec"]}
    del spec["replicas"]
    wanted = {
        "metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]},
        "spec": spec,
    }
    live = {
        "metadata": {"labels": deployment.labels, "annotations": deployment.annotations},
        "spec": deployment.settings,
    }
    changes: list[str] = []
    manager, at_s = UNNAMED, 0.0
    for path, before, after in _differences(wanted, live):
        others = deployment.managers
        owner = remover(others, path) if after is None else other_owner(others, path)
        if owner is None and after is not None:
            continue  # Argosy's own request got this value, from a webhook
        changes.append(f"{_words(path)} {_value(before)} -> {_value(after)}")
        if owner is not None:
            manager, at_s = owner.title, owner.at_s
    for added in additions(deployment, spec["template"]):
        changes.append(f"{_words(added.path)} {_value(None)} -> {_value(added.value)}")
        manager, at_s = added.manager.title, added.manager.at_s
    if not changes:
        return None
    num_more = len(changes) - MOST_FIELDS
    more = f" and {num_more} more field{'s' if num_more > 1 else ''}" if num_more > 0 else ""
    return Edit(deployment.key, model, TEMPLATE, manager, at_s, ", ".join(changes[:MOST_FIELDS]) + more)


def _differences(wanted: Any, live: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Each field that is wanted and that is different or missing, with both values."""
    if wanted == live or wanted in ([], {}) or (_is_empty(wanted) and _is_empty(live)):
        return  # the API server keeps no empty fields; what is beyond the items of a list is an addition
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for name, value in wanted.items():
            yield from _differences(value, live.get(name), (*path, name))
    elif _is_keyed(wanted) and isinstance(live, list):
        by_name = {item.get("name"): item for item in live if isinstance(item, Mapping)}
        for item in wanted:
            yield from _differences(item, by_name.get(item["name"]), (*path, {"name": item["name"]}))
    elif _is_of_objects(wanted) and isinstance(live, list):
        for item in wanted:
            if not any(not list(_differences(item, each)) for each in live):
                yield path, item, live
    else:
        yield path, wanted, live


def _is_empty(value: Any) -> bool:
    return value in (None, False, 0, "", {}, [])


def _is_of_objects(wanted: Any) -> bool:
    return isinstance(wanted, list) and bool(wanted) and all(isinstance(i, Mapping) for i in wanted)


def _is_keyed(wanted: Any) -> bool:
    """By names, of which each occurs once: a volume may be mounted at several paths."""
    if not _is_of_objects(wanted) or "containerPort" in wanted[0]:
        return False
    names = {item.get("name") for item in wanted}
    return None not in names and len(names) == len(wanted)


def _words(path: Path) -> str:
    return ".".join(part if isinstance(part, str) else str(next(iter(part.values()))) for part in path)


def _value(value: Any) -> str:
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
