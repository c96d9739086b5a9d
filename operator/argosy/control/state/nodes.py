"""Which nodes belong to a pool, and what of them can be used.

Owns the assignment of nodes to pools. A node is unusable where every engine on it is lost, because its
condition changes only seconds later, or where it is not ready and no engine on it answers. One that is
not ready though its engines answer, that is cordoned, or whose taints are not tolerated, takes no new
pods and keeps those that run there: `kubectl cordon` alone must not cost a class its replicas. A node
that the selectors of several pools select belongs to the oldest of them, and the statuses of the others
report it. Input: a snapshot and the lost pods. Output: `PoolNodes` by pool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argosy.api import GPUPool
from argosy.snapshot.cluster import NodeState, PodState, Taint
from argosy.snapshot.fleet import FleetSnapshot

_MIRRORING_TAINTS = frozenset(
    f"node.kubernetes.io/{what}" for what in ("not-ready", "unreachable", "unschedulable")
)
"""Taints with the meaning of `ready` and `unschedulable`; others (disk pressure, ...) block."""


@dataclass(frozen=True, slots=True)
class UsableNode:
    """GPUs of a node that engine pods may use, those of foreign pods subtracted.

    takes_new: False for a node that keeps what runs there and takes no new pod (cordoned, or with a
               taint that the pool does not tolerate)
    """

    name: str
    gpus: int
    takes_new: bool = True


@dataclass(frozen=True, slots=True)
class PoolNodes:
    """A pool's nodes: all of them by name, and the usable ones.

    older_claimant: the older pool to which nodes of this one's selector belong; empty where there is none
    """

    pool: str
    all_names: tuple[str, ...]
    usable: tuple[UsableNode, ...]
    gpus_total: int
    older_claimant: str = ""

    def has_room_for(self, gpus: int) -> bool:
        """Whether a node could hold a replica of so many GPUs if no engine ran on it."""
        return any(node.gpus >= gpus for node in self.usable)


def pool_nodes(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[str, PoolNodes]:
    """The nodes of every pool. `lost`: keys of the pods whose capacity does not count."""
    by_node: defaultdict[str, list[PodState]] = defaultdict(list)
    for pod in snapshot.pods.values():
        if pod.holds_devices:
            by_node[pod.destination].append(pod)
    owner_by_node: dict[str, str] = {}
    found: dict[str, PoolNodes] = {}
    for name, pool in sorted(snapshot.pools.items(), key=lambda item: item[1].metadata.seniority):
        selector = pool.spec.node_selector.items()
        named = [n for _, n in sorted(snapshot.nodes.items()) if selector <= n.labels.items()]
        older = sorted({owner_by_node[n.name] for n in named if n.name in owner_by_node})
        members = [n for n in named if n.name not in owner_by_node]
        owner_by_node |= dict.fromkeys((n.name for n in members), name)
        usable = _usable_nodes(pool, members, by_node, lost)
        total = len(members) * pool.spec.gpus_per_node
        found[name] = PoolNodes(name, tuple(n.name for n in members), usable, total, "".join(older[:1]))
    return dict(sorted(found.items()))


def new_pod_nodes(pools: Mapping[str, PoolNodes]) -> frozenset[str]:
    """Names of the nodes that may be given to a new pod: the one rule for every placement."""
    return frozenset(node.name for pool in pools.values() for node in pool.usable if node.takes_new)


def selector_text(pool: GPUPool) -> str:
    """A pool's node selector for sentences: `key=value`, by key."""
    return ", ".join(f"{key}={value}" for key, value in sorted(pool.spec.node_selector.items()))


def _usable_nodes(
    pool: GPUPool,
    members: Iterable[NodeState],
    pods: Mapping[str, list[PodState]],
    lost: frozenset[str],
) -> tuple[UsableNode, ...]:
    usable: list[UsableNode] = []
    for node in members:
        on_it = pods.get(node.name, [])
        if _has_lost_all(on_it, lost) or not (node.ready or _serves(on_it, lost)):
            continue
        gpus = _usable_gpus(pool, node, on_it, lost)
        usable.append(UsableNode(node.name, gpus, _takes_new_pods(pool, node)))
    return tuple(usable)


def _usable_gpus(pool: GPUPool, node: NodeState, on_it: list[PodState], lost: frozenset[str]) -> int:
    resource = pool.spec.resource_name
    if not _takes_new_pods(pool, node):
        return sum(
            p.devices.get(resource, 0)
            for p in on_it
            if p.deployment and p.node and not p.deleting and p.key not in lost
        )
    own = min(node.allocatable.get(resource, 0), pool.spec.gpus_per_node)
    foreign = sum(p.devices.get(resource, 0) for p in on_it if not p.deployment and p.node)
    # A lost engine beside answering ones keeps its GPUs: they are not free.
    held = sum(p.devices.get(resource, 0) for p in on_it if p.key in lost and p.node)
    return max(0, own - foreign - held)


def _takes_new_pods(pool: GPUPool, node: NodeState) -> bool:
    blocking = [
        t
        for t in node.taints
        if t.effect in ("NoSchedule", "NoExecute")
        and t.key not in _MIRRORING_TAINTS
        and not _tolerates(pool, t)
    ]
    return node.ready and not node.unschedulable and not blocking


def _tolerates(pool: GPUPool, taint: Taint) -> bool:
    return any(
        (t.key == taint.key or (not t.key and t.operator == "Exists"))
        and (t.effect is None or t.effect == taint.effect)
        and (t.operator == "Exists" or (t.value or "") == taint.value)
        for t in pool.spec.tolerations
    )


def _has_lost_all(pods: Iterable[PodState], lost: frozenset[str]) -> bool:
    ours = [p for p in pods if p.deployment]
    return bool(ours) and all(p.key in lost for p in ours)


def _serves(pods: Iterable[PodState], lost: frozenset[str]) -> bool:
    """Whether an engine runs there whose capacity counts: of a node that is not ready, one that answers."""
    return any(p.deployment and p.node and p.should_answer and p.key not in lost for p in pods)
