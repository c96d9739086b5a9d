"""The status of a GPUPool.

Owns its conditions, its GPUs and what they cost. Input: `Reported` and the pool. Output: a
`GPUPoolStatus`.
"""

from __future__ import annotations

from argosy.api import GPUPool
from argosy.api.conditions import ConditionType, Reason
from argosy.api.gpupool import GPUPoolStatus
from argosy.control.candidates.resolve import no_nodes
from argosy.control.state.nodes import PoolNodes
from argosy.control.status.leaving import leaving_nodes, remark
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, because, dated, false, true
from argosy.perf.catalogue import find_gpu, gpus
from argosy.perf.protocol import OutOfRange
from argosy.snapshot.cluster import LABEL_POOL, PodState, label_value


def pool_status(reported: Reported, item: GPUPool) -> GPUPoolStatus:
    """The status of a GPUPool."""
    nodes = reported.sizing.nodes[item.metadata.name]
    usable_names = {n.name for n in nodes.usable}
    held = held_gpus(reported, item.metadata.name)
    held_usable = sum(count for node, count in held if node in usable_names)
    num_unusable = len(nodes.all_names) - len(nodes.usable)
    verdicts = _verdicts(reported, item, nodes)
    return GPUPoolStatus(
        observed_generation=item.metadata.generation,
        conditions=dated(item.status.conditions, item.metadata, verdicts, reported.snapshot.now_s),
        nodes=len(nodes.all_names),
        gpus_total=nodes.gpus_total,
        gpus_free=max(0, sum(n.gpus for n in nodes.usable) - held_usable),
        gpus_unhealthy=num_unusable * item.spec.gpus_per_node,
        leaving=leaving_nodes(reported, nodes),
        cost_usd_per_hour=pool_cost_usd_per_hour(reported, item.metadata.name),
    )


def pool_cost_usd_per_hour(reported: Reported, pool: str) -> float:
    """Price of the GPUs that the pool's engine pods hold, in US dollars per hour.

    A replica costs what its own pool costs, also where its node has lost the label by which that is selected.
    """
    spec = reported.snapshot.pools[pool].spec
    names = set(reported.sizing.nodes[pool].all_names)

    def is_billed(pod: PodState) -> bool:
        label = pod.labels.get(LABEL_POOL)
        return pod.destination in names if label is None else label == label_value(pool)

    held = (
        pod.devices.get(spec.resource_name, 0)
        for pod in reported.snapshot.engine_pods
        if pod.holds_devices and pod.key not in reported.sizing.lost and is_billed(pod)
    )
    return round(spec.price_usd_per_hour * sum(held), 4)


def held_gpus(reported: Reported, pool: str) -> list[tuple[str, int]]:
    """Node and GPUs of every engine pod on the pool's nodes that is not lost."""
    resource = reported.snapshot.pools[pool].spec.resource_name
    names = set(reported.sizing.nodes[pool].all_names)
    return [
        (p.destination, p.devices.get(resource, 0))
        for p in reported.snapshot.engine_pods
        if p.holds_devices and p.destination in names and p.key not in reported.sizing.lost
    ]


def _verdicts(reported: Reported, item: GPUPool, nodes: PoolNodes) -> tuple[Verdict, Verdict]:
    """Accepted and Ready."""
    accepted = true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    names = {*nodes.all_names, *(node.name for node in nodes.former)}
    on_it = [p for p in reported.snapshot.engine_pods if p.destination in names]
    ready = remark(reported, on_it) or true(ConditionType.READY, Reason.READY)
    if isinstance(find_gpu(item.spec.gpu), OutOfRange):
        parts = {"gpu": item.spec.gpu, "known": ", ".join(g.name for g in gpus())}
        accepted = false(ConditionType.ACCEPTED, Reason.UNKNOWN_GPU, **parts)
        ready = false(ConditionType.READY, Reason.UNKNOWN_GPU, **parts)
    elif nodes.older_claimant:
        parts = {"field": "spec.nodeSelector", "winner": f"GPUPool {nodes.older_claimant}"}
        accepted = false(ConditionType.ACCEPTED, Reason.CONFLICTED, **parts)
        ready = ready if nodes.usable else false(ConditionType.READY, Reason.CONFLICTED, **parts)
    elif not nodes.open:
        ready = because(ConditionType.READY, *no_nodes(reported.snapshot, item, nodes))
    return accepted, ready
