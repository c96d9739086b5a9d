"""What is wrong with the users' objects: by their conditions, or by themselves where no operator leads.

Input: an `Installation`. Output: `Finding`s. One sentence that stands in the conditions of several objects is
one finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from argosy.api import CustomResource
from argosy.api.adoption import ADOPT
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.kinds import kind_named
from argosy.api.schema.timestamp import seconds_of
from argosy.control.pools.closures import closures, closures_text
from argosy.control.state.nodes import pool_nodes, selector_text
from argosy.control.survey.classes import any_not_ready
from argosy.control.survey.installation import Finding, Installation, Severity
from argosy.snapshot.fleet import FleetSnapshot

MOST_NAMED = 4
"""Objects that a finding names; of more, it gives the number."""

SEEN_AFTER_S = 120.0
"""The operator writes the first status within seconds, unless it measures new capacities before."""

_PASSING = (
    Reason.LOADING,
    Reason.EXCHANGING,
    Reason.EXCHANGE_QUEUED,
    Reason.ENVOY_PENDING,
    Reason.STARTING,
    Reason.CHANGE_WAITS,
    Reason.NO_ENVOY,  # a finding of its own
    Reason.MODE_NOT_AUTO,  # the same
    Reason.NOTHING_ADOPTED,
)
"""What ends by itself, or is reported once for all objects."""

_LOOKED_AT = (
    ConditionType.ACCEPTED,
    ConditionType.RESOLVED_REFS,
    ConditionType.PROGRAMMED,
    ConditionType.READY,
    ConditionType.ADOPTED,
)


def condition_findings(found: Installation) -> Iterator[Finding]:
    """Conditions that are not True, with their sentences."""
    follows = any_not_ready(found.snapshot)
    told: dict[str, list[tuple[CustomResource, Condition]]] = {}
    for item in _objects(found.snapshot):
        for each in item.status.conditions:  # type: ignore[attr-defined]
            if follows and item is found.snapshot.fleet and each.type == ConditionType.READY:
                continue
            if each.type in _LOOKED_AT and each.status is not ConditionStatus.TRUE:
                told.setdefault(each.message, []).append((item, each))
    for message, places in told.items():
        if all(condition.reason in _PASSING for _, condition in places):
            continue
        items = list(dict.fromkeys(_title(item) for item, _ in places))
        first, condition = places[0]
        is_broken = any(c.status is ConditionStatus.FALSE for _, c in places)
        yield Finding(
            Severity.BROKEN if is_broken else Severity.WARNING,
            _named(items),
            f"{condition.type} is {condition.status} ({condition.reason}): {message}",
            f"as the sentence says; all of it: kubectl describe {first.KIND.lower()} {_arguments(first)}",
        )


def autoscaled_findings(found: Installation) -> Iterator[Finding]:
    """Numbers of replicas that autoscalers set: as they were asked to, and the plan follows."""
    for _, item in sorted(found.snapshot.models.items()):
        each = find_condition(item.status.conditions, ConditionType.AUTOSCALED)
        if each is not None and each.status is ConditionStatus.TRUE:
            said, _, remedy = each.message.rstrip(".").partition("; to let it decide again, ")
            what = f"{each.type} is {each.status}: {said}"
            yield Finding(Severity.HINT, _title(item), what, f"to let Argosy decide again, {remedy}")


def metrics_findings(found: Installation) -> Iterator[Finding]:
    """Engines that serve and whose metrics cannot be read."""
    for _, item in sorted(found.snapshot.models.items()):
        each = find_condition(item.status.conditions, ConditionType.METRICS_READ)
        if each is not None and each.status is ConditionStatus.FALSE:
            what = f"{each.type} is {each.status} ({each.reason}): {each.message}"
            yield Finding(Severity.WARNING, _title(item), what, "as the sentence says")


def object_findings(found: Installation) -> Iterator[Finding]:
    """What can be seen of the objects without an operator."""
    yield from _invalid(found.snapshot)
    if found.has_leader:
        yield from _unseen(found)
        return
    yield from _unadopted(found.snapshot)
    yield from _pools(found.snapshot)
    yield from _models(found.snapshot)


def _invalid(snapshot: FleetSnapshot) -> Iterator[Finding]:
    for each in snapshot.invalid:
        yield Finding(
            Severity.BROKEN, f"{each.kind} {each.key}", f"it cannot be read: {each.message}", "correct it"
        )


def _unadopted(snapshot: FleetSnapshot) -> Iterator[Finding]:
    for key, each in sorted(snapshot.unadopted.items()):
        yield Finding(
            Severity.BROKEN,
            f"Deployment {key}",
            f"it is labelled {ADOPT} and would not be adopted: {each.problem}",
            "as the sentence says",
        )


def _unseen(found: Installation) -> Iterator[Finding]:
    now_s = found.snapshot.now_s
    late = [
        _title(item)
        for item in _objects(found.snapshot)
        if not item.status.conditions  # type: ignore[attr-defined]
        and now_s - (seconds_of(item.metadata.creation_timestamp) or now_s) > SEEN_AFTER_S
    ]
    if late:
        yield Finding(
            Severity.BROKEN,
            _named(late),
            f"{'it has' if len(late) == 1 else 'they have'} no status, although an operator leads",
            f"read the log of the operator in namespace {found.namespace}: its account may not write"
            " statuses, or it does not see these objects",
        )


def _pools(snapshot: FleetSnapshot) -> Iterator[Finding]:
    for name, nodes in pool_nodes(snapshot, frozenset()).items():
        pool = snapshot.pools[name]
        if not nodes.all_names and not nodes.older_claimant and pool.spec.nodes is None:
            yield Finding(
                Severity.BROKEN,
                f"GPUPool {name}",
                f"no node has the labels of spec.nodeSelector ({selector_text(pool)})",
                "correct spec.nodeSelector, or label the nodes (kubectl get nodes --show-labels)",
            )
        elif nodes.all_names and not nodes.has_room_for(1):
            why = closures_text(closures(snapshot, pool, nodes), len(nodes.all_names))
            yield Finding(
                Severity.BROKEN,
                f"GPUPool {name}",
                f"none of its nodes takes new replicas: {why}",
                f"mend one of these, or add a node to GPUPool {name}",
            )
        yield from _without_gpus(snapshot, name, nodes.all_names)


def _without_gpus(snapshot: FleetSnapshot, name: str, nodes: Iterable[str]) -> Iterator[Finding]:
    spec = snapshot.pools[name].spec
    bare = [n for n in nodes if snapshot.nodes[n].allocatable.get(spec.resource_name, 0) < spec.gpus_per_node]
    if bare:
        has = snapshot.nodes[bare[0]].allocatable.get(spec.resource_name, 0)
        yield Finding(
            Severity.WARNING,
            f"GPUPool {name}",
            f"node {_named(bare)} has {has} {spec.resource_name}, and spec.gpusPerNode is"
            f" {spec.gpus_per_node}",
            "install the device plugin of the GPUs on these nodes, or correct spec.gpusPerNode",
        )


def _models(snapshot: FleetSnapshot) -> Iterator[Finding]:
    for key, item in sorted(snapshot.classes.items()):
        if missing := sorted(item.model_keys - snapshot.models.keys()):
            yield Finding(
                Severity.BROKEN,
                f"WorkloadClass {key}",
                f"spec.models: there is no ServedModel {', '.join(missing)}",
                "create it or correct spec.models",
            )


def _objects(snapshot: FleetSnapshot) -> list[CustomResource]:
    fleet = [snapshot.fleet] if snapshot.fleet is not None else []
    maps = (snapshot.pools, snapshot.models, snapshot.classes, snapshot.policies)
    return [*fleet, *(item for each in maps for _, item in sorted(each.items()))]


def _title(item: CustomResource) -> str:
    return f"{item.KIND} {item.key}"


def _named(titles: list[str]) -> str:
    more = f" and {len(titles) - MOST_NAMED} more" if len(titles) > MOST_NAMED else ""
    return ", ".join(titles[:MOST_NAMED]) + more


def _arguments(item: CustomResource) -> str:
    namespace = f"-n {item.metadata.namespace} " if kind_named(item.KIND).is_namespaced else ""
    return f"{namespace}{item.metadata.name}"
