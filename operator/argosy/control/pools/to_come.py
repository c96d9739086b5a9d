"""Nodes that an autoscaler brings: how many may come to a pool, how long one takes, and what is given up.

Owns what follows from `spec.nodes`: the nodes that planning may use though they do not exist, the delay as
observed (from a replica that finds no room to its start on a node that has come since), and the pools to
which no node came in time: of these none is asked for until a pause is over, which doubles with each failure.
A node that has registered and cannot take replicas yet (it is not Ready, its device plugin has not come up)
is still to come. Input: a snapshot, `PoolNodes`, and what was known at the last decision. Output: `PoolNodes`
with nodes to come; a `NodeMemory`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from argosy.api import GPUPool
from argosy.api.conditions import Reason
from argosy.api.gpupool import PlacementMode
from argosy.api.schema.timestamp import rfc3339
from argosy.control.memory import HeldPool, NodeMemory
from argosy.control.pools.closures import closures, closures_text
from argosy.control.state.departure import departure
from argosy.control.state.nodes import PoolNodes, pool_of
from argosy.control.state.waiting import is_kept_off, patience_s, provisioning_s
from argosy.plan.problem import NodesToCome
from argosy.snapshot.admission.scheduling import waits_for_claim
from argosy.snapshot.cluster import NodeState, PodState
from argosy.snapshot.fleet import FleetSnapshot

LATEST_WEIGHT = 0.3
"""Of the latest delay in the mean."""

LONGEST_PAUSE_S = 3600.0

FORGOTTEN_AFTER_S = 3600.0
"""A failure is forgotten so long after its pause, if nothing waits."""

CLOCK_SLACK_S = 5.0
"""A node's time of creation is the API server's, in whole seconds."""


def delay_s(pool: GPUPool, memory: NodeMemory) -> float:
    """Seconds until a new node of the pool takes replicas."""
    return memory.delay_s.get(pool.key, provisioning_s(pool))


def waits_for_node(pod: PodState, pool: GPUPool | None, snapshot: FleetSnapshot) -> bool:
    """Whether an engine pod can only start on a node that has still to come, and its autoscaler sees that."""
    is_held = pod.gated or bool(pod.other_gates) or bool(pod.destination)
    if pool is None or pool.spec.nodes is None or is_held or waits_for_claim(pod.unschedulable):
        return False
    is_waiting = pod.unschedulable_since_s is not None and pod.is_active and not pod.deleting
    return is_waiting and not is_kept_off(pod, pool, snapshot)


def observed_nodes(snapshot: FleetSnapshot, before: NodeMemory) -> NodeMemory:
    """What is known after a look at the pods that wait, and at those that did."""
    waiting: dict[str, tuple[str, float]] = {}
    came: dict[str, tuple[str, float]] = {}
    for pod in snapshot.engine_pods:
        pool = pool_of(pod, snapshot)
        if pool is not None and waits_for_node(pod, pool, snapshot):
            waiting[pod.uid] = (pool.key, before.waiting_s.get(pod.uid, _since_s(pod, pool, snapshot.now_s)))
        elif pool is not None and pod.uid in before.waiting_s and pod.node:
            since_s = before.waiting_s[pod.uid]
            if _has_come(snapshot.nodes.get(pod.node), since_s):
                came[pod.node] = (pool.key, min(since_s, came.get(pod.node, ("", since_s))[1]))
    delays = dict(before.delay_s)
    for pool_name, since_s in came.values():
        taken_s = max(0.0, snapshot.now_s - since_s)
        known = delays.get(pool_name, snapshot.pools[pool_name].status.provisioning_seconds)
        delays[pool_name] = taken_s if not known else known + LATEST_WEIGHT * (taken_s - known)
    served = {pool_name for pool_name, _ in came.values()}
    return NodeMemory(
        waiting_s={uid: since_s for uid, (_, since_s) in waiting.items()},
        delay_s={name: each for name, each in delays.items() if name in snapshot.pools},
        held=_held(snapshot, before, waiting.values(), served),
    )


def _since_s(pod: PodState, pool: GPUPool, now_s: float) -> float:
    """Since when a pod waits that is seen waiting for the first time.

    The time in the condition of one that was gated is that of the gate.
    """
    is_exact = pool.spec.placement is PlacementMode.SCHEDULER and pod.unschedulable_since_s is not None
    return pod.unschedulable_since_s or now_s if is_exact else now_s


def _has_come(node: NodeState | None, since_s: float) -> bool:
    return node is not None and node.created_s is not None and node.created_s >= since_s - CLOCK_SLACK_S


def _held(
    snapshot: FleetSnapshot, before: NodeMemory, waiting: Iterable[tuple[str, float]], served: set[str]
) -> dict[str, HeldPool]:
    """The pools that are held back, and those of which a failure is remembered."""
    since_by_pool: dict[str, float] = {}
    for name, since_s in waiting:
        since_by_pool[name] = min(since_s, since_by_pool.get(name, since_s))
    found: dict[str, HeldPool] = {}
    for name, pool in snapshot.pools.items():
        last, since = before.held.get(name), since_by_pool.get(name)
        if pool.spec.nodes is None or name in served:
            continue
        bound_s = patience_s(delay_s(pool, before))
        counted_s = max(since or 0.0, last.until_s if last else 0.0)
        if since is not None and snapshot.now_s - counted_s >= bound_s:
            failures = last.failures + 1 if last else 1
            pause_s = min(LONGEST_PAUSE_S, bound_s * 2 ** (failures - 1))
            found[name] = HeldPool(snapshot.now_s + pause_s, snapshot.now_s, counted_s, failures)
        elif last and (since is not None or snapshot.now_s < last.until_s + FORGOTTEN_AFTER_S):
            found[name] = last
    return found


def is_held(pool: str, memory: NodeMemory, now_s: float) -> HeldPool | None:
    """The failure for which no node of a pool is asked for now; None where one may be."""
    found = memory.held.get(pool)
    return found if found is not None and now_s < found.until_s else None


def with_nodes_to_come(
    nodes: Mapping[str, PoolNodes], snapshot: FleetSnapshot, memory: NodeMemory
) -> dict[str, PoolNodes]:
    """The nodes of every pool with those that may come to it."""
    return {
        name: replace(
            each,
            to_come=_to_come(snapshot, snapshot.pools[name], each, memory),
            held=is_held(name, memory, snapshot.now_s),
        )
        for name, each in nodes.items()
    }


def not_coming(snapshot: FleetSnapshot, pool: GPUPool, nodes: PoolNodes, held: HeldPool) -> str:
    """That no node came to a pool in time, why those that exist take no replica, and until when none is
    asked for."""
    bounds, number = pool.spec.nodes, len(nodes.all_names)
    closed = closures_text(closures(snapshot, pool, nodes), number)
    return Reason.NODES_NOT_COMING.sentence(
        pool=pool.key,
        waited_s=round(held.held_s - held.since_s),
        max=bounds.max if bounds is not None else 0,
        number=number,
        closed=f": {closed}" if closed else "",
        until=rfc3339(held.until_s),
    )


def _to_come(
    snapshot: FleetSnapshot, pool: GPUPool, nodes: PoolNodes, memory: NodeMemory
) -> NodesToCome | None:
    bounds = pool.spec.nodes
    if bounds is None or is_held(pool.key, memory, snapshot.now_s) is not None:
        return None
    delay = delay_s(pool, memory)
    starting = _starting(snapshot, nodes, patience_s(delay))
    gpus = _shape(snapshot, pool, nodes, starting)
    most = bounds.max - len(nodes.all_names) + len(starting)
    if most <= 0 or gpus == 0:
        return None
    asking = (
        pod for pod in snapshot.engine_pods if pod.uid in memory.waiting_s and pool_of(pod, snapshot) is pool
    )
    asked = math.ceil(sum(pod.devices.get(pool.spec.resource_name, 0) for pod in asking) / gpus)
    price = pool.spec.price_usd_per_hour * gpus
    return NodesToCome(most, gpus, min(asked, most), delay, price)


def _starting(snapshot: FleetSnapshot, nodes: PoolNodes, bound_s: float) -> frozenset[str]:
    """Nodes that have registered a moment ago and cannot take replicas yet."""
    able = {node.name for node in nodes.usable if (node.takes_new and node.gpus) or node.unfit is not None}
    occupied = {pod.destination for pod in snapshot.engine_pods}
    found = set()
    for name in set(nodes.all_names) - able - occupied:
        node = snapshot.nodes[name]
        is_young = node.created_s is not None and snapshot.now_s - node.created_s < bound_s
        if is_young and not departure(node):
            found.add(name)
    return frozenset(found)


def _shape(snapshot: FleetSnapshot, pool: GPUPool, nodes: PoolNodes, starting: frozenset[str]) -> int:
    """GPUs of a node that comes: as on the nodes that exist, else as the pool says.

    0 where no node that exists could take a replica though it is Ready: the next would be like them.
    """
    ready = [snapshot.nodes[name] for name in nodes.all_names if name not in starting]
    ready = [node for node in ready if node.ready and not departure(node)]
    if not ready:
        return pool.spec.gpus_per_node
    resource = pool.spec.resource_name
    counted = [node.allocatable.get(resource, 0) + node.unhealthy(resource) for node in ready]
    closed = {name for each in closures(snapshot, pool, nodes) if each.is_lasting for name in each.nodes}
    if closed >= {node.name for node in ready}:
        return 0
    return min(pool.spec.gpus_per_node, max(counted))
