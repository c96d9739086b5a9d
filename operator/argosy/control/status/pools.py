"""The status of a GPUPool, and what the running replicas cost.

Owns its conditions, its GPUs, what they cost and for which classes. Input: `Reported` and the pool. Output: a
`GPUPoolStatus`; the `RunningCost` of every class, model and pool.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api import GPUPool
from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.gpupool import GPUPoolStatus
from argosy.control.candidates.resolve import no_nodes
from argosy.control.cells import known_cells
from argosy.control.decision import RunningCost
from argosy.control.hardware.declared import GpuFault, pool_gpu
from argosy.control.state.nodes import MOST_NAMED, PoolNodes, SharedNodes, mismatch, unhealthy_gpus
from argosy.control.state.owners import group_by_deployment
from argosy.control.status.leaving import leaving_nodes, remark
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.awaited import pool_verdict
from argosy.control.status.verdict import Verdict, because, dated, true
from argosy.keys import ClassKey, GroupName, ModelKey
from argosy.snapshot.cluster import LABEL_MODEL, LABEL_POOL, PodState, label_value


def pool_status(reported: Reported, item: GPUPool) -> GPUPoolStatus:
    """The status of a GPUPool."""
    nodes = reported.sizing.nodes[item.metadata.name]
    usable_names = {n.name for n in nodes.usable}
    held = held_gpus(reported, item.metadata.name)
    held_usable = sum(count for node, count in held if node in usable_names)
    verdicts = _verdicts(reported, item, nodes)
    return GPUPoolStatus(
        observed_generation=item.metadata.generation,
        conditions=dated(item.status.conditions, item.metadata, verdicts, reported.snapshot.now_s),
        nodes=len(nodes.all_names),
        gpus_total=nodes.gpus_total,
        gpus_free=max(0, sum(n.gpus for n in nodes.usable) - held_usable),
        nodes_to_come=reported.plan.to_come.get(item.key, 0) if item.spec.nodes is not None else None,
        provisioning_seconds=_observed_delay(reported, item),
        gpus_unhealthy=sum(unhealthy_gpus(item, nodes, reported.snapshot).values()),
        leaving=leaving_nodes(reported, nodes),
        cost_usd_per_hour=pool_cost_usd_per_hour(reported, item.metadata.name),
    )


def _observed_delay(reported: Reported, item: GPUPool) -> float | None:
    """As observed by this process, or by one before it."""
    seen = reported.nodes.delay_s.get(item.key)
    return item.status.provisioning_seconds if seen is None else round(seen, 1)


def pool_cost_usd_per_hour(reported: Reported, pool: str) -> float:
    """Price of the GPUs that the pool's engine pods hold, in US dollars per hour.

    A replica costs what its own pool costs, also where its node has lost the label by which that is selected.
    """
    spec = reported.snapshot.pools[pool].spec
    held = (pod.devices.get(spec.resource_name, 0) for pod in _billed(reported, pool))
    return round(spec.price_usd_per_hour * sum(held), 4)


def running_costs(reported: Reported) -> tuple[RunningCost, ...]:
    """What `pool_cost_usd_per_hour` gives of every pool, by class, model and pool.

    Classes that share replicas share their price by planned rates; in equal parts where none is planned.
    """
    snapshot, cells = reported.snapshot, known_cells(reported.snapshot)
    group_of = group_by_deployment(snapshot.engine_pods, cells.groups)
    parts = {group: _parts(reported, group, cells.classes_of(group)) for group in set(group_of.values())}
    totals: dict[tuple[str, ModelKey, str], float] = {}
    for pool, item in snapshot.pools.items():
        for pod in _billed(reported, pool):
            usd = item.spec.price_usd_per_hour * pod.devices.get(item.spec.resource_name, 0)
            model = ModelKey.of(pod.namespace, pod.labels.get(LABEL_MODEL, ""))
            group = group_of.get(pod.deployment)
            shares = parts[group] if group is not None else {UNKNOWN_CLASS: 1.0}
            for workload_class, share in shares.items():
                key = (str(workload_class), model, pool)
                totals[key] = totals.get(key, 0.0) + usd * share
    return tuple(RunningCost(*key, usd_per_hour=usd) for key, usd in sorted(totals.items()))


UNKNOWN_CLASS = ""
"""Of replicas whose sharing group is gone."""


def _parts(reported: Reported, group: GroupName, classes: Iterable[ClassKey]) -> dict[str, float]:
    """The share (0-1) of each class in what the group's replicas cost."""
    planned = reported.follow.spec.cells if reported.follow else ()
    rates = dict.fromkeys(classes, 0.0)
    for cell in planned:
        if cell.sharing_group == group and cell.workload_class in rates:
            rates[cell.workload_class] += cell.requests_per_second
    total = sum(rates.values())
    return {str(key): rate / total if total > 0 else 1 / len(rates) for key, rate in rates.items()}


def _billed(reported: Reported, pool: str) -> list[PodState]:
    """The engine pods that the pool's price is paid for."""
    names = set(reported.sizing.nodes[pool].all_names)

    def is_billed(pod: PodState) -> bool:
        label = pod.labels.get(LABEL_POOL)
        return pod.destination in names if label is None else label == label_value(pool)

    return [
        pod
        for pod in reported.snapshot.engine_pods
        if pod.holds_devices and pod.key not in reported.sizing.lost and is_billed(pod)
    ]


def held_gpus(reported: Reported, pool: str) -> list[tuple[str, int]]:
    """Node and GPUs of every engine pod on the pool's nodes that is not lost."""
    resource = reported.snapshot.pools[pool].spec.resource_name
    names = set(reported.sizing.nodes[pool].all_names)
    return [
        (p.destination, p.devices.get(resource, 0))
        for p in reported.snapshot.engine_pods
        if p.holds_devices and p.destination in names and p.key not in reported.sizing.lost
    ]


def shared_text(reported: Reported, nodes: PoolNodes) -> str:
    """The nodes that a pool shares with others, one sentence for each other pool; empty: none."""
    return " ".join(_shared_sentence(reported, each) for each in nodes.shared)


def _shared_sentence(reported: Reported, shared: SharedNodes) -> str:
    younger = label_value(shared.younger)
    num = sum(
        pod.labels.get(LABEL_POOL) == younger and pod.destination in shared.nodes and reported.serves(pod)
        for pod in reported.snapshot.engine_pods
    )
    serve = f"replica of {shared.younger} serves" if num == 1 else f"replicas of {shared.younger} serve"
    more = f" and {len(shared.nodes) - MOST_NAMED} more" if len(shared.nodes) > MOST_NAMED else ""
    pools = (reported.snapshot.pools[name] for name in (shared.older, shared.younger))
    are_of_one_age = len({pool.metadata.creation_timestamp for pool in pools}) == 1
    return Reason.NODES_SHARED.sentence(
        nodes=", ".join(shared.nodes[:MOST_NAMED]) + more,
        older=shared.older,
        younger=shared.younger,
        why="comes first by name" if are_of_one_age else "is older",
        replicas=f" ({num} {serve} there)" if num else "",
    )


def _verdicts(reported: Reported, item: GPUPool, nodes: PoolNodes) -> tuple[Verdict, Verdict]:
    """Accepted and Ready."""
    accepted = true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    names = {*nodes.all_names, *(node.name for node in nodes.former)}
    on_it = [p for p in reported.snapshot.engine_pods if p.destination in names]
    shared = shared_text(reported, nodes)
    ready = remark(reported, on_it) or true(ConditionType.READY, Reason.READY)
    if shared and ready.reason is Reason.READY:
        ready = Verdict(ConditionType.READY, ConditionStatus.TRUE, Reason.NODES_SHARED, shared)
    fault, unfit = pool_gpu(item.spec), mismatch(item.spec.gpu, nodes)
    if unfit:
        accepted = because(ConditionType.ACCEPTED, Reason.GPU_MISMATCH, unfit)
    if isinstance(fault, GpuFault):
        accepted = because(ConditionType.ACCEPTED, fault.reason, fault.message)
        ready = because(ConditionType.READY, fault.reason, fault.message)
    elif nodes.older_claimant:
        parts = {"field": "spec.nodeSelector", "winner": f"GPUPool {nodes.older_claimant}"}
        sentence = shared or Reason.CONFLICTED.sentence(**parts)
        accepted = because(ConditionType.ACCEPTED, Reason.CONFLICTED, sentence)
        ready = ready if nodes.usable else because(ConditionType.READY, Reason.CONFLICTED, sentence)
    elif said := pool_verdict(reported.snapshot, item, nodes):
        ready = said
    elif not nodes.has_room_for(1):
        ready = because(ConditionType.READY, *no_nodes(reported.snapshot, item, nodes))
    return accepted, ready
