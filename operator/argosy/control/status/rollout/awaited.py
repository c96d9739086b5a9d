"""What users read of nodes that an autoscaler brings: those that are waited for, and those that never came.

Owns these verdicts and the event. Input: `Reported`, or what was sized. Output: `Verdict`s, events.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api import GPUPool
from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.fleetplan import PlannedDeployment
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import EventRecord
from argosy.control.pools.to_come import delay_s, not_coming, waits_for_node
from argosy.control.sizing import Sizing
from argosy.control.state.nodes import PoolNodes
from argosy.control.state.waiting import patience_s
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, because, false
from argosy.snapshot.fleet import FleetSnapshot


def awaited_verdict(reported: Reported, planned: Iterable[PlannedDeployment]) -> Verdict | None:
    """Ready of an object whose planned replicas wait for nodes; None where none of them does."""
    entries = [entry for entry in planned if entry.replicas]
    pools = {entry.name: entry.pool for entry in entries}
    snapshot = reported.snapshot
    waiting = [
        pod
        for pod in snapshot.engine_pods
        if pod.deployment in pools
        and waits_for_node(pod, snapshot.pools.get(pools[pod.deployment]), snapshot)
    ]
    if not waiting:
        return None
    first = min(waiting, key=lambda pod: reported.nodes.waiting_s.get(pod.uid, reported.snapshot.now_s))
    pool = reported.snapshot.pools[pools[first.deployment]]
    nodes = reported.sizing.nodes[pool.key]
    if nodes.held is not None:
        said = not_coming(reported.snapshot, pool, nodes, nodes.held)
        return because(ConditionType.READY, Reason.NODES_NOT_COMING, said)
    delay = delay_s(pool, reported.nodes)
    since_s = reported.nodes.waiting_s.get(first.uid, reported.snapshot.now_s)
    return false(
        ConditionType.READY,
        Reason.NODES_TO_COME,
        ready=sum(reported.num_serving[entry.name] for entry in entries),
        desired=sum(entry.replicas for entry in entries),
        waiting=f"{len(waiting)} waits" if len(waiting) == 1 else f"{len(waiting)} wait",
        pool=pool.key,
        since=rfc3339(since_s),
        delay_s=round(delay),
        until=rfc3339(since_s + patience_s(delay)),
    )


def pool_verdict(snapshot: FleetSnapshot, pool: GPUPool, nodes: PoolNodes) -> Verdict | None:
    """Ready of a pool to which no node came in time, or that has only nodes to come; None for any other."""
    bounds = pool.spec.nodes
    if bounds is None:
        return None
    has_room = any(node.gpus for node in nodes.open)
    if nodes.held is not None:
        status, said = ConditionStatus.TRUE if has_room else ConditionStatus.FALSE, Reason.NODES_NOT_COMING
        return Verdict(ConditionType.READY, status, said, not_coming(snapshot, pool, nodes, nodes.held))
    if has_room or nodes.to_come is None:
        return None
    message = Reason.NODES_MAY_COME.sentence(
        most=nodes.to_come.most, max=bounds.max, delay_s=round(nodes.to_come.delay_s)
    )
    return Verdict(ConditionType.READY, ConditionStatus.TRUE, Reason.NODES_MAY_COME, message)


def not_coming_events(sizing: Sizing) -> tuple[EventRecord, ...]:
    """An event for each pool that is held back from this decision on."""
    snapshot, reason = sizing.snapshot, Reason.NODES_NOT_COMING.value
    return tuple(
        EventRecord(
            GPUPool.KIND,
            name,
            "Warning",
            reason,
            not_coming(snapshot, snapshot.pools[name], nodes, nodes.held),
        )
        for name, nodes in sorted(sizing.nodes.items())
        if nodes.held is not None and nodes.held.held_s == sizing.snapshot.now_s
    )
